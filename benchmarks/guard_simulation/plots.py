"""Plots of the traces: replicas above, connections in use below."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.guard_simulation.compare import Result
from shared.rendering import line_plot

COLOURS = {"guard": "#1f77b4", "guard over HPA": "#2ca02c", "HPA alone": "#d62728", "KEDA alone": "#9467bd"}
MOST_POINTS = 300


def write_plots(results: Sequence[Result], directory: Path, limit: int) -> list[Path]:
    """One file a trace: replicas above, connections in use against `limit` below."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for trace in dict.fromkeys(result.trace for result in results):
        path = directory / f"{trace.replace(' ', '-')}.svg"
        path.write_text(plot([result for result in results if result.trace == trace], limit))
        paths.append(path)
    return paths


def plot(results: Sequence[Result], limit: int) -> str:
    """The trace's two panels with a legend."""
    minutes = max(sample.minute for result in results for sample in result.samples)
    samples = {r.contestant: r.samples[:: max(1, int(minutes / MOST_POINTS))] for r in results}
    replicas = {name: [(s.minute, float(s.replicas)) for s in seen] for name, seen in samples.items()}
    used = {name: [(s.minute, float(s.used)) for s in seen] for name, seen in samples.items()}
    load = [(s.minute, s.load / 20) for s in samples[results[0].contestant]]
    above, below = line_plot.top_of(0), line_plot.top_of(1)
    parts = [
        *line_plot.legend(results[0].trace, COLOURS),
        *line_plot.panel("replicas (grey: load / 20 queries)", above, minutes, replicas, COLOURS, background=load),
        *line_plot.panel("connections in use", below, minutes, used, COLOURS, limit=limit),
        line_plot.below(2, "minutes"),
    ]
    return line_plot.page(parts, 2)
