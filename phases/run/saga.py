"""Whether a failed phase undoes a run, and which steps do. Pure."""

from collections.abc import Mapping, Sequence

from shared.wire import JsonObject


def stands(failed: str, additions: frozenset[str], *, alone: bool, asked_to_stop: bool) -> bool:
    """Whether a migration stays although this phase failed.

    It does where users are served by what was validated and the phase only adds to that, so that its own undo is
    enough. `alone`: later phases run without a migration; they are what is wanted, so their failure is the run's.
    """
    return failed in additions and not alone and not asked_to_stop


def next_step(failed: str) -> str:
    """What a person does about a phase that failed in a migration that stays."""
    again = f'POST /api/migrations with {{"mode": "phases", "phases": ["{failed}"]}}'
    return f"The migration stays, without {failed}. When the cause is mended: {again}."


def undo_steps(
    started: Sequence[str], plans: Mapping[str, JsonObject], undoes: frozenset[str], irreversible: frozenset[str]
) -> list[tuple[str, JsonObject]] | None:
    """Phases with their recorded plans, latest first; None once an irreversible one has started."""
    if not irreversible.isdisjoint(started):
        return None
    return [(name, plans[name]) for name in reversed(started) if name in undoes]
