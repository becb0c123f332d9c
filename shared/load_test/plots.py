"""The course of a trial as a picture: load, latency, failures, and who served. Pure."""

from shared import svg
from shared.load_test.thresholds import Thresholds
from shared.wire import JsonObject

COLOURS = {"p95": "#d62728", "p50": "#1f77b4", "requests a second": "#2ca02c", "users": "#9467bd"}
FAILURES = {"failures": "#d62728"}


def plot(trial: JsonObject, title: str) -> str:
    """Three panels over the seconds of the test, and a bar for every replica."""
    course = trial["course"]
    longest = max(float(trial["seconds"] or 0), 1.0)

    def line(column: str) -> svg.Points:
        return [(float(part["at"]), float(part[column])) for part in course]

    limit = float(Thresholds().p95_ms)
    latency = {"p95": line("p95_ms"), "p50": line("p50_ms")}
    near = any(value > limit / 4 for _, value in latency["p95"])
    load = {"requests a second": line("a_second"), "users": line("users")}
    wrong = {"failures": line("failures")}
    parts = [
        *svg.legend(title, COLOURS),
        *svg.panel("users and requests a second", svg.top_of(0), longest, load, COLOURS),
        *svg.panel("latency in ms", svg.top_of(1), longest, latency, COLOURS, limit=limit if near else None),
        *svg.panel("failed requests", svg.top_of(2), longest, wrong, FAILURES),
        svg.below(3, "seconds"),
        *svg.bars("requests answered by each replica (dashed: an equal share)", svg.top_of(3), trial["served"]),
    ]
    return svg.page(parts, 4)
