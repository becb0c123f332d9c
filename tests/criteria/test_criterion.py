"""Three answers, and how long one that is not met may stay so."""

from datetime import timedelta

import pytest

from shared.criteria.criterion import AGAIN_IN_SECONDS, Criterion, NotMeasured, insist, judge, summary
from shared.errors import PermanentError, PermissionMissing, TransientError, VerificationFailed
from tests.way_back.fix_cluster import FakeClock


def raising(error):
    def check():
        raise error

    return check


@pytest.mark.parametrize("kind", [NotMeasured, PermanentError, PermissionMissing, TransientError])
def test_what_cannot_be_read_is_not_measured_and_says_why(kind):
    assert judge({"c": raising(kind("exec was refused"))}) == [Criterion("c", None, "exec was refused")]


def test_what_was_compared_and_differs_is_unmet():
    assert judge({"c": raising(VerificationFailed("other rows"))}) == [Criterion("c", False, "other rows")]


def test_what_passes_by_is_waited_out():
    answers = [False, None, True]
    clock = FakeClock()
    found = insist(lambda: [Criterion("c", answers.pop(0), "")], clock, timedelta(minutes=2))
    assert (found[0].met, answers) == (True, [])


@pytest.mark.parametrize("met", [False, None])
def test_what_lasts_is_the_answer_after_the_patience(met):
    clock = FakeClock()
    began, asked = clock.now(), []
    found = insist(lambda: asked.append(1) or [Criterion("c", met, "")], clock, timedelta(minutes=2))
    assert found[0].met is met
    assert clock.now() - began >= timedelta(minutes=2)
    assert len(asked) == 120 / AGAIN_IN_SECONDS + 1


def test_a_summary_counts_only_what_is_met():
    found = [
        Criterion("a", True, "").as_json(),
        Criterion("b", None, "").as_json(),
        Criterion("c", False, "").as_json(),
    ]
    assert summary(found) == "1 of 3 criteria met, 1 not measured"
    assert summary(found[:1]) == "1 of 1 criteria met"
