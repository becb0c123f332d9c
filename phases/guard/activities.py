"""The guard's two activities: look at a Deployment, carry a verdict out. Both may be repeated without harm."""

import logging
from datetime import datetime

from phases.guard.orchestrator import Deed
from shared.errors import MigrationError, TransientError
from shared.guard.action import carry_out
from shared.guard.observation import DEADLINE, observe
from shared.guard.ports import GuardPorts
from shared.guard.readings import Reading
from shared.guard.targets import Guarded
from shared.wire import JsonObject

log = logging.getLogger(__name__)


def observe_deployment(ports: GuardPorts, guarded: Guarded, at: datetime) -> Reading:
    """Ask every source; both rounds of questions together take a third of a tick at the most."""
    return observe(ports, at, deadline=min(DEADLINE, guarded.policy.tick / 6))


def act_on(ports: GuardPorts, deed: Deed, now: datetime) -> JsonObject:
    """Carry the verdict out; what cannot be done comes back as `error`. TransientError escapes, and is tried again."""
    if now > deed.until:
        return {"done": [], "error": "its tick was over; the next one decides anew"}
    try:
        return {"done": list(carry_out(deed.verdict, ports.actuator, run=deed.run)), "error": ""}
    except TransientError:
        raise
    except MigrationError as error:
        log.warning("the guard could not %s: %s", deed.verdict.action, error.message)
        return {"done": [], "error": error.message}
