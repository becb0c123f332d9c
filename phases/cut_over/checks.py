"""Everything that could fail after the stop, tried before it. Lists all that is wrong at once."""

from typing import Any

from phases.cut_over.switch_plan import Plan
from shared.errors import ConfigurationError, MigrationError
from shared.kubernetes import deployments, redis_choice
from shared.kubernetes.container_environment import read_sources
from shared.kubernetes.environment_order import unexpanded
from shared.model.ports import Cluster, Manifest, Ports
from shared.names import Names
from shared.programs.redis_reach import trouble_with

NEEDED = (("patch", "deployments", "apps"), ("update", "deployments", "apps"), ("create", "jobs", "batch"))


def prepare(plan: Plan, live: Manifest, indexes: dict[str, Any], ports: Ports) -> Manifest:
    """Check again, try the switch without doing it, and return its patch; ConfigurationError lists every problem."""
    settings = [{"name": name, "value": value} for name, value in indexes["plan"]["settings"].items()]
    patch = deployments.switch_patch(live, plan.facts, plan.files_claim, (*plan.environment, *settings))
    problems = [*_cluster_problems(plan, live, ports.cluster), *_database_problems(plan, ports)]
    if not problems:
        problems = _refused(plan, live, patch, ports.cluster)
    if problems:
        raise ConfigurationError(
            f"Open WebUI was not stopped, because after the stop this would fail: {'; '.join(problems)}",
            hint="Put it right and plan again: what a rollback puts back must be what you have now.",
        )
    return patch


def _cluster_problems(plan: Plan, live: Manifest, cluster: Cluster) -> list[str]:
    names, problems = Names(plan.deployment, plan.run), []
    if deployments.spec_digest(live) != plan.facts.digest:
        problems.append(f"Deployment {plan.deployment} was changed after it was planned")
    claim = cluster.read("PersistentVolumeClaim", plan.files_claim) or {}
    if (claim.get("status") or {}).get("phase") != "Bound":
        problems.append(f"claim {plan.files_claim} is not bound")
    volume = cluster.read("PersistentVolume", plan.volume) if plan.volume else None
    if plan.volume and ((volume or {}).get("spec") or {}).get("persistentVolumeReclaimPolicy") != "Retain":
        problems.append(f"volume {plan.volume} is not set to Retain")
    if cluster.read("ConfigMap", names.code) is None:
        problems.append(f"the mover's ConfigMap {names.code} is gone")
    problems += [
        f"the identity may not {verb} {resource}"
        for verb, resource, group in NEEDED
        if not cluster.may(verb, resource, group=group)
    ]
    return problems + _missing_references(plan, cluster) + _redis_problems(plan, cluster, names)


def _missing_references(plan: Plan, cluster: Cluster) -> list[str]:
    """Secrets that only the new pod reads: without them it would wait in CreateContainerConfigError."""
    problems = []
    for entry in plan.environment:
        reference = (entry.get("valueFrom") or {}).get("secretKeyRef")
        held = (cluster.read("Secret", reference["name"]) or {}).get("data") or {} if reference else {}
        if reference and reference["key"] not in held:
            problems.append(f"Secret {reference['name']} has no key {reference['key']}")
    return problems


def _redis_problems(plan: Plan, cluster: Cluster, names: Names) -> list[str]:
    ours = any(entry.get("value") == redis_choice.url_of(names.redis) for entry in plan.environment)
    if not ours:
        return []
    serving = next((pod for pod in cluster.list("Pod", plan.facts.labels) if deployments.is_ready(pod)), None)
    if serving is None:
        return ["no pod of Open WebUI is ready"]
    trouble = trouble_with(
        cluster, str(serving["metadata"]["name"]), plan.facts.container, redis_choice.url_of(names.redis)
    )
    return [f"Redis ({names.redis}) does not answer the serving pod: {trouble}"] if trouble else []


def _database_problems(plan: Plan, ports: Ports) -> list[str]:
    """The table is Open WebUI's, and the server has room for its pools while the mover works."""
    facts = ports.databases.as_admin(plan.address).read_facts(plan.address.role)
    problems = []
    if facts.chunk_table is None or facts.chunk_table.owner != plan.address.role:
        problems.append("document_chunk is gone or has another owner")
    if not facts.ledger_exists:
        problems.append("the ledger (schema scaleout) is gone")
    free = facts.limits.for_users - facts.sessions
    if free < plan.connections:
        message = (
            f"PostgreSQL has {free} connections beside the {facts.sessions} of others, {plan.connections} are needed"
        )
        problems.append(message)
    return problems


def _refused(plan: Plan, live: Manifest, patch: Manifest, cluster: Cluster) -> list[str]:
    """What the API server says to the switch, quotas and admission webhooks included, and what it would make of it."""
    try:
        tried = cluster.patch("Deployment", plan.deployment, patch, dry_run=True)
    except MigrationError as error:
        return [error.message]
    mounted = deployments.volume_of_claim(tried, plan.files_claim)
    problems = [] if mounted == plan.facts.volume else [f"the switched Deployment would not mount {plan.files_claim}"]
    return problems + _variable_problems(plan, live, patch, tried, cluster)


def _variable_problems(plan: Plan, live: Manifest, patch: Manifest, tried: Manifest, cluster: Cluster) -> list[str]:
    """Whether the switched container's variables come out as they were sent, in that order, all references expanded."""
    before, after = (deployments.container(one, plan.facts.container) for one in (live, tried))
    sent = [e["name"] for e in deployments.container(patch, plan.facts.container)["env"] if "name" in e]
    held = [entry["name"] for entry in after.get("env") or []]
    if held != sent:
        return [f"the API server would make the variables {', '.join(held)} of {', '.join(sent)}"]
    sources = read_sources(cluster, after)
    already = unexpanded(before.get("env") or [], sources)
    missing = sorted(unexpanded(after.get("env") or [], sources) - already)
    return [f"variable {name} refers to {reference}, which nothing before it sets" for name, reference in missing]
