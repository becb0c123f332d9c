"""Table, course and errors from single requests; the brake; what the Job may import."""

import ast
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as patiently
from hypothesis import strategies as st

from shared.load_test import generator
from shared.load_test.generator.measurements import (
    BUCKETS,
    Sample,
    commonest_errors,
    course,
    failing,
    percentile,
    table,
)

samples = st.lists(
    st.builds(
        Sample, st.floats(0, 100), st.sampled_from(["upload", "chat"]), st.floats(0, 9999), st.sampled_from(["", "x"])
    )
)


@patiently(deadline=None, derandomize=True)
@given(samples)
def test_the_table_counts_every_request_once(given_):
    *paths, total = table(given_, 100)
    assert total["path"] == "all"
    for column in ("requests", "failures"):
        assert sum(row[column] for row in paths) == total[column]
    assert total["failures"] == sum(1 for sample in given_ if sample.error)


@patiently(deadline=None, derandomize=True)
@given(samples, st.floats(1, 5000))
def test_the_course_counts_every_request_once_in_few_parts(given_, seconds):
    parts = course([sample for sample in given_ if sample.at <= seconds], lambda _: 7, seconds)
    assert len(parts) <= BUCKETS + 1
    width = parts[1]["at"] if len(parts) > 1 else max(1.0, seconds)
    counted = sum(part["a_second"] * width for part in parts)
    assert counted == pytest.approx(sum(1 for s in given_ if s.at <= seconds), abs=0.06 * width * len(parts) + 1)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.95, 0.0), ([5.0], 0.95, 5.0), (list(range(1, 101)), 0.95, 95), (list(range(1, 101)), 0.5, 50)],
)
def test_a_percentile_is_a_measured_value(values, share, expected):
    assert percentile(values, share) == expected


def test_the_commonest_error_comes_first():
    given_ = [Sample(0, "chat", 1, "b"), Sample(0, "chat", 1, "a"), Sample(0, "chat", 1, "a"), Sample(0, "chat", 1)]
    assert commonest_errors(given_)[0] == {"path": "chat", "error": "a", "times": 2}


@pytest.mark.parametrize(("failed", "of", "stops"), [(26, 50, True), (25, 50, False), (49, 49, False), (0, 500, False)])
def test_it_stops_when_most_of_many_requests_fail(failed, of, stops):
    given_ = [Sample(95, "chat", 1, "x" if n < failed else "") for n in range(of)]
    assert bool(failing(given_, 100)) is stops


def test_old_failures_are_forgotten():
    assert failing([Sample(10, "chat", 1, "x")] * 100, 100) == ""


def test_the_job_needs_the_standard_library_and_what_locusts_image_has():
    allowed = sys.stdlib_module_names | {"locust", "gevent", "socketio"}
    folder = Path(generator.__file__).parent
    foreign = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                foreign |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                foreign.add(str(node.module).split(".")[0])
    assert foreign - allowed == set()
