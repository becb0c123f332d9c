"""`python -m benchmarks`: measure, and write build/benchmarks.json and docs/benchmarks.md.

Everything runs on one embedded PostgreSQL with the same settings, one after the other. Rates are medians of the
repeats; the peer, which takes minutes, runs once, between ours on the same store.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import deltas, limit, recall, report
from local.postgres import Postgres
from shared.transfer.ledger import ledger_schema
from shared.transfer.load.bulk import copy_vectors
from shared.transfer.pgvector import document_chunk
from shared.transfer.pgvector.index_plan import IndexPlan
from shared.transfer.pgvector.indexes import build_indexes
from shared.transfer.rows.copy_binary import VectorColumn
from shared.transfer.verify.verification import verify_vectors

ROOT = Path(__file__).parents[1]
SIZES = ((10_000, 384), (100_000, 384), (300_000, 384), (20_000, 1536))
OPEN_WEBUIS_INDEX = IndexPlan("ivfflat", lists=100, maintenance_work_mem="1GB")
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "synchronous_commit": "on"}


@dataclass(frozen=True)
class Options:
    """What to measure."""

    sizes: tuple[tuple[int, int], ...]
    repeats: int
    peer_rows: int
    folder: Path


def main() -> int:
    """Measure everything; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10k and 30k rows only, one repeat: a smoke test")
    parser.add_argument("--deltas", action="store_true", help="only the deltas again; the other figures are kept")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-rows", type=int, default=100_000, help="rows that the peer copies (100,000)")
    parser.add_argument("--stores", type=Path, default=ROOT / "build" / "stores", help="where stores are made and kept")
    given = parser.parse_args()
    sizes = ((10_000, 384), (30_000, 384)) if given.quick else SIZES
    options = Options(
        sizes, 1 if given.quick else given.repeats, min(given.peer_rows, 5000 if given.quick else 10**9), given.stores
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    target = ROOT / "build" / "benchmarks.json"
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        Path(folder).chmod(0o711)  # the server's account is not ours when we are root
        server = Postgres(Path(folder) / "server", settings=SETTINGS)
        try:
            benchmarks = Benchmarks(server.start(), options, Path(folder))
            found = benchmarks.run_deltas(json.loads(target.read_text())) if given.deltas else benchmarks.run()
        finally:
            server.remove()
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(found, indent=2) + "\n")
    if not given.quick:
        page = ROOT / "docs" / "benchmarks.md"
        _, heading, guard = page.read_text().partition(report.GUARD) if page.exists() else ("", "", "")
        page.write_text(report.render(found).rstrip() + "\n" + (f"\n{heading}{guard}" if heading else ""))
    print(report.render(found))
    return 0


