"""The handbook's advice: which wall comes next, and how to go back. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from shared.kubernetes.autoscaling import HEADROOM, LARGEST, RESERVED
from shared.rendering.documents import Block, Bullets, Commands, Paragraph, Table, minute
from shared.sizing.azure_skus import AZURE_SKUS
from shared.sizing.connection_budget import COMFORTABLE, ServerLimits, replicas_that_fit, transient_pods
from shared.wire import JsonObject

SHOWN_SERVERS = 4


def scaling(report: JsonObject, measured: JsonObject, runs: str) -> tuple[Block, ...]:
    """From the nearest wall outwards. `runs`: URL of `/api/migrations`."""
    found = carried(report, measured)
    if found is None:
        return ()
    for_users, fits = found
    target, replicas = report["target"], (measured.get("pods") or {}).get("ready") or report["replicas_ready"]
    scaler = (measured.get("autoscaler") or {}).get("maximum")
    wall = (
        f"The next wall is the database's connections: {for_users} are for users, which carries {fits}"
        f" replicas, a rolling update included; {replicas} serve now."
        if fits < LARGEST
        else f"The connections carry {fits} replicas; the next wall is the {LARGEST} that the runbook stops at."
    )
    where = f"-n {target['namespace']}"
    by_hand = f"kubectl scale deployment {target['deployment']} {where} --replicas={fits}"
    by_autoscaler = f"kubectl edit hpa {target['deployment']} {where}   # spec.maxReplicas, at most {fits}"
    blocks: list[Block] = [Paragraph(wall)]
    if (budget := report["connection_budget"] or {}).get("for_users") == for_users:
        blocks.append(Paragraph(budget["reason"]))
    if fits > replicas:
        blocks.append(Commands((by_autoscaler if scaler else by_hand,)))
    blocks += [
        Paragraph(
            f"Larger servers carry more: by Azure's documented limits, and with {COMFORTABLE} connections a replica,"
            " which is what one used at 20 queries at once when this app was made (not measured in this run):"
        ),
        Table(("server", "connections for users", "replicas"), tuple(_servers(for_users))),
        *_larger_server(target, for_users, runs),
        Bullets(tuple(_further_walls(measured))),
    ]
    return tuple(blocks)


def _larger_server(target: JsonObject, for_users: int, runs: str) -> tuple[Block, ...]:
    """The commands for the next size; the parameter is not changed by the size."""
    larger = next((sku for sku in AZURE_SKUS if sku.for_users > for_users), None)
    if larger is None:
        return ()
    server = server_arguments(target)
    lines = (
        f"az postgres flexible-server update {server} --tier {larger.tier} --sku-name {larger.name}   # restarts it",
        "az postgres flexible-server parameter set"
        f" {server.replace('--name', '--server-name')} --name max_connections --value {larger.max_connections}",
        f"az postgres flexible-server restart {server}",
        f'curl -X POST -H "x-functions-key: $KEY" {runs}'
        """ -d '{"mode": "phases", "phases": ["enable_autoscaling"]}'   # reads the new limit""",
    )
    text = (
        f"To {larger.name}, in a quiet hour, because the server restarts twice and nobody is served meanwhile; the size"
        " alone does not change max_connections:"
    )
    return (Paragraph(text), Commands(lines))


def _further_walls(measured: JsonObject) -> Iterable[str]:
    """What comes after the connections, with the figures that were read."""
    requests = ((measured.get("pods") or {}).get("resources") or {}).get("requests") or {}
    nodes = measured.get("nodes") or {}
    if requests and nodes:
        asked = " and ".join(f"{value} {name}" for name, value in sorted(requests.items(), reverse=True))
        yield (
            f"Nodes: every further replica requests {asked}; the nodes have {nodes['memory_bytes'] / 2**30:,.1f} GiB"
            f" and {nodes['cores']:g} cores for everybody's pods. A pod that stays Pending says Insufficient memory"
            " or Insufficient cpu: add a node."
        )
    yield "The share grows in place: raise spec.resources.requests.storage of its claim; operations grow with its size."
    yield "PgBouncer is built in from General Purpose on (port 6432) and lets many more pods share the connections."


def carried(report: JsonObject, measured: JsonObject) -> tuple[int, int] | None:
    """Connections for users, and the replicas that they carry: as last read, else as planned; None when unknown."""
    server, budget = measured.get("server") or {}, report["connection_budget"] or {}
    per_replica = (measured.get("pods") or {}).get("connections_per_replica")
    if not server or not per_replica:
        return (budget["for_users"], budget["largest_replica_count"]) if budget else None
    limits = ServerLimits(server["max_connections"], server["max_connections"] - server["for_users"], 0)
    taken, transient = server["other_sessions"] + RESERVED, transient_pods(budget.get("max_surge", 1))
    fits = replicas_that_fit(limits, per_replica, taken=taken, transient=transient, headroom_ratio=HEADROOM)
    return server["for_users"], fits


def _servers(for_users: int) -> list[tuple[str, str, str]]:
    larger = [sku for sku in AZURE_SKUS if sku.for_users > for_users][:SHOWN_SERVERS]
    rows = []
    for sku in larger:
        limits = ServerLimits(sku.max_connections, 15, 0, sku.name, sku.tier)
        fits = replicas_that_fit(
            limits, COMFORTABLE, taken=RESERVED, transient=transient_pods(1), headroom_ratio=HEADROOM
        )
        rows.append((f"{sku.name} ({sku.tier})", f"{sku.for_users:,}", str(fits)))
    return rows


def rollback(report: JsonObject, ended: datetime, url: str) -> tuple[Block, ...]:
    """Until the disk is retired there is a way back; the guard's own ends with the soak."""
    target, options = report["target"], report["options"]
    soak = ended + timedelta(seconds=options["soak_seconds"])
    retired = "retire_source" in report["results"] and not report["results"]["retire_source"].get("skipped")
    if retired:
        message = (
            "The old disk was retired by this run: there is no way back to it. The backup archive is on the share."
        )
        return (Paragraph(message), *_backup(report))
    return (
        Paragraph(
            f"At any time while the claim {target['disk_claim']} exists: nothing deletes it but the phase"
            " retire_source, which must be asked for and approved. What users did since the switch is carried back."
        ),
        Commands((f'curl -X POST -H "x-functions-key: $KEY" {url}/rollback',)),
        Paragraph(
            f"Until {minute(soak)} the health guard may roll back by itself when it acts; after that it"
            " calls an operator instead."
        ),
        *_backup(report),
    )


def _backup(report: JsonObject) -> tuple[Block, ...]:
    backup = report["results"].get("back_up_source") or {}
    if not backup.get("sha256"):
        return ()
    name = str(backup["path"]).rpartition("/")[2]
    text = (
        f"The backup of vector_db is backup/{name} on the share, {backup['bytes']:,} bytes, SHA-256 {backup['sha256']}."
    )
    found = (report["results"].get("protect_source") or {}).get("snapshot") or {}
    restore = "To restore from it by hand: infra/kubernetes/restore-backup.yaml."
    if found.get("name"):
        restore += f" VolumeSnapshot {found['name']} holds the disk as it was at {minute(found['taken_at'])}."
    return (Paragraph(text), Paragraph(restore))


def server_arguments(target: JsonObject) -> str:
    """Of `az postgres flexible-server …`."""
    group = target["postgres_resource_group"] or target["resource_group"]
    return f"--resource-group {group} --name {target['postgres_server']}"
