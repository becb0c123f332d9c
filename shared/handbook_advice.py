"""The handbook's advice: which wall comes next, how to go back, which command to type. Pure."""

from datetime import datetime, timedelta

from shared.autoscaling import HEADROOM, LARGEST, RESERVED
from shared.azure_skus import AZURE_SKUS
from shared.connection_budget import COMFORTABLE, ServerLimits, replicas_that_fit, transient_pods
from shared.documents import Block, Bullets, Commands, Paragraph, Table
from shared.wire import JsonObject

SHOWN_SERVERS = 4


def scaling(report: JsonObject, measured: JsonObject) -> tuple[Block, ...]:
    """From the nearest wall outwards."""
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
            f"Larger servers carry more. With {COMFORTABLE} connections a replica, which is what one used at 20 queries"
            " at once, by Azure's documented limits:"
        ),
        Table(("server", "connections for users", "replicas"), tuple(_servers(for_users))),
        Bullets(_steps()),
    ]
    return tuple(blocks)


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


def _steps() -> tuple[str, ...]:
    return (
        "A change of the server's size does not change max_connections: set the server parameter too, and restart it.",
        "PgBouncer is built in from General Purpose on (port 6432) and lets many more pods share the connections.",
        "After either, run this app's phase enable_autoscaling again: it reads the new limit and raises the maximum.",
        "A node needs the memory that each further replica requests; pods that stay Pending say Insufficient memory.",
        "The share grows in place: raise spec.resources.requests.storage of its claim; operations grow with its size.",
    )


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
            f"Until {soak:%Y-%m-%d %H:%M UTC} the health guard may roll back by itself when it acts; after that it"
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
    return (Paragraph(text),)


def troubleshooting(target: JsonObject, report: JsonObject) -> tuple[Block, ...]:
    """What one sees, and what to type."""
    where, name = f"-n {target['namespace']}", target["deployment"]
    group = target["postgres_resource_group"] or target["resource_group"]
    server = f"--resource-group {group} --name {target['postgres_server']}"
    rows = (
        (
            "a pod is not ready",
            f"kubectl describe pods {where}; kubectl logs deploy/{name} {where} --all-pods --tail=100",
        ),
        (
            "a rollout hangs",
            f"kubectl rollout status deploy/{name} {where}; kubectl rollout undo deploy/{name} {where}",
        ),
        ("remaining connection slots are reserved", f"az postgres flexible-server show {server}; {_sessions()}"),
        ("pods wait for their volume", f"kubectl describe pvc {target['files_claim']} {where}"),
        ("the share is full", f"kubectl exec deploy/{name} {where} -- df -h"),
        ("answers find no documents", f"kubectl logs deploy/{name} {where} | grep -i pgvector"),
        ("users are signed out at random", f"kubectl get deploy {name} {where} -o yaml | grep -A4 WEBUI_SECRET_KEY"),
        ("replicas do not follow the load", f"kubectl describe hpa {name} {where}; kubectl top pods {where}"),
        ("what the migration made", f"kubectl get all,pvc,cm,secret {where} -l scaleout.dev/run={report['run']}"),
    )
    return (Table(("what you see", "what to type"), rows),)


def _sessions() -> str:
    return "select application_name, state, count(*) from pg_stat_activity group by 1, 2"
