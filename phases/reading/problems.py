"""What the preflight makes of its readings. Pure: facts in, problems out."""

from dataclasses import dataclass

from shared.model.migration import MigrationRequest
from shared.model.ports import Cluster
from shared.model.survey import DeploymentFacts, Problem, Severity, Survey


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that the phases do with the Kubernetes API."""

    verb: str
    resource: str
    group: str = ""
    namespaced: bool = True
    subresource: str = ""

    @property
    def kind(self) -> str:
        """As RBAC names it, such as `pods/exec`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    def held(self, cluster: Cluster) -> bool:
        return cluster.may(
            self.verb, self.resource, group=self.group, subresource=self.subresource, namespaced=self.namespaced
        )


PERMISSIONS = (
    *(Permission(verb, "deployments", "apps") for verb in ("get", "create", "patch", "update", "delete")),
    *(Permission(verb, "jobs", "batch") for verb in ("get", "list", "create", "patch", "delete")),
    *(Permission(verb, "persistentvolumeclaims") for verb in ("get", "create", "patch", "delete")),
    *(Permission(verb, "configmaps") for verb in ("get", "create", "patch", "delete")),
    *(Permission(verb, "secrets") for verb in ("get", "create", "patch", "delete")),
    *(Permission(verb, "services") for verb in ("get", "create", "patch", "delete")),
    *(Permission(verb, "poddisruptionbudgets", "policy") for verb in ("get", "create", "patch", "delete")),
    *(Permission(verb, "horizontalpodautoscalers", "autoscaling") for verb in ("get", "list", "create", "patch")),
    Permission("delete", "horizontalpodautoscalers", "autoscaling"),
    Permission("list", "pods", "metrics.k8s.io"),
    *(Permission(verb, "pods") for verb in ("get", "list")),
    *(Permission(verb, "pods", subresource="exec") for verb in ("get", "create")),
    Permission("get", "pods", subresource="log"),
    Permission("patch", "deployments", "apps", subresource="scale"),
    Permission("get", "persistentvolumes", namespaced=False),
    Permission("patch", "persistentvolumes", namespaced=False),
    Permission("get", "storageclasses", "storage.k8s.io", namespaced=False),
)
"""Checked before anything is changed; the roles in infra/kubernetes/rbac grant exactly these."""

SNAPSHOT_GROUP = "snapshot.storage.k8s.io"
SNAPSHOT_PERMISSIONS = (
    Permission("list", "volumesnapshotclasses", SNAPSHOT_GROUP, namespaced=False),
    *(Permission(verb, "volumesnapshots", SNAPSHOT_GROUP) for verb in ("get", "list", "create", "patch", "delete")),
)
"""Wanted, not needed: without them no snapshot is taken, and the plan says so. Azure has no data actions for these
kinds, so where Azure decides in the cluster only Kubernetes' own roles can grant them."""

GRANTS = {
    "create_in_database": (
        "create a schema in the database",
        'GRANT CREATE ON DATABASE "<database>" TO <the administrator>;',
    ),
    "create_extension": ("create extensions", "a login that is a member of azure_pg_admin"),
    "act_for_application": (
        "lock and drop what Open WebUI's role owns",
        "GRANT <Open WebUI's role> TO <the administrator>;",
    ),
    "application_creates": (
        "Open WebUI's role: create and own document_chunk",
        "GRANT USAGE, CREATE ON SCHEMA public TO <Open WebUI's role>;",
    ),
    "see_sessions": ("see every session (the health guard)", "GRANT pg_read_all_stats TO <the administrator>;"),
}
"""Privilege in PostgreSQL → what it is for, and how it is given. `DatabaseFacts.grants` says which are held."""

NEEDED_TO_MIGRATE = ("create_in_database", "create_extension", "act_for_application", "application_creates")

KNOWN_VERSION = "0.12"

POLICIES = {
    "clean": "They are copied without it, and listed in the report.",
    "keep_out": "They are left out of the copy and listed in the report; the old store keeps them.",
    "stop": "Settle it in Open WebUI, then plan again.",
}
"""The mover's policies for rows that cannot be copied as they are, as a person would say them."""


def deployment_problems(facts: DeploymentFacts, vector_db: str) -> list[Problem]:
    """What in the Deployment itself stands in the way. `vector_db`: VECTOR_DB, wherever it is set."""
    problems = []
    if vector_db == "pgvector":
        message = "Open WebUI already uses PGVector (VECTOR_DB=pgvector)"
        problems.append(Problem("already_migrated", Severity.BLOCKING, message, "There is nothing to migrate."))
    elif vector_db != "chroma":
        message = f"Open WebUI keeps its vectors in {vector_db}, not in Chroma"
        problems.append(Problem("not_chroma", Severity.BLOCKING, message, "Only Chroma's own files can be read."))
    if "CHROMA_HTTP_HOST" in facts.environment:
        message = "Open WebUI uses a Chroma server of its own (CHROMA_HTTP_HOST), so its vectors are not in vector_db"
        problems.append(Problem("chroma_server", Severity.BLOCKING, message, "Only Chroma's own files can be read."))
    if not facts.pod:
        message = "no pod of the Deployment is ready, so its store cannot be inspected"
        hint = "kubectl get pods, and bring Open WebUI back to one ready replica."
        problems.append(Problem("not_serving", Severity.BLOCKING, message, hint))
    if facts.replicas > 1:
        message = f"the Deployment runs {facts.replicas} replicas on one Chroma store"
        problems.append(Problem("replicas", Severity.BLOCKING, message, "Scale it to 1 first: Chroma has one writer."))
    tag = facts.image.rpartition(":")[2]
    if KNOWN_VERSION not in tag:
        message = f"image {facts.image} is not the Open WebUI {KNOWN_VERSION} that this was proven with"
        problems.append(Problem("version", Severity.WARNING, message, "Rehearse with this image before you migrate."))
    if "WEBUI_SECRET_KEY" not in facts.environment:
        message = "WEBUI_SECRET_KEY is not set: a shared one is made, and users sign in once more after the switch"
        problems.append(Problem("secret_key", Severity.WARNING, message))
    return problems


