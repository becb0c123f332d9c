"""Rules that size the Deployment: never more than the connections carry, no fewer than the load needs.

With an autoscaler they move its bounds and leave the replicas to it: a replica count set beside an HPA is reverted at
its next sync. Source: facts §7.
"""

import math

from shared.guard.case import REACTION_TICKS, Case
from shared.guard.readings import Part
from shared.guard.signs import Fault, Pressure, Sign
from shared.guard.verdicts import Action, Size, Verdict


def relieve_connections(case: Case) -> Verdict | None:
    """Cap before a connection is refused: when full pools beside the others' sessions would not fit."""
    sign, deployment = case.sign, case.reading.deployment
    if deployment is None or not deployment.replicas or case.reading.migration.restarts_pods:
        return None
    if sign.pressure is None:
        return _relieve_full_server(case, deployment.replicas) if sign.full else None
    limits = case.reading.connections.limits if case.reading.connections else None
    if limits is None or limits.pgbouncer:
        return None  # behind PgBouncer the replicas' connections are not the server's: fewer replicas free none
    pressure, carried = sign.pressure, case.carried(sign.pressure)
    target = _capped_size(case, pressure, deployment.replicas)
    if target is None or not _is_pressing(case, pressure, deployment.replicas):
        return None
    reason = (
        f"{pressure.used} of {pressure.for_users} connections are in use, {pressure.foreign} of them by others; beside"
        f" those, {carried} replicas of {pressure.per_process} connections fit and {deployment.replicas} are there:"
        f" at most {target} from now on."
    )
    return case.resize(
        Action.CAP, "relieve_connections", reason, target, operator=target < case.policy.minimum_replicas
    )


def _capped_size(case: Case, pressure: Pressure, replicas: int) -> int | None:
    """The most replicas to allow, None when the present size is fine."""
    autoscaler, carried = case.reading.autoscaler, case.carried(pressure)
    if replicas > carried:
        return carried
    if autoscaler is None or autoscaler.maximum <= replicas:
        return None
    if autoscaler.maximum > case.ceiling(pressure, headroom=0):
        return max(case.ceiling(pressure), replicas)
    return None


def _is_pressing(case: Case, pressure: Pressure, replicas: int) -> bool:
    """One reading is enough when hardly a connection is left; otherwise the earlier ones must have said the same."""
    if pressure.used >= case.policy.used_critical * pressure.for_users:
        return True
    needed = case.policy.readings_to_act
    seen = [sign.pressure for sign in case.signs[-needed:] if sign.pressure]
    return len(seen) == needed and all(_capped_size(case, earlier, replicas) is not None for earlier in seen)


def _relieve_full_server(case: Case, replicas: int) -> Verdict | None:
    """The server refused the guard itself: give one replica's connections back now, and call."""
    if replicas <= 1 or case.moved_within(REACTION_TICKS * case.policy.tick):
        return None
    detail = next((missing.detail for missing in case.reading.unread if missing.part is Part.CONNECTIONS), "")
    reason = (
        f"The database has no connection left for users ({detail or 'SQLSTATE 53300'}): {replicas} → {replicas - 1}."
    )
    return case.resize(Action.CAP, "relieve_connections", reason, replicas - 1, operator=True)


def lift_cap(case: Case) -> Verdict | None:
    """Return to the size before the cap, once the budget has carried it for a while."""
    before, pressure = case.state.capped_from, case.sign.pressure
    needed = case.policy.readings_to_return
    if before is None or pressure is None or case.sign.fault is not Fault.NONE or not case.may_turn(up=True):
        return None
    if case.moved_within(case.policy.down_cooldown):
        return None
    recent = [sign.pressure for sign in case.signs[-needed:] if sign.pressure]
    if len(recent) < needed:
        return None
    ceiling = min(case.ceiling(seen) for seen in recent)
    now = _size(case)
    target = min(ceiling, before.maximum or before.replicas)
    if target <= (now.maximum or now.replicas):
        return None
    reason = (
        f"Others hold {pressure.foreign} of {pressure.for_users} connections: {ceiling} replicas have fitted for"
        f" {needed} readings, back to {target}."
    )
    if now.minimum is None:
        return case.say(Action.SCALE_UP, "lift_cap", reason, replicas=target)
    minimum = min(max(now.minimum, before.minimum or 1), target)
    return case.say(Action.SCALE_UP, "lift_cap", reason, minimum=minimum, maximum=target)


