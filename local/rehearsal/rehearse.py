"""One rehearsal from nothing: raise the world, run the migration through the app's HTTP trigger, report, tear down."""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from local.loopback import free_port
from local.rehearsal import fingerprint, inputs, watch
from local.rehearsal.app_client import AppClient
from local.rehearsal.database_access import TOKEN_SECONDS, DatabaseAccess
from local.rehearsal.output import load_table
from local.rehearsal.output.display import Display
from local.rehearsal.output.picture import draw
from local.rehearsal.output.report_page import render
from local.rehearsal.prober import Prober, Seen
from local.rehearsal.processes import ROOT
from local.rehearsal.refusal import refused_report, unreadable_store
from local.rehearsal.trials import guard_trial, later_phases, restore, scaling_trial
from local.rehearsal.world import Layout, World
from shared.criteria.criterion import summary
from shared.errors import ConfigurationError
from shared.load_test.report import headline
from shared.sizing.azure_skus import AZURE_SKUS

DONE, FAILED, BAD_USAGE, NEEDS_OPERATOR = 0, 1, 2, 3
EXIT_CODES = {"migrated": DONE, "applied": DONE, "planned": DONE, "halted": NEEDS_OPERATOR}
FAULT_KINDS = ("permanent", "transient", "bug", "kill")
SMALLEST_WITH_PGBOUNCER = next(size for size in AZURE_SKUS if size.has_pgbouncer)
BUILD = Path(os.environ.get("SCALEOUT_BUILD_DIR") or ROOT / "build")
HOME = Path(os.environ.get("SCALEOUT_REHEARSAL_DIR") or ROOT / ".rehearsal")
"""Another folder lets a second rehearsal run beside the first."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """The command line of `python -m local rehearse`."""

    data: Path | None = None
    app_sql: Path | None = None
    replicas: int = 3
    plan_only: bool = False
    faults: tuple[dict[str, Any], ...] = ()
    kubeconfig: Path | None = None
    serving_certificate: Path | None = None
    json_file: Path | None = None
    picture: Path | None = None
    keep: bool = False
    full: bool = False
    """Also the later phases: autoscaling, monitoring, load test, handbook."""
    guard: bool = False
    """Put the health guard on trial after the migration."""
    entra: bool = False
    """The app signs in to PostgreSQL as its identity."""
    pgbouncer: bool = False
    """On a server that has PgBouncer, and through it."""
    scaling: bool = False
    """Put the autoscaler on trial after the migration, on a server with room for more replicas."""
    real_extension: bool = False
    """On the real Durable Task extension, in our engine's place."""
    port: int = 0
    open_webui: Path | None = None
    """The environment of a real Open WebUI for the pods; None: the stand-in."""
    target: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """Of `POST /api/migrations`."""
        later: dict[str, Any] = scaling_trial.OPTIONS if self.scaling else {}
        later = later | (later_phases.OPTIONS if self.full else {})
        later = later | ({"enable_pgbouncer": True} if self.pgbouncer else {})
        mode = "plan" if self.plan_only else "migrate"
        return {"mode": mode, "target": self.target, "options": {"replicas": self.replicas} | later | self.options}


def parse_fault(text: str) -> dict[str, Any]:
    """`PHASE:KIND` or `PHASE:KIND:halfway` as the host's fault; ConfigurationError says what is possible."""
    from phases.run.catalogue import PHASES

    phase, _, rest = text.partition(":")
    kind, _, when = rest.partition(":")
    activities = {name for p in PHASES for name in p.activities()}
    problems = []
    if phase not in activities:
        problems.append(f"{phase!r} is no phase ({', '.join(p.name for p in PHASES)})")
    if kind not in FAULT_KINDS:
        problems.append(f"{kind!r} is no kind ({', '.join(FAULT_KINDS)})")
    if when not in {"", "before", "halfway"}:
        problems.append(f"{when!r} is neither before nor halfway")
    if problems:
        raise ConfigurationError(f"--fail {text}: " + "; ".join(problems), hint="--fail copy_vectors:kill:halfway")
    activity = f"plan_{phase}" if phase == "preflight" else phase
    return {"activity": activity, "kind": kind, "when": when or "before", "times": 1}


