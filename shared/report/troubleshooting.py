"""The handbook's last resort: what one sees when something is wrong, and what to type first. Pure."""

import dataclasses

from shared.alerting.alert_rules import SESSIONS, alerts
from shared.model.migration import Target
from shared.rendering.documents import Block, Paragraph, Table
from shared.report.advice import server_arguments
from shared.wire import JsonObject


def troubleshooting(record: JsonObject) -> tuple[Block, ...]:
    """What one sees, and what to type; with the alerts, where the run installed them."""
    report = record["report"]
    target, name = report["target"], report["target"]["deployment"]
    where, claim = f"-n {target['namespace']}", target["files_claim"]
    pods = f"{where} -l {_selector(record)}"
    size = report["options"]["share_size"]
    grow = f"kubectl patch pvc {claim} {where} -p"
    rows = (
        ("a pod is not ready", f"kubectl describe pods {pods}"),
        ("a pod is not ready, or restarts", f"kubectl logs {pods} --all-containers --tail=100"),
        (
            "a rollout hangs. Never undo it to a revision from before the migration: that brings the old store back"
            " without what users did since",
            f"kubectl rollout status deploy/{name} {where}; kubectl rollout history deploy/{name} {where}",
        ),
        ("remaining connection slots are reserved: who holds them, in psql", SESSIONS),
        ("remaining connection slots are reserved: the limit", _limit(target)),
        ("pods wait for their volume", f"kubectl describe pvc {claim} {where}"),
        (
            f"the share is full (NEW_SIZE: more than {size})",
            grow + """ '{"spec": {"resources": {"requests": {"storage": "NEW_SIZE"}}}}'""",
        ),
        ("answers find no documents", f"kubectl logs {pods} --tail=-1 | grep -iE 'pgvector|document_chunk'"),
        ("users are signed out at random", f"kubectl get deploy {name} {where} -o yaml | grep -A4 WEBUI_SECRET_KEY"),
        ("replicas do not follow the load", f"kubectl describe hpa {name} {where}; kubectl top pods {pods}"),
        ("what the migration made", f"kubectl get all,pvc,cm,secret {where} -l scaleout.dev/run={report['run']}"),
    )
    return (Table(("what you see", "what to type"), rows, commands=1), *_alerts(report))


def _alerts(report: JsonObject) -> tuple[Block, ...]:
    installed = report["results"].get("install_monitoring") or {"skipped": True}
    if installed.get("skipped"):
        return ()
    fields = {field.name for field in dataclasses.fields(Target)}
    target = Target(**{name: value for name, value in report["target"].items() if name in fields})
    rows = tuple((a.name, a.severity, f"{a.minutes} min", a.meaning, a.command_for_a_person) for a in alerts(target))
    return (
        Paragraph(
            "The alerts that were installed, how long a state must last before each fires, and what to type first:"
        ),
        Table(("alert", "severity", "after", "what it says", "what to type first"), rows, commands=4),
    )


def _selector(record: JsonObject) -> str:
    """The pods' labels, as the preflight read them."""
    facts = (record["plans"].get("preflight") or {}).get("deployment") or {}
    labels = facts.get("labels") or {"app": record["report"]["target"]["deployment"]}
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _limit(target: JsonObject) -> str:
    server = server_arguments(target).replace("--name", "--server-name")
    return f"az postgres flexible-server parameter show {server} --name max_connections --query value"
