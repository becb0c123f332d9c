"""What a reading means, case by case: whose fault, and how full."""

from dataclasses import replace

import pytest
from fix_readings import NOON, SOAK, pod, reading, without

from shared.guard.policy import Policy
from shared.guard.readings import Obstacle, Part, Pod, Reading
from shared.guard.signs import Fault, read_sign

YOUNG = NOON - Policy().startup_grace / 2
OLD = NOON - 2 * Policy().startup_grace
UNFIT = pod(2, ready=False, started=OLD)
GOOD = (pod(0), pod(1))


def with_new(surge: Pod) -> Reading:
    whole = reading(pods=[*GOOD, pod(2), surge])
    return replace(whole, deployment=replace(whole.deployment, revision=5))


CASES = {
    "all serve": (reading(), Fault.NONE),
    "one starts": (reading(pods=[*GOOD, pod(2, ready=False, started=YOUNG)]), Fault.STARTING),
    "one waits for a node": (reading(pods=[*GOOD, pod(2, ready=False, started=None)]), Fault.STARTING),
    "one is missing": (reading(pods=GOOD), Fault.STARTING),
    "one is broken": (reading(pods=[*GOOD, UNFIT]), Fault.REPLICA),
    "one crashes": (reading(pods=[*GOOD, pod(2, ready=False, started=YOUNG, restarts=2)]), Fault.REPLICA),
    "all are broken": (reading(replicas=1, pods=[UNFIT]), Fault.REVISION),
    "the new one is broken, the old serve": (with_new(pod(9, revision=5, ready=False, started=OLD)), Fault.REVISION),
    "the new one starts, the old serve": (with_new(pod(9, revision=5, ready=False, started=YOUNG)), Fault.NONE),
    "a node is lost": (reading(pods=[*GOOD, pod(2, ready=False, node_ready=False)]), Fault.NODE),
    "an ending pod is not missed": (reading(pods=[*GOOD, pod(2), pod(3, ready=False, ending=True)]), Fault.NONE),
    "an ending pod serves nobody": (reading(pods=[*GOOD, pod(2, ending=True)]), Fault.STARTING),
    "the database is away": (without(reading(replicas=1, pods=[UNFIT]), Part.CONNECTIONS), Fault.DATABASE),
    "the guard cannot reach the database": (without(reading(), Part.CONNECTIONS), Fault.NONE),
    "new pods broken, database unread": (
        without(with_new(pod(9, revision=5, ready=False, started=OLD)), Part.CONNECTIONS),
        Fault.UNKNOWN,
    ),
    "the pods are unread": (without(reading(), Part.PODS), Fault.UNKNOWN),
    "a phase restarts pods": (reading(pods=[], migration=replace(SOAK, restarts_pods=True)), Fault.RESTARTING),
    "parked": (reading(replicas=0), Fault.PARKED),
}


@pytest.mark.parametrize(("seen", "fault"), CASES.values(), ids=CASES.keys())
def test_the_fault_is(seen: Reading, fault: Fault) -> None:
    assert read_sign(seen, Policy()).fault is fault


def test_sessions_are_split_by_application_and_the_guards_own_count_as_others() -> None:
    pressure = read_sign(reading(busy=33, foreign=7), Policy()).pressure
    assert pressure is not None
    assert (pressure.used, pressure.foreign, pressure.per_process, pressure.for_users) == (41, 8, 22, 414)
    assert pressure.busy == pytest.approx(33 / 66)


def test_pools_count_as_measured_when_that_is_more_than_configured() -> None:
    pressure = read_sign(reading(busy=90), Policy()).pressure
    assert pressure is not None
    assert pressure.per_process == 30


def test_a_server_without_a_connection_left_is_full_and_not_unknown() -> None:
    sign = read_sign(without(reading(), Part.CONNECTIONS, obstacle=Obstacle.NO_CONNECTION_LEFT), Policy())
    assert sign.full
    assert sign.pressure is None