def rehearse(wishes: Wishes, console: Console) -> int:
    """Run it and return the exit code; the report stands in `build/` whatever the end is."""
    started, began = datetime.now(UTC), time.monotonic()
    layout = Layout(HOME)
    real = inputs.find_real(wishes.open_webui, _teller(console))
    data, app_sql = inputs.find_data(wishes.data, wishes.app_sql, wishes.kubeconfig, layout, real)
    world = World(
        layout,
        _teller(console),
        wishes.kubeconfig.absolute() if wishes.kubeconfig else None,
        wishes.port,
        list(wishes.faults),
        _guard_settings(wishes),
        real_extension=wishes.real_extension,
        open_webui=real,
        serving_certificate=wishes.serving_certificate,
        **_server(wishes),
    )
    if problem := unreadable_store(data):
        report = refused_report(problem)
        _write(report, wishes.json_file)
        _conclude(report, console)
        return FAILED
    try:
        world.open(data, app_sql)
        before = _fingerprint(world) if wishes.plan_only else None
        report = _run(world, wishes, console)
        if before is not None:
            report["unchanged"] = not (changed := before.differences(_fingerprint(world)))
            report["changed"] = changed
        if wishes.guard and report["state"] == "migrated":
            trial = guard_trial.Trial(world, AppClient(world.url, world.key), world.say)
            report["guard"] = trial.hold(report["replicas_ready"])
        seconds = round(time.monotonic() - began, 1)
        report["rehearsal"] = {"started": started.strftime("%Y-%m-%d %H:%M UTC"), "seconds": seconds}
        _write(report, wishes.json_file)
        _conclude(report, console)
        if wishes.picture:
            wishes.picture.write_text(draw(report, [_closing(report), "report: build/report.html"]))
        if wishes.keep:
            _hold(world, console)
        return _exit_code(report)
    finally:
        world.close()


def serve(wishes: Wishes, console: Console) -> int:
    """Raise the world with the app on its port and stay until Ctrl-C."""
    layout = Layout(HOME)
    real = inputs.find_real(wishes.open_webui, _teller(console))
    data, app_sql = inputs.find_data(wishes.data, wishes.app_sql, wishes.kubeconfig, layout, real)
    world = World(
        layout,
        _teller(console),
        wishes.kubeconfig,
        wishes.port,
        open_webui=real,
        serving_certificate=wishes.serving_certificate,
    )
    try:
        world.open(data, app_sql)
        _hold(world, console)
    finally:
        world.close()
    return DONE


def _server(wishes: Wishes) -> dict[str, Any]:
    """What of the database server is not the smallest and plainest."""
    port = free_port() if wishes.pgbouncer else 0
    found: dict[str, Any] = {"access": DatabaseAccess(TOKEN_SECONDS if wishes.entra else 0, port)}
    if wishes.pgbouncer:
        found["size"] = SMALLEST_WITH_PGBOUNCER
    return found | (scaling_trial.WORLD if wishes.scaling else {})


def _guard_settings(wishes: Wishes) -> dict[str, str]:
    if wishes.guard or wishes.scaling:
        return guard_trial.SETTINGS
    return watch.GUARD_SETTINGS if wishes.full else {}


def _run(world: World, wishes: Wishes, console: Console) -> dict[str, Any]:
    """With the later phases a Prometheus watches from the beginning."""
    if not (wishes.full or wishes.scaling):
        return _migrate(world, wishes, console, lambda _app, _run: {})
    with watch.watching(world, world.say) as eyes:

        def go_on(app: AppClient, run: str) -> dict[str, Any]:
            found: dict[str, Any] = {}
            if wishes.full:
                found["later_phases"] = later_phases.check(app, run, BUILD, world.say, eyes.site.kubeconfig)
            if wishes.scaling:
                found["scaling"] = scaling_trial.Trial(world, app, later_phases.admin(eyes.site.kubeconfig)).hold()
            return found | {"monitoring": eyes.check(BUILD)}

        return _migrate(world, wishes, console, go_on)


type Continue = Callable[[AppClient, str], dict[str, Any]]
"""What is tried on a migrated Open WebUI; adds to the report."""


def _migrate(world: World, wishes: Wishes, console: Console, go_on: Continue) -> dict[str, Any]:
    """Post, follow, measure."""
    app = AppClient(world.url, world.key)
    prober = Prober(world.service_url)
    prober.start()
    run = app.start(wishes.body())
    with Display(console) as display:
        ended = app.follow(run, display.show)
    seen = prober.stop()
    report = ended["report"] or _without_report(ended)
    if report["state"] == "migrated":
        world.say("the backup, restored")
        report["restored"] = restore.check(world)
    if report["state"] == "migrated":
        report |= go_on(app, run)
    return report | {"measured_from_outside": _measured(seen), "downtime_seconds": _downtime(report, seen)}