def add_replicas(case: Case) -> Verdict | None:
    """Scale up when the pools are busy, the present replicas all serve and the budget carries more."""
    pressure, replicas = case.sign.pressure, case.sign.replicas
    if pressure is None or replicas is None or not _is_busy(case, pressure) or case.sign.fault is not Fault.NONE:
        return None
    if case.moved_within(case.policy.up_cooldown) or not case.may_turn(up=True) or _autoscaler_is_moving(case):
        return None
    wished = min(replicas + case.policy.largest_step, math.ceil(replicas * pressure.busy / case.policy.busy_target))
    target = min(wished, most_allowed(case, pressure))
    if target <= replicas:
        return None
    reason = (
        f"Open WebUI's pools are {pressure.busy:.0%} busy on {replicas} replicas: {target} would bring that to"
        f" {pressure.busy * replicas / target:.0%}; the budget carries {case.ceiling(pressure)}."
    )
    return case.resize(Action.SCALE_UP, "add_replicas", reason, target)


def most_allowed(case: Case, pressure: Pressure) -> int:
    """The budget's ceiling, and an autoscaler's maximum, which is the operator's word."""
    ceiling, autoscaler = case.ceiling(pressure), case.reading.autoscaler
    return min(ceiling, autoscaler.maximum) if autoscaler else ceiling


def is_busy(sign: Sign, threshold: float) -> bool:
    """Whether the pools were at least this busy."""
    return sign.pressure is not None and sign.pressure.busy >= threshold


def _is_busy(case: Case, pressure: Pressure) -> bool:
    if pressure.busy < case.policy.busy_high:
        return False
    if pressure.busy >= case.policy.busy_critical:
        return True
    return case.holds(lambda sign: is_busy(sign, case.policy.busy_high), case.policy.readings_to_act)


def _autoscaler_is_moving(case: Case) -> bool:
    """The HPA is adding replicas by its own measure already."""
    autoscaler = case.reading.autoscaler
    return autoscaler is not None and autoscaler.desired > (case.sign.replicas or 0)


def remove_replicas(case: Case) -> Verdict | None:
    """Scale down by one when the pools have been quiet for long; an HPA gets its own minimum back instead."""
    pressure, replicas, policy = case.sign.pressure, case.sign.replicas, case.policy
    if pressure is None or replicas is None or pressure.busy > policy.busy_low or case.sign.fault is not Fault.NONE:
        return None
    now = _size(case)
    floor = policy.minimum_replicas if now.minimum is None else case.state.raised_from
    size = replicas if now.minimum is None else now.minimum
    if (
        floor is None
        or size <= floor
        or case.moved_within(policy.down_cooldown)
        or case.moved_within(policy.calm, up=True)
    ):
        return None
    if not case.may_turn(up=False) or not _is_quiet(case, replicas):
        return None
    reason = (
        f"Open WebUI's pools have been at most {policy.busy_low:.0%} busy for {policy.readings_to_scale_down} readings,"
        f" now {pressure.busy:.0%} on {replicas} replicas: {size} → {size - 1}."
    )
    if now.minimum is None:
        return case.say(Action.SCALE_DOWN, "remove_replicas", reason, replicas=size - 1)
    return case.say(Action.SCALE_DOWN, "remove_replicas", reason, minimum=size - 1, maximum=now.maximum)


def _is_quiet(case: Case, replicas: int) -> bool:
    """All along, and with one replica fewer still below the target."""

    def quiet(sign: Sign) -> bool:
        return (
            sign.fault is Fault.NONE
            and sign.replicas == replicas
            and sign.pressure is not None
            and sign.pressure.busy <= case.policy.busy_low
            and sign.pressure.busy * replicas <= case.policy.busy_target * (replicas - 1)
        )

    return case.holds(quiet, case.policy.readings_to_scale_down)


def _size(case: Case) -> Size:
    """The present replicas and bounds."""
    autoscaler = case.reading.autoscaler
    bounds = (autoscaler.minimum, autoscaler.maximum) if autoscaler else (None, None)
    return Size(case.sign.replicas or 0, *bounds)
