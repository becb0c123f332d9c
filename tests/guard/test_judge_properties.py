"""What the judge never does, whatever it reads: random worlds that follow its verdicts or ignore them."""

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from fix_readings import B1MS, B2S, MINUTE, NOON, pod, reading, without
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.guard.judge import judge
from shared.guard.policy import Policy
from shared.guard.readings import Autoscaler, MigrationState, Obstacle, Part, Reading
from shared.guard.verdicts import DOWNWARD, UPWARD, Action, GuardState, Verdict
from shared.sizing.connection_budget import replicas_that_fit, split_pools, transient_pods
from shared.wire import from_wire, to_wire

WAITING = st.sampled_from(["", "", "", "CrashLoopBackOff", "ImagePullBackOff", "ContainerCreating"])
AGES = st.sampled_from([None, 10, 50, 70, 500, 90_000])
PARTS = st.sets(st.sampled_from([Part.CONNECTIONS, Part.DEPLOYMENT, Part.PODS, Part.ANSWERS]), max_size=4)


@st.composite
def circumstances(draw: st.DrawFn) -> dict:
    """One tick's world, apart from the size that the guard itself decides."""
    return {
        "busy_share": draw(st.sampled_from([0.02, 0.2, 0.45, 0.75, 0.97])),
        "foreign": draw(st.sampled_from([0, 3, 8, 20, 34, 120, 300, 413])),
        "ready": draw(st.sampled_from(["all", "all", "all", "none", "some", "new bad"])),
        "waiting": draw(WAITING),
        "age": draw(AGES),
        "unread": draw(st.just(set()) | PARTS),
        "full": draw(st.booleans()),
        "restarts_pods": draw(st.sampled_from([False] * 9 + [True])),
        "repeat": draw(st.integers(1, 6)),
    }


WORLDS = st.fixed_dictionaries(
    {
        "limits": st.sampled_from([B1MS, B2S, replace(B2S, pgbouncer=True)]),
        "per_process": st.sampled_from([5, 9, 22, 45]),
        "replicas": st.integers(1, 12),
        "surge": st.integers(0, 3),
        "hpa": st.booleans(),
        "follows": st.booleans(),
        "soak": st.integers(-30, 200),
        "minimum": st.integers(1, 3),
        "largest": st.sampled_from([0, 0, 6]),
        "ticks": st.lists(circumstances(), min_size=1, max_size=25),
    }
)


