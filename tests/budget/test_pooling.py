"""PgBouncer: when the plan speaks of it, where Open WebUI is led, and what phase 1 changes and puts back."""

import base64
from dataclasses import dataclass, field, replace

import pytest

from local.kubernetes.api_server.strategic_merge import strategic_merge_patch
from local.kubernetes.model.kinds import PODS
from local.kubernetes.model.schema import schema_of
from phases.cut_over.switch_plan import decide_environment
from phases.enable_pgvector import Plan, pooler
from shared.errors import ConfigurationError
from shared.kubernetes.container_environment import read_database_address
from shared.kubernetes.environment_order import replacing
from shared.kubernetes.pgbouncer import DIRECT_PORT_VARIABLE, advice, direct, port_to_use, refused_parameters, through
from shared.model.migration import Brief, MigrationRequest, Target
from shared.model.survey import DatabaseAddress, DeploymentFacts, ServerFactsBrief, Severity, Survey
from shared.names import Names
from shared.sizing.connection_budget import Demand, ServerLimits, plan_budget
from shared.wire import from_wire, to_wire

GENERAL = ServerFactsBrief("db", "17", "Standard_D2ds_v5", "GeneralPurpose", (), "false", 6432)
ALREADY = replace(GENERAL, pgbouncer="true")
BURSTABLE = ServerFactsBrief("db", "17", "Standard_B1ms", "Burstable", (), "", 6432)
ADDRESS = DatabaseAddress("db.postgres.database.azure.com", 5432, "openwebui", "webui")
LIMITS = ServerLimits(859, 5, 10, "Standard_D2ds_v5", "GeneralPurpose")
CROWDED = Demand(20, other_connections=700)
URL = "postgresql://webui:p%40ss@db.postgres.database.azure.com:5432/openwebui?sslmode=require"
NAMES = Names("open-webui", "open-webui-0001")


def said(server, demand, *, wanted, address=ADDRESS):
    limits = replace(LIMITS, sku=server.sku, tier=server.tier)
    return advice(server, address, limits, demand, wanted=wanted)


def test_it_is_proposed_with_figures_where_direct_connections_do_not_suffice():
    [problem] = said(GENERAL, CROWDED, wanted=False)
    assert problem.severity is Severity.WARNING
    assert problem.message.startswith("directly only ")
    assert "through PgBouncer 20 do, sharing 50 server connections, with 45 client connections each" in problem.message
    assert "options.enable_pgbouncer" in problem.hint


def test_nothing_is_said_where_direct_connections_suffice():
    assert said(GENERAL, Demand(3), wanted=False) == []


def test_it_is_said_what_it_will_do_where_it_was_asked_for():
    [problem] = said(GENERAL, CROWDED, wanted=True)
    assert problem.severity is Severity.NOTE
    assert "is turned on, without a restart" in problem.message
    assert "port 6432" in problem.message
    [problem] = said(ALREADY, CROWDED, wanted=True)
    assert "is on already" in problem.message


def test_a_burstable_server_has_none_and_asking_for_it_stops_the_plan():
    [problem] = said(BURSTABLE, CROWDED, wanted=True)
    assert problem.severity is Severity.BLOCKING
    assert "(Standard_B1ms, Burstable) has no PgBouncer" in problem.message
    assert said(BURSTABLE, CROWDED, wanted=False) == []


def test_a_url_that_leads_to_it_already_stays_as_it_is():
    pooled = direct(replace(ADDRESS, port=6432), None)
    assert (pooled.port, pooled.pooled) == (5432, True)
    [problem] = said(ALREADY, CROWDED, wanted=True, address=pooled)
    assert problem.severity is Severity.NOTE
    assert port_to_use(ALREADY, pooled, wanted=True) == 0


@pytest.mark.parametrize(
    ("server", "wanted", "port"),
    [(GENERAL, True, 6432), (ALREADY, True, 6432), (GENERAL, False, 0), (BURSTABLE, True, 0), (None, True, 0)],
)
def test_open_webui_is_led_through_it_only_when_asked_and_offered(server, wanted, port):
    assert port_to_use(server, ADDRESS, wanted=wanted) == port


@pytest.mark.parametrize(
    ("url", "led"),
    [
        (URL, URL.replace(":5432/", ":6432/")),
        ("postgres://u:p@host/db", "postgres://u:p@host:6432/db"),
        ("postgresql+psycopg2://host:5432/db?sslmode=require", "postgresql+psycopg2://host:6432/db?sslmode=require"),
        ("postgresql://u:a%3Ab@[fd00::1]:5432/db", "postgresql://u:a%3Ab@[fd00::1]:6432/db"),
    ],
)
def test_only_the_port_of_a_url_changes(url, led):
    assert through(url, 6432) == led


