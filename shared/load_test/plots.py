"""The course of a trial as a picture: load, latency, failures, and who served. Pure."""

from shared.load_test.thresholds import Thresholds
from shared.rendering import line_plot
from shared.wire import JsonObject

COLOURS = {"p95": "#d62728", "p50": "#1f77b4", "requests a second": "#2ca02c", "users": "#9467bd"}
FAILURES = {"failures": "#d62728"}


def plot(trial: JsonObject, title: str) -> str:
    """Three panels over the seconds of the test, and a bar for every replica."""
    course = trial["course"]
    longest = max(float(trial["seconds"] or 0), 1.0)

    def line(column: str) -> line_plot.Points:
        return [(float(part["at"]), float(part[column])) for part in course]

    limit = float(Thresholds().p95_ms)
    latency = {"p95": line("p95_ms"), "p50": line("p50_ms")}
    near = any(value > limit / 4 for _, value in latency["p95"])
    load = {"requests a second": line("a_second"), "users": line("users")}
    wrong = {"failures": line("failures")}
    parts = [
        *line_plot.legend(title, COLOURS),
        *line_plot.panel("users and requests a second", line_plot.top_of(0), longest, load, COLOURS),
        *line_plot.panel(
            "latency in ms", line_plot.top_of(1), longest, latency, COLOURS, limit=limit if near else None
        ),
        *line_plot.panel("failed requests", line_plot.top_of(2), longest, wrong, FAILURES),
        line_plot.below(3, "seconds"),
        *line_plot.bars(
            "requests answered by each replica (dashed: an equal share)", line_plot.top_of(3), trial["served"]
        ),
    ]
    return line_plot.page(parts, 4)
