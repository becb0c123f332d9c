"""Each right of the identity, taken away on its own: the check names it, with the role or the grant that gives it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
from fix_azure import LocalAzure

from phases.reading import permissions
from phases.reading.problems import GRANTS, PERMISSIONS, Permission
from shared.adapters import composition
from shared.adapters.postgres import PostgresDatabases
from shared.model.migration import Options, Target
from shared.model.ports import Ports
from shared.model.settings import Settings

TARGET = Target(
    "00000000-0000-0000-0000-000000000001", "rg-webui", "aks-webui", "https://kv-webui.vault.azure.net", "pg-webui"
)
SERVER = "Microsoft.DBforPostgreSQL/flexibleServers"
LOAD_TEST_SECRET = f"Microsoft.KeyVault/vaults/secrets/getSecret/action {Options().load_test_secret}"
"""Roles are given secret by secret, so one may be readable and the other not."""


@dataclass
class Cluster:
    """`shared.model.ports.Cluster`, as far as the check asks it; may do everything but `denied`."""

    url: str = "postgresql://openwebui:x@127.0.0.1:1/openwebui"
    denied: list[Permission] = field(default_factory=list)

    def version(self) -> str:
        return "v1.36.0"

    def may(self, verb: str, resource: str, *, group: str = "", subresource: str = "", namespaced: bool = True) -> bool:
        return Permission(verb, resource, group, namespaced, subresource) not in self.denied

    def read(self, kind: str, name: str) -> dict[str, Any]:
        container = {"name": "web", "env": [{"name": "DATABASE_URL", "value": self.url}]}
        return {"spec": {"template": {"spec": {"containers": [container]}}}}


@pytest.fixture
def ports(azure: LocalAzure, database: Any) -> Ports:
    """Azure's unmodified clients against the local endpoints, and a real PostgreSQL as its administrator."""
    info = psycopg.conninfo.conninfo_to_dict(database.admin_url)
    made = composition.connector(Settings())(TARGET)
    login = PostgresDatabases(
        lambda: str(info["user"]), lambda: str(info["password"]), {"sslmode": "require"}, lambda address: address
    )
    return replace(made, cluster=Cluster(database.app_url), databases=_Databases(login, made.databases.verify_login))


@dataclass
class _Databases:
    """The vault is asked as the app asks it; the login is the local server's."""

    login: PostgresDatabases
    verify_login: Callable[[], None]

    def as_admin(self, address: Any) -> Any:
        return self.login.as_admin(address)


@pytest.fixture
def superuser(database: Any) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database.superuser_url, autocommit=True) as connection:
        yield connection


def refused(ports: Ports) -> list[permissions.Answer]:
    return [answer for answer in permissions.check(TARGET, ports) if answer.allowed is False]


def test_with_every_right_nothing_is_refused(ports: Ports) -> None:
    assert refused(ports) == []
    assert len(permissions.check(TARGET, ports)) == len(permissions.questions())


@pytest.mark.parametrize("permission", PERMISSIONS, ids=lambda p: f"{p.verb}-{p.kind}")
def test_each_verb_in_the_cluster(permission: Permission) -> None:
    cluster = Cluster(denied=[permission])
    [answer] = [
        found
        for group in permissions._groups()
        if (found := permissions._ask_kubernetes(cluster, group, permissions.Answer("", "", True, ""))).allowed is False
    ]
    assert answer.detail == f"may not {permission.verb}"
    assert permission.kind in answer.what
    assert answer.needs.endswith("namespace.yaml" if permission.namespaced else "cluster.yaml")


@pytest.mark.parametrize(
    ("action", "what", "needs"),
    [
        (f"{SERVER}/read", "read the database server and its parameters", "Scaleout database parameters"),
        (
            f"{SERVER}/configurations/read",
            "read the database server and its parameters",
            "Scaleout database parameters",
        ),
        ("Microsoft.KeyVault/vaults/secrets/getSecret/action", "read the administrator's password", "Secrets User"),
        (LOAD_TEST_SECRET, "read the credential of an administrator of Open WebUI", "Secrets User"),
    ],
)
def test_each_right_in_azure(ports: Ports, azure: LocalAzure, action: str, what: str, needs: str) -> None:
    azure.configure(denied=[action])
    answers = {answer.what.partition(" (")[0]: answer for answer in refused(ports)}
    assert what in answers
    assert needs in answers[what].needs
    assert "AuthorizationFailed" in answers[what].detail or "Forbidden" in answers[what].detail


def test_the_load_tests_secret_is_asked_for_and_stands_in_no_migrations_way(ports: Ports, azure: LocalAzure) -> None:
    azure.configure(denied=[LOAD_TEST_SECRET])
    answers = permissions.check(TARGET, ports)
    [answer] = [answer for answer in answers if answer.allowed is False]
    assert (answer.area, answer.only_for) == ("Key Vault", "load_test")
    assert f"secret {Options().load_test_secret}" in answer.detail
    assert permissions.missing(answers) == []


def test_a_load_tests_secret_that_is_not_there_is_no_refusal(ports: Ports) -> None:
    [answer] = [each for each in permissions.check(TARGET, ports, "another") if each.only_for]
    assert (answer.allowed, "does not exist" in answer.detail) == (None, True)


def test_the_right_to_fetch_the_kubeconfig(azure: LocalAzure) -> None:
    azure.configure(denied=["Microsoft.ContainerService/managedClusters/listClusterUserCredential/action"])
    answers = permissions.check(TARGET, composition.connector(Settings())(TARGET))
    [answer] = [answer for answer in answers if answer.allowed is False]
    assert answer.what == "fetch the cluster's kubeconfig and sign in"
    assert "Cluster User Role" in answer.needs
    assert {a.allowed for a in answers if a.area == "Kubernetes"} == {None}


@pytest.mark.parametrize(
    ("withdrawn", "given_back", "lost"),
    [
        (
            "revoke openwebui from scaleout_admin",
            "grant openwebui to scaleout_admin with admin true, inherit true, set true",
            {"act_for_application"},
        ),
        (
            "revoke azure_pg_admin from scaleout_admin",
            "grant azure_pg_admin to scaleout_admin with admin option",
            {"create_extension", "see_sessions"},
        ),
        (
            "revoke pg_read_all_stats, pg_monitor from azure_pg_admin",
            "grant pg_monitor to azure_pg_admin with admin option",
            {"see_sessions"},
        ),
        (
            "alter schema public owner to azuresu; revoke create on schema public from public",
            "alter schema public owner to pg_database_owner",
            {"application_creates"},
        ),
    ],
    ids=["openwebui", "azure_pg_admin", "pg_monitor", "public"],
)
def test_each_grant_in_postgresql(
    ports: Ports, superuser: psycopg.Connection[Any], database: Any, withdrawn: str, given_back: str, lost: set[str]
) -> None:
    whole = psycopg.conninfo.make_conninfo(database.superuser_url, dbname=database.name)
    with psycopg.connect(whole, autocommit=True) as there:
        there.execute(withdrawn)
        try:
            answers = {answer.what: answer.needs for answer in refused(ports)}
        finally:
            there.execute(given_back)
    for key in lost:
        what, needs = GRANTS[key]
        assert answers[what] == needs
    assert set(answers) <= {GRANTS[key][0] for key in (*lost, "create_in_database")}


def test_what_only_a_write_would_show_is_said_to_be_unknown(ports: Ports) -> None:
    [unknown] = [answer for answer in permissions.check(TARGET, ports) if answer.allowed is None]
    assert unknown.what == "write the parameter azure.extensions"
    assert "only a write would show it" in unknown.detail