def test_the_budget_behind_it_counts_its_server_connections():
    direct_budget = plan_budget(LIMITS, CROWDED)
    pooled = plan_budget(replace(LIMITS, pgbouncer=True), CROWDED)
    assert (direct_budget.sufficient, direct_budget.needs) == (False, "pgbouncer")
    assert (pooled.sufficient, pooled.pools.most_per_process) == (True, 45)
    assert pooled.connections_at_peak <= 844


# What phase 1 changes.


@dataclass
class Server:
    """`shared.model.ports.DatabaseServer`: PgBouncer's own parameters are there only while it is on."""

    values: dict[str, str] = field(default_factory=lambda: {"pgbouncer.enabled": "false"})
    acts_at_once: bool = True

    def read_setting(self, name):
        if name == "pgbouncer.max_prepared_statements":
            assert self.values["pgbouncer.enabled"] == "true", "hidden while PgBouncer is off"
        return self.values.get(name, "0")

    def write_setting(self, name, value):
        self.read_setting(name)
        self.values[name] = value
        return self.acts_at_once


@dataclass
class Cluster:
    objects: dict[tuple[str, str], dict] = field(default_factory=dict)

    def read(self, kind, name):
        return self.objects.get((kind, name))

    def apply(self, manifest, *, force=False):
        self.objects[manifest["kind"], manifest["metadata"]["name"]] = manifest

    def delete(self, kind, name):
        self.objects.pop((kind, name), None)


@dataclass
class Databases:
    asked: list[int] = field(default_factory=list)

    def as_admin(self, address):
        self.asked.append(address.port)
        return self

    def read_chunk_table(self):
        return None


@dataclass
class World:
    server: Server = field(default_factory=Server)
    cluster: Cluster = field(default_factory=Cluster)
    databases: Databases = field(default_factory=Databases)


def world(url=URL):
    container = {"name": "web", "env": [{"name": "DATABASE_URL", "value": url}]}
    made = World()
    made.cluster.objects["Deployment", "open-webui"] = {
        "spec": {"template": {"spec": {"containers": [container]}}, "replicas": 1}
    }
    return made


def brief(server=GENERAL, port=6432):
    facts = DeploymentFacts(
        container="web", image="i", replicas=1, strategy="Recreate", mount_path="/d", volume="v", port=8080, labels={},
        environment=("DATABASE_URL",), pod="p", node="n", digest="d",
    )  # fmt: skip
    survey = Survey(deployment=facts, address=ADDRESS, server=server, pooler_port=port)
    return Brief("open-webui-0001", MigrationRequest(Target("s", "g", "c", "https://v", "p")), survey)


def test_on_and_off_again_leaves_everything_as_it_was():
    made = world()
    before = dict(made.cluster.objects)
    plan = pooler.plan_pooler(brief(), made)
    assert from_wire(to_wire(plan), pooler.PoolerPlan) == plan
    pooler.turn_on(plan, "open-webui-0001", ADDRESS, made)
    assert made.server.values == {"pgbouncer.enabled": "true", "pgbouncer.max_prepared_statements": "200"}
    assert made.databases.asked == [6432]  # proven before anybody is led there
    held = made.cluster.read("Secret", "open-webui-database-pooled")["data"]["database-url"]
    assert base64.b64decode(held).decode() == URL.replace(":5432/", ":6432/")
    pooler.turn_on(plan, "open-webui-0001", ADDRESS, made)  # a rerun
    pooler.turn_off(plan, made)
    pooler.turn_off(plan, made)
    assert made.server.values["pgbouncer.enabled"] == "false"
    assert made.cluster.objects == before


def test_where_it_was_on_only_our_setting_is_put_back():
    made = world()
    made.server.values = {"pgbouncer.enabled": "true", "pgbouncer.max_prepared_statements": "0"}
    plan = pooler.plan_pooler(brief(ALREADY), made)
    pooler.turn_on(plan, "open-webui-0001", ADDRESS, made)
    pooler.turn_off(plan, made)
    assert made.server.values == {"pgbouncer.enabled": "true", "pgbouncer.max_prepared_statements": "0"}


def test_an_operators_own_number_of_statements_stays():
    made = world()
    made.server.values = {"pgbouncer.enabled": "true", "pgbouncer.max_prepared_statements": "50"}
    plan = pooler.plan_pooler(brief(ALREADY), made)
    pooler.turn_on(plan, "open-webui-0001", ADDRESS, made)
    assert made.server.values["pgbouncer.max_prepared_statements"] == "50"


