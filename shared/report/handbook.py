"""The handbook of one installation: what was done, what it costs, where its limits are, how to go on and back. Pure.

Everything in it comes from the record of a run: its survey, plans, results and report. What the run did not read is
left out, never guessed; the few figures that are Azure's own are marked as such.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.criteria.criterion import summary, verdict
from shared.kubernetes.quantities import quantity
from shared.load_test import report as load_test
from shared.rendering.documents import Block, Bullets, Document, Paragraph, Section, Table, minute
from shared.report.advice import carried, rollback, scaling
from shared.report.troubleshooting import troubleshooting
from shared.sizing.storage_costs import gibibytes
from shared.wire import JsonObject

SKIPPED = "skipped"
WEB_SEARCH = "web-search"
"""Kind of a collection in the reader's report."""
EXPECTATIONS = {"downtime", "field_owners", "load"}
"""Notes of a plan about what it will do; the others are about the data, and stay true."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """The run that the handbook is about, as the interface knows it."""

    id: str
    started: datetime
    ended: datetime
    url: str
    """Of the run: `…/api/migrations/{id}`."""


def handbook(record: JsonObject, occasion: Occasion) -> Document:
    """The whole document. `record`: what a run recorded, with its report."""
    report = record["report"]
    target, measured = report["target"], report["results"].get("write_handbook") or {}
    title = f"Open WebUI {target['namespace']}/{target['deployment']} on {target['cluster']}"
    sections = (
        Section("What was done, and when", _done(report, occasion)),
        Section("Before and after", (_before_and_after(record, measured),)),
        Section("The nine success criteria", _criteria(report)),
        Section("The load test", _load_test(report)),
        Section("What it costs", _costs(report)),
        Section("Limits", _limits(report, measured)),
        Section("How to scale further", scaling(report, measured, occasion.url.rpartition("/")[0])),
        Section("How to roll back, and until when", rollback(report, occasion.ended, occasion.url)),
        Section("When something is wrong", troubleshooting(record)),
        Section("What the run found", _findings(report)),
    )
    return Document(title, _lead(report, occasion), tuple(s for s in sections if s.blocks))


def for_later_phases(later: JsonObject, migration: JsonObject) -> JsonObject:
    """The record of a migration with what a later run of phases added: the handbook speaks of both."""
    kept = {name: result for name, result in later["report"]["results"].items() if not result.get(SKIPPED)}
    plans = migration["plans"] | {name: plan for name, plan in later["plans"].items() if name != "preflight"}
    before = migration["report"]
    report = {
        "results": before["results"] | kept,
        "changes": [*before["changes"], *later["report"]["changes"]],
        "setbacks": [one for one in before.get("setbacks") or () if one["phase"] not in kept],
    }
    return migration | {"plans": plans, "report": before | report}


def _lead(report: JsonObject, occasion: Occasion) -> str:
    return (
        f"Run {occasion.id} of {_day(occasion.started)}: {report['rows_moved']:,} chunks in {report['collections']}"
        f" collections were moved from ChromaDB to PGVector and {report['files']['files']:,} files to the share;"
        f" {report['replicas_ready']} replicas serve, success: {summary(report['criteria'])},"
        f" and Open WebUI was away for {report['downtime_seconds']} s."
    )


def _done(report: JsonObject, occasion: Occasion) -> tuple[Block, ...]:
    rows = tuple((p["name"], p["state"], f"{p['seconds']} s") for p in report["phases"] if not _skipped(report, p))
    changes = tuple((c["phase"], c["action"], f"{c['kind']} {c['name']}", c["detail"]) for c in report["changes"])
    return (
        Paragraph(
            f"Started {minute(occasion.started)}, ended {minute(occasion.ended)}:"
            f" {_duration(occasion.ended - occasion.started)} in all,"
            f" of which {report['downtime_seconds']} s without Open WebUI."
        ),
        Table(("phase", "state", "took"), rows),
        Paragraph("What the phases planned to create and to change, and did:"),
        Table(("phase", "", "object", "what"), changes),
    )


def _before_and_after(record: JsonObject, measured: JsonObject) -> Table:
    survey, report = record["plans"].get("preflight") or {}, record["report"]
    facts, storage = survey.get("deployment") or {}, survey.get("storage") or {}
    pods, store = measured.get("pods") or {}, (report["store"].get("chroma") or {})
    budget, results = report["connection_budget"] or {}, report["results"]
    indexes = ((results.get("copy_vectors") or {}).get("indexes") or {}).get("plan") or {}
    disk, share = _joined(report["target"]["disk_claim"], storage.get("size")), report["options"]["share_size"]
    found = [
        ("replicas", facts.get("replicas"), pods.get("replicas") or report["replicas_ready"]),
        ("vectors in", f"ChromaDB {store.get('version_hint') or ''}".strip(), "PGVector, table document_chunk"),
        ("chunks", _count(store.get("rows")), _count(report["rows_verified"])),
        ("left in the old store", None, _left_out(store)),
        ("files and models on", f"disk {disk}", f"share {report['target']['files_claim']}, {share}, mounted by all"),
        ("image", facts.get("image"), pods.get("image")),
        ("update strategy", facts.get("strategy"), pods.get("strategy")),
        ("connections a replica may open", None, pods.get("connections_per_replica") or _pools(budget)),
        ("vector search, as planned", None, indexes.get("reason")),
    ]
    rows = tuple((name, _text(before), _text(after)) for name, before, after in found if before or after)
    return Table(("", "before", "after"), rows)


def _left_out(store: JsonObject) -> str:
    """Why there are fewer chunks afterwards; empty: there are not."""
    rows = [each["rows"] for each in store.get("collections") or [] if each["kind"] == WEB_SEARCH]
    return (
        f"{sum(rows):,} chunks of {len(rows)} throw-away collection{'' if len(rows) == 1 else 's'} of web searches"
        if sum(rows)
        else ""
    )


def _criteria(report: JsonObject) -> tuple[Block, ...]:
    rows = tuple((c["name"], verdict(c), c["evidence"]) for c in report["criteria"])
    return (Table(("criterion", "", "evidence"), rows),) if rows else ()


def _load_test(report: JsonObject) -> tuple[Block, ...]:
    found = report["results"].get("load_test") or {SKIPPED: True}
    return () if found.get(SKIPPED) else load_test.blocks(found, report["target"])


def _costs(report: JsonObject) -> tuple[Block, ...]:
    cost = report["cost"]
    columns = ("", "before", "while the old disk is kept", "once it is retired")
    figures = (f"${cost[when]:,.2f}" for when in ("before", "meanwhile", "after"))
    whose = (
        "the runbook's prices; options.disk_price_per_gib and options.files_price_per_gib name others"
        if cost["runbooks_prices"]
        else "the prices in this run's options"
    )
    note = f"Prices are not measured. From {whose}: {cost['explanation']}."
    return (Table(columns, (("storage a month", *figures),)), Paragraph(note))


def _limits(report: JsonObject, measured: JsonObject) -> tuple[Block, ...]:
    budget = report["connection_budget"] or {}
    rows = [*_connection_rows(report, measured), *_share_rows(measured), *_pod_rows(measured), *_node_rows(measured)]
    blocks: list[Block] = [Table(("limit", "figure"), tuple(rows))] if rows else []
    read = (measured.get("server") or budget).get("for_users")
    if (states := budget.get("states")) and budget["for_users"] == read:
        blocks += [
            Paragraph(f"Connections when every pool is full, of {budget['for_users']} for users:"),
            Table(("state", "connections"), tuple((str(name), str(count)) for name, count in states)),
        ]
    if unread := measured.get("unread"):
        blocks.append(Bullets(tuple(f"{name} could not be read: {why}" for name, why in unread.items())))
    if measured.get("at"):
        blocks.append(Paragraph(f"Read at {minute(measured['at'])}."))
    return tuple(blocks)


def _connection_rows(report: JsonObject, measured: JsonObject) -> list[tuple[str, str]]:
    server, rows = measured.get("server") or {}, []
    if server:
        name = f"{server['name']}, {server['sku']}, PostgreSQL {server['version']}, vector {server['vector']}"
        rows += [
            ("database server", name),
            ("connections for users", f"{server['for_users']} of max_connections {server['max_connections']}"),
        ]
    if found := carried(report, measured):
        rows.append(("replicas that the connections carry", str(found[1])))
    if scaler := measured.get("autoscaler"):
        rows.append(("autoscaler", f"{scaler['minimum']} to {scaler['maximum']} replicas: {scaler['because']}"))
    return rows


def _share_rows(measured: JsonObject) -> list[tuple[str, str]]:
    share = measured.get("share") or {}
    if not share:
        return []
    rows = [(f"share {share['claim']}, {share['size']}", _fullness(share))]
    if limits := share_iops(share["size"]):
        rows.append(
            ("operations a second", f"{limits[0]:,} sustained, {limits[1]:,} in bursts (Azure's, not measured)")
        )
    return rows


def _fullness(share: JsonObject) -> str:
    """What a pod sees of the share; where the file system is not of the claim's size, it is not the share's alone."""
    used, total = share["used_bytes"] / 2**30, share["total_bytes"] / 2**30
    if total > gibibytes(share["size"]) * 1.05:
        return f"lies on a file system of {total:,.1f} GiB that it does not have to itself: {used:,.1f} GiB used there"
    return f"{used:,.1f} of {total:,.1f} GiB used, as a pod sees it"


def share_iops(size: str) -> tuple[int, int] | None:
    """Sustained and burst operations a second of an Azure Files Premium share of this size; None when it is no size.

    Source: learn.microsoft.com, storage/files/understand-performance: 3,000 + 1 a GiB up to 102,400; bursts of 3 a
    GiB, at least 10,000. 1 TiB gives 4,024 and 10,000 (facts §1.8).
    """
    gib = int(gibibytes(size))
    return (min(3000 + gib, 102_400), min(max(10_000, 3 * gib), 102_400)) if gib else None


def _pod_rows(measured: JsonObject) -> list[tuple[str, str]]:
    rows = []
    resources: Mapping[str, Any] = (measured.get("pods") or {}).get("resources") or {}
    if resources:
        asked = [f"{kind} {name} {value}" for kind, of in resources.items() for name, value in (of or {}).items()]
        rows.append(("a replica's resources", ", ".join(asked)))
    for pod, containers in (measured.get("memory") or {}).items():
        used = ", ".join(
            f"{c['container']} {_mebibytes(c['memory'])} memory, {_millicores(c['cpu'])} CPU" for c in containers
        )
        rows.append((f"pod {pod} uses", used))
    return rows


def _node_rows(measured: JsonObject) -> list[tuple[str, str]]:
    """What the cluster's nodes have for pods, everybody's."""
    nodes = measured.get("nodes") or {}
    if not nodes:
        return []
    count = nodes["count"]
    figures = f"{nodes['memory_bytes'] / 2**30:,.1f} GiB memory and {nodes['cores']:g} cores for all pods"
    return [(f"{count} node{'' if count == 1 else 's'}", figures)]


def _findings(report: JsonObject) -> tuple[Block, ...]:
    told = (p for p in report["problems"] if p["severity"] != "note" or p["code"] not in EXPECTATIONS)
    failed = tuple(("failed", f"{s['phase']}: {s['message']}", s["hint"]) for s in report.get("setbacks") or ())
    rows = (*failed, *((p["severity"], p["message"], p["hint"]) for p in told))
    return (Table(("", "what", "what to do"), rows),) if rows else ()


def _skipped(report: JsonObject, phase: JsonObject) -> bool:
    return bool((report["results"].get(phase["name"]) or {}).get(SKIPPED))


def _pools(budget: JsonObject) -> int | None:
    pools = budget.get("pools")
    if not pools:
        return None
    database = pools["database_pool_size"] + pools["database_max_overflow"]
    return int(2 * database + pools["pgvector_pool_size"] + pools["pgvector_max_overflow"])


def _mebibytes(found: str) -> str:
    return f"{quantity(found) / 2**20:,.0f} MiB"


def _millicores(found: str) -> str:
    return f"{quantity(found) * 1000:,.0f} m"


def _joined(*parts: Any) -> str:
    return ", ".join(str(part) for part in parts if part)


def _count(value: Any) -> str:
    return f"{value:,}" if value else ""


def _text(value: Any) -> str:
    return str(value) if value else "–"


def _duration(took: timedelta) -> str:
    """As a person says it: 2 h 5 min, 1 min 12 s, 40 s."""
    hours, seconds = divmod(round(took.total_seconds()), 3600)
    minutes, seconds = divmod(seconds, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _day(at: datetime) -> str:
    return at.strftime("%-d %B %Y")