class Benchmarks:
    """One run over all sizes."""

    def __init__(self, server: Postgres, options: Options, folder: Path) -> None:
        self._server, self._options, self._folder = server, options, folder

    def run(self) -> dict[str, Any]:
        """Measure every size, then what belongs to one size only."""
        compared = next(one for one in reversed(self._options.sizes) if one[0] <= 100_000 and one[1] == 384)
        store = self._store(*compared)
        peers: list[dict[str, Any]] = []
        between = (lambda: peers.append(self._peer(store)), lambda: peers.append(self._peer(store, "--indexes")))
        sizes = [self._measure(*size, between=between if size == compared else ()) for size in self._options.sizes]
        middle = next(one for one in sizes if (one["rows"], one["dimension"]) == compared)
        peer, peer_indexed = peers
        against = self._against_limit(store)
        recalls = self._recall(20_000, recall.EXACT, recall.IVFFLAT, recall.IVFFLAT_ROOT, recall.HNSW)
        recalls_large = self._recall(middle["rows"], recall.EXACT, recall.IVFFLAT)
        last = next(one for one in reversed(sizes) if one["dimension"] == 384)
        return {
            "read_load_ratio": round(middle["load_rows_per_second"] / peer["rows_per_second"], 2),
            "equal_end_state_ratio": round(middle["end_rows_per_second"] / peer_indexed["rows_per_second"], 2),
            "load_vs_copy_limit": round(against["load_rows_per_second"] / against["psql_rows_per_second"], 3),
            "load_vs_copy_in_line": round(against["load_rows_per_second"] / against["psql_in_line_rows_per_second"], 3),
            "worker_peak_mb": max(one["worker_peak_mb"] for one in sizes),
            "peak_300k_over_100k": round(last["worker_peak_mb"] / middle["worker_peak_mb"], 3),
            **deltas.ratios(sizes),
            "recall_at_10_min": min(recalls[-1]["lowest"], recalls_large[-1]["lowest"]),
            "sizes": sizes,
            "peer": peer,
            "peer_with_indexes": peer_indexed,
            "limit": against,
            "recall": recalls,
            "recall_large": recalls_large,
            "recall_large_rows": middle["rows"],
            "repeats": self._options.repeats,
            "machine": {"cores": os.cpu_count(), "load_average": os.getloadavg()[1], "python": sys.version.split()[0]},
        }

    def run_deltas(self, found: dict[str, Any]) -> dict[str, Any]:
        """Measure the deltas again, of every size that an earlier run measured."""
        sizes = [
            {**one, **self._measure_delta(self._store(one["rows"], one["dimension"]), one["rows"])}
            for one in found["sizes"]
        ]
        return {**found, "sizes": sizes, **deltas.ratios(sizes)}

    def _store(self, rows: int, dimension: int) -> Path:
        path = self._options.folder / f"{rows}x{dimension}"
        if not path.is_dir():
            _stores("make", path, rows, dimension, 10_000 if dimension < 1000 else 5000)
        return path

    @contextmanager
    def _database(self, *, table: bool = True) -> Iterator[str]:
        name = f"bench_{time.monotonic_ns()}"
        self._server.create_database(name)
        url = self._server.superuser_url(name)
        with psycopg.connect(url) as connection:
            connection.execute("create extension vector")
            if table:
                connection.execute(ledger_schema.SCHEMA_SQL)
                document_chunk.create(connection, VectorColumn(1536))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("checkpoint")
        try:
            yield url
        finally:
            self._server.drop_database(name)

    def _measure(self, rows: int, dimension: int, *, between: Sequence[Callable[[], None]] = ()) -> dict[str, Any]:
        """Load, index, verify and change one store, `repeats` times; `between` these, measure what it is compared
        with, so that a machine that is slower for a while is so for both."""
        store = self._store(rows, dimension)
        found = []
        others = iter(between)
        for _ in range(self._options.repeats if rows < 300_000 else max(1, self._options.repeats - 1)):
            _say(f"{rows:,} × {dimension}")
            found.append(self._once(store, rows))
            for other in islice(others, 1):
                other()
        for other in others:
            other()
        median = {key: round(statistics.median(one[key] for one in found), 3) for key in found[0]}
        return {
            "rows": rows,
            "dimension": dimension,
            **median,
            "load_rows_per_second": round(rows / median["load_seconds"]),
            "end_rows_per_second": round(rows / (median["load_seconds"] + median["index_seconds"])),
            **self._measure_delta(store, rows),
        }

    def _once(self, store: Path, rows: int) -> dict[str, float]:
        with self._database() as url:
            started = time.perf_counter()
            loaded = copy_vectors(url, store, self._folder / "scratch", run="bench", stopped=True)
            load = time.perf_counter() - started
            assert loaded["rows"] == rows
            indexed = build_indexes(url, plan=OPEN_WEBUIS_INDEX, samples=0)
            verified = verify_vectors(url, store, self._folder / "scratch", run="bench")
            assert verified["equal"]
        return {
            "load_seconds": load,
            "index_seconds": max(indexed["seconds_by_index"].values()),
            "verify_seconds": verified["seconds"],
            "worker_peak_mb": loaded["worker_peak_mb"],
        }

    def _measure_delta(self, store: Path, rows: int) -> dict[str, float]:
        """Return medians of the seconds after the stop."""
        folder = self._folder / "delta"
        folder.mkdir()
        with self._database() as url:
            found = deltas.measure(
                url,
                store,
                rows,
                folder,
                lambda path, count: _stores("change", path, count),
                repeats=self._options.repeats,
            )
        shutil.rmtree(folder)
        return found

    def _peer(self, store: Path, *arguments: str) -> dict[str, Any]:
        _say(f"the peer {' '.join(arguments)}")
        aside = self._folder / "peer"  # chromadb writes to what it opens
        shutil.copytree(store, aside)
        with self._database(table=False) as url:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.peer", aside, url, str(self._options.peer_rows), *arguments],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
        shutil.rmtree(aside)
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def _against_limit(self, store: Path) -> dict[str, Any]:
        _say("the limit")
        collections, rows = limit.read_rows(store, 100_000)
        count = sum(map(len, rows.values()))
        seconds: dict[str, list[float]] = {"psql": [], "psql_in_line": [], "load": []}
        folder = self._folder / "packed"
        for _ in range(self._options.repeats):
            with self._database() as url:
                seconds["psql"].append(limit.time_psql(url, folder, collections, rows, 1))
            with self._database() as url:
                seconds["load"].append(limit.time_load(url, collections, rows, 1))
            with self._database() as url:
                seconds["psql_in_line"].append(limit.time_psql(url, folder, collections, rows, 1, in_line=True))
        rates = {f"{name}_rows_per_second": round(count / statistics.median(some)) for name, some in seconds.items()}
        return {"rows": count, "connections": 1, **rates}

    def _recall(self, rows: int, *candidates: recall.Candidate) -> list[dict[str, Any]]:
        _say(f"recall with {rows:,} rows")
        store = self._store(rows, 384)
        with self._database() as url:
            copy_vectors(url, store, self._folder / "scratch", run="bench", stopped=True)
            with psycopg.connect(url) as connection:  # a large knowledge base, beside many small files
                connection.execute(
                    "update document_chunk set collection_name = 'large' where get_byte(decode(md5(id),"
                    " 'hex'), 0) < 150"
                )
            build_indexes(url, plan=IndexPlan("none"))
            return recall.measure(url, VectorColumn(1536), candidates)


def _stores(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.stores", *map(str, arguments)], check=True, cwd=ROOT)


def _say(text: str) -> None:
    print(f"… {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
