"""The judge's rules, one sentence each: a story of readings in, a verdict out."""

from dataclasses import replace
from datetime import timedelta

import pytest
from fix_readings import (
    AFTER_SOAK,
    B1MS,
    MINUTE,
    NOON,
    SOAK,
    pod,
    reading,
    run,
    without,
)

from shared.errors import ConfigurationError
from shared.guard.judge import judge
from shared.guard.policy import Policy
from shared.guard.readings import Answer, Autoscaler, MigrationState, Obstacle, Part, Reading
from shared.guard.verdicts import Action, GuardState, Verdict, count_skipped, pause, resume
from shared.sizing.connection_budget import split_pools

HEALTHY = [reading()] * 3
EVERYTHING = (Part.CONNECTIONS, Part.DEPLOYMENT, Part.PODS, Part.ANSWERS)
THREE = Policy(minimum_replicas=3)


def last(readings: list[Reading], policy: Policy = THREE, state: GuardState | None = None) -> Verdict:
    return run(readings, policy, state)[0][-1]


def acted(readings: list[Reading], policy: Policy = THREE) -> list[tuple[int, Verdict]]:
    """Each verdict that is not none, with the index of its reading."""
    return [(i, v) for i, v in enumerate(run(readings, policy)[0]) if v.action is not Action.NONE]


def rolling(surge_pod: object, revision: int = 5) -> Reading:
    """Three old pods serve; one of a new revision is there."""
    old = [pod(index) for index in range(3)]
    return replace(reading(pods=[*old, surge_pod]), deployment=replace(reading().deployment, revision=revision))


# Quiet ----------------------------------------------------------------------------------------------------------------


def test_healthy_readings_ask_for_nothing_and_say_so_with_numbers() -> None:
    verdict = last(HEALTHY)
    assert verdict.action is Action.NONE
    assert verdict.reason == "3 of 3 replicas serve; 29 of 414 connections are in use, the pools 18% busy."


# Standing still -------------------------------------------------------------------------------------------------------

TERRIBLE = reading(busy=60, foreign=390, pods=[pod(i, ready=False) for i in range(3)])


def test_a_phase_that_restarts_pods_is_left_alone() -> None:
    phase = MigrationState("run-7", "cut_over", restarts_pods=True)
    verdicts, state = run([replace(TERRIBLE, migration=phase)] * 8)
    assert {v.action for v in verdicts} == {Action.NONE}
    assert "cut_over" in verdicts[-1].reason
    after = run([replace(TERRIBLE, migration=SOAK)], state=state)[0][0]
    assert after.action is not Action.ROLL_BACK, "what was seen during the phase must not count"


def test_a_pause_stands_still_until_it_expires() -> None:
    _, state = run(HEALTHY)
    state = pause(state, NOON + 6 * MINUTE, "disk change")
    verdicts, state = run([TERRIBLE] * 5, THREE, state)
    assert [v.action is Action.NONE for v in verdicts] == [True, True, True, False, False]
    assert "disk change" in verdicts[0].reason
    assert resume(pause(state, NOON + 600 * MINUTE, "x")).paused_until is None


def test_a_parked_deployment_is_not_woken() -> None:
    parked = reading(replicas=0, busy=0)
    assert {v.action for v in run([parked] * 5)[0]} == {Action.NONE}


def test_an_old_reading_and_a_reading_judged_before_decide_nothing() -> None:
    _, state = run(HEALTHY)
    seen = replace(TERRIBLE, at=NOON + 2 * MINUTE)
    verdict, after = judge(seen, THREE, state, NOON + 3 * MINUTE)
    assert (verdict.rule, after) == ("stale", state)
    verdict, _ = judge(replace(TERRIBLE, at=NOON + 3 * MINUTE), THREE, state, NOON + 9 * MINUTE)
    assert verdict.rule == "stale"


def test_what_cannot_be_read_is_inconclusive_and_never_acted_on() -> None:
    verdicts, _ = run([*HEALTHY, *[without(TERRIBLE, *EVERYTHING)] * 20])
    assert {v.action for v in verdicts} == {Action.NONE}
    assert not verdicts[-1].conclusive


# Connections ----------------------------------------------------------------------------------------------------------


def leaked(foreign: int, replicas: int = 10) -> Reading:
    return reading(replicas=replicas, busy=10 * replicas, foreign=foreign)


