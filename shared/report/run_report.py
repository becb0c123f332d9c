"""The report of a run: one JSON object, the same for the API, the page and the rehearsal's files. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shared.model.migration import MigrationRequest, Outcome, RunState
from shared.sizing.storage_costs import Prices, monthly_cost
from shared.wire import JsonObject, to_wire


class TimelineLike(Protocol):
    """What the report needs of the timeline."""

    downtime_seconds: float

    @property
    def phases(self) -> Mapping[str, Any]: ...


def problems_of(plans: Mapping[str, JsonObject]) -> list[JsonObject]:
    """Every finding of every phase's plan, with the phase that found it."""
    return [{"phase": name, **problem} for name, plan in plans.items() for problem in plan.get("problems") or []]


def blocking_problems(plans: Mapping[str, JsonObject]) -> list[JsonObject]:
    """What stops the run before anything is changed."""
    return [problem for problem in problems_of(plans) if problem["severity"] == "blocking"]


def build_report(
    run: str,
    request: MigrationRequest,
    state: RunState,
    *,
    plans: Mapping[str, JsonObject],
    results: Mapping[str, JsonObject],
    failure: Outcome | None,
    timeline: TimelineLike,
    setbacks: Sequence[Outcome] = (),
) -> JsonObject:
    """Everything that a reader of this run asks for; figures that were not measured are 0 or empty, never guessed.

    `setbacks`: failures of phases that the migration stays without.
    """
    survey = plans.get("preflight") or {}
    cut = results.get("cut_over") or {}
    verification = cut.get("verification") or {}
    validated = results.get("validate") or {}
    return {
        "run": run,
        "state": state.value,
        "mode": request.mode.value,
        "target": to_wire(request.target),
        "options": to_wire(request.options),
        "failure": to_wire(failure) if failure else None,
        "undo_failure": results.get("undo_failure"),
        "setbacks": [{"phase": one.phase, "message": one.message, "hint": one.hint} for one in setbacks],
        "collections": int(verification.get("collection_count") or 0),
        "rows_moved": int((results.get("copy_vectors") or {}).get("rows") or 0) + _changed_rows(cut),
        "rows_verified": int(verification.get("rows") or 0),
        "files": _files(results),
        "replicas_ready": int(validated.get("replicas_ready") or 0),
        "downtime_seconds": round(timeline.downtime_seconds, 1),
        "criteria": validated.get("criteria") or [],
        "phases": [
            {"name": p.name, "state": p.state.value, "seconds": round(p.seconds, 1)} for p in timeline.phases.values()
        ],
        "connection_budget": survey.get("budget"),
        "cost": _cost(survey, request),
        "problems": problems_of(plans),
        "changes": [{"phase": name, **change} for name, plan in plans.items() for change in plan.get("changes") or []],
        "store": survey.get("store") or {},
        "results": {name: result for name, result in results.items() if name != "undo_failure"},
    }


def _files(results: Mapping[str, JsonObject]) -> JsonObject:
    """The whole of the files as they stand at the end, and how many of them came with the cut-over."""
    copied, changed = results.get("copy_files") or {}, (results.get("cut_over") or {}).get("files") or {}
    last = changed or copied
    return {
        "files": int(last.get("files_total") or 0),
        "bytes": int(last.get("bytes_total") or 0),
        "copied_while_serving": int(copied.get("copied") or 0),
        "copied_while_stopped": int(changed.get("copied") or 0),
    }


def _changed_rows(cut: JsonObject) -> int:
    """Before the stop and after it."""
    passes = (cut.get("vectors") or {}, (cut.get("caught_up") or {}).get("vectors") or {})
    return sum(int(vectors.get("written") or 0) for vectors in passes)


def _cost(survey: JsonObject, request: MigrationRequest) -> JsonObject:
    storage = survey.get("storage") or {}
    creates = not storage.get("files_claim_exists", False)
    options = request.options
    prices = Prices(options.disk_price_per_gib, options.files_price_per_gib)
    cost: JsonObject = to_wire(monthly_cost(storage.get("size", ""), options.share_size, prices, creates_share=creates))
    return cost | {"runbooks_prices": prices.are_the_runbooks}