class World:
    """Builds readings from drawn circumstances and follows the verdicts."""

    def __init__(self, drawn: dict) -> None:
        self.drawn = drawn
        self.replicas, self.revision = drawn["replicas"], 4
        self.hpa = Autoscaler("open-webui", 1, max(8, self.replicas), self.replicas) if drawn["hpa"] else None
        self.policy = Policy(minimum_replicas=drawn["minimum"], maximum_replicas=drawn["largest"])
        self.migration = MigrationState("run-7", soak_until=NOON + drawn["soak"] * MINUTE)

    def read(self, tick: dict, at) -> Reading:
        age = None if tick["age"] is None else at - timedelta(seconds=tick["age"])
        unfit = {"all": 0, "none": self.replicas, "some": self.replicas // 2, "new bad": 0}[tick["ready"]]
        pods = [
            pod(i, ready=i >= unfit, started=age if i < unfit else NOON - timedelta(days=1))
            for i in range(self.replicas)
        ]
        pods = [replace(p, waiting_reason="" if p.ready else tick["waiting"]) for p in pods]
        revision = 4
        if tick["ready"] == "new bad":
            pods.append(pod(99, revision=5, ready=False, started=age, waiting_reason=tick["waiting"]))
            revision = 5
        whole = reading(
            replicas=self.replicas,
            busy=int(tick["busy_share"] * self.replicas * self.drawn["per_process"]),
            foreign=tick["foreign"],
            limits=self.drawn["limits"],
            pools=split_pools(self.drawn["per_process"]),
            pods=pods,
            autoscaler=self.hpa,
            migration=replace(self.migration, restarts_pods=tick["restarts_pods"]),
            max_surge=self.drawn["surge"],
        )
        whole = replace(whole, at=at, deployment=replace(whole.deployment, revision=revision))
        obstacle = Obstacle.NO_CONNECTION_LEFT if tick["full"] else Obstacle.UNREACHABLE
        return without(whole, *sorted(tick["unread"]), obstacle=obstacle) if tick["unread"] else whole

    def follow(self, verdict: Verdict) -> None:
        if not self.drawn["follows"]:
            return
        self.replicas = verdict.replicas or self.replicas
        if self.hpa and verdict.minimum:
            within = min(max(self.replicas, verdict.minimum), verdict.maximum)
            self.hpa = replace(self.hpa, minimum=verdict.minimum, maximum=verdict.maximum, desired=within)
            self.replicas = within


def live(drawn: dict) -> list[tuple[Reading, Verdict, GuardState, GuardState]]:
    """Every tick: what was read, what was decided, the state before and after."""
    world, state, at, story = World(drawn), GuardState(), NOON, []
    for tick in drawn["ticks"]:
        for _ in range(tick["repeat"]):
            seen = world.read(tick, at)
            verdict, after = judge(seen, world.policy, state, at)
            story.append((seen, verdict, state, after))
            world.follow(verdict)
            state, at = after, at + MINUTE
    return story


@given(WORLDS)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_no_target_is_below_one_or_beyond_the_budget(drawn: dict) -> None:
    for seen, verdict, _, _ in live(drawn):
        targets = [t for t in (verdict.replicas, verdict.minimum, verdict.maximum) if t is not None]
        assert all(target >= 1 for target in targets)
        assert (verdict.minimum is None) == (verdict.maximum is None)
        assert verdict.minimum is None or verdict.minimum <= verdict.maximum
        assert (verdict.replicas is not None) == (verdict.action in UPWARD | DOWNWARD and seen.autoscaler is None)
        if verdict.action in UPWARD:
            ours = sum(s.count for s in seen.connections.sessions if s.application == "open-webui")
            foreign = seen.connections.used - ours
            fit = replicas_that_fit(
                seen.connections.limits,
                seen.deployment.pools.most_per_process,
                taken=foreign,
                transient=transient_pods(seen.deployment.max_surge),
                headroom_ratio=0.1,
            )
            raised = verdict.replicas or verdict.minimum
            unchanged = seen.autoscaler and verdict.minimum == seen.autoscaler.minimum
            assert unchanged or raised <= max(1, fit)
            assert unchanged or not drawn["largest"] or raised <= drawn["largest"]
            if seen.autoscaler and verdict.maximum > seen.autoscaler.maximum:
                assert verdict.maximum <= max(1, fit)
        if verdict.action is Action.SCALE_DOWN and verdict.rule == "remove_replicas" and seen.autoscaler is None:
            assert verdict.replicas >= drawn["minimum"]


@given(WORLDS)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_no_move_but_a_cap_is_the_second_change_of_direction_in_ten_minutes(drawn: dict) -> None:
    moves = [(v.at, v.action) for _, v, _, _ in live(drawn) if v.action in UPWARD | DOWNWARD]
    turns = [(at, now) for (_, before), (at, now) in pairwise(moves) if (before in UPWARD) != (now in UPWARD)]
    for (earlier, _), (later, action) in pairwise(turns):
        assert action is Action.CAP or later - earlier >= timedelta(minutes=10)


@given(WORLDS)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_a_rollback_needs_the_soak_the_database_and_broken_pods_and_comes_once(drawn: dict) -> None:
    rollbacks = [(seen, verdict) for seen, verdict, _, _ in live(drawn) if verdict.action is Action.ROLL_BACK]
    assert len(rollbacks) <= 1
    for seen, verdict in rollbacks:
        assert verdict.at < seen.migration.soak_until
        assert seen.connections is not None
        assert not seen.migration.restarts_pods
        newest = [p for p in seen.pods if p.revision == seen.deployment.revision]
        assert newest
        assert not any(p.ready for p in newest)


@given(WORLDS)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_nothing_is_done_on_what_could_not_be_read_or_during_a_phase(drawn: dict) -> None:
    for seen, verdict, _, _ in live(drawn):
        if seen.migration.restarts_pods or (seen.connections is None and seen.pods is None and not drawn_full(seen)):
            assert verdict.action is Action.NONE
        if seen.deployment is None:
            assert verdict.action in {Action.NONE, Action.CALL_OPERATOR}
        if verdict.action in UPWARD:
            assert seen.connections is not None
            assert seen.pods is not None


def drawn_full(seen: Reading) -> bool:
    return seen.obstacle(Part.CONNECTIONS) is Obstacle.NO_CONNECTION_LEFT


@given(WORLDS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_state_and_verdicts_survive_the_wire_and_a_repeated_reading_changes_nothing(drawn: dict) -> None:
    seen, verdict, before, after = live(drawn)[-1]
    for value, kind in ((seen, Reading), (verdict, Verdict), (after, GuardState)):
        assert from_wire(json.loads(json.dumps(to_wire(value))), kind) == value
    policy = World(drawn).policy
    again, unchanged = judge(seen, policy, after, verdict.at)
    assert again.action is Action.NONE
    assert unchanged == after
    assert judge(seen, policy, from_wire(to_wire(before), GuardState), verdict.at) == (verdict, after)
    assert len(json.dumps(to_wire(after))) < 100_000


@given(WORLDS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_every_action_has_a_sentence_with_numbers(drawn: dict) -> None:
    for _, verdict, _, _ in live(drawn):
        assert verdict.reason.endswith(".")
        if verdict.action is not Action.NONE:
            assert any(letter.isdigit() for letter in verdict.reason)
