"""`python -m local.functions engine …`, `… host …` and `… storage …`: one process each."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import MigrationError


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m local.functions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    engine = commands.add_parser("engine", help="serve the durable engine")
    engine.add_argument("--db", type=Path, required=True, metavar="FILE", help="the SQLite file with all its state")
    engine.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    engine.add_argument(
        "--app", type=Path, metavar="DIR", help="the folder with host.json (default: the extension's own)"
    )
    host = commands.add_parser("host", help="index the app in the real worker runtime and serve it")
    host.add_argument("--app", type=Path, required=True, metavar="DIR", help="the folder with host.json")
    durable = host.add_mutually_exclusive_group(required=True)
    durable.add_argument("--engine", default="", metavar="ADDRESS", help="host:port of a running engine")
    durable.add_argument(
        "--storage", default="", metavar="CONNECTION", help="instead: the real extension, on this storage"
    )
    host.add_argument("--port", type=int, default=7071, help="on 127.0.0.1; 0 takes a free one")
    host.add_argument("--keys", type=Path, required=True, metavar="FILE", help="function keys, made when missing")
    host.add_argument("--faults", type=Path, metavar="FILE", help="faults to inject into activities")
    host.add_argument("--timers", type=Path, metavar="FILE", help="when timers ran (default: beside the keys)")
    storage = commands.add_parser("storage", help="serve Azurite, for the real extension")
    storage.add_argument("--dir", type=Path, required=True, metavar="DIR", help="the folder with all its state")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one process until it is asked to stop."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        if options.command == "engine":
            from local.functions.app_settings import read_host_settings
            from local.functions.engine.hub import read_hub
            from local.functions.engine.server import serve

            hub = read_hub(read_host_settings(options.app) if options.app else {})
            asyncio.run(serve(options.db, options.port, hub))
        elif options.command == "storage":
            from local.functions.durable_host.storage import serve as serve_storage

            asyncio.run(serve_storage(options.dir))
        else:
            from local.functions.host import HostOptions, run_host

            timers = options.timers or options.keys.with_name("timers.json")
            wired = options.engine, options.storage
            run_host(HostOptions(options.app, *wired, options.port, options.keys, options.faults, timers))
    except MigrationError as error:
        print(f"{error.message}\n{error.hint}".rstrip(), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
