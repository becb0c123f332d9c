"""The app's settings: the only reader of the environment. Start-up fails with every problem at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import certifi

from shared.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, at start-up. `metadata["env"]` is the variable's name; the text after a field is its meaning."""

    subscription_id: str = field(default="", metadata={"env": "SCALEOUT_SUBSCRIPTION_ID"})
    """Azure subscription of the cluster and the server; a request may name another."""
    resource_group: str = field(default="", metadata={"env": "SCALEOUT_RESOURCE_GROUP"})
    """Resource group of the AKS cluster."""
    cluster: str = field(default="", metadata={"env": "SCALEOUT_CLUSTER"})
    """Name of the AKS cluster."""
    key_vault: str = field(default="", metadata={"env": "SCALEOUT_KEY_VAULT"})
    """URL of the key vault that holds `postgres-admin-password`."""
    postgres_server: str = field(default="", metadata={"env": "SCALEOUT_POSTGRES_SERVER"})
    """Name of the Azure Database for PostgreSQL Flexible Server."""
    postgres_resource_group: str = field(default="", metadata={"env": "SCALEOUT_POSTGRES_RESOURCE_GROUP"})
    """Its resource group; empty: the cluster's."""
    identity_client_id: str = field(default="", metadata={"env": "AZURE_CLIENT_ID"})
    """Client id of the user-assigned identity; empty: system-assigned, or the developer's login outside Azure."""
    postgres_auth: str = field(default="password", metadata={"env": "SCALEOUT_POSTGRES_AUTH"})
    """password | entra. With entra the login is the identity's, and a token takes the place of the secret."""
    postgres_entra_user: str = field(default="", metadata={"env": "SCALEOUT_POSTGRES_ENTRA_USER"})
    """The identity's name in PostgreSQL, for entra: the name under which it was made an administrator."""
    postgres_sslmode: str = field(default="verify-full", metadata={"env": "SCALEOUT_POSTGRES_SSLMODE"})
    """libpq's sslmode; the default checks the server's certificate and its name."""
    postgres_sslrootcert: str = field(default="", metadata={"env": "SCALEOUT_POSTGRES_SSLROOTCERT"})
    """File of trusted roots for PostgreSQL; empty: certifi's, which hold those of Azure."""
    postgres_pgbouncer_port: str = field(default="6432", metadata={"env": "SCALEOUT_POSTGRES_PGBOUNCER_PORT"})
    """Where the server's PgBouncer listens; Azure's is on 6432."""
    guard_schedule: str = field(default="0 * * * * *", metadata={"env": "SCALEOUT_GUARD_SCHEDULE"})
    """NCRONTAB of the health guard; every minute, the finest that its windows are made for."""
    guard_mode: str = field(default="observe", metadata={"env": "SCALEOUT_GUARD_MODE"})
    """off | observe | act. Observe judges and reports and changes nothing: the safe way to start."""
    guard_targets: str = field(default="", metadata={"env": "SCALEOUT_GUARD_TARGETS"})
    """JSON list of the Deployments to guard and their policies (`docs/guard.md`); empty: the app's own target."""

    telemetry: str = field(default="", metadata={"env": "APPLICATIONINSIGHTS_CONNECTION_STRING"})
    """Where events, traces and metrics go, with the identity as the login; empty: nowhere."""

    def target_defaults(self) -> dict[str, str]:
        """The target's fields that this installation already knows."""
        names = (
            "subscription_id",
            "resource_group",
            "cluster",
            "key_vault",
            "postgres_server",
            "postgres_resource_group",
        )
        return {name: getattr(self, name) for name in names}

    @property
    def pgbouncer_port(self) -> int:
        return int(self.postgres_pgbouncer_port)

    def libpq_options(self) -> dict[str, str]:
        """What every connection to PostgreSQL gets beside address and login."""
        options = {"sslmode": self.postgres_sslmode}
        if self.postgres_sslmode.startswith("verify"):
            options["sslrootcert"] = self.postgres_sslrootcert or certifi.where()
        return options


SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
GUARD_MODES = ("off", "observe", "act")
POSTGRES_AUTHS = ("password", "entra")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings; ConfigurationError lists every problem."""
    values = {f.name: environment[f.metadata["env"]] for f in fields(Settings) if environment.get(f.metadata["env"])}
    settings = Settings(**values)
    problems = []
    if settings.postgres_sslmode not in SSLMODES:
        problems.append(f"SCALEOUT_POSTGRES_SSLMODE must be one of {', '.join(SSLMODES)}")
    if settings.postgres_auth not in POSTGRES_AUTHS:
        problems.append(f"SCALEOUT_POSTGRES_AUTH must be one of {', '.join(POSTGRES_AUTHS)}")
    if settings.postgres_auth == "entra" and not settings.postgres_entra_user:
        problems.append("SCALEOUT_POSTGRES_AUTH=entra needs SCALEOUT_POSTGRES_ENTRA_USER, the identity's name")
    if not settings.postgres_pgbouncer_port.isdigit():
        problems.append("SCALEOUT_POSTGRES_PGBOUNCER_PORT must be a port, such as 6432")
    if settings.guard_mode not in GUARD_MODES:
        problems.append(f"SCALEOUT_GUARD_MODE must be one of {', '.join(GUARD_MODES)}")
    if settings.key_vault and not settings.key_vault.startswith("https://"):
        problems.append("SCALEOUT_KEY_VAULT must be a URL, https://<name>.vault.azure.net")
    if problems:
        raise ConfigurationError("; ".join(problems), hint="Correct the app settings; see docs/deploy.md.")
    return settings
