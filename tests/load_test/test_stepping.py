"""Stepping: always within the connections, never twice the same, ends by itself, recommends only what passed."""

from hypothesis import example, given
from hypothesis import settings as patiently
from hypothesis import strategies as st

from shared.load_test.stepping import FEWEST, MOST, WITH_ROOM, Outcome, Room, Setting, next_step, recommend
from shared.sizing.connection_budget import MINIMUM, ServerLimits

LIMIT = 3000.0
B1MS = Room(ServerLimits(50, 10, 5), taken=3, transient=2, headroom_ratio=0.1)
D2 = Room(ServerLimits(859, 10, 5), taken=3, transient=2, headroom_ratio=0.1)

rooms = st.builds(
    Room,
    st.builds(ServerLimits, st.integers(20, 1000), st.integers(0, 10), st.just(5)),
    taken=st.integers(0, 20),
    transient=st.integers(0, 3),
    headroom_ratio=st.just(0.1),
)
settings = st.builds(Setting, st.integers(1, MOST), st.integers(MINIMUM, 45))
verdicts = st.tuples(st.floats(1, 9000), st.sets(st.sampled_from(["errors", "served", "started", "ended"]), max_size=2))


def outcome(setting, p95=100.0, *others):
    return Outcome(setting, p95, LIMIT, (*(("p95",) if p95 >= LIMIT else ()), *others))


def play(standing, room, most, answer):
    """Step until it ends."""
    tried = []
    while (step := next_step(standing, tried, room, most)).setting is not None:
        tried.append(answer(step.setting))
        assert len(tried) <= most
    return tried, step.because


@patiently(deadline=None, derandomize=True)  # the machine may be busy
@given(standing=settings, room=rooms, most=st.integers(1, 8), answers=st.lists(verdicts, min_size=8, max_size=8))
@example(Setting(3, 5), B1MS, 8, [(9000.0, set())] * 8)
@example(Setting(1, 5), D2, 2, [(1801.0, set())] * 8)
def test_whatever_is_measured_it_ends_within_the_budget(standing, room, most, answers):
    given_ = iter(answers)

    def answer(setting):
        p95, others = next(given_)
        return outcome(setting, p95, *others)

    tried, because = play(standing, room, most, answer)
    tried_settings = [one.setting for one in tried]
    assert tried_settings[0] == standing
    assert len(set(tried_settings)) == len(tried)
    assert all(room.fits(setting) for setting in tried_settings[1:])
    assert all(s.connections >= MINIMUM and s.replicas <= MOST for s in tried_settings[1:])
    assert all(s.replicas >= min(FEWEST, standing.replicas) for s in tried_settings[1:])
    best = recommend(standing, tried, because)
    if any(one.passed for one in tried):
        assert next(one for one in tried if one.setting == best.setting).passed
    else:
        assert (best.setting, best.changes) == (standing, False)
    assert best.changes == (best.setting != standing)


@patiently(deadline=None, derandomize=True)  # the machine may be busy
@given(standing=settings, room=rooms, needed=st.integers(1, MOST))
def test_where_replicas_help_the_fewest_that_have_room_are_recommended(standing, room, needed):
    def answer(setting):
        return outcome(setting, 500.0 if setting.replicas >= needed else 5000.0 / setting.replicas + LIMIT)

    tried, because = play(standing, room, 100, answer)
    best = recommend(standing, tried, because)
    passed = [one.setting.replicas for one in tried if one.passed]
    if passed:
        assert best.setting.replicas == min(passed)
        assert best.setting.replicas == max(needed, min(FEWEST, standing.replicas)) or not room.fits(
            Setting(best.setting.replicas - 1, MINIMUM)
        )


def test_a_service_with_room_is_tried_with_fewer_replicas_but_not_with_one():
    tried, because = play(Setting(4, 5), D2, 8, outcome)
    assert [one.setting.replicas for one in tried] == [4, 3, 2]
    assert "not be redundant" in because


def test_a_slow_service_is_given_larger_pools_first_then_more_replicas():
    def answer(setting):
        return outcome(setting, 4000.0 - 100 * setting.replicas - setting.connections * 10)

    tried, _ = play(Setting(3, 5), D2, 3, answer)
    assert [(one.setting.replicas, one.setting.connections) for one in tried] == [(3, 5), (3, 45), (4, 45)]


def test_on_a_small_server_nothing_more_fits_and_that_is_said():
    tried, because = play(Setting(3, 5), B1MS, 8, lambda setting: outcome(setting, 5000.0))
    assert len(tried) == 1
    assert because == "the database's connections carry no more than 3 replicas"


def test_it_stops_early_when_nothing_helps():
    tried, because = play(Setting(3, 5), D2, 8, lambda setting: outcome(setting, 5000.0))
    assert len(tried) == 3
    assert "not what holds it back" in because


def test_a_spread_that_fails_is_no_settings_fault():
    tried, because = play(Setting(3, 5), D2, 8, lambda setting: outcome(setting, 100.0, "served"))
    assert len(tried) == 1
    assert "the Service's" in because


def test_a_setting_at_its_limit_is_not_recommended_over_one_with_room():
    close = LIMIT * WITH_ROOM + 1
    tried = [outcome(Setting(3, 5), 220.0), outcome(Setting(2, 7), close)]
    assert recommend(Setting(3, 5), tried, "").setting == Setting(3, 5)


def test_larger_pools_must_pay():
    assert (
        recommend(Setting(3, 5), [outcome(Setting(3, 5), 1000.0), outcome(Setting(3, 9), 950.0)], "").changes is False
    )
    assert recommend(Setting(3, 5), [outcome(Setting(3, 5), 1000.0), outcome(Setting(3, 9), 700.0)], "").changes is True