def test_a_leak_is_capped_in_the_second_reading_to_what_fits_beside_it() -> None:
    ((index, verdict),) = acted([leaked(5), leaked(5), leaked(230), leaked(230)])
    assert (index, verdict.action, verdict.replicas) == (3, Action.CAP, (414 - 231) // 22)
    assert "231 of them by others" in verdict.reason


def test_one_reading_is_enough_when_hardly_a_connection_is_left() -> None:
    ((index, verdict),) = acted([leaked(5), leaked(5), leaked(310)])
    assert (index, verdict.action, verdict.replicas) == (2, Action.CAP, 4)


def test_a_growing_leak_is_capped_before_it_arrives() -> None:
    readings = [leaked(5 + 20 * step) for step in range(12)]
    index, verdict = acted(readings)[0]
    assert verdict.action is Action.CAP
    foreign = 6 + 20 * index
    assert foreign + 10 * 22 <= 414, "every pool full would still have fitted when the guard acted"


def test_the_last_replica_is_never_taken_by_a_cap() -> None:
    verdict = last([leaked(400, replicas=2)] * 2)
    assert (verdict.action, verdict.replicas, verdict.operator) == (Action.CAP, 1, True)


def test_a_server_that_refuses_the_guard_itself_gets_one_replica_back_and_an_operator() -> None:
    full = without(reading(), Part.CONNECTIONS, obstacle=Obstacle.NO_CONNECTION_LEFT)
    verdict = last([*HEALTHY, full])
    assert (verdict.action, verdict.replicas, verdict.operator) == (Action.CAP, 2, True)


def test_behind_pgbouncer_fewer_replicas_would_free_nothing() -> None:
    behind = replace(B1MS, pgbouncer=True)
    verdicts, _ = run([reading(replicas=3, foreign=33, limits=behind)] * 3)
    assert Action.CAP not in {v.action for v in verdicts}
    assert Action.CALL_OPERATOR in {v.action for v in verdicts}


def test_with_an_autoscaler_the_cap_lowers_its_maximum() -> None:
    hpa = Autoscaler("open-webui", 3, 20, 3)
    verdict = last([reading(autoscaler=hpa)] * 2)
    assert (verdict.action, verdict.replicas, verdict.minimum, verdict.maximum) == (Action.CAP, None, 3, 14)


def test_a_cap_is_lifted_after_the_connections_have_been_there_for_five_readings() -> None:
    _, state = run([leaked(5), leaked(310)], THREE)
    readings = [leaked(5, replicas=4)] * 12
    verdicts, state = run(readings, THREE, state)
    lifted = [(i, v.replicas) for i, v in enumerate(verdicts) if v.action is Action.SCALE_UP]
    assert lifted == [(4, 10)]
    assert state.capped_from is None


def test_a_cap_is_not_lifted_while_the_leak_is_there() -> None:
    _, state = run([leaked(5), leaked(310)], THREE)
    verdicts, state = run([leaked(310, replicas=4)] * 30, THREE, state)
    assert Action.SCALE_UP not in {v.action for v in verdicts}
    assert state.capped_from is not None
    assert state.capped_from.replicas == 10


def test_a_lift_waits_for_the_cooldown_and_for_ten_minutes_after_a_turn() -> None:
    eager = Policy(minimum_replicas=3, readings_to_return=1)
    _, state = run([leaked(310)] * 2, eager)
    lifts = [i for i, v in enumerate(run([leaked(5, replicas=4)] * 12, eager, state)[0]) if v.rule == "lift_cap"]
    assert lifts[0] == 4

    _, state = run([reading(busy=50)] * 2, eager)  # up at 1
    _, state = run([leaked(330, replicas=5)] * 2, eager, state)  # a turn: down at 2
    lifts = [i for i, v in enumerate(run([leaked(5, replicas=3)] * 14, eager, state)[0]) if v.rule == "lift_cap"]
    assert lifts[0] == 8, "ten minutes after the cap of reading 2, which is reading 12"


def test_with_an_autoscaler_a_cap_keeps_the_replicas_that_fit_as_things_stand() -> None:
    hpa = Autoscaler("open-webui", 3, 20, 15)
    verdict = last([reading(replicas=15, autoscaler=hpa)] * 2)
    assert (verdict.action, verdict.maximum) == (Action.CAP, 15), "a rolling update would not fit, the replicas do"


# Load -----------------------------------------------------------------------------------------------------------------


def test_busy_pools_add_replicas_in_the_second_reading() -> None:
    ((index, verdict),) = acted([*HEALTHY, reading(busy=50), reading(busy=50)])
    assert (index, verdict.action, verdict.replicas) == (4, Action.SCALE_UP, 5)


def test_saturated_pools_add_replicas_at_once_but_no_more_than_a_step() -> None:
    policy = Policy(minimum_replicas=3, largest_step=2)
    ((index, verdict),) = acted([*HEALTHY, reading(busy=65)], policy)
    assert (index, verdict.replicas) == (3, 5)


def test_nothing_is_added_beyond_the_budget_and_the_operator_hears_of_it_once() -> None:
    busy = reading(replicas=14, busy=290)
    actions = acted([busy] * 30)
    assert {v.action for _, v in actions} == {Action.CALL_OPERATOR}
    assert [v.rule for _, v in actions].count("ceiling") == 1
    assert "14 replicas are all there may be" in actions[0][1].reason


def test_nothing_is_added_beyond_the_policys_maximum_or_the_autoscalers() -> None:
    assert last([reading(busy=50)] * 2, Policy(minimum_replicas=3, maximum_replicas=4)).replicas == 4
    hpa = Autoscaler("open-webui", 3, 4, 3)
    assert last([reading(busy=50, autoscaler=hpa)] * 2).minimum == 4


def test_an_autoscaler_that_is_scaling_up_itself_is_left_to_it() -> None:
    assert acted([reading(busy=60, autoscaler=Autoscaler("open-webui", 3, 10, 5))] * 3) == []


def test_replicas_are_added_again_only_two_minutes_later() -> None:
    _, state = run([*HEALTHY, reading(busy=66)], THREE)
    verdicts, _ = run([reading(replicas=6, busy=132)] * 3, THREE, state)
    assert [v.action for v in verdicts] == [Action.NONE, Action.SCALE_UP, Action.NONE]


def test_a_blind_reading_between_two_busy_ones_does_not_make_the_guard_forget() -> None:
    blind = without(reading(), *EVERYTHING)
    ((index, verdict),) = acted([*HEALTHY, reading(busy=50), blind, reading(busy=50)])
    assert (index, verdict.action) == (5, Action.SCALE_UP)


def test_nothing_is_added_while_replicas_are_still_starting() -> None:
    starting = reading(replicas=4, busy=80, pods=[*[pod(i) for i in range(3)], pod(3, ready=False, started=None)])
    assert acted([*HEALTHY, starting, starting]) == []


def test_with_an_autoscaler_the_minimum_is_raised_and_later_given_back() -> None:
    hpa = Autoscaler("open-webui", 3, 10, 3)
    verdicts, state = run([reading(busy=50, autoscaler=hpa)] * 2, THREE)
    assert (verdicts[-1].action, verdicts[-1].minimum, verdicts[-1].maximum) == (Action.SCALE_UP, 5, 10)
    raised = reading(replicas=5, busy=5, autoscaler=replace(hpa, minimum=5, desired=5))
    verdicts, state = run([raised] * 15, THREE, state)
    down = [(v.minimum, v.maximum) for v in verdicts if v.action is Action.SCALE_DOWN]
    assert down == [(4, 10), (4, 10)], "the second repeats the first, which this Deployment did not follow"
    assert state.raised_from == 3


def test_an_autoscalers_own_bounds_are_not_undercut() -> None:
    hpa = Autoscaler("open-webui", 5, 10, 5)
    assert acted([reading(replicas=5, busy=5, autoscaler=hpa)] * 30) == []


def test_quiet_pools_give_one_replica_back_after_ten_readings_and_not_below_the_minimum() -> None:
    ((index, verdict),) = acted([reading(replicas=4, busy=5)] * 10)
    assert (index, verdict.action, verdict.replicas) == (9, Action.SCALE_DOWN, 3)
    assert acted([reading(replicas=3, busy=5)] * 30) == []


def test_a_replica_is_not_given_back_when_the_others_would_be_busy() -> None:
    policy = Policy(busy_low=0.4)
    assert acted([reading(replicas=2, busy=16)] * 20, policy) == []
    assert acted([reading(replicas=2, busy=10)] * 20, policy) != []


def test_after_a_scale_up_ten_minutes_pass_before_a_scale_down() -> None:
    eager = Policy(minimum_replicas=3, readings_to_scale_down=3)
    _, state = run([reading(busy=50)] * 2, eager)
    verdicts, _ = run([reading(replicas=5, busy=5)] * 14, eager, state)
    down = [index for index, v in enumerate(verdicts) if v.action is Action.SCALE_DOWN]
    assert down == [9]


def test_a_second_change_of_direction_waits_for_ten_minutes() -> None:
    _, state = run([reading(busy=50)] * 2, THREE)
    _, state = run([reading(replicas=5, busy=5)] * 10, THREE, state)  # turned down in the last of them
    verdicts, _ = run([reading(replicas=4, busy=80)] * 12, THREE, state)
    up = [index for index, v in enumerate(verdicts) if v.action is Action.SCALE_UP]
    assert up[0] == 9


# Rollback -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CrashLoopBackOff", "CreateContainerConfigError"])
def test_a_rollout_that_cannot_start_is_rolled_back_in_its_second_reading(reason: str) -> None:
    bad = rolling(pod(9, revision=5, ready=False, started=None, waiting_reason=reason))
    ((index, verdict),) = acted([*HEALTHY, bad, bad])
    assert (index, verdict.action, verdict.to_revision) == (4, Action.ROLL_BACK, 4)
    assert reason in verdict.reason


def test_a_rollout_that_never_becomes_ready_is_rolled_back_within_three_ticks() -> None:
    ages = [rolling(pod(9, revision=5, ready=False, started=NOON + 3 * MINUTE - MINUTE / 2))] * 3
    index, verdict = acted([*HEALTHY, *ages])[0]
    assert verdict.action is Action.ROLL_BACK
    assert index - len(HEALTHY) < 3


def test_a_migration_that_never_came_up_is_rolled_back_as_a_whole() -> None:
    bad = reading(replicas=1, pods=[pod(0, ready=False, started=None, waiting_reason="CrashLoopBackOff")])
    verdict = last([bad, bad])
    assert (verdict.action, verdict.to_revision) == (Action.ROLL_BACK, None)
    assert "before run-7" in verdict.reason


def test_a_revision_that_served_before_gets_five_readings() -> None:
    gone = reading(pods=[pod(index, ready=False) for index in range(3)])
    index, verdict = acted([*HEALTHY, *[gone] * 6])[0]
    assert (index - len(HEALTHY), verdict.action) == (4, Action.ROLL_BACK)


def test_two_bad_revisions_one_after_the_other_each_get_their_two_readings() -> None:
    fifth, sixth = (
        rolling(pod(9, revision=number, ready=False, started=None, waiting_reason="ErrImagePull"), revision=number)
        for number in (5, 6)
    )
    assert [i for i, v in acted([*HEALTHY, fifth, sixth, sixth]) if v.action is Action.ROLL_BACK] == [5]


def test_a_blind_reading_does_not_make_the_guard_forget_which_revision_was_healthy() -> None:
    _, state = run([*HEALTHY, without(reading(), Part.DEPLOYMENT, Part.PODS)])
    assert (state.healthy_revision, state.healthy_replicas) == (4, 3)


def test_a_guard_that_has_just_started_does_not_take_an_old_revision_for_a_new_one() -> None:
    gone = reading(pods=[pod(index, ready=False) for index in range(3)])
    assert [i for i, v in acted([gone] * 5) if v.action is Action.ROLL_BACK] == [4]


def test_a_rollback_is_asked_for_once_a_run() -> None:
    bad = rolling(pod(9, revision=5, ready=False, started=None, waiting_reason="CrashLoopBackOff"))
    verdicts = [v for _, v in acted([*HEALTHY, *[bad] * 20])]
    assert [v.action for v in verdicts].count(Action.ROLL_BACK) == 1
    assert "asked for already" in verdicts[1].reason


def test_outside_the_soak_a_bad_rollout_calls_the_operator_and_changes_nothing() -> None:
    bad = rolling(pod(9, revision=5, ready=False, started=None, waiting_reason="CrashLoopBackOff"))
    outside = [replace(each, migration=AFTER_SOAK) for each in [*HEALTHY, bad, bad, bad]]
    ((_, verdict),) = acted(outside)
    assert (verdict.action, verdict.rule) == (Action.CALL_OPERATOR, "revision")


def test_without_the_database_no_revision_is_at_fault() -> None:
    down = without(reading(pods=[pod(index, ready=False) for index in range(3)]), Part.CONNECTIONS)
    verdicts, _ = run([*HEALTHY, *[down] * 10])
    assert {v.action for v in verdicts} == {Action.NONE, Action.CALL_OPERATOR}
    assert [v.rule for v in verdicts if v.action is Action.CALL_OPERATOR] == ["database"]


def test_pods_that_come_back_late_after_a_failover_are_not_rolled_back() -> None:
    gone = reading(pods=[pod(index, ready=False) for index in range(3)])
    down = without(gone, Part.CONNECTIONS)
    verdicts, _ = run([*HEALTHY, down, down, *[gone] * 8])
    assert Action.ROLL_BACK not in {v.action for v in verdicts}


def test_one_broken_replica_among_good_ones_is_told_and_never_rolled_back() -> None:
    bad = reading(pods=[pod(0), pod(1), pod(2, ready=False)])
    actions = acted([*HEALTHY, *[bad] * 20])
    assert [(v.action, v.rule) for _, v in actions] == [(Action.CALL_OPERATOR, "replica")]
    assert "open-webui-4-2" in actions[0][1].reason


def test_a_ready_pod_whose_ready_page_disagrees_is_no_word_on_the_revision() -> None:
    disputed = replace(reading(), answers=tuple(Answer(f"open-webui-4-{i}", 503) for i in range(3)))
    assert Action.ROLL_BACK not in {v.action for _, v in acted([*HEALTHY, *[disputed] * 20])}


def test_pods_on_a_lost_node_are_the_nodes_fault() -> None:
    lost = reading(pods=[pod(0), pod(1), pod(2, ready=False, node_ready=False)])
    assert [(v.action, v.rule) for _, v in acted([*HEALTHY, *[lost] * 8])] == [(Action.CALL_OPERATOR, "node")]


# Taking back ----------------------------------------------------------------------------------------------------------


def test_added_replicas_that_do_not_come_up_are_taken_back_with_a_call() -> None:
    pending = reading(
        replicas=5, pods=[*[pod(i) for i in range(3)], *[pod(i, ready=False, started=None) for i in (3, 4)]]
    )
    actions = acted([*HEALTHY, *[pending] * 12])
    (index, verdict), *_ = [(i, v) for i, v in actions if v.action is Action.SCALE_DOWN]
    assert (index - len(HEALTHY), verdict.replicas, verdict.operator) == (10, 3, True)


# The operator ---------------------------------------------------------------------------------------------------------


def test_an_idle_transaction_restarts_and_memory_are_told_and_not_repeated_for_half_an_hour() -> None:
    base = reading()
    idle = replace(base, connections=replace(base.connections, longest_idle_in_transaction=timedelta(minutes=11)))
    killed = reading(pods=[pod(0, restarts=3, out_of_memory=True), pod(1), pod(2)])
    assert [v.rule for _, v in acted([*HEALTHY, *[idle] * 29])] == ["idle_in_transaction"]
    assert [v.rule for _, v in acted([*HEALTHY, *[idle] * 31])] == ["idle_in_transaction"] * 2
    assert [v.rule for _, v in acted([*HEALTHY, killed, killed])] == ["restarts", "memory"]


def test_restarts_of_long_ago_are_not_told_when_the_first_readings_were_blind() -> None:
    often = reading(pods=[pod(0, restarts=40), pod(1), pod(2)])
    assert acted([without(often, Part.PODS)] * 2 + [often] * 8) == []


def test_a_move_without_effect_is_told() -> None:
    actions = acted([reading(busy=50)] * 2 + [reading(busy=40)] * 4)
    assert [v.rule for _, v in actions] == ["add_replicas", "no_effect"]
    dry = Policy(minimum_replicas=3, dry_run=True)
    assert [v.rule for _, v in acted([reading(busy=50)] * 2 + [reading(busy=40)] * 4, dry)] == ["add_replicas"]


def test_what_the_policy_forbids_becomes_a_call() -> None:
    forbidden = Policy(minimum_replicas=3, may_scale=False, may_roll_back=False)
    bad = rolling(pod(9, revision=5, ready=False, started=None, waiting_reason="CrashLoopBackOff"))
    for readings in ([reading(busy=50)] * 6, [*HEALTHY, *[bad] * 3]):
        _, verdict = acted(readings, forbidden)[0]
        assert [v.rule for _, v in acted(readings, forbidden)].count(verdict.rule) == 1
        assert verdict.action is Action.CALL_OPERATOR
        assert verdict.replicas is None
        assert "does not allow" in verdict.reason


# Policy and state -----------------------------------------------------------------------------------------------------


def test_a_contradictory_policy_names_every_problem() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Policy(minimum_replicas=0, window=2, busy_low=0.9, used_warning=2.0)
    assert all(word in caught.value.message for word in ("minimum_replicas", "window", "busy_low", "used_warning"))


def test_skipped_ticks_are_counted_and_only_a_hundred_verdicts_kept() -> None:
    _, state = run([reading()] * 130)
    assert len(state.verdicts) == 100
    assert count_skipped(count_skipped(state), 2).skipped_ticks == 3


def test_a_b1ms_with_small_pools_keeps_its_three_replicas() -> None:
    small = reading(limits=B1MS, pools=split_pools(5), busy=4, foreign=2)
    assert acted([small] * 30) == []
