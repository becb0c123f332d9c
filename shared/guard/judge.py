"""Decide. Pure: a reading, the policy, what was remembered and the time go in; a verdict and what to remember come out.

The rules are asked in this order and the first that answers decides:

    stand_still          paused · a phase restarts pods · parked · an old reading
    relieve_connections  the connections could run out: cap          (two readings; one when critical)
    roll_back            no pod of the revision is fit: roll back    (in the soak; two readings, five if it was once)
    take_back_surplus    added replicas do not come up: back to the last healthy count, and call
    lift_cap             the connections are there again: return to the size before the cap
    add_replicas         the pools are busy: scale up                (two readings; one when critical)
    remove_replicas      the pools are quiet: scale down by one      (ten readings)
    tell_operator        what only a person can mend
    nothing              say how things stand

What always holds, and is property-tested: a target is at least 1; an upward target never exceeds what the connection
budget carries; apart from a cap, which prevents refused connections, no move is the second change of direction within
`policy.calm`; nothing is decided on what could not be read; a rollback is only asked for inside the soak, once a run.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from shared.guard import capacity_rules, health_rules
from shared.guard.case import Case
from shared.guard.policy import Policy
from shared.guard.readings import Reading
from shared.guard.signs import read_sign
from shared.guard.verdicts import DOWNWARD, UPWARD, Action, GuardState, Move, Size, Verdict

RULES: tuple[Callable[[Case], Verdict | None], ...] = (
    health_rules.stand_still,
    capacity_rules.relieve_connections,
    health_rules.roll_back,
    health_rules.take_back_surplus,
    capacity_rules.lift_cap,
    capacity_rules.add_replicas,
    capacity_rules.remove_replicas,
    health_rules.tell_operator,
    health_rules.nothing,
)

KEPT_MOVES = 20


def judge(reading: Reading, policy: Policy, state: GuardState, now: datetime) -> tuple[Verdict, GuardState]:
    """Return the verdict on the newest reading, and the state to give to the next call.

    Calling it again with a reading that was judged already decides nothing and remembers nothing twice.
    """
    sign = read_sign(reading, policy)
    again = bool(state.signs) and sign.at <= state.signs[-1].at
    signs = state.signs if again else (*state.signs, sign)[-policy.window :]
    case = Case(reading, sign, signs, policy, state, now, again)
    verdict = next(verdict for rule in RULES if (verdict := rule(case)) is not None)
    verdict = _as_permitted(verdict, case)
    return verdict, state if again else _remember(verdict, case)


def _as_permitted(verdict: Verdict, case: Case) -> Verdict:
    """Turn what the policy does not allow into a call, which like every call is not repeated too soon."""
    scaling = verdict.action in UPWARD | DOWNWARD and not case.policy.may_scale
    rolling_back = verdict.action is Action.ROLL_BACK and not case.policy.may_roll_back
    if not (scaling or rolling_back):
        return verdict
    told = case.told_recently(verdict.rule)
    reason = f"The policy does not allow {verdict.action}. {verdict.reason}"
    return Verdict(verdict.at, Action.NONE if told else Action.CALL_OPERATOR, verdict.rule, reason)


def _remember(verdict: Verdict, case: Case) -> GuardState:
    """Return the state after this verdict."""
    state, sign = case.state, case.sign
    healthy = sign.healthy and case.holds(lambda earlier: earlier.healthy, 2)
    after = replace(
        state,
        signs=case.signs,
        verdicts=(*state.verdicts, verdict)[-case.policy.kept_verdicts :],
        healthy_replicas=sign.replicas if healthy else state.healthy_replicas,
        healthy_revision=sign.revision if healthy else state.healthy_revision,
    )
    if verdict.action is Action.NONE:
        return after
    if verdict.action in UPWARD | DOWNWARD:
        after = _remember_move(after, verdict, case)
    if verdict.action is Action.ROLL_BACK:
        after = replace(after, rolled_back=case.reading.migration.run)
    if verdict.action is Action.CALL_OPERATOR or verdict.operator:
        still = tuple(told for told in state.told if case.now - told[1] < case.policy.operator_repeat)
        after = replace(after, told=(*still, (verdict.rule, case.now)))
    return after


def _remember_move(state: GuardState, verdict: Verdict, case: Case) -> GuardState:
    """Keep the move, and the size before the first cap, the minimum before the first raise, to return to."""
    up = verdict.action in UPWARD
    target = verdict.replicas or (verdict.minimum if up else verdict.maximum) or 1
    autoscaler = case.reading.autoscaler
    capped_from, raised_from = state.capped_from, state.raised_from
    if verdict.action is Action.CAP and capped_from is None:
        bounds = (autoscaler.minimum, autoscaler.maximum) if autoscaler else (None, None)
        capped_from = Size(case.sign.replicas or 1, *bounds)
    elif verdict.rule == "lift_cap":
        capped_from = None if case.reaches(verdict, capped_from) else capped_from
    elif autoscaler and verdict.rule == "add_replicas":
        raised_from = autoscaler.minimum if raised_from is None else raised_from
    elif verdict.rule == "remove_replicas" and verdict.minimum == raised_from:
        raised_from = None
    moves = (*state.moves, Move(case.now, up, target))[-KEPT_MOVES:]
    return replace(state, moves=moves, capped_from=capped_from, raised_from=raised_from)
