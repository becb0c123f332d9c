"""The mover: one command per step of a transfer, for a Kubernetes Job, an exec, or a terminal.

Every command prints JSON lines on stdout and nothing else (see `progress`), and exits 0 or 1; bad usage exits 2.
SIGTERM ends it at once with 143: every command can be run again and goes on where it stood. `docs/transfer.md` has the
table.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from .chroma.selection import Selection
from .errors import PermanentError, TransferError
from .progress import JsonLines

Command = Callable[[argparse.Namespace, JsonLines], dict[str, Any]]
Add = Callable[..., argparse.ArgumentParser]
"""Name, command, help, and the names of the shared options that it takes; returns its parser."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code."""
    # Before numpy is loaded: a Job has a CPU limit, not a CPU count, and its threads would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _terminate)
    lines = JsonLines()
    try:
        lines.result(options.command(options, lines))
    except TransferError as error:
        lines.error(error)
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:  # a bug: the traceback goes to stderr, the reader of stdout still gets its last line
        sys.excepthook(type(error), error, error.__traceback__)
        lines.error(
            PermanentError(f"{type(error).__name__}: {error}", hint="this is a bug; the traceback is on stderr")
        )
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser; every command has its own `--help`."""
    top = argparse.ArgumentParser(prog="mover", description="Moves Open WebUI's vectors and files. Prints JSON lines.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    shared = _shared_options()

    def add(name: str, command: Command, help: str, options: str = "") -> argparse.ArgumentParser:
        parents = [shared[option] for option in options.split()]
        one = commands.add_parser(name, help=help, description=help, parents=parents)
        one.set_defaults(command=command)
        return one

    for group in (_add_looking, _add_files, _add_vectors, _add_around_the_stop):
        group(add)
    return top


def _add_looking(add: Add) -> None:
    one = add("inspect", _inspect, "report what is there and every problem, changing nothing", "data scratch selection")
    one.add_argument(
        "--database", action="store_true", help="also look at document_chunk and for orphans, through DATABASE_URL"
    )
    one.add_argument(
        "--column-dimension", type=int, default=1536, help="dimension that document_chunk has or will have (1536)"
    )
    one = add("probe", _probe, "report what this replica sees", "data")
    one.add_argument("--sample", type=int, default=10, help="chunks to search for (10)")


def _add_files(add: Add) -> None:
    add("archive", _archive, "write vector_db as a checksummed archive to the target", "data scratch target")
    one = add("copy-files", _copy_files, "copy uploads/ and cache/, resumable and verified", "source target")
    one.add_argument("--delta", action="store_true", help="also delete copies whose source disappeared since")
    add("verify-files", _verify_files, "compare every file by checksum", "source target")
    add("remove-files", _remove_files, "undo copy-files: remove exactly what was copied and is unchanged", "target")


def _add_vectors(add: Add) -> None:
    one = add("create-table", _create_table, "create document_chunk as Open WebUI makes it, primary key only", "run")
    one.add_argument("--dimension", type=int, default=1536, help="PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH (1536)")
    one.add_argument("--halfvec", action="store_true", help="PGVECTOR_USE_HALFVEC=true")
    one = add(
        "copy-vectors",
        _copy_vectors,
        "copy every row from a consistent private copy of the store",
        "data scratch run selection",
    )
    one.add_argument("--delta", action="store_true", help="after the stop: only what changed since the bulk pass")
    one.add_argument("--verify", action="store_true", help="then compare what was copied, while Open WebUI serves")
    one.add_argument("--full", action="store_true", help="with --verify: every row, read back")
    one.add_argument("--workers", type=int, default=2, help="processes, each with one connection (2)")
    one.add_argument(
        "--throttle", type=float, default=0, metavar="ROWS_PER_S", help="most rows a second, 0 for no limit"
    )
    one = add("verify-vectors", _verify_vectors, "compare counts, digests and searches", "data scratch run selection")
    one.add_argument("--full", action="store_true", help="also compare every row, read back")
    one.add_argument(
        "--incremental", action="store_true", help="digests only of what changed since the last verification"
    )
    one.add_argument("--repair", action="store_true", help="copy rows that differ again")
    one.add_argument("--samples", type=int, default=20, help="sampled queries (20)")
    one = add("build-indexes", _build_indexes, "build the indexes side by side and measure the recall")
    one.add_argument("--plan", metavar="JSON", help="an index plan; by default chosen from the table")
    add("remove-vectors", _remove_vectors, "undo copy-vectors: remove exactly the copied rows", "run")


def _add_around_the_stop(add: Add) -> None:
    add(
        "catch-up",
        _catch_up,
        "just before the stop: carry over what changed since the bulk pass, while Open WebUI serves",
        "data target scratch run selection",
    )
    one = add(
        "finish",
        _finish,
        "after the stop: carry the last changes of files and vectors over and verify what changed",
        "data target scratch run selection",
    )
    one.add_argument(
        "--wait-for", type=Path, metavar="FILE", help="load everything, then begin when this file is there"
    )
    one = add(
        "carry-back",
        _carry_back,
        "take back to the stopped store and the disk what was written since the switch",
        "data scratch run selection",
    )
    one.add_argument("--files", type=Path, required=True, help="the share")


def _shared_options() -> dict[str, argparse.ArgumentParser]:
    data, scratch, target, source, run, selection = (argparse.ArgumentParser(add_help=False) for _ in range(6))
    data.add_argument("--data", type=Path, required=True, help="Open WebUI's DATA_DIR, which holds vector_db/")
    scratch.add_argument(
        "--scratch", type=Path, help="directory for private copies; keep it for a rerun (a new temporary one)"
    )
    target.add_argument("--target", type=Path, required=True, help="the share")
    source.add_argument("--source", type=Path, required=True, help="Open WebUI's DATA_DIR")
    run.add_argument("--run", default="manual", help="name of the run in the ledger")
    selection.add_argument("--web-search", action="store_true", help="include web-search-* collections")
    selection.add_argument("--tenant", default=os.environ.get("CHROMA_TENANT", "default_tenant"), help="CHROMA_TENANT")
    selection.add_argument(
        "--chroma-database", default=os.environ.get("CHROMA_DATABASE", "default_database"), help="CHROMA_DATABASE"
    )
    return {
        "data": data,
        "scratch": scratch,
        "target": target,
        "source": source,
        "run": run,
        "selection": selection,
    }


def _terminate(number: int, frame: object) -> NoReturn:
    """Leave at once; workers die with their parent, and nothing half done counts."""
    raise SystemExit(128 + number)


def _scratch(options: argparse.Namespace) -> Path:
    if options.scratch is None:
        options.scratch = Path(tempfile.mkdtemp(prefix="scaleout-"))
    options.scratch.mkdir(parents=True, exist_ok=True)
    path: Path = options.scratch
    return path


def _selection(options: argparse.Namespace) -> Selection:
    return Selection(options.tenant, options.chroma_database, options.web_search)


# Modules are imported by the command that needs them: a probe or a file copy does not wait for the rest.


def _inspect(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .inspect.inspection import inspect

    return inspect(
        options.data,
        _scratch(options),
        column_dimension=options.column_dimension,
        database=options.database,
        selection=_selection(options),
        progress=lines,
    )


def _archive(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .files.archive import archive

    return archive(options.data / "vector_db", options.target, _scratch(options), progress=lines)


def _copy_files(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .files.files import copy_files

    return copy_files(options.source, options.target, delta=options.delta, progress=lines)


def _verify_files(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .files.files import verify_files

    return verify_files(options.source, options.target, progress=lines)


def _remove_files(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .files.files import remove_files

    return remove_files(options.target, progress=lines)


def _create_table(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .ledger import ledger, ledger_schema
    from .pgvector import document_chunk
    from .pgvector.database import connected, vectors_url
    from .rows.copy_binary import VectorColumn

    column = VectorColumn(options.dimension, half=options.halfvec)
    with connected(vectors_url()) as connection:
        ledger_schema.require(connection)
        created = document_chunk.create(connection, column)
        ledger.start_run(connection, options.run, created_table=created)
    settings = {"PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH": str(column.dimension)}
    if column.half:
        settings["PGVECTOR_USE_HALFVEC"] = "true"
    return {"created": created, "type": column.sql, "settings": settings}


def _copy_vectors(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .pgvector.database import vectors_url

    where = (vectors_url(), options.data / "vector_db", _scratch(options))
    if options.delta:
        from .delta.delta import copy_delta

        return copy_delta(*where, run=options.run, selection=_selection(options), progress=lines)
    from .load.bulk import copy_vectors

    common: dict[str, Any] = {"run": options.run, "selection": _selection(options), "progress": lines}
    copied = copy_vectors(*where, workers=options.workers, rows_per_second=options.throttle, **common)
    if not options.verify:
        return copied
    from .steps.finish import verify_copy

    return copied | {"verification": verify_copy(*where, full=options.full, **common)}


def _catch_up(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .pgvector.database import vectors_url
    from .steps.catch_up import catch_up

    where = (vectors_url(), options.data, options.target, _scratch(options))
    return catch_up(*where, run=options.run, selection=_selection(options), progress=lines)


def _finish(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .pgvector.database import vectors_url
    from .steps.finish import finish
    from .steps.standby import wait_for

    where = (vectors_url(), options.data, options.target, _scratch(options))
    if options.wait_for:
        wait_for(options.wait_for, progress=lines)
    return finish(*where, run=options.run, selection=_selection(options), progress=lines)


def _verify_vectors(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .pgvector.database import vectors_url
    from .verify.verification import verify_vectors

    return verify_vectors(
        vectors_url(),
        options.data / "vector_db",
        _scratch(options),
        run=options.run,
        selection=_selection(options),
        full=options.full,
        incremental=options.incremental,
        repair=options.repair,
        samples=options.samples,
        progress=lines,
    )


def _build_indexes(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .pgvector.database import vectors_url
    from .pgvector.index_plan import IndexPlan
    from .pgvector.indexes import build_indexes

    plan = IndexPlan.from_json(options.plan) if options.plan else None
    return build_indexes(vectors_url(), plan=plan, progress=lines)


def _remove_vectors(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .load.removal import remove_vectors
    from .pgvector.database import vectors_url

    return remove_vectors(vectors_url(), run=options.run, progress=lines)


def _carry_back(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .pgvector.database import vectors_url
    from .steps.carry_back import carry_back

    where = (vectors_url(), options.data, options.files, _scratch(options))
    return carry_back(*where, run=options.run, selection=_selection(options), progress=lines)


def _probe(options: argparse.Namespace, lines: JsonLines) -> dict[str, Any]:
    from .inspect.probe import probe

    return probe(options.data, options.sample)


if __name__ == "__main__":
    raise SystemExit(main())