def _downtime(report: dict[str, Any], seen: Seen) -> float:
    """The longer of what the app recorded and what a client of the Service saw."""
    return round(max(float(report.get("downtime_seconds") or 0.0), seen.longest_gap_seconds), 2)


def _measured(seen: Seen) -> dict[str, Any]:
    return {
        "requests": seen.requests,
        "failures": seen.failures,
        "longest_gap_seconds": round(seen.longest_gap_seconds, 2),
        "stores": sorted(seen.stores),
        "store_changes": seen.store_changes,
    }


def _without_report(ended: dict[str, Any]) -> dict[str, Any]:
    raise ConfigurationError(
        f"run {ended['id']} ended as {ended['state']} without a report: {ended['reason']}",
        hint="A bug of the app: .rehearsal/run/logs/host.log holds the traceback.",
    )


def _fingerprint(world: World) -> fingerprint.Fingerprint:
    if world.operator is None:
        raise ConfigurationError("the world is not open")
    return fingerprint.take(world.app_url, world.layout.volumes, world.operator.objects())


def _write(report: dict[str, Any], copy_to: Path | None) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, ensure_ascii=False)
    (BUILD / "report.json").write_text(text)
    (BUILD / "report.html").write_text(render(report))
    if copy_to:
        copy_to.parent.mkdir(parents=True, exist_ok=True)
        copy_to.write_text(text)


def _conclude(report: dict[str, Any], console: Console) -> None:
    console.print()
    for failed in filter(None, (report["failure"], *report["setbacks"])):
        console.print(f"[red]{failed['phase']}: {failed['message']}[/red]")
        console.print(f"→ {failed['hint']}", highlight=False) if failed["hint"] else None
    for problem in report["problems"]:
        if problem["severity"] == "blocking":
            console.print(f"[red]{problem['code']}: {problem['message']}[/red]", highlight=False)
            console.print(f"→ {problem['hint']}", highlight=False) if problem["hint"] else None
    if report["state"] == "planned":
        for change in report["changes"]:
            console.print(f"would {change['action']} {change['kind']} {change['name']}: {change['detail']}")
    console.print(_closing(report))
    if restored := report.get("restored"):
        console.print(f"the backup was restored: the same {restored['rows']:,} chunks", highlight=False)
    if (load := report["results"].get("load_test", {})).get("verdict"):
        for table in load_table.tables(load) if load["trials"] else ():
            console.print(table, highlight=False)
        console.print(headline(load), highlight=False)
    if "unchanged" in report:
        changed = ", ".join(report["changed"])
        console.print("nothing was changed" if report["unchanged"] else f"[red]changed: {changed}[/red]")
    console.print(f"report: {_shown(BUILD / 'report.html')} and {_shown(BUILD / 'report.json')}")


def _closing(report: dict[str, Any]) -> str:
    seconds = report["rehearsal"]["seconds"]
    return f"[bold]{report['state'].replace('_', ' ')}[/bold]: {_figures(report)}, {seconds} s in all"


def _figures(report: dict[str, Any]) -> str:
    """What there is to say of this end in one line."""
    store = report["store"].get("chroma") or {}
    blocking = sum(problem["severity"] == "blocking" for problem in report["problems"])
    if report["state"] == "refused":
        return f"{blocking} blocking problem{'' if blocking == 1 else 's'}, nothing was begun"
    if report["state"] == "planned":
        return f"{store.get('rows', 0):,} chunks in {store.get('collection_count', 0)} collections can be moved"
    return (
        f"{report['rows_moved']:,} chunks moved, {report['rows_verified']:,} verified in {report['collections']} "
        f"collections, {report['replicas_ready']} replicas ready, {summary(report['criteria'])}, "
        f"downtime {report['downtime_seconds']} s"
    )


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _exit_code(report: dict[str, Any]) -> int:
    if report.get("unchanged") is False or any("failure" in report.get(trial, {}) for trial in ("guard", "scaling")):
        return FAILED
    if report["setbacks"] or report["results"].get("load_test", {}).get("verdict") in {"failed", "not measured"}:
        return FAILED  # a migration stands whatever its additions and its load test say; a rehearsal is to find out
    return EXIT_CODES.get(report["state"], FAILED)


def _hold(world: World, console: Console) -> None:
    console.print(f"app        {world.url}/api/monitor")
    console.print(f"key        {world.key}")
    console.print(f"Open WebUI {world.service_url}")
    console.print("Ctrl-C ends it")
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        console.print("ending")


def _teller(console: Console) -> Callable[[str], None]:
    began = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {what}", highlight=False)

    return say