def standing_problems(facts: DeploymentFacts, vector_db: str) -> list[Problem]:
    """What stands in the way of adding later phases: they need an Open WebUI that has been migrated."""
    problems = []
    if vector_db != "pgvector":
        message = f"Open WebUI keeps its vectors in {vector_db}: it has not been migrated"
        hint = 'Migrate first, with {"mode": "migrate"}; its options can ask for the later phases too.'
        problems.append(Problem("not_migrated", Severity.BLOCKING, message, hint))
    if not facts.pod:
        hint = "kubectl get pods, and bring Open WebUI back to its ready replicas."
        problems.append(Problem("not_serving", Severity.BLOCKING, "no pod of the Deployment is ready", hint))
    return problems


def store_problems(survey: Survey) -> list[Problem]:
    """What the mover found in the store, in its own words."""
    return [
        Problem(
            code=str(found.get("code", "store")),
            severity=Severity(found.get("severity", "warning")),
            message=str(found.get("message", "")),
            hint=POLICIES.get(str(found.get("policy")), str(found.get("policy") or "")),
            ids=tuple(str(i) for i in found.get("ids") or []),
        )
        for found in survey.store.get("problems") or []
    ]


def plan_problems(survey: Survey, request: MigrationRequest) -> list[Problem]:
    """What does not fit together: server, budget, classes, request."""
    return [*_server_problems(survey), *_budget_problems(survey), *_storage_problems(survey, request)]


def _server_problems(survey: Survey) -> list[Problem]:
    database, problems = survey.database, []
    if database and "vector" not in database.available_extensions:
        message = f"PostgreSQL {database.version} does not offer the extension vector"
        hint = "Use a Flexible Server version that offers pgvector."
        problems.append(Problem("no_pgvector", Severity.BLOCKING, message, hint))
    if database:
        lacking = [key for key in NEEDED_TO_MIGRATE if database.grants.get(key) is False]
        problems += [_lacks(GRANTS[key]) for key in lacking]
    table, address = (database.chunk_table, survey.address) if database else (None, None)
    if table and address and table.owner != address.role:
        message = f"document_chunk belongs to {table.owner}, but Open WebUI connects as {address.role} and must own it"
        hint = f'ALTER TABLE document_chunk OWNER TO "{address.role}";'
        problems.append(Problem("owner", Severity.BLOCKING, message, hint))
    if table and table.rows:
        message = f"document_chunk already holds {table.rows:,} rows; they are kept"
        problems.append(Problem("rows_present", Severity.NOTE, message))
    return problems


def _lacks(grant: tuple[str, str]) -> Problem:
    what, needs = grant
    return Problem("grants", Severity.BLOCKING, f"the database login may not: {what}", needs)


def _budget_problems(survey: Survey) -> list[Problem]:
    budget = survey.budget
    if budget is None or budget.sufficient:
        return []
    remedy = f"Change to {budget.recommended_sku}" if budget.recommended_sku else "Choose a larger server"
    hint = f"{remedy}, or ask for fewer replicas (options.replicas)."
    return [Problem("connections", Severity.BLOCKING, budget.reason, hint)]


def _storage_problems(survey: Survey, request: MigrationRequest) -> list[Problem]:
    storage, problems = survey.storage, []
    if storage and not storage.target_class_exists:
        message = f"there is no StorageClass {request.options.storage_class!r}"
        hint = "kubectl get storageclass; then set options.storage_class to one of Azure Files (RWX)."
        problems.append(Problem("storage_class", Severity.BLOCKING, message, hint))
    if storage and not storage.volume:
        message = f"the claim {request.target.disk_claim} is not bound to a volume"
        problems.append(Problem("unbound", Severity.BLOCKING, message, "kubectl describe pvc shows why."))
    for claim in storage.going if storage else ():
        message = f"the claim {claim} was deleted and goes as soon as no pod mounts it"
        hint = (
            f"kubectl describe pvc {claim} names the pods; let it go and make it anew, on the same volume if need be."
        )
        problems.append(Problem("claim_going", Severity.BLOCKING, message, hint))
    if storage and storage.files_claim_exists:
        message = f"the claim {request.target.files_claim} is there already and is used as it is"
        problems.append(Problem("files_claim", Severity.NOTE, message))
    return problems
