"""The database server: facts, parameters, and writes as long-running operations."""

import time
from collections.abc import Callable

import pytest
from fix_azure import SUBSCRIPTION, LocalAzure, Target

from shared.adapters import flexible_server
from shared.adapters.azure_credentials import credential
from shared.adapters.flexible_server import FlexibleServer
from shared.errors import ConfigurationError, PermanentError, PermissionMissing, TransientError


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flexible_server, "POLL_SECONDS", 0.05)


@pytest.fixture
def server(azure: LocalAzure, servers: Callable[..., str], request: pytest.FixtureRequest) -> FlexibleServer:
    name = servers(f"pg-{abs(hash(request.node.name))}", parameters={"azure.extensions": "UUID-OSSP"})
    return FlexibleServer(SUBSCRIPTION, "rg-webui", name, credential(None))


def of(target: Target) -> FlexibleServer:
    return FlexibleServer(target.subscription, target.group, target.server, target.credential)


def test_the_servers_facts_are_read(target: Target) -> None:
    facts = of(target).read_server()
    assert facts.name == target.server
    assert facts.fqdn
    assert facts.version.isdigit()
    assert facts.administrator_login
    assert facts.sku_name.startswith("Standard_")
    assert facts.tier in {"Burstable", "GeneralPurpose", "MemoryOptimized"}
    assert facts.state == "Ready"


def test_the_allow_list_is_a_dynamic_set(target: Target) -> None:
    parameter = of(target).read_parameter("azure.extensions")
    assert parameter.dynamic
    assert not parameter.read_only
    assert "vector" in parameter.allowed.lower().split(",")


def test_max_connections_needs_a_restart(target: Target) -> None:
    parameter = of(target).list_parameters(["max_connections"])["max_connections"]
    assert not parameter.dynamic
    assert int(parameter.value) >= 25


def test_a_parameter_that_does_not_exist_is_named(target: Target) -> None:
    with pytest.raises(ConfigurationError, match=r"parameter no\.such"):
        of(target).read_parameter("no.such")


def test_a_server_that_does_not_exist_is_named(target: Target) -> None:
    other = FlexibleServer(target.subscription, target.group, "no-such-server", target.credential)
    with pytest.raises(ConfigurationError, match=f"PostgreSQL server {target.group}/no-such-server"):
        other.read_server()


def test_burstable_tiers_have_no_pgbouncer(server: FlexibleServer) -> None:
    with pytest.raises(ConfigurationError, match=r"has no parameter pgbouncer\.enabled") as raised:
        server.list_parameters(["pgbouncer.enabled", "max_connections"])
    assert "General Purpose" in raised.value.hint


def test_general_purpose_has_pgbouncer_and_more_connections(azure: LocalAzure, servers: Callable[..., str]) -> None:
    name = servers("pg-large", sku={"name": "Standard_D2ds_v5", "tier": "GeneralPurpose"})
    found = FlexibleServer(SUBSCRIPTION, "rg-webui", name, credential(None)).list_parameters(
        ["pgbouncer.enabled", "max_connections"]
    )
    assert found["pgbouncer.enabled"].value == "false"
    assert found["max_connections"].value == "859"


def test_pgbouncer_is_turned_on_without_a_restart_and_shows_its_own_parameters_then(
    azure: LocalAzure, servers: Callable[..., str]
) -> None:
    name = servers("pg-pooled", sku={"name": "Standard_D2ds_v5", "tier": "GeneralPurpose"})
    server = FlexibleServer(SUBSCRIPTION, "rg-webui", name, credential(None))
    assert (server.read().pgbouncer, server.read().pgbouncer_port) == ("false", 6432)
    with pytest.raises(ConfigurationError, match="max_prepared_statements"):
        server.read_setting("pgbouncer.max_prepared_statements")
    assert server.write_setting("pgbouncer.enabled", "true")
    assert server.read().pgbouncer == "true"
    assert server.read_setting("pgbouncer.max_prepared_statements") == "0"
    assert server.write_setting("pgbouncer.max_prepared_statements", "200")


def test_a_server_without_pgbouncer_says_so(server: FlexibleServer) -> None:
    assert server.read().pgbouncer == ""


def test_what_acts_after_a_restart_only_is_said_when_it_is_written(server: FlexibleServer) -> None:
    assert not server.write_setting("max_connections", "60")
    assert server.read_parameter("max_connections").pending_restart


