"""Phase 9: read the figures for this installation's handbook, from what stands; left out unless it is asked for.

Reads only: limits, sizes and use, of the pods, the share, the server and the autoscaler. The text is made from them and
from what the run recorded (`shared.report.handbook`), whenever somebody asks for it. There is nothing to undo.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.errors import MigrationError, PermanentError, UnsupportedDeployment
from shared.guard.workload import to_pools
from shared.kubernetes import autoscaling, deployments
from shared.kubernetes.pods import living
from shared.kubernetes.quantities import quantity
from shared.model.migration import NOT_ASKED_FOR, Brief, Progress
from shared.model.ports import Ports
from shared.model.survey import DatabaseAddress, DeploymentFacts
from shared.wire import JsonObject

NAME = "write_handbook"
DISK_USAGE = "import json, shutil, sys; print(json.dumps(shutil.disk_usage(sys.argv[1])[:2]))"


@dataclass(frozen=True, slots=True)
class Plan:
    deployment: str = ""
    """Empty: nobody asked for a handbook."""
    files_claim: str = ""
    facts: DeploymentFacts | None = None
    address: DatabaseAddress | None = None


def plan(brief: Brief, ports: Ports) -> Plan:
    if not brief.request.wants(NAME):
        return Plan()
    target, survey = brief.request.target, brief.survey
    if survey.deployment is None or survey.address is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    return Plan(target.deployment, target.files_claim, survey.deployment, survey.address)


def apply(plan: Plan, ports: Ports) -> Progress:
    facts, address = plan.facts, plan.address
    if facts is None or address is None:
        return NOT_ASKED_FOR
    readings: dict[str, Callable[[], JsonObject]] = {
        "pods": lambda: read_pods(plan, facts, ports),
        "memory": lambda: read_memory(facts, ports),
        "share": lambda: read_share(plan, facts, ports),
        "server": lambda: read_server(address, ports),
        "autoscaler": lambda: read_autoscaler(plan.deployment, ports),
        "nodes": lambda: read_nodes(ports),
    }
    measured: JsonObject = {"at": ports.clock.now().isoformat(timespec="seconds"), "unread": {}}
    for name, read in readings.items():
        try:
            measured[name] = read()
        except MigrationError as error:  # a handbook without one figure is better than none, and it says so
            measured["unread"][name] = error.message
    return Progress(finished=True, step="handbook written", result=measured)


def read_pods(plan: Plan, facts: DeploymentFacts, ports: Ports) -> JsonObject:
    """Replicas, image, resources and pools as they run."""
    live = ports.cluster.read("Deployment", plan.deployment)
    if live is None:
        raise UnsupportedDeployment(f"Deployment {plan.deployment} is gone")
    main = deployments.container(live, facts.container)
    pods = living(ports.cluster.list("Pod", facts.labels))
    return {
        "replicas": int(live["spec"].get("replicas", 1)),
        "ready": sum(deployments.is_ready(pod) for pod in pods),
        "image": main["image"],
        "strategy": (live["spec"].get("strategy") or {}).get("type", "RollingUpdate"),
        "resources": main.get("resources") or {},
        "connections_per_replica": to_pools([main]).most_per_process,
        "nodes": sorted({str(pod["spec"].get("nodeName") or "") for pod in pods}),
    }


def read_memory(facts: DeploymentFacts, ports: Ports) -> JsonObject:
    """What each pod uses now, as metrics-server has it."""
    if not ports.cluster.serves("metrics.k8s.io"):
        raise PermanentError("the cluster serves no metrics.k8s.io")
    found = ports.cluster.list("PodMetrics", facts.labels)
    if not found:
        raise PermanentError("metrics-server knows nothing of these pods yet")
    return {str(one["metadata"]["name"]): [_usage(c) for c in one["containers"]] for one in found}


def read_share(plan: Plan, facts: DeploymentFacts, ports: Ports) -> JsonObject:
    """Size of the claim, and how full its file system is, as a pod sees it."""
    claim = ports.cluster.read("PersistentVolumeClaim", plan.files_claim) or {}
    pod = next((pod for pod in ports.cluster.list("Pod", facts.labels) if deployments.is_ready(pod)), None)
    if pod is None:
        raise PermanentError("no pod is ready")
    command = ["python3", "-c", DISK_USAGE, facts.mount_path]
    done = ports.cluster.execute(str(pod["metadata"]["name"]), facts.container, command, timeout_seconds=30)
    if done.exit_code != 0:
        raise PermanentError(f"the pod could not say how full the share is: {done.stderr.strip()[-200:]}")
    total, used = json.loads(done.stdout)
    size = ((claim.get("status") or {}).get("capacity") or {}).get("storage", "")
    return {"claim": plan.files_claim, "size": size, "total_bytes": total, "used_bytes": used}


def read_server(address: DatabaseAddress, ports: Ports) -> JsonObject:
    """Limits of the database server, and `document_chunk`."""
    server, database = ports.server.read(), ports.databases.as_admin(address).read_facts(address.role)
    table = database.chunk_table
    return {
        "name": server.name,
        "sku": server.sku,
        "tier": server.tier,
        "version": database.version,
        "vector": database.extensions.get("vector", ""),
        "max_connections": database.limits.max_connections,
        "for_users": database.limits.for_users,
        "other_sessions": database.sessions,
        "rows": table.rows if table else 0,
        "column": f"{table.column_type}({table.dimension})" if table else "",
    }


def read_autoscaler(deployment: str, ports: Ports) -> JsonObject:
    """Its bounds; empty where there is none."""
    found = autoscaling.autoscalers_of(ports.cluster.list("HorizontalPodAutoscaler"), deployment)
    if not found:
        return {}
    spec = found[0]["spec"]
    because = deployments.annotations(found[0]).get(autoscaling.BECAUSE, "")
    return {"minimum": spec.get("minReplicas", 1), "maximum": spec["maxReplicas"], "because": because}


def read_nodes(ports: Ports) -> JsonObject:
    """What the nodes have for pods, all together."""
    found = [node["status"]["allocatable"] for node in ports.cluster.list("Node")]
    return {
        "count": len(found),
        "memory_bytes": round(sum(quantity(each["memory"]) for each in found)),
        "cores": round(sum(quantity(each["cpu"]) for each in found), 2),
    }


def _usage(container: Any) -> JsonObject:
    return {"container": container["name"], **container["usage"]}
