"""While Open WebUI is down one call takes as many steps as it can: between two calls the orchestration's queues pass
by, which takes longer than a step does. Every step looks at the world first, so it is as safe as a call for each."""

from collections.abc import Callable
from datetime import timedelta

from shared.errors import TransientError
from shared.model.migration import Progress
from shared.model.ports import Clock

SLICE = timedelta(seconds=8)
"""Then the status is shown, and an abort is heard."""
PAUSE_SECONDS = 0.1


def steps(step: Callable[[], Progress], clock: Clock) -> Progress:
    """Repeat `step` until it is finished, Open WebUI is not down, or the time is over; then what failed is told too."""
    until = clock.now() + SLICE
    while True:
        try:
            done = step()
        except TransientError:
            if clock.now() >= until:
                raise
        else:
            if done.finished or done.interruptible or clock.now() >= until:
                return done
        clock.sleep(PAUSE_SECONDS)
