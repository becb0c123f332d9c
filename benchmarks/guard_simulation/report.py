"""What the simulation found: as JSON for machines, as tables for `docs/guard.md`."""

import ast
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.guard_simulation.compare import Result
from benchmarks.guard_simulation.contestants import CONTESTANTS
from benchmarks.guard_simulation.healthy import HealthyHours
from benchmarks.guard_simulation.traces import TRACES
from shared.guard import policy

OURS = ("guard", "guard over HPA")
WISHES = {
    "no_connection_refused": "no connection refused for lack of budget, where HPA and KEDA alone have some",
    "no_flapping": "at most one change of direction within ten minutes, on every trace",
    "rollback_in_3_ticks": "a bad rollout inside the soak is rolled back within 3 ticks",
    "blind_stands_still": "no action during a metrics outage",
    "no_false_rollback": "no false rollback, in the traces and in the healthy hours",
}


def as_json(
    results: Sequence[Result], rollback_ticks: Sequence[int | None], healthy: HealthyHours, seconds_a_tick: float = 0.0
) -> dict[str, Any]:
    """The figures, and whether each wish came true."""
    refused = {name: sum(r.connections_refused for r in results if r.contestant == name) for name in CONTESTANTS}
    ours = [result for result in results if result.contestant in OURS]
    turns = max(result.direction_changes_10min for result in ours)
    blind = [result for result in ours if result.trace == "metrics outage"]
    worst = None if None in rollback_ticks else max(ticks for ticks in rollback_ticks if ticks is not None)
    false_rollbacks = healthy.false_rollbacks + sum(result.false_rollbacks for result in ours)
    figures: dict[str, Any] = {
        "connections_refused": {
            "ours": refused["guard"] + refused["guard over HPA"],
            "hpa": refused["HPA alone"],
            "keda": refused["KEDA alone"],
        },
        "max_direction_changes_10min": turns,
        "ticks_to_rollback": worst,
        "false_rollbacks": false_rollbacks,
        "false_actions": {n: sum(r.false_actions for r in results if r.contestant == n) for n in CONTESTANTS},
        "seconds_for_1000_deployments": round(1000 * seconds_a_tick, 2),
        "healthy_hours": healthy.hours,
        "healthy_ticks": healthy.ticks,
        "healthy_incidents": dict(sorted(healthy.incidents.items())),
        "healthy_actions": {str(action): count for action, count in sorted(healthy.actions.items())},
    }
    counts = figures["connections_refused"]
    figures["holds"] = {
        "no_connection_refused": counts["ours"] == 0 and counts["hpa"] > 0 and counts["keda"] > 0,
        "no_flapping": turns <= 1,
        "rollback_in_3_ticks": worst is not None and worst <= 3,
        "blind_stands_still": all(r.actions == 0 for r in blind),
        "no_false_rollback": false_rollbacks == 0,
    }
    figures["traces"] = [_row(result) for result in results]
    return figures


def summary(figures: dict[str, Any]) -> str:
    """What a person wants to see in the terminal."""
    refused = figures["connections_refused"]
    lines = [f"{'yes' if figures['holds'][key] else 'NO ':3}  {wish}" for key, wish in WISHES.items()]
    lines += [
        f"connections refused: ours {refused['ours']:,}, HPA alone {refused['hpa']:,}, KEDA alone {refused['keda']:,}",
        f"false actions: {', '.join(f'{name} {count}' for name, count in figures['false_actions'].items())}",
        f"ticks to rollback: {figures['ticks_to_rollback']}; changes of direction in 10 min:"
        f" {figures['max_direction_changes_10min']}",
        f"false rollbacks: {figures['false_rollbacks']} in {figures['healthy_hours']:,} healthy hours with"
        f" {sum(figures['healthy_incidents'].values()):,} incidents",
        f"1,000 guarded Deployments take {figures['seconds_for_1000_deployments']} s of one core a tick",
    ]
    return "\n".join(lines)


def _row(result: Result) -> dict[str, Any]:
    names = (
        "trace", "contestant", "connections_refused", "replica_changes", "false_actions", "operator_calls",
        "direction_changes_10min", "seconds_to_act", "ticks_to_rollback",
    )  # fmt: skip
    return {
        **{name: getattr(result, name) for name in names},
        "waiting_query_minutes": round(result.waiting_query_minutes),
    }


def tables(figures: dict[str, Any]) -> str:
    """The Markdown between the markers of `docs/guard.md`."""
    return "\n\n".join(("\n".join(_wishes(figures)), *(_trace_table(name, figures) for name in _trace_names())))


def _trace_names() -> Iterable[str]:
    return (trace.name for trace in TRACES)


def _wishes(figures: dict[str, Any]) -> Iterable[str]:
    yield "| what must hold | holds |"
    yield "|---|---|"
    for key, wish in WISHES.items():
        yield f"| {wish} | {'yes' if figures['holds'][key] else '**no**'} |"


def _trace_table(name: str, figures: dict[str, Any]) -> str:
    """One trace: its story, its plot, its figures."""
    story = next(trace.story for trace in TRACES if trace.name == name)
    lines = [
        f"### {name.capitalize()}",
        "",
        f"{story[0].upper()}{story[1:]}.",
        "",
        f"![{name}](guard/{name.replace(' ', '-')}.svg)",
        "",
        "| | time to act | connections refused | query-minutes waited | replicas changed | false actions | calls |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in figures["traces"]:
        if row["trace"] == name:
            act = "–" if row["seconds_to_act"] is None else f"{row['seconds_to_act']} s"
            lines.append(
                f"| {row['contestant']} | {act} | {row['connections_refused']:,} | {row['waiting_query_minutes']:,} |"
                f" {row['replica_changes']} | {row['false_actions']} | {row['operator_calls']} |"
            )
    return "\n".join(lines)


def policy_table() -> str:
    """Every field of the policy with its default and the words under it in the source."""
    tree = ast.parse(Path(policy.__file__).read_text())
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    lines = ["| setting | default | meaning and reason |", "|---|---|---|"]
    for field, words in pairwise(cls.body):
        if isinstance(field, ast.AnnAssign) and field.value and isinstance(words, ast.Expr):
            meaning = " ".join(str(ast.literal_eval(words.value)).split())
            lines.append(f"| `{ast.unparse(field.target)}` | {_plain(ast.unparse(field.value))} | {meaning} |")
    return "\n".join(lines)


def _plain(value: str) -> str:
    """`timedelta(minutes=2)` as "2 min"."""
    return value.removeprefix("timedelta(minutes=").removesuffix(")") + " min" if "timedelta" in value else value


def fill_in(document: str, section: str, body: str) -> str:
    """Replace what stands between the section's two markers."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = document.split(begin, 1)
    _, after = rest.split(end, 1)
    return f"{before}{begin}\n\n{body}\n\n{end}{after}"
