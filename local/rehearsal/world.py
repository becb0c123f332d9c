"""Everything that the app needs of Azure, on 127.0.0.1: PostgreSQL, a cluster with a node, Azure's endpoints, the host.

The pieces are separate processes with separate state, as in Azure, so each can be killed on its own.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from local.loopback import free_port
from local.real_open_webui import RealOpenWebui
from local.rehearsal import app_identity, guest
from local.rehearsal.current_state import VERSION, Names, Operator
from local.rehearsal.database_access import DatabaseAccess, superuser_url
from local.rehearsal.processes import ROOT, Children
from local.sample import load_sql
from shared.sizing.azure_skus import AZURE_SKUS, AzureSku

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP, CLUSTER, VAULT, SERVER = "rg-rehearsal", "aks-rehearsal", "kv-rehearsal", "psql-rehearsal"
NODE = "scaleout-rehearsal"
ADMINISTRATOR_SECRET = "open-webui-administrator"  # noqa: S105 - the name of a secret
OPERATOR_ROLE = ROOT / "infra" / "monitoring" / "prometheus-operator" / "role.yaml"
ROLES = [*sorted((ROOT / "infra" / "kubernetes" / "rbac").glob("*.yaml")), OPERATOR_ROLE]
"""What an operator applies on AKS for the app's identity."""
AUTOSCALER_SYNC_SECONDS = 15.0
STANDIN_START_SECONDS, REAL_START_SECONDS = 120, 600
"""That Open WebUI may take until it is ready: the real one 24 to 48 s, and more than a minute longer where it looks for
a model at a hub that cannot be reached."""
SMALLEST = AZURE_SKUS[0]
NODE_LABEL = {"scaleout.dev/rehearsal-node": NODE}

type Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Layout:
    """The rehearsal's own folder: nothing is written outside it and `build/`."""

    folder: Path

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def run(self) -> Path:
        """Made anew by every rehearsal."""
        return self.folder / "run"

    @property
    def sample(self) -> Path:
        return self.folder / "sample"

    @property
    def volumes(self) -> Path:
        return self.run / "kubelet" / "volumes"


