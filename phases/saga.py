"""Which steps undo a run. Pure."""

from collections.abc import Mapping, Sequence

from shared.wire import JsonObject


def undo_steps(
    started: Sequence[str], plans: Mapping[str, JsonObject], undoes: frozenset[str], irreversible: frozenset[str]
) -> list[tuple[str, JsonObject]] | None:
    """Phases with their recorded plans, latest first; None once an irreversible one has started."""
    if not irreversible.isdisjoint(started):
        return None
    return [(name, plans[name]) for name in reversed(started) if name in undoes]
