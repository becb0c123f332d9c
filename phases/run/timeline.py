"""How long phases take and Open WebUI was down, and the custom status that says so. Pure: `now` is an argument."""

from dataclasses import dataclass, field
from datetime import datetime

from shared.model.migration import PhaseState, Progress
from shared.wire import JsonObject


@dataclass(slots=True)
class Timed:
    """One phase on the timeline."""

    name: str
    state: PhaseState = PhaseState.PENDING
    began: datetime | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Timeline:
    """Rebuilt by every replay from the same events, so always the same."""

    names: list[str]
    started_at: datetime
    phases: dict[str, Timed] = field(default_factory=dict)
    down_since: datetime | None = None
    downtime_seconds: float = 0.0
    _first: tuple[str, int, datetime] | None = None

    def __post_init__(self) -> None:
        self.phases = {name: Timed(name) for name in self.names}

    def set(self, name: str, state: PhaseState) -> None:
        self.phases[name].state = state

    def begin(self, name: str, now: datetime) -> None:
        self.phases[name].state, self.phases[name].began = PhaseState.RUNNING, now

    def end(self, name: str, state: PhaseState, now: datetime) -> None:
        timed = self.phases[name]
        timed.state, timed.seconds = state, (now - timed.began).total_seconds() if timed.began else 0.0

    def observe(self, progress: Progress, now: datetime) -> None:
        """Take the downtime from what a phase reports; its clock ran beside the cluster."""
        if progress.down_since and self.down_since is None:
            self.down_since = datetime.fromisoformat(progress.down_since)
        if progress.answering_since and self.down_since is not None:
            self.downtime_seconds += (
                datetime.fromisoformat(progress.answering_since) - self.down_since
            ).total_seconds()
            self.down_since = None

    def status(self, phase: str, progress: Progress, now: datetime) -> JsonObject:
        """The custom status, always of this shape."""
        return {
            "phase": phase,
            "step": progress.step,
            "done": progress.done,
            "total": progress.total,
            "unit": progress.unit,
            "eta_seconds": self._eta(progress, now),
            "downtime_seconds": round(self.downtime_until(now), 1),
            "phases": [
                {"name": p.name, "state": p.state.value, "seconds": round(_elapsed(p, now), 1)}
                for p in self.phases.values()
            ],
        }

    def downtime_until(self, now: datetime) -> float:
        running = max(0.0, (now - self.down_since).total_seconds()) if self.down_since else 0.0
        return self.downtime_seconds + running

    def _eta(self, progress: Progress, now: datetime) -> float | None:
        """Seconds left; None while it cannot be told."""
        rate = self.rate(progress, now)
        return round((progress.total - progress.done) / rate, 1) if rate else None

    def rate(self, progress: Progress, now: datetime) -> float | None:
        """What is done in a second since this step was first seen; None while it cannot be told."""
        if not progress.total or progress.finished:
            return None
        if self._first is None or self._first[0] != progress.step or self._first[1] > progress.done:
            self._first = (progress.step, progress.done, now)
        _, first, since = self._first
        elapsed, moved = (now - since).total_seconds(), progress.done - first
        return moved / elapsed if moved > 0 and elapsed > 0 else None


def _elapsed(timed: Timed, now: datetime) -> float:
    if timed.state is PhaseState.RUNNING and timed.began:
        return (now - timed.began).total_seconds()
    return timed.seconds
