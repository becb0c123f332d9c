"""`python -m local`: serve the app, rehearse a migration, copy a store, simulate the guard.

Exit codes: 0 done, 1 failed or rolled back, 2 bad usage, 3 needs an operator.
"""

import dataclasses
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from local.rehearsal import rehearse as rehearsal
from shared.errors import MigrationError

cli = typer.Typer(help=__doc__.splitlines()[0], no_args_is_help=True, add_completion=False)
console = Console(stderr=False, highlight=False)
OPEN_WEBUI = typer.Option(help="Python environment of a real Open WebUI for the pods, instead of the stand-in")


@cli.command()
def rehearse(
    data: Annotated[Path | None, typer.Option(help="folder of your own volume (vector_db, uploads, cache)")] = None,
    app_sql: Annotated[Path | None, typer.Option(help="plain pg_dump of the application database, .gz or not")] = None,
    replicas: Annotated[int, typer.Option(min=1, max=20, help="replicas to scale to")] = 3,
    plan_only: Annotated[bool, typer.Option("--plan-only", help="read and report, change nothing")] = False,
    fail: Annotated[
        list[str] | None,
        typer.Option(help="inject a fault: PHASE:KIND[:before|halfway], KIND permanent|transient|bug|kill"),
    ] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="another control plane than the local one")] = None,
    serving_certificate: Annotated[
        Path | None, typer.Option(help="of the node there, where it does not sign one: key and certificate, PEM")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write the report there")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the request's options; may be repeated")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for the request's target; may be repeated")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="write a picture of the end, as SVG")] = None,
    guard: Annotated[bool, typer.Option("--guard", help="then put the health guard on trial")] = False,
    full: Annotated[bool, typer.Option("--full", help="with autoscaling, monitoring, load test and handbook")] = False,
    scaling: Annotated[bool, typer.Option("--scaling", help="then put the autoscaler on trial, under load")] = False,
    entra: Annotated[bool, typer.Option("--entra", help="sign in to PostgreSQL with tokens, no password")] = False,
    pgbouncer: Annotated[bool, typer.Option("--pgbouncer", help="on a server that has it, through PgBouncer")] = False,
    extension: Annotated[
        bool, typer.Option("--extension", help="on the real Durable Task extension: see docs/local-durable.md")
    ] = False,
    open_webui: Annotated[Path | None, OPEN_WEBUI] = None,
    keep: Annotated[bool, typer.Option("--keep", help="stay up afterwards, with the monitor page")] = False,
) -> None:
    """Run a whole migration on this machine, from nothing, on the sample or on your own data."""
    wishes = rehearsal.Wishes(
        data=data,
        app_sql=app_sql,
        replicas=replicas,
        plan_only=plan_only,
        faults=tuple(rehearsal.parse_fault(text) for text in fail or []),
        kubeconfig=kubeconfig,
        serving_certificate=serving_certificate,
        json_file=json_file,
        picture=picture,
        keep=keep,
        guard=guard,
        full=full,
        entra=entra,
        pgbouncer=pgbouncer,
        scaling=scaling,
        real_extension=extension,
        open_webui=open_webui,
        target=_pairs(target, "--target"),
        options=_pairs(option, "--option"),
    )
    raise typer.Exit(rehearsal.rehearse(wishes, console))


@cli.command()
def serve(
    port: Annotated[int, typer.Option(help="port of the app on 127.0.0.1")] = 7071,
    data: Annotated[Path | None, typer.Option(help="folder of your own volume")] = None,
    app_sql: Annotated[Path | None, typer.Option(help="dump of the application database")] = None,
    kubeconfig: Annotated[Path | None, typer.Option(help="another control plane than the local one")] = None,
    open_webui: Annotated[Path | None, OPEN_WEBUI] = None,
    serving_certificate: Annotated[
        Path | None, typer.Option(help="of the node there, where it does not sign one: key and certificate, PEM")
    ] = None,
) -> None:
    """Serve the app with everything around it, until Ctrl-C."""
    wishes = rehearsal.Wishes(
        data=data,
        app_sql=app_sql,
        kubeconfig=kubeconfig,
        serving_certificate=serving_certificate,
        port=port,
        open_webui=open_webui,
    )
    raise typer.Exit(rehearsal.serve(wishes, console))


PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""These commands read their own options, `--help` included."""


@cli.command("guard-sim", context_settings=PASSED_ON)
def guard_sim(context: typer.Context) -> None:
    """Play recorded troubles to the health guard, beside HPA and KEDA."""
    from benchmarks.guard_simulation import main as simulate

    raise typer.Exit(simulate(context.args))


@cli.command("copy", context_settings=PASSED_ON)
def copy(context: typer.Context) -> None:
    """Copy a Chroma store into a database: read, load, index, verify; the mover alone."""
    from local.copying import main as copy_store

    raise typer.Exit(copy_store(context.args))


@cli.command()
def monitoring(
    out: Annotated[Path, typer.Option(help="folder to write into")] = Path("infra/monitoring"),
    target: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the request's target; may be repeated")
    ] = None,
) -> None:
    """Write alert rules, scrape configuration and dashboard for an installation's names."""
    from local.prometheus.monitoring_files import DEFAULT_TARGET, write

    named = _pairs(target, "--target")
    if unknown := named.keys() - {field.name for field in dataclasses.fields(DEFAULT_TARGET)}:
        raise typer.BadParameter(f"a target has no {', '.join(sorted(unknown))}", param_hint="--target")
    for path in write(out, dataclasses.replace(DEFAULT_TARGET, **named)):
        console.print(str(path))


def _pairs(texts: list[str] | None, option: str) -> dict[str, Any]:
    """`name=value` texts as JSON values: numbers and booleans as such, everything else as text."""
    found = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the command line; our own errors are one line and a hint, never a traceback."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        cli()
    except MigrationError as error:
        print(f"error: {error.message}", *([f"→ {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        return rehearsal.BAD_USAGE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
