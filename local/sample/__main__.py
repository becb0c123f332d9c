"""`python -m local.sample`: unpack the shipped store, make another one, load an application database."""

import argparse
import sys
from pathlib import Path

from local.sample import DEFECTS, extract, generate, load_sql
from shared.errors import MigrationError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; what cannot be done is said in one line."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except MigrationError as problem:
        print(f"error: {problem.message} {problem.hint}".strip(), file=sys.stderr)
        return 1
    return 0


def _extract(options: argparse.Namespace) -> str:
    return str(extract(options.target).data)


def _generate(options: argparse.Namespace) -> str:
    paths = generate(
        options.target,
        options.chunks,
        dimension=options.dimension,
        collections=options.collections,
        files=options.files,
        seed=options.seed,
        defects=options.defect,
    )
    return str(paths.data)


def _load(options: argparse.Namespace) -> str:
    return f"{load_sql(options.dump, options.url, options.owner)} rows loaded"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.sample", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    unpack = commands.add_parser("extract", help="unpack the shipped store: 29 collections of a real Open WebUI")
    unpack.add_argument("target", type=Path, help="directory; its `data` is replaced")
    unpack.set_defaults(run=_extract)

    known = "\n".join(f"  {name:18}{what}" for name, what in DEFECTS.items())
    make = commands.add_parser(
        "generate",
        help="make a store of any size",
        description="Make a store as Open WebUI would have made it.",
        epilog=f"defects:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    make.add_argument("target", type=Path, help="directory; its `data` is replaced")
    make.add_argument("--chunks", type=int, default=2000, help="chunks in all (default: 2000)")
    make.add_argument("--dimension", type=int, default=384, help="length of the vectors (default: 384)")
    make.add_argument("--collections", type=int, default=2, help="knowledge bases (default: 2)")
    make.add_argument("--files", type=int, default=10, help="uploaded files (default: 10)")
    make.add_argument("--seed", type=int, default=0, help="the same seed makes the same store (default: 0)")
    make.add_argument(
        "--defect", action="append", default=[], choices=DEFECTS, metavar="NAME", help="seed one; may be repeated"
    )
    make.set_defaults(run=_generate)

    load = commands.add_parser("load", help="load a plain pg_dump without psql")
    load.add_argument("dump", type=Path, help="the dump, perhaps gzipped")
    load.add_argument("url", help="postgresql://… of an empty database")
    load.add_argument("--owner", default="", help="the role that shall own everything (default: the URL's)")
    load.set_defaults(run=_load)
    return parser


if __name__ == "__main__":
    sys.exit(main())