def test_the_plan_names_every_change_and_no_password():
    made = world()
    plan = pooler.plan_pooler(brief(), made)
    listed = pooler.changes(plan, brief().survey)
    assert [(c.action, c.kind, c.name) for c in listed] == [
        ("create", "Secret", "open-webui-database-pooled"),
        ("change", "server parameter", "pgbouncer.enabled"),
        ("change", "server parameter", "pgbouncer.max_prepared_statements"),
    ]
    assert "p%40ss" not in str(to_wire(plan)) + str(listed)


def test_nothing_is_planned_where_nothing_was_asked_for():
    assert pooler.plan_pooler(brief(port=0), world()) is None
    assert pooler.changes(None, brief().survey) == []
    assert "pooler" in Plan.__dataclass_fields__


def test_a_url_that_pgbouncer_would_refuse_stops_the_plan():
    url = URL + "&options=-csearch_path%3Dwebui"
    assert refused_parameters(url) == ["options"]
    with pytest.raises(ConfigurationError, match="PgBouncer refuses what DATABASE_URL asks for") as raised:
        pooler.plan_pooler(brief(), world(url))
    assert "p%40ss" not in f"{raised.value.message}{raised.value.hint}"


def test_a_parameter_that_waits_for_a_restart_is_reported_and_nobody_is_led_there():
    made = world()
    made.server.acts_at_once = False
    plan = pooler.plan_pooler(brief(), made)
    with pytest.raises(ConfigurationError, match=r"pgbouncer\.enabled.* acts only after a restart"):
        pooler.turn_on(plan, "open-webui-0001", ADDRESS, made)
    assert made.cluster.read("Secret", "open-webui-database-pooled") is None


def test_the_new_pods_get_the_url_from_the_secret_and_the_servers_own_port_beside_it():
    survey = brief().survey
    environment = decide_environment(survey, plan_budget(replace(LIMITS, pgbouncer=True), Demand(3)), NAMES)
    [url, port] = environment[:2]  # before PGVECTOR_DB_URL, which refers to it
    assert url["valueFrom"]["secretKeyRef"] == {"name": "open-webui-database-pooled", "key": "database-url"}
    assert port == {"name": DIRECT_PORT_VARIABLE, "value": "5432"}
    plain = decide_environment(replace(survey, pooler_port=0), plan_budget(LIMITS, Demand(3)), NAMES)
    assert "DATABASE_URL" not in {entry["name"] for entry in plain}


@pytest.mark.parametrize(
    "source",
    [{"value": URL}, {"valueFrom": {"secretKeyRef": {"name": "theirs", "key": "url"}}},
     {"valueFrom": {"configMapKeyRef": {"name": "theirs", "key": "url"}}}],
    ids=["literal", "secret", "config map"],
)  # fmt: skip
def test_the_reference_wins_whatever_the_users_own_entry_is(source):
    """Merged as the API server merges: an entry with two sources would be refused, one without any be empty."""
    pod = {"containers": [{"name": "web", "env": [{"name": "DATABASE_URL"} | source]}]}
    survey = brief().survey
    environment = decide_environment(survey, plan_budget(LIMITS, Demand(3)), NAMES)
    patch = {"containers": [{"name": "web", "env": replacing(pod["containers"][0]["env"], environment)}]}
    merged = strategic_merge_patch({"spec": pod}, {"spec": patch}, schema_of(PODS))["spec"]
    [url] = [entry for entry in merged["containers"][0]["env"] if entry["name"] == "DATABASE_URL"]
    assert url == {
        "name": "DATABASE_URL",
        "valueFrom": {"secretKeyRef": {"name": "open-webui-database-pooled", "key": "database-url"}},
    }
    names = [entry["name"] for entry in merged["containers"][0]["env"]]
    assert names.index("DATABASE_URL") < names.index("PGVECTOR_DB_URL")


def test_whoever_asks_the_server_itself_goes_past_pgbouncer():
    container = {
        "name": "web",
        "env": [
            {"name": "DATABASE_URL", "value": through(URL, 16432)},
            {"name": DIRECT_PORT_VARIABLE, "value": "15432"},
        ],
    }
    address = read_database_address(Cluster(), container)
    assert (address.port, address.pooled) == (15432, True)
    assert not read_database_address(Cluster(), {"name": "web", "env": [{"name": "DATABASE_URL", "value": URL}]}).pooled
