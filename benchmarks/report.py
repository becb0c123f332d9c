"""docs/benchmarks.md from the measured figures."""

from typing import Any

_HEAD = """# Benchmarks

Made by `make bench` on {cores} cores (load average {load:.1f}, Python {python}); the figures are in
`build/benchmarks.json`. One embedded PostgreSQL with pgvector and TLS, the same settings for all; two workers;
{repeats}. Vectors are padded to 1,536 dimensions, as Open WebUI does by default.

| | measured | wanted |
|---|---|---|
| read + load, data only, against the peer | {read_load_ratio:.1f} × | ≥ 20 × |
| with btree, GIN and vector index, against the peer | {equal_end_state_ratio:.1f} × | ≥ 8 × |
| load stage against psql `\\copy`, same bytes and connections | {load_vs_copy_limit:.0%} | ≥ 95 % |
| the same, if psql's rows stay in line, too | {load_vs_copy_in_line:.0%} | |
| peak memory of a worker | {worker_peak_mb:.0f} MB | ≤ 250 MB |
| peak memory, largest store over 100k rows | {peak_300k_over_100k:.2f} × | ≤ 1.15 × |
| after the stop, 1 % of rows changed during the bulk pass, largest store over 10k rows | \
{delta_300k_over_10k:.2f} × | ≤ 1.5 × |
| the same 100 rows changed and no catch-up, largest store over 10k rows | {delta_same_change_300k_over_10k:.2f} × | |
| 1 % of rows changed and no catch-up (30 times as many rows), largest store over 10k rows | \
{delta_without_catch_up_300k_over_10k:.2f} × | |
| lowest recall@10 of a collection with the chosen index plan | {recall_at_10_min:.3f} | ≥ 0.99 |
"""

_SIZES = """
## By size

Read + load is the store's files to committed rows; all is with btree, GIN and ivfflat (100) built side by side; verify
is counts, digests and searches of everything.

| rows × dimension | read + load, rows/s | all, rows/s | load s | index s | verify s | peak MB |
|---|---|---|---|---|---|---|
"""

_DELTAS = """
## After the stop

As a migration does it: 1 % of the rows change during the bulk pass (half new, a quarter updated, a quarter deleted),
the catch-up carries them over while Open WebUI still serves, and rows go on changing as fast meanwhile. What came
during its last round is carried over after the stop, and verified. The last two columns leave the catch-up out.

| rows × dimension | catch-up s | rows left | **after the stop s** | 100 rows, no catch-up s | 1 %, no catch-up s |
|---|---|---|---|---|---|
"""

_PEER = """
## The peer and the limit

The peer is `collection.get` in pages of 1,000 and Open WebUI's own insert; it copied {rows:,} rows.

| | rows/s | peak MB |
|---|---|---|
| peer, data only | {bare:.0f} | {bare_mb} |
| peer, with Open WebUI's indexes | {indexed:.0f} | {indexed_mb} |
| psql `\\copy` of packed files, table as Open WebUI makes it, {connections} connection | {psql:,} | |
| psql `\\copy` of packed files, rows in line, {connections} connection | {psql_in_line:,} | |
| our load stage (pack, hash, COPY, ledger), {connections} connection | {load:,} | |
"""

_RECALL = """
## Recall, {rows} rows

More than half of the rows are in one collection. Queries are stored vectors, a little moved, asked as Open WebUI
asks (relaxed iterative scans). The plan is what a migration builds, measures, and takes back where it finds too little.

| index | recall@10, lowest collection | mean | build s | search in the largest, ms |
|---|---|---|---|---|
"""

GUARD = "## The health guard\n"
"""Heading of the part of the page that `benchmarks.guard` writes."""


def render(found: dict[str, Any]) -> str:
    """Return the document."""
    machine = found["machine"]
    parts = [
        _HEAD.format(
            cores=machine["cores"],
            load=machine["load_average"],
            python=machine["python"],
            **{**_scalars(found), "repeats": _repeats(found["repeats"])},
        )
    ]
    parts.append(_SIZES)
    parts += [
        f"| {one['rows']:,} × {one['dimension']} | {one['load_rows_per_second']:,} | {one['end_rows_per_second']:,} |"
        f" {one['load_seconds']:.1f} | {one['index_seconds']:.1f} | {one['verify_seconds']:.1f} |"
        f" {one['worker_peak_mb']:.0f} |\n"
        for one in found["sizes"]
    ]
    parts.append(_DELTAS)
    parts += [
        f"| {one['rows']:,} × {one['dimension']} | {one['catch_up_seconds']:.2f} | {one['rows_after_catch_up']:,.0f} |"
        f" {one['delta_seconds']:.2f} | {one['delta_100_seconds']:.2f} | {one['delta_strict_seconds']:.2f} |\n"
        for one in found["sizes"]
    ]
    peer, indexed, limit = found["peer"], found["peer_with_indexes"], found["limit"]
    parts.append(
        _PEER.format(
            rows=peer["rows"],
            bare=peer["rows_per_second"],
            bare_mb=peer["peak_mb"],
            indexed=indexed["rows_per_second"],
            indexed_mb=indexed["peak_mb"],
            connections=limit["connections"],
            psql=limit["psql_rows_per_second"],
            psql_in_line=limit["psql_in_line_rows_per_second"],
            load=limit["load_rows_per_second"],
        )
    )
    parts += [_recall(found["recall"], "20,000"), _recall(found["recall_large"], f"{found['recall_large_rows']:,}")]
    return "".join(parts)


def _recall(lines: list[dict[str, Any]], rows: str) -> str:
    return _RECALL.format(rows=rows) + "".join(
        f"| {one['index']} | {one['lowest']:.3f} | {one['mean']:.3f} | {one['build_seconds']} |"
        f" {one['milliseconds']} |\n"
        for one in lines
    )


def _repeats(count: int) -> str:
    if count == 1:
        return "each measured once"
    return f"medians of {count} runs, one fewer of loading the largest store; the peer ran once, between ours"


def _scalars(found: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in found.items() if isinstance(value, (int, float))}
