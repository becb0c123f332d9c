"""What the app's identity may and may not do, asked and not tried: nothing is written, whatever the answers are.

Kubernetes answers for every verb that the phases use (SelfSubjectAccessReview). Azure and the key vault are read where
the app reads them. PostgreSQL tells which privileges the login holds. What only a write would show is left as not
known. The preflight asks the same, and refuses to start while an answer is no.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from phases.reading.problems import GRANTS, PERMISSIONS, Permission
from shared.errors import ConfigurationError, MigrationError, PermissionMissing
from shared.kubernetes import deployments
from shared.kubernetes.container_environment import read_database_address
from shared.model.migration import Options, Target
from shared.model.ports import Cluster, Ports
from shared.model.survey import DatabaseAddress

NAMESPACE_ROLE = "the custom role Scaleout namespace, or infra/kubernetes/rbac/namespace.yaml"
CLUSTER_ROLE = "the custom role Scaleout cluster, or infra/kubernetes/rbac/cluster.yaml"


@dataclass(frozen=True, slots=True)
class Question:
    """`needs`: the role or grant that lets the identity do it."""

    area: str
    what: str
    needs: str
    only_for: str = ""
    """The option that wants it; empty: every migration does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`allowed`: None where it could not be asked; `detail` says why not."""

    area: str
    what: str
    allowed: bool | None
    needs: str
    detail: str = ""
    only_for: str = ""


LOGIN = Question(
    "Azure", "fetch the cluster's kubeconfig and sign in", "Azure Kubernetes Service Cluster User Role on the cluster"
)
SERVER = Question(
    "Azure", "read the database server and its parameters", "the custom role Scaleout database parameters on the server"
)
ALLOW_LIST = Question("Azure", "write the parameter azure.extensions", SERVER.needs)
SECRET = Question(
    "Key Vault",
    "read the administrator's password (with Entra login: get a token)",
    "Key Vault Secrets User on the secret",
)
LOAD_TEST = Question(
    "Key Vault",
    "read the credential of an administrator of Open WebUI (only for options.load_test)",
    "Key Vault Secrets User on that secret: secretNames in infra/main.bicep (docs/load-test.md)",
    only_for="load_test",
)
DATABASE = Question(
    "PostgreSQL", "sign in to Open WebUI's database", "the administrator's login, and a firewall that lets the app in"
)
ONLY_A_WRITE = "only a write would show it; the same role gives reading and writing"


def questions() -> list[Question]:
    """All of them, in the order in which they are asked."""
    kubernetes = [_kubernetes_question(group) for group in _groups()]
    return [LOGIN, *kubernetes, SERVER, ALLOW_LIST, SECRET, LOAD_TEST, DATABASE, *_grants().values()]


def missing(answers: Iterable[Answer]) -> list[str]:
    """Roles and grants that a migration lacks; what only an option wants does not stand in its way."""
    return sorted({each.needs for each in answers if each.allowed is False and not each.only_for})


def check(target: Target, ports: Ports, load_test_secret: str = Options().load_test_secret) -> list[Answer]:
    """Ask everything; an answer that cannot be had hides no other."""
    login = _ask(LOGIN, ports.cluster.version)
    server = _ask(SERVER, ports.server.read)
    secret = _ask(SECRET, ports.databases.verify_login)
    write = False if server.allowed is False else None
    kubernetes = [_ask_kubernetes(ports.cluster, group, login) for group in _groups()]
    return [
        login,
        *kubernetes,
        server,
        _answer(ALLOW_LIST, write, ONLY_A_WRITE),
        secret,
        _ask(LOAD_TEST, lambda: ports.secrets.read(load_test_secret)),
        *_ask_database(target, ports, (login, server, secret)),
    ]


def _ask(question: Question, read: Callable[[], object]) -> Answer:
    try:
        read()
    except PermissionMissing as error:
        return _answer(question, False, error.message)
    except MigrationError as error:
        return _answer(question, None, f"{error.message} {error.hint}".strip())
    return _answer(question, True)


def _answer(question: Question, allowed: bool | None, detail: str = "") -> Answer:
    return Answer(question.area, question.what, allowed, question.needs, detail, question.only_for)


def _grants() -> dict[str, Question]:
    return {key: Question("PostgreSQL", what, needs) for key, (what, needs) in GRANTS.items()}


def _groups() -> Iterator[list[Permission]]:
    """The verbs of one resource together."""
    found: dict[tuple[str, str], list[Permission]] = {}
    for permission in PERMISSIONS:
        found.setdefault((permission.group, permission.kind), []).append(permission)
    yield from found.values()


def _kubernetes_question(group: list[Permission]) -> Question:
    """In kubectl's words: a kind of an added group carries it, such as pods.metrics.k8s.io."""
    verbs, first = ", ".join(permission.verb for permission in group), group[0]
    kind = f"{first.kind}.{first.group}" if "." in first.group else first.kind
    return Question("Kubernetes", f"{verbs} {kind}", NAMESPACE_ROLE if first.namespaced else CLUSTER_ROLE)


def _ask_kubernetes(cluster: Cluster, group: list[Permission], login: Answer) -> Answer:
    question = _kubernetes_question(group)
    if not login.allowed:
        return _answer(question, None, "the cluster could not be asked")

    def ask() -> None:
        if missing := ", ".join(p.verb for p in group if not p.held(cluster)):
            raise PermissionMissing(f"may not {missing}")

    return _ask(question, ask)


def _ask_database(target: Target, ports: Ports, needed: tuple[Answer, ...]) -> list[Answer]:
    """Its address is in the cluster, its administrator's name in Azure and the password in the vault."""
    grants: dict[str, bool] = {}

    def read() -> None:
        address = _address(ports.cluster, target)
        grants.update(ports.databases.as_admin(address).read_facts(address.role).grants)

    login = _ask(DATABASE, read)
    if not all(answer.allowed for answer in needed):
        login = _answer(DATABASE, None, login.detail)
    why = "" if login.allowed else "the database could not be asked"
    return [login, *(_answer(question, grants.get(key), why) for key, question in _grants().items())]


def _address(cluster: Cluster, target: Target) -> DatabaseAddress:
    found = cluster.read("Deployment", target.deployment)
    containers = deployments.pod_spec(found)["containers"] if found else []
    addresses = (read_database_address(cluster, container) for container in containers)
    if (address := next((a for a in addresses if a), None)) is None:
        raise ConfigurationError(f"Deployment {target.deployment} names no PostgreSQL in DATABASE_URL")
    return address
