"""When an ended run can be taken back, and what a person is told when it cannot."""

import pytest

from api.rollbacks import refusal
from api.runs import Run

RUN = "c-ns-d-0003"
RETIRED = {"retire_source": {"claim": "disk-pvc", "volume": "pv-1", "disk_deleted": True, "snapshots_kept": ["s-1"]}}


def ended(id_: str, state: str = "migrated", results: dict | None = None) -> Run:
    return Run(id_, "COMPLETED", "", "2026-01-02T03:04:05+00:00", {}, {"state": state, "results": results or {}})


def under_way(id_: str) -> Run:
    return Run(id_, "RUNNING", "", "", {})


def test_the_newest_migration_can_be_taken_back() -> None:
    others = [ended("c-ns-d-0002"), ended("c-ns-d-0004", "refused"), ended("c-ns-d-0005", "planned")]
    assert refusal([ended(RUN), *others], RUN) is None


@pytest.mark.parametrize("other", ["c-ns-d-0004", f"{RUN}-rollback-1"])
def test_not_while_a_run_is_under_way(other: str) -> None:
    refused = refusal([ended(RUN), under_way(other)], RUN)
    assert refused is not None
    assert refused.under_way == other


@pytest.mark.parametrize("by", [RUN, "c-ns-d-0004"])
def test_not_after_the_disk_was_retired_and_what_is_left_is_named(by: str) -> None:
    known = [ended(RUN, results=RETIRED)] if by == RUN else [ended(RUN), ended(by, "applied", RETIRED)]
    refused = refusal(known, RUN)
    assert refused is not None
    assert refused.message == (
        f"run {RUN} cannot be taken back: claim disk-pvc and its disk pv-1 were deleted by run {by},"
        " which ended 2026-01-02T03:04:05 UTC"
    )
    assert "VolumeSnapshot s-1, and the archive" in refused.hint


def test_the_run_that_retired_the_disk_cannot_be_taken_back_either() -> None:
    refused = refusal([ended(RUN), ended("c-ns-d-0004", "applied", RETIRED)], "c-ns-d-0004")
    assert refused is not None
    assert "cannot be taken back" in refused.message


def test_a_disk_that_was_retired_before_this_migration_is_no_matter() -> None:
    assert refusal([ended("c-ns-d-0002", "applied", RETIRED), ended(RUN)], RUN) is None


def test_a_retirement_that_nobody_approved_is_no_matter() -> None:
    skipped = {"retire_source": {"skipped": True, "because": "nobody approved"}}
    assert refusal([ended(RUN, results=skipped)], RUN) is None


def test_not_twice() -> None:
    refused = refusal([ended(RUN), ended(f"{RUN}-rollback-1", "rolled_back")], RUN)
    assert refused is not None
    assert f"was taken back already, by {RUN}-rollback-1" in refused.message


def test_again_after_a_way_back_that_halted() -> None:
    assert refusal([ended(RUN), ended(f"{RUN}-rollback-1", "halted")], RUN) is None


def test_not_before_the_later_one() -> None:
    refused = refusal([ended(RUN), ended("c-ns-d-0004", "applied")], RUN)
    assert refused is not None
    assert "c-ns-d-0004 came after" in refused.message
    taken_back = [ended("c-ns-d-0004"), ended("c-ns-d-0004-rollback-1", "rolled_back")]
    assert refusal([ended(RUN), *taken_back], RUN) is None
