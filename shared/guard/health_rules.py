"""Rules about health: when to stand still, roll back, take replicas back, or call somebody."""

from collections.abc import Iterator
from datetime import timedelta

from shared.guard.capacity_rules import is_busy, most_allowed
from shared.guard.case import Case
from shared.guard.signs import Fault, Sign
from shared.guard.verdicts import Action, Verdict

ENVIRONMENT = frozenset({Fault.DATABASE, Fault.NODE})
"""Faults after which pods of any revision come back late."""


def stand_still(case: Case) -> Verdict | None:
    """Decide nothing while somebody else is in charge, or on what is too old."""
    state, sign, migration = case.state, case.sign, case.reading.migration
    if state.paused_until and case.now < state.paused_until:
        until = state.paused_until.isoformat(timespec="minutes")
        return case.say(Action.NONE, "paused", f"Paused until {until}: {state.paused_because or 'no reason given'}.")
    if migration.restarts_pods:
        reason = f"Phase {migration.phase} of {migration.run} restarts pods: standing still."
        return case.say(Action.NONE, "phase", reason, conclusive=False)
    if case.again or case.now - sign.at > 2 * case.policy.tick:
        age = (case.now - sign.at).total_seconds()
        reason = f"This reading is {age:.0f} s old and was judged, or is too old to be."
        return case.say(Action.NONE, "stale", reason, conclusive=False)
    if sign.fault is Fault.PARKED:
        return case.say(Action.NONE, "parked", "The Deployment is scaled to 0: whoever parked it wakes it.")
    return None


def roll_back(case: Case) -> Verdict | None:
    """Ask for the rollback when no pod of the newest revision is fit to serve and nothing else explains it."""
    if not _revision_is_at_fault(case) or not _may_roll_back(case):
        return None
    sign, healthy = case.sign, case.state.healthy_revision
    to_revision = healthy if healthy not in {None, sign.revision} else None
    back_to = f"revision {to_revision}" if to_revision is not None else f"before {case.reading.migration.run}"
    reason = (
        f"No pod of revision {sign.revision} is fit in {_readings_needed(case)} readings ({sign.broken});"
        f" {sign.serving} of {sign.replicas} replicas serve, the database answers and the soak is not over:"
        f" back to {back_to}."
    )
    return case.say(Action.ROLL_BACK, "roll_back", reason, to_revision=to_revision)


def _revision_is_at_fault(case: Case) -> bool:
    """Seen often enough, and not in the aftermath of a database or node failure."""
    sign = case.sign
    if sign.fault is not Fault.REVISION:
        return False

    def same_fault(earlier: Sign) -> bool:
        return earlier.fault is Fault.REVISION and earlier.revision == sign.revision

    aftermath = any(
        earlier.fault in ENVIRONMENT and sign.at - earlier.at < case.policy.settle for earlier in case.signs
    )
    return not aftermath and case.holds(same_fault, _readings_needed(case))


def _readings_needed(case: Case) -> int:
    """A revision that was healthy before, or came up before the guard did, has earned more than one that never was."""
    proven = case.sign.revision == case.state.healthy_revision or case.sign.seasoned
    return case.policy.readings_to_roll_back if proven else case.policy.readings_to_act


def _may_roll_back(case: Case) -> bool:
    """Inside the soak, and not asked for already."""
    migration = case.reading.migration
    in_soak = migration.soak_until is not None and case.now < migration.soak_until
    return in_soak and migration.run != case.state.rolled_back


def take_back_surplus(case: Case) -> Verdict | None:
    """Return to the last healthy count when the replicas beyond it have not come up in time."""
    sign, healthy = case.sign, case.state.healthy_replicas
    if healthy is None or not sign.conclusive or (sign.replicas or 0) <= healthy or not case.may_turn(up=False):
        return None
    waited = case.lasts(lambda earlier: earlier.fault not in {Fault.NONE, Fault.DATABASE})
    if waited < case.policy.start_patience or case.moved_within(case.policy.down_cooldown):
        return None
    reason = (
        f"For {_minutes(waited)} only {sign.serving} of {sign.replicas} replicas have served"
        f" ({sign.broken or sign.fault}): back to {healthy}, the last count at which all did."
    )
    return case.resize(Action.SCALE_DOWN, "take_back_surplus", reason, healthy, operator=True)


def tell_operator(case: Case) -> Verdict | None:
    """Tell the first finding that a person has not heard of lately."""
    for finding, sentence in _findings(case):
        if not case.told_recently(finding):
            return case.say(Action.CALL_OPERATOR, finding, sentence)
    return None


