"""The guard's judge on a model of pods and connections, a study. Nothing of the rehearsal."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = """Run nine traces through the health guard's judge and through the published algorithms of the
HorizontalPodAutoscaler and KEDA; then judge thousands of generated healthy hours. Exit code 0 when everything that must
hold does, 1 when something does not."""

SAMPLE = 300
"""Deployments ticked to find what a thousand take."""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, simulate, report."""
    arguments = _parser().parse_args(argv)
    from benchmarks.guard_simulation import report
    from benchmarks.guard_simulation.compare import compare, rollback_ticks
    from benchmarks.guard_simulation.healthy import live_through
    from benchmarks.guard_simulation.plots import write_plots
    from benchmarks.guard_simulation.throughput import seconds_for
    from benchmarks.guard_simulation.world import B2S

    results = compare()
    seconds_a_tick = seconds_for(SAMPLE) / SAMPLE
    figures = report.as_json(results, rollback_ticks(), live_through(arguments.healthy_hours), seconds_a_tick)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if arguments.plots:
        write_plots(results, arguments.plots, B2S.for_users)
    if arguments.docs:
        text = report.fill_in(arguments.docs.read_text(), "simulation", report.tables(figures))
        arguments.docs.write_text(report.fill_in(text, "policy", report.policy_table()))
    sys.stdout.write(report.summary(figures) + "\n")
    return 0 if all(figures["holds"].values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local guard-sim", description=DESCRIPTION)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write one SVG a trace")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="bring the generated tables of docs/guard.md up to date"
    )
    parser.add_argument(
        "--healthy-hours", type=int, default=10_000, metavar="N", help="hours to judge (default %(default)s)"
    )
    return parser
