"""Put a setting on Open WebUI's Deployment for a trial, and put back what was there. Every call is idempotent.

An autoscaler keeps the replica count, so it is held at the trial's by its own bounds (source: facts §7). Pools are
variables, so changing them replaces the pods one after the other.
"""

from collections.abc import Mapping

from shared.errors import UnsupportedDeployment
from shared.guard.workload import to_pods, to_pools
from shared.kubernetes import autoscaling, deployments
from shared.kubernetes.environment_order import replacing
from shared.load_test.record import Before
from shared.load_test.stepping import Setting
from shared.model.ports import Cluster, Manifest
from shared.model.survey import DeploymentFacts

POOLS = ("DATABASE_POOL_SIZE", "DATABASE_POOL_MAX_OVERFLOW", "PGVECTOR_POOL_SIZE", "PGVECTOR_POOL_MAX_OVERFLOW")


def read(cluster: Cluster, name: str, facts: DeploymentFacts) -> Before:
    """What stands now."""
    live = read_deployment(cluster, name)
    main = deployments.container(live, facts.container)
    replicas = int(live["spec"].get("replicas", 1))
    entries = (deployments.environment_entry(main, variable) for variable in POOLS)
    before = Before(
        replicas=replicas,
        connections=to_pools([main]).most_per_process,
        surge=to_pods(live["spec"].get("strategy") or {}, replicas),
        variables=tuple(entry for entry in entries if entry),
    )
    scaler = _autoscaler(cluster, name)
    if scaler is None:
        return before
    spec = scaler["spec"]
    return Before(
        before.replicas,
        before.connections,
        before.surge,
        before.variables,
        scaler["metadata"]["name"],
        int(spec.get("minReplicas", 1)),
        int(spec["maxReplicas"]),
    )


def put(cluster: Cluster, name: str, facts: DeploymentFacts, before: Before, setting: Setting) -> bool:
    """Ask for the setting; True when the Deployment has it and all its pods are ready."""
    if setting.connections == before.connections:
        variables: Mapping[str, Manifest] = {entry["name"]: entry for entry in before.variables}
    else:
        values = setting.pools.as_environment()
        variables = {variable: {"name": variable, "value": value} for variable, value in values.items()}
    _hold(cluster, before, setting.replicas, setting.replicas)
    return _arrange(cluster, name, facts, setting.replicas, variables)


def put_back(cluster: Cluster, name: str, facts: DeploymentFacts, before: Before) -> bool:
    """Ask for what stood before; True when the Deployment has it and all its pods are ready."""
    _hold(cluster, before, before.minimum, before.maximum)
    return _arrange(cluster, name, facts, before.replicas, {entry["name"]: entry for entry in before.variables})


def read_deployment(cluster: Cluster, name: str) -> Manifest:
    live = cluster.read("Deployment", name)
    if live is None:
        raise UnsupportedDeployment(f"Deployment {name} is gone", hint="Create it again from your manifests.")
    return live


def _hold(cluster: Cluster, before: Before, minimum: int, maximum: int) -> None:
    if not before.autoscaler:
        return
    live = cluster.read("HorizontalPodAutoscaler", before.autoscaler)
    bounds = {"minReplicas": minimum, "maxReplicas": maximum}
    if live is not None and not bounds.items() <= live["spec"].items():
        cluster.patch("HorizontalPodAutoscaler", before.autoscaler, {"spec": bounds})


def _arrange(
    cluster: Cluster, name: str, facts: DeploymentFacts, replicas: int, variables: Mapping[str, Manifest]
) -> bool:
    live = read_deployment(cluster, name)
    main = deployments.container(live, facts.container)
    wrong = [v for v in POOLS if _plain(deployments.environment_entry(main, v)) != _plain(variables.get(v))]
    if wrong:
        wanted = [variables[variable] for variable in wrong if variable in variables]
        env = replacing(main.get("env") or [], wanted, removed=[v for v in wrong if v not in variables])
        containers = [{"name": facts.container, "env": env}]
        cluster.patch("Deployment", name, {"spec": {"template": {"spec": {"containers": containers}}}})
    if int(live["spec"].get("replicas", 1)) != replicas:
        cluster.scale(name, replicas)
        return False
    return not wrong and deployments.is_settled(live, replicas)


def _plain(entry: Manifest | None) -> Manifest | None:
    """Without what the server fills in."""
    return {key: value for key, value in entry.items() if value} if entry else None


def _autoscaler(cluster: Cluster, name: str) -> Manifest | None:
    found = autoscaling.autoscalers_of(cluster.list("HorizontalPodAutoscaler"), name)
    return found[0] if found else None