def test_a_write_holds_when_it_returns(server: FlexibleServer) -> None:
    assert server.read_parameter("azure.extensions").value == "UUID-OSSP"
    after = server.write_parameter("azure.extensions", "UUID-OSSP,VECTOR")
    assert after.value == "UUID-OSSP,VECTOR"
    assert not after.pending_restart
    assert server.read().allow_list == ("UUID-OSSP", "VECTOR")


def test_a_value_that_holds_already_is_not_written(azure: LocalAzure, server: FlexibleServer) -> None:
    server.write_parameter("azure.extensions", "uuid-ossp")
    assert azure.calls(changing=True) == []


def test_the_allow_list_is_written_whole(server: FlexibleServer) -> None:
    server.write_allow_list(["VECTOR"])
    assert server.read_parameter("azure.extensions").value == "VECTOR"


def test_a_busy_server_is_transient(azure: LocalAzure, server: FlexibleServer) -> None:
    azure.configure(**_with_slow_operations(azure, server.name))
    start = server._client.configurations.begin_update
    start("rg-webui", server.name, "work_mem", {"properties": {"value": "8192"}}, polling=False)
    with pytest.raises(TransientError, match="ServerIsBusy"):
        server.write_parameter("azure.extensions", "VECTOR")


def test_an_operation_that_takes_long_is_transient_and_holds_later(
    azure: LocalAzure, server: FlexibleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    azure.configure(**_with_slow_operations(azure, server.name))
    monkeypatch.setattr(flexible_server, "WAIT_SECONDS", 0.2)
    with pytest.raises(TransientError, match=r"takes over 0\.2 s"):
        server.write_parameter("azure.extensions", "VECTOR")
    with pytest.raises(TransientError, match="ServerIsBusy"):
        server.write_parameter("azure.extensions", "VECTOR")
    time.sleep(1.2)  # the change takes a second
    assert server.write_parameter("azure.extensions", "VECTOR").value == "VECTOR"
    assert sum(c["status"] == 202 and c["changes"] for c in azure.calls()) == 1


def test_a_static_parameter_waits_for_a_restart(server: FlexibleServer) -> None:
    after = server.write_parameter("max_connections", "100")
    assert after.value == "100"
    assert after.pending_restart


def test_a_read_only_parameter_is_refused_before_writing(azure: LocalAzure, server: FlexibleServer) -> None:
    with pytest.raises(ConfigurationError, match=r"ssl of PostgreSQL server .* is read-only"):
        server.write_parameter("ssl", "off")
    assert azure.calls(changing=True) == []


def test_a_value_that_is_not_allowed_is_refused(server: FlexibleServer) -> None:
    with pytest.raises(PermanentError, match="InvalidParameterValue"):
        server.write_parameter("azure.extensions", "NOT-AN-EXTENSION")


def test_a_failed_operation_is_reported_and_changes_nothing(azure: LocalAzure, server: FlexibleServer) -> None:
    world = _with_slow_operations(azure, server.name) | {"operation_seconds": 0.1}
    azure.configure(
        **world, faults=[{"match": "PATCH .*configurations", "action": "fail_operation", "code": "OperationFailed"}]
    )
    with pytest.raises(PermanentError, match="OperationFailed"):
        server.write_parameter("azure.extensions", "VECTOR")
    assert server.read_parameter("azure.extensions").value == "UUID-OSSP"


@pytest.mark.parametrize("action", ["read", "write"])
def test_a_refusal_names_the_permission(azure: LocalAzure, server: FlexibleServer, action: str) -> None:
    world = _with_slow_operations(azure, server.name)
    azure.configure(**world, denied=[f"Microsoft.DBforPostgreSQL/flexibleServers/configurations/{action}"])
    with pytest.raises(PermissionMissing, match="AuthorizationFailed") as raised:
        server.write_parameter("azure.extensions", "VECTOR")
    assert "configurations/write" in raised.value.hint


def test_a_grant_on_the_server_alone_is_enough(azure: LocalAzure, server: FlexibleServer) -> None:
    world = _with_slow_operations(azure, server.name) | {"operation_seconds": 0.3}
    azure.configure(**world, denied=["Microsoft.DBforPostgreSQL/locations/*"])
    assert server.write_parameter("azure.extensions", "VECTOR").value == "VECTOR"


def _with_slow_operations(azure: LocalAzure, name: str) -> dict[str, object]:
    servers = azure.world()["servers"] | {f"rg-webui/{name}": {"parameters": {"azure.extensions": "UUID-OSSP"}}}
    return {"servers": servers, "operation_seconds": 1.0}