def _findings(case: Case) -> Iterator[tuple[str, str]]:
    """What only a person can mend, the gravest first."""
    yield from _fault_findings(case)
    yield from _connection_findings(case)
    yield from _pod_findings(case)


def _fault_findings(case: Case) -> Iterator[tuple[str, str]]:
    """A fault that has lasted longer than such faults do."""
    sign = case.sign
    if sign.fault is Fault.NONE or not sign.conclusive:
        return
    if _revision_is_at_fault(case):
        asked = case.reading.migration.run == case.state.rolled_back != ""
        why = "its rollback was asked for already" if asked else "outside the soak nothing is rolled back"
        yield "revision", f"No pod of revision {sign.revision} is fit ({sign.broken}); {why}."
    lasted = case.lasts(lambda earlier: earlier.fault is sign.fault)
    if lasted >= case.policy.operator_patience:
        detail = f": {sign.broken}" if sign.broken else ""
        serving = f"{sign.serving} of {sign.replicas} replicas serve"
        yield sign.fault, f"For {_minutes(lasted)} {serving}, for which the {sign.fault} is to blame{detail}."


def _connection_findings(case: Case) -> Iterator[tuple[str, str]]:
    """Connections that run short although nothing is left to cap, or that nobody gives back."""
    pressure, policy = case.sign.pressure, case.policy
    if pressure is None:
        return
    warning = policy.used_warning * pressure.for_users
    if case.holds(lambda sign: sign.pressure is not None and sign.pressure.used >= warning, policy.readings_to_act):
        yield (
            "connections",
            f"{pressure.used} of {pressure.for_users} connections are in use, {pressure.foreign} by others.",
        )
    if pressure.idle_in_transaction >= policy.idle_in_transaction:
        idle = _minutes(pressure.idle_in_transaction)
        yield (
            "idle_in_transaction",
            f"A transaction has been open and idle for {idle}; it holds a connection and locks.",
        )
    replicas = case.sign.replicas
    if pressure.busy < policy.busy_high or replicas is None or case.reading.deployment is None:
        return
    busy_for = case.lasts(lambda sign: is_busy(sign, policy.busy_high))
    if busy_for >= policy.operator_patience and replicas >= (most := most_allowed(case, pressure)):
        busy = f"The pools have been busy for {_minutes(busy_for)}, now {pressure.busy:.0%}"
        yield "ceiling", f"{busy}, and {most} replicas are all there may be."


def _pod_findings(case: Case) -> Iterator[tuple[str, str]]:
    """Pods that serve now and will not for long; a move that had no effect."""
    sign = case.sign
    if sign.serving is None:
        return
    oldest = next(earlier for earlier in case.signs if earlier.serving is not None)
    restarts = sign.restarts - oldest.restarts
    if restarts >= case.policy.restarts:
        span = _minutes(sign.at - oldest.at)
        yield "restarts", f"{restarts} restarts within {span}{': ' + sign.broken if sign.broken else ''}."
    if sign.out_of_memory > oldest.out_of_memory:
        yield "memory", f"{sign.out_of_memory} pods were killed for lack of memory: raise their limit."
    if (lost := _lost_move(case)) is not None:
        yield "no_effect", lost


def _lost_move(case: Case) -> str | None:
    """Say so when what was asked for two ticks ago is not what the Deployment says."""
    last = case.state.moves[-1] if case.state.moves else None
    if last is None or case.policy.dry_run or case.reading.autoscaler is not None or case.sign.replicas is None:
        return None
    age = case.now - last.at
    if not 2 * case.policy.tick <= age <= 5 * case.policy.tick or case.sign.replicas == last.target:
        return None
    return f"{last.target} replicas were asked for {_minutes(age)} ago and the Deployment says {case.sign.replicas}."


def nothing(case: Case) -> Verdict:
    """Say how things stand."""
    sign, pressure = case.sign, case.sign.pressure
    if not sign.conclusive and pressure is None:
        unread = ", ".join(f"{missing.part} {missing.obstacle}" for missing in case.reading.unread)
        return case.say(Action.NONE, "inconclusive", f"Too little was read to decide ({unread}).", conclusive=False)
    pods = f"{sign.serving} of {sign.replicas} replicas serve" if sign.conclusive else "the pods could not be read"
    connections = "the database did not answer"
    if pressure is not None:
        connections = (
            f"{pressure.used} of {pressure.for_users} connections are in use, the pools {pressure.busy:.0%} busy"
        )
    fault = "" if sign.fault in {Fault.NONE, Fault.UNKNOWN} else f" ({sign.broken or sign.fault}, waiting)"
    return case.say(Action.NONE, "nothing", f"{pods}{fault}; {connections}.", conclusive=sign.conclusive)


def _minutes(span: timedelta) -> str:
    seconds = span.total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