@dataclass(slots=True)
class World:
    """One rehearsal's processes; `close` ends them all."""

    layout: Layout
    say: Say
    kubeconfig: Path | None = None
    """Of another cluster, in which the rehearsal is a guest; None: the local one."""
    port: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    guard: dict[str, str] = field(default_factory=dict)
    """Settings of the health guard; without any it observes every minute."""
    size: AzureSku = SMALLEST
    """Of the database server."""
    access: DatabaseAccess = DatabaseAccess()  # noqa: RUF009 - a frozen value
    """How the database is reached, where it is not by passwords on its own port."""
    haste: float = 1.0
    """How many times as fast an autoscaler's windows pass."""
    cpu_request: str = "500m"
    """Of Open WebUI's container."""
    real_extension: bool = False
    """Whether the real Durable Task extension takes our engine's place."""
    open_webui: RealOpenWebui | None = None
    """What the pods run; None: the stand-in."""
    serving_certificate: Path | None = None
    """Of the node, where the cluster does not sign one."""
    url: str = ""
    key: str = ""
    admin_url: str = ""
    app_url: str = ""
    operator: Operator | None = None
    installed: bool = False
    """Whether the namespace in `kubeconfig`'s cluster is ours to delete."""
    _certificate: dict[str, str] = field(default_factory=dict)
    """What the kubelet said of its own."""
    _children: Children | None = None

    def open(self, data: Path, app_sql: Path) -> None:
        """Bring all of it up, with Open WebUI serving from `data` and the database in `app_sql`."""
        self.access.check()
        if self.kubeconfig:
            guest.require_rights(self.kubeconfig)
            Operator(self.kubeconfig, Names(), NODE_LABEL).require_own_namespace()
        shutil.rmtree(self.layout.run, ignore_errors=True)
        self.layout.run.mkdir(parents=True)
        children = self._children = Children(self.layout.run / "logs")
        self.say("PostgreSQL")
        database = children.start(
            "postgres",
            [
                *("local.postgres", "--dir", str(self.layout.postgres), "--azure-extensions", ""),
                *("--max-connections", str(self.size.max_connections)),
            ],
        )
        self.admin_url, self.app_url = database["admin_url"], database["app_url"]
        self._load(app_sql, database)
        self.say("Kubernetes")
        kubeconfig = self._open_cluster(children)
        self.say(f"{self.open_webui or 'Open WebUI'} on its disk")
        version = self.open_webui.version if self.open_webui else VERSION
        self.operator = Operator(kubeconfig, Names(), NODE_LABEL, version)
        if self.kubeconfig:
            self.operator.remove()
        self.installed = True
        self.operator.install(data, self.layout.volumes, self.app_url, self.cpu_request)
        if self.kubeconfig:
            guest.require_reached(self.operator, self._certificate)
        self.say("Azure endpoints")
        azure = children.start("azure", self._azure_arguments(kubeconfig, database))
        self.say("Functions host")
        self._open_host(children, azure["env"], Path(database["ca_file"]))
        self.operator.wait_until_ready(seconds=REAL_START_SECONDS if self.open_webui else STANDIN_START_SECONDS)

    def close(self) -> None:
        try:
            if self.installed and self.operator and self.kubeconfig:
                self.say("leaving the cluster as it was")
                app_identity.revoke(self.kubeconfig)
                self.operator.remove()
        finally:
            if self._children:
                self._children.stop()

    def lose_instance(self) -> None:
        """Kill the app's host, and with it what runs durable work beside it; another one is started."""
        if self._children:
            self._children.kill("host")

    @property
    def service_url(self) -> str:
        """Where a browser on this machine would reach Open WebUI."""
        services = json.loads((self.layout.run / "kubelet" / "services.json").read_text())
        return str(services["ollama/open-webui:8080"])

    def _load(self, app_sql: Path, database: dict[str, Any]) -> None:
        recreate_database(database["admin_url"], "openwebui", owner="openwebui")
        load_sql(app_sql, self.app_url)
        self.access.prepare(database)

    def _open_cluster(self, children: Children) -> Path:
        kubeconfig = self.kubeconfig
        if kubeconfig is None:
            folder = self.layout.run / "cluster"
            grants = [word for role in ROLES for word in ("--grant", str(role))]
            sync = AUTOSCALER_SYNC_SECONDS / self.haste
            hasty = ("--autoscaler-haste", str(self.haste), "--autoscaler-sync-seconds", str(sync))
            ready = children.start("cluster", ["local.kubernetes", "--dir", str(folder), "--fresh", *hasty, *grants])
            kubeconfig = Path(ready["kubeconfig"])
        kubelet = [
            "local.kubernetes.kubelet",
            "--kubeconfig",
            str(kubeconfig),
            "--dir",
            str(self.layout.run / "kubelet"),
        ]
        kubelet += ["--node", NODE, "--snapshot-class"]
        if self.open_webui:
            kubelet += ["--open-webui", str(self.open_webui.directory), *self.open_webui.kubelet_arguments()]
        if self.serving_certificate:
            kubelet += ["--serving-certificate", str(self.serving_certificate.absolute())]
        self._certificate = children.start("kubelet", kubelet)["certificate"]
        return kubeconfig

    def _azure_arguments(self, kubeconfig: Path, database: dict[str, Any]) -> list[str]:
        passwords = json.loads(Path(database["password_file"]).read_text())
        content: dict[str, Any] = {
            "subscription_id": SUBSCRIPTION,
            "vaults": {VAULT: self._secrets(passwords["scaleout_admin"])},
            "clusters": {f"{GROUP}/{CLUSTER}": {"kubeconfig": str(self._of_the_app(kubeconfig))}},
            "servers": {f"{GROUP}/{SERVER}": self._server(superuser_url(database))},
        }
        self.access.configure(content, database)
        folder = self.layout.run / "azure"
        folder.mkdir()
        file = folder / "config.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(content, indent=1))
        return ["local.azure", "--config", str(file), "--dir", str(folder)]

    def _server(self, superuser_url: str) -> dict[str, Any]:
        size = {"sku": {"name": self.size.name, "tier": self.size.tier}}
        return {"fqdn": "127.0.0.1", "version": "18", "superuser_url": superuser_url, **size}

    def _secrets(self, password: str) -> dict[str, str]:
        """What an operator keeps in the vault; the stand-in looks at no password that came with the data."""
        found = {"postgres-admin-password": password}
        with psycopg.connect(self.app_url) as connection:
            admin = connection.execute("select email from \"user\" where role = 'admin' order by created_at").fetchone()
        return found | ({ADMINISTRATOR_SECRET: f"{admin[0]}:rehearsal"} if admin else {})

    def _of_the_app(self, kubeconfig: Path) -> Path:
        """The app may do what the shipped roles grant, and nothing else."""
        if self.kubeconfig and self.operator:
            return app_identity.grant(self.operator, kubeconfig, ROLES, self.layout.run).absolute()
        return kubeconfig.with_name("kubeconfig-limited").absolute()

    def _open_host(self, children: Children, azure: dict[str, str], authority: Path) -> None:
        folder = self.layout.run / "functions"
        folder.mkdir()
        faults = folder / "faults.json"
        faults.write_text(json.dumps(self.faults))
        keys = folder / "keys.json"
        environment = azure | {
            "FUNCTIONS_WORKER_RUNTIME": "python",
            "SCALEOUT_SUBSCRIPTION_ID": SUBSCRIPTION,
            "SCALEOUT_RESOURCE_GROUP": GROUP,
            "SCALEOUT_CLUSTER": CLUSTER,
            "SCALEOUT_KEY_VAULT": f"https://{VAULT}.vault.azure.net",
            "SCALEOUT_POSTGRES_SERVER": SERVER,
            "SCALEOUT_POSTGRES_SSLROOTCERT": str(authority),
            "SCALEOUT_GUARD_SCHEDULE": "0 * * * * *",
            **self.access.settings(),
            **self.guard,
        }
        host = ["local.functions", "host", "--app", str(ROOT), *self._durable(children, folder)]
        host += ["--port", str(self.port or free_port()), "--keys", str(keys), "--faults", str(faults)]
        self.url = children.start("host", host, environment, keep_alive=True)["url"]
        self.key = json.loads(keys.read_text())["host"]

    def _durable(self, children: Children, folder: Path) -> list[str]:
        """Start what keeps the orchestrations; returns how the host is told of it."""
        if self.real_extension:
            storage = children.start("storage", ["local.functions", "storage", "--dir", str(folder / "azurite")])
            return ["--storage", storage["connection"]]
        engine = ["local.functions", "engine", "--db", str(folder / "engine.db"), "--app", str(ROOT)]
        return ["--engine", children.start("engine", engine, keep_alive=True)["address"]]


def recreate_database(admin_url: str, name: str, owner: str) -> None:
    """Drop the database, whoever is still connected, and make it anew."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
        create = sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(owner))
        connection.execute(create)
