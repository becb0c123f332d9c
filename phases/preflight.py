"""Phase 0: read everything, change nothing.

Every reading that fails becomes a finding, so that one plan names all that is wrong. The mover inspects the Chroma
store from inside the serving pod: no Job, no object, nothing left behind. There is nothing to undo.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from phases.reading.problems import PERMISSIONS, deployment_problems, plan_problems, standing_problems, store_problems
from shared.errors import ConfigurationError, MigrationError, UnsupportedDeployment
from shared.kubernetes import claims, data_directory, deployments, pgbouncer, redis_choice
from shared.kubernetes.autoscaling import LARGEST
from shared.kubernetes.container_environment import names_with_value, read_database_address, read_variable
from shared.model.history_size import condensed_store
from shared.model.migration import Brief, Mode, Target
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import DatabaseAddress, DatabaseFacts, DeploymentFacts, Problem, Severity, StorageFacts, Survey
from shared.programs import mover_job
from shared.sizing.connection_budget import ConnectionBudget, Demand, ServerLimits, plan_budget
from shared.transfer.database_url import COMPOSED_FROM
from shared.wire import JsonObject

LARGEST_VECTOR = 2000
"""Beyond it Open WebUI needs halfvec. Source: facts §2."""
DEFAULT_DIMENSION = 1536
DEFAULT_VECTOR_DB = "chroma"
"""Source: Open WebUI 0.12, config.py, VECTOR_DB."""


DECISIVE = (*redis_choice.NAMES, *COMPOSED_FROM, "WEBUI_SECRET_KEY", "CHROMA_HTTP_HOST")
"""Variables whose being there decides something: an empty one is not there. Source: Open WebUI 0.12.4, env.py."""


@dataclass(slots=True)
class Findings:
    """Collects problems while reading goes on."""

    problems: list[Problem] = field(default_factory=list)

    def attempt[T](self, code: str, read: Callable[[], T]) -> T | None:
        """The reading, or None and a blocking problem."""
        try:
            return read()
        except MigrationError as error:
            self.problems.append(Problem(code, Severity.BLOCKING, error.message, error.hint))
            return None


def plan(brief: Brief, ports: Ports) -> Survey:
    """Read the world and say what stands in the way."""
    found = Findings()
    if brief.request.mode is Mode.PHASES:
        return _survey_what_stands(brief, ports, found)
    target, options = brief.request.target, brief.request.options
    deployment = found.attempt("deployment", lambda: read_deployment(ports.cluster, target))
    facts = (
        found.attempt("deployment", lambda: _describe(ports.cluster, deployment, target, target.disk_claim))
        if deployment
        else None
    )
    if deployment and facts:
        vector_db = found.attempt("vector_db", lambda: _vector_db(ports.cluster, deployment, facts))
        found.problems += deployment_problems(facts, vector_db or DEFAULT_VECTOR_DB)
        found.problems += found.attempt("mounts", lambda: _mount_problems(ports, deployment, facts, brief)) or []
    storage = found.attempt("storage", lambda: _read_storage(ports.cluster, brief))
    found.problems += _permission_problems(ports.cluster)
    found.attempt("secret", ports.databases.verify_login)
    server = found.attempt("server", ports.server.read)
    address = (
        found.attempt("database_url", lambda: _read_address(ports.cluster, deployment, facts, target))
        if facts
        else None
    )
    database = found.attempt("database", lambda: _read_database(ports, address)) if address else None
    survey = Survey(deployment=facts, address=address, database=database, server=server, storage=storage)
    if facts and facts.pod:
        survey = replace(survey, store=found.attempt("store", lambda: _inspect(ports.cluster, survey, facts)) or {})
    survey = _sized(survey, options.native_dimension)
    survey = replace(survey, pooler_port=pgbouncer.port_to_use(server, address, wanted=options.enable_pgbouncer))
    if database:
        survey = replace(survey, budget=_budget(database, brief, survey))
        limits, demand = _limits(database, survey), _demand(database, brief)
        found.problems += pgbouncer.advice(server, address, limits, demand, wanted=options.enable_pgbouncer)
    found.problems += store_problems(survey) + plan_problems(survey, brief.request)
    return replace(survey, problems=tuple(found.problems))


def _survey_what_stands(brief: Brief, ports: Ports, found: Findings) -> Survey:
    """For later phases on a migrated installation: it serves from the share, and no store is read."""
    target, cluster = brief.request.target, ports.cluster
    deployment = found.attempt("deployment", lambda: read_deployment(cluster, target))
    facts = (
        found.attempt("deployment", lambda: _describe(cluster, deployment, target, target.files_claim))
        if deployment
        else None
    )
    if deployment and facts:
        vector_db = found.attempt("vector_db", lambda: _vector_db(cluster, deployment, facts))
        found.problems += standing_problems(facts, vector_db or DEFAULT_VECTOR_DB)
    found.problems += _permission_problems(cluster)
    server = found.attempt("server", ports.server.read)
    address = (
        found.attempt("database_url", lambda: _read_address(cluster, deployment, facts, target)) if facts else None
    )
    database = found.attempt("database", lambda: _read_database(ports, address)) if address else None
    survey = Survey(tuple(found.problems), deployment=facts, address=address, database=database, server=server)
    return replace(survey, budget=_budget(database, brief, survey)) if database else survey


def read_deployment(cluster: Cluster, target: Target) -> Manifest:
    """The Deployment to migrate; ConfigurationError when there is none."""
    found = cluster.read("Deployment", target.deployment)
    if found is None:
        raise ConfigurationError(
            f"there is no Deployment {target.deployment!r} in namespace {target.namespace!r}",
            hint=f"kubectl get deployments -n {target.namespace}; then correct target.deployment or target.namespace.",
        )
    return found


def _describe(cluster: Cluster, deployment: Manifest, target: Target, claim: str) -> DeploymentFacts:
    labels = deployment["spec"]["selector"].get("matchLabels") or {}
    main = data_directory.main_container(deployment, claim)
    if main is None:
        mounting = [str(one["name"]) for one in data_directory.containers_with(deployment, claim)]
        if mounting:
            raise UnsupportedDeployment(
                f"containers {', '.join(mounting)} mount the claim {claim!r}: which one is Open WebUI cannot be told",
                hint="Exactly one of them must have an image with open-webui in its name.",
            )
        raise ConfigurationError(
            f"no container of Deployment {target.deployment} mounts the claim {claim!r}",
            hint="Correct target.disk_claim (after the migration target.files_claim): what holds the data directory.",
        )
    names = names_with_value(cluster, main, DECISIVE)
    data_dir = read_variable(cluster, main, "DATA_DIR") or data_directory.DEFAULT_DATA_DIR
    pods = cluster.list("Pod", labels)
    facts = deployments.describe(deployment, claim, pods, data_dir=data_dir, environment=names)
    if facts is None:
        raise UnsupportedDeployment(
            f"Open WebUI's data directory {data_dir} does not lie on the claim {claim!r}",
            hint=f"Mount the claim at {data_dir}, or correct DATA_DIR or target.disk_claim: vector_db must be on it.",
        )
    return facts


def _vector_db(cluster: Cluster, deployment: Manifest, facts: DeploymentFacts) -> str:
    main = deployments.container(deployment, facts.container)
    return read_variable(cluster, main, "VECTOR_DB") or DEFAULT_VECTOR_DB


def _mount_problems(ports: Ports, deployment: Manifest, facts: DeploymentFacts, brief: Brief) -> list[Problem]:
    """Unusual mounts, in the Deployment and beside it."""
    target, options, cluster = brief.request.target, brief.request.options, ports.cluster
    claim, main = target.disk_claim, deployments.container(deployment, facts.container)
    place = data_directory.locate(deployment, claim, main, facts.mount_path)
    storage_class = cluster.read("StorageClass", options.storage_class) or {}
    keeps_owner = (storage_class.get("parameters") or {}).get("protocol") == "nfs"
    problems = data_directory.mount_problems(deployment, claim, main, place, keeps_owner=keeps_owner) if place else []
    others = [
        found
        for name in data_directory.claims_of_replicas(deployment, claim)
        if name != target.files_claim and (found := cluster.read("PersistentVolumeClaim", name))
    ]
    problems += data_directory.shared_claim_problems(others, options.replicas)
    if users := data_directory.other_users(cluster.list("Pod"), claim, facts.labels):
        message = (
            f"other pods mount the disk: {', '.join(users)}; Chroma has one writer, and the switch leaves them behind"
        )
        hint = "Stop them before you migrate, unless they only read."
        problems.append(Problem("other_users", Severity.WARNING, message, hint))
    return problems


def _read_storage(cluster: Cluster, brief: Brief) -> StorageFacts:
    target, options = brief.request.target, brief.request.options
    claim = cluster.read("PersistentVolumeClaim", target.disk_claim)
    if claim is None:
        raise ConfigurationError(
            f"there is no claim {target.disk_claim!r} in namespace {target.namespace!r}",
            hint=f"kubectl get pvc -n {target.namespace}; then correct target.disk_claim.",
        )
    files = cluster.read("PersistentVolumeClaim", target.files_claim)
    name = claim["spec"].get("volumeName") or ""
    volume = cluster.read("PersistentVolume", name) if name else None
    unused = options.unused_storage_class
    return StorageFacts(
        volume=name,
        reclaim_policy=(volume or {}).get("spec", {}).get("persistentVolumeReclaimPolicy", ""),
        size=claim["spec"]["resources"]["requests"]["storage"],
        storage_class=claim["spec"].get("storageClassName") or "",
        files_claim_exists=files is not None,
        going=tuple(one["metadata"]["name"] for one in (claim, files) if one and claims.is_going(one)),
        target_class_exists=cluster.read("StorageClass", options.storage_class) is not None,
        unused_class_exists=bool(unused) and cluster.read("StorageClass", unused) is not None,
    )


def _permission_problems(cluster: Cluster) -> list[Problem]:
    missing = [permission for permission in PERMISSIONS if not permission.held(cluster)]
    if not missing:
        return []
    listed = ", ".join(f"{p.verb} {p.kind}" for p in missing)
    hint = "kubectl apply -f infra/kubernetes/rbac, with the identity's object id filled in."
    return [Problem("permissions", Severity.BLOCKING, f"the identity may not: {listed}", hint)]


def _read_address(
    cluster: Cluster, deployment: Manifest | None, facts: DeploymentFacts, target: Target
) -> DatabaseAddress:
    """Where DATABASE_URL points. The URL holds the password, so only its address leaves this function."""
    address = read_database_address(cluster, deployments.container(deployment or {}, facts.container))
    if address is None:
        raise ConfigurationError(
            f"container {facts.container} has no PostgreSQL DATABASE_URL",
            hint="Move Open WebUI's application data to PostgreSQL first: several replicas cannot share SQLite.",
        )
    if address.name != target.database:
        raise ConfigurationError(
            f"DATABASE_URL points at database {address.name!r}, but the request says {target.database!r}",
            hint="Correct target.database.",
        )
    return address


def _read_database(ports: Ports, address: DatabaseAddress) -> DatabaseFacts:
    return ports.databases.as_admin(address).read_facts(address.role)


def _inspect(cluster: Cluster, survey: Survey, facts: DeploymentFacts) -> JsonObject:
    table = survey.database.chunk_table if survey.database else None
    dimension = table.dimension if table else DEFAULT_DIMENSION
    arguments = ["inspect", "--data", facts.mount_path, "--database", "--column-dimension", str(dimension)]
    return condensed_store(mover_job.run_in_pod(cluster, facts, arguments, timeout_seconds=600))


def _sized(survey: Survey, native: bool) -> Survey:
    """Choose the column: as it is found, as wide as the embeddings when asked, else Open WebUI's default."""
    table = survey.database.chunk_table if survey.database else None
    widest = int((survey.store.get("chroma") or {}).get("widest_dimension") or 0)
    dimension = table.dimension if table else (widest if native and widest else DEFAULT_DIMENSION)
    half = table.column_type == "halfvec" if table else dimension > LARGEST_VECTOR
    return replace(survey, column_dimension=dimension, half_precision=half)


def _budget(database: DatabaseFacts, brief: Brief, survey: Survey) -> ConnectionBudget:
    return plan_budget(_limits(database, survey), _demand(database, brief))


def _limits(database: DatabaseFacts, survey: Survey) -> ServerLimits:
    """The server's own, with what Azure says of it, and whether Open WebUI comes through PgBouncer."""
    limits, server = database.limits, survey.server
    pooled = bool(survey.pooler_port or (survey.address and survey.address.pooled))
    return replace(limits, sku=server.sku, tier=server.tier, pgbouncer=pooled) if server else limits


def _demand(database: DatabaseFacts, brief: Brief) -> Demand:
    options = brief.request.options
    return Demand(
        replicas=options.replicas,
        autoscaler_maximum=LARGEST if options.autoscaling else None,
        mover_connections=options.workers,
        other_connections=database.sessions,
    )
