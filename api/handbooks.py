"""`GET /api/migrations/{id}/handbook`: the handbook of one run, made from what the run recorded."""

from datetime import datetime

import azure.durable_functions as df
import azure.functions as func

from api import durable, runs
from api.migrations import answer, links
from api.runs import Run
from shared.model.migration import Mode
from shared.rendering.documents import to_html, to_markdown
from shared.report.handbook import SKIPPED, Occasion, for_later_phases, handbook
from shared.wire import JsonObject

FORMATS = {"html": (to_html, "text/html"), "markdown": (to_markdown, "text/markdown")}
HINT = 'POST /api/migrations {"mode": "phases", "phases": ["write_handbook"]}, then ask for the handbook of that run.'


async def read(req: func.HttpRequest, client: df.DurableFunctionsClient) -> func.HttpResponse:
    """The page, or Markdown with `?format=markdown`; 404 where the run wrote none, 409 while it runs."""
    wanted = req.params.get("format") or "html"
    if wanted not in FORMATS:
        return answer(400, {"error": f"format must be one of {', '.join(FORMATS)}, not {wanted!r}"})
    run = await durable.read_run(client, req.route_params["id"])
    if run is None:
        return answer(404, {"error": f"there is no run {req.route_params['id']}; GET /api/migrations lists them"})
    if run.active:
        return answer(409, {"error": f"run {run.id} has not ended"})
    record = await _record(client, run)
    if record is None:
        return answer(404, {"error": f"run {run.id} wrote no handbook", "hint": HINT})
    occasion = Occasion(run.id, *_times(record["run_of"]), links(req, record["run_of"].id)["status"])
    write, kind = FORMATS[wanted]
    return func.HttpResponse(write(handbook(record, occasion)), mimetype=kind, charset="utf-8")


async def _record(client: df.DurableFunctionsClient, run: Run) -> JsonObject | None:
    """What the handbook is made from, under `run_of` the migration that it is about; None when there is none."""
    own = (await durable.read_record(client, run.id) or {}) | {"report": run.output}
    if not wrote_one(run.output):
        return None
    if own["report"]["mode"] != Mode.PHASES:
        return own | {"run_of": run}
    migration = migration_before(await durable.list_runs(client, f"{run.key}-"), run)
    kept = await durable.read_record(client, migration.id) if migration else None
    return for_later_phases(own, kept) | {"run_of": migration} if kept else None


def wrote_one(report: JsonObject | None) -> bool:
    """Whether this run's phase 9 was asked for and has ended. Pure."""
    result = ((report or {}).get("results") or {}).get("write_handbook") or {SKIPPED: True}
    return not result.get(SKIPPED)


def migration_before(known: list[Run], later: Run) -> Run | None:
    """The migration that these later phases were added to. Pure. `known`: newest first."""
    found = (run for run in known if run.id < later.id and run.state == "migrated" and not run.is_rollback)
    return next((run for run in found if run.key == runs.key_of(later.id)), None)


def _times(run: Run) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(run.created), datetime.fromisoformat(run.updated)
