"""What a load test came to: the phase's result as JSON, and as tables, pictures and a recommendation. Pure."""

from dataclasses import asdict

from shared.load_test.plots import plot
from shared.load_test.record import Record, Trial
from shared.load_test.stepping import Recommendation
from shared.rendering.documents import Block, Commands, Paragraph, Picture, Table, minute
from shared.wire import JsonObject

PASSED, FAILED, NOT_MEASURED = "passed", "failed", "not measured"


def result(record: Record, recommended: Recommendation, cleaned: JsonObject, *, put_back: bool) -> JsonObject:
    """The verdict is that of the service as it stood; the other trials are for the recommendation."""
    first = record.trials[0] if record.trials else None
    passed = first is not None and all(check.met is not False for check in first.checks)
    measured = first is not None and bool(first.measured)
    return {
        "verdict": (PASSED if passed else FAILED) if measured else NOT_MEASURED,
        "because": record.broken,
        "trials": [_trial(trial) for trial in record.trials],
        "recommendation": {
            **asdict(recommended.setting),
            "changes": recommended.changes,
            "because": recommended.because,
            "environment": recommended.setting.pools.as_environment(),
        },
        "cleaned": cleaned,
        "put_back": put_back,
    }


def without_a_trial(because: str) -> JsonObject:
    """The result of a test that could not even be prepared."""
    return {"verdict": NOT_MEASURED, "because": because, "trials": [], "cleaned": {}, "put_back": True}


def _trial(trial: Trial) -> JsonObject:
    measured = trial.measured
    return {
        **asdict(trial.setting),
        "because": trial.because,
        "passed": all(check.met is not False for check in trial.checks),
        "checks": [asdict(check) for check in trial.checks],
        "served": trial.served,
        **{key: measured.get(key) for key in ("users", "started", "seconds", "rows", "course", "errors")},
    }


def headline(found: JsonObject) -> str:
    """One line for a status, a terminal, a lead."""
    if found["verdict"] == NOT_MEASURED:
        return f"load test not measured: {found['because'] or 'no trial was finished'}"
    first = found["trials"][0]
    unmet = ", ".join(f"{check['wanted']}: {check['found']}" for check in first["checks"] if check["met"] is False)
    total = first["rows"][-1]
    figures = f"{first['users']} users, {total['a_second']} requests a second, p95 {total['p95_ms']:,.0f} ms"
    return f"load test {found['verdict']}: {figures}" + (f"; not held: {unmet}" if unmet else "")


def blocks(found: JsonObject, target: JsonObject) -> tuple[Block, ...]:
    """All of it, for a document."""
    if found["verdict"] == NOT_MEASURED:
        return (Paragraph(f"It was asked for and could not be made: {found['because']}"), *_left_behind(found))
    first = found["trials"][0]
    shown: list[Block] = [
        Paragraph(
            f"As it stood ({_setting(first)}), {headline(found)}."
            f" From {minute(first['started'])}, {first['seconds']} s."
        ),
        gate(first),
        paths(first),
        Picture(plot(first, "The load test, as it stood"), "Users, requests, latency and failures over time"),
    ]
    if first["errors"]:
        rows = tuple((e["path"], e["error"], str(e["times"])) for e in first["errors"])
        shown.append(Table(("path", "commonest errors", "times"), rows))
    shown += [_trials(found), *_recommendation(found, target), *_left_behind(found)]
    return tuple(shown)


def gate(trial: JsonObject) -> Table:
    """Every threshold, and what was measured."""
    held = {True: "held", False: "NOT HELD", None: "not measured"}
    rows = tuple((check["wanted"], check["found"], held[check["met"]]) for check in trial["checks"])
    return Table(("threshold", "measured", ""), rows)


def paths(trial: JsonObject) -> Table:
    """Requests and latency of every path, and of all together."""
    head = ("path", "requests", "failed", "average ms", "p50", "p95", "p99", "longest", "a second")
    columns = ("requests", "failures", "average_ms", "p50_ms", "p95_ms", "p99_ms", "longest_ms")
    rows = tuple(
        (row["path"], *(f"{row[column]:,.0f}" for column in columns), str(row["a_second"])) for row in trial["rows"]
    )
    return Table(head, rows)


def _trials(found: JsonObject) -> Table:
    rows = []
    for number, trial in enumerate(found["trials"], 1):
        measured = trial["rows"] or []
        slowest = max((row["p95_ms"] for row in measured), default=0.0)
        figures = (f"{slowest:,.0f} ms", str(measured[-1]["a_second"])) if measured else ("–", "–")
        unmet = ", ".join(check["name"] for check in trial["checks"] if check["met"] is False)
        rows.append(
            (str(number), _setting(trial), trial["because"], *figures, f"NOT HELD: {unmet}" if unmet else "held")
        )
    return Table(("trial", "setting", "why", "p95 of the slowest path", "requests a second", "thresholds"), tuple(rows))


def _recommendation(found: JsonObject, target: JsonObject) -> list[Block]:
    best = found["recommendation"]
    said = "keep what stands" if not best["changes"] else f"{_setting(best)}. The test has not set it"
    shown: list[Block] = [Paragraph(f"Recommended: {said}. {best['because']}.")]
    if best["changes"]:
        where = f"deployment/{target['deployment']} -n {target['namespace']}"
        values = " ".join(f"{name}={value}" for name, value in best["environment"].items())
        scale = f"kubectl scale {where} --replicas={best['replicas']}   # with an autoscaler: its minReplicas"
        shown.append(Commands((f"kubectl set env {where} {values}", scale)))
    return shown


def _left_behind(found: JsonObject) -> list[Block]:
    cleaned = found["cleaned"]
    if "left_behind" in cleaned:
        return [Paragraph(f"Test users or files were left behind: {cleaned['left_behind']}. {cleaned.get('hint', '')}")]
    gone = f"{cleaned.get('users', 0):,} test users and {cleaned.get('files', 0):,} files were removed"
    back = "what stood before was put back" if found["put_back"] else "WHAT STOOD BEFORE IS NOT READY AGAIN"
    return [Paragraph(f"Afterwards {gone}, and {back}.")]


def _setting(trial: JsonObject) -> str:
    return f"{trial['replicas']} replicas, {trial['connections']} connections each"
