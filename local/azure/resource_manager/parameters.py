"""Server parameters of a Flexible Server: what each is by default, may be, and needs to take effect.

A selection: the ones that the migration and its health guard look at, and one that nobody may write. What the
configuration file adds is taken as dynamic text.
Source: learn.microsoft.com/azure/postgresql/parameters; max_connections: .../configure-maintain/concepts-limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from local.azure.config import Server

# vCores decide max_connections; the default does not follow a later change of the SKU.
_MAX_CONNECTIONS = {
    "Standard_B1ms": "50",
    "Standard_B2s": "429",
    "Standard_B2ms": "859",
    "Standard_D2ds_v5": "859",
    "Standard_D4ds_v5": "1718",
    "Standard_E2ds_v5": "1718",
    "Standard_D8ds_v5": "3437",
}
_EXTENSIONS = (
    "address_standardizer,age,azure_ai,azure_storage,btree_gin,btree_gist,citext,cube,dblink,dict_int,earthdistance,fuzzystrmatch,"
    "hstore,hypopg,intarray,isn,lo,ltree,pageinspect,pg_cron,pg_diskann,pg_partman,pg_stat_statements,pg_trgm,pgaudit,pgcrypto,"
    "pgrowlocks,pgstattuple,plpgsql,postgis,postgres_fdw,sslinfo,tablefunc,timescaledb,unaccent,uuid-ossp,vector"
)


@dataclass(frozen=True, slots=True)
class ServerParameter:
    default: str
    data_type: str  # Boolean | Numeric | Integer | Enumeration | String | Set
    allowed: str = ""  # "a,b,c" for Enumeration, Set and Boolean; "low-high" for numbers; empty for text
    dynamic: bool = True  # False: takes effect at the next restart
    read_only: bool = False

    def accepts(self, value: str) -> bool:
        if self.data_type in {"Integer", "Numeric"}:
            low, _, high = self.allowed.partition("-")
            return value.replace(".", "", 1).isdigit() and float(low) <= float(value) <= float(high)
        if self.data_type in {"Boolean", "Enumeration"}:
            return value.lower() in self.allowed.lower().split(",")
        if self.data_type == "Set":
            chosen = {item.strip().lower() for item in value.split(",") if item.strip()}
            return chosen <= set(self.allowed.lower().split(","))
        return True


_CATALOGUE = {
    "azure.extensions": ServerParameter("", "Set", _EXTENSIONS),
    "shared_preload_libraries": ServerParameter(
        "pg_cron,pg_stat_statements",
        "Set",
        "age,auto_explain,pg_cron,pg_stat_statements,pgaudit,timescaledb",
        dynamic=False,
    ),
    "max_connections": ServerParameter("50", "Integer", "25-5000", dynamic=False),
    "idle_in_transaction_session_timeout": ServerParameter("0", "Integer", "0-2147483647"),
    "maintenance_work_mem": ServerParameter("99328", "Integer", "1024-2097151"),
    "work_mem": ServerParameter("4096", "Integer", "4096-2097151"),
    "require_secure_transport": ServerParameter("on", "Boolean", "on,off"),
    # Source: github.com/pulumi/pulumi-azure-native/issues/898 shows it with isReadOnly true.
    "ssl": ServerParameter("on", "Boolean", "on,off", read_only=True),
}
_PGBOUNCER = {"pgbouncer.enabled": ServerParameter("false", "Boolean", "true,false")}
# There only while PgBouncer is on. Source: learn.microsoft.com/azure/postgresql/server-parameters-table-pgbouncer
_PGBOUNCERS_OWN = {
    "pgbouncer.default_pool_size": ServerParameter("50", "Integer", "1-4950"),
    "pgbouncer.max_client_conn": ServerParameter("5000", "Integer", "1-50000"),
    "pgbouncer.max_prepared_statements": ServerParameter("0", "Integer", "0-5000"),
    "pgbouncer.pool_mode": ServerParameter("transaction", "Enumeration", "session,transaction,statement"),
}


def catalogue(server: Server, written: Mapping[str, str]) -> Mapping[str, ServerParameter]:
    """Every parameter of this server, with these values written to it. Burstable tiers have no PgBouncer."""
    known = _CATALOGUE | ({} if server.tier == "Burstable" else _PGBOUNCER)
    values = {**server.parameters, **written}
    if server.tier != "Burstable" and values.get("pgbouncer.enabled", "").lower() == "true":
        known |= _PGBOUNCERS_OWN
    if limit := _MAX_CONNECTIONS.get(server.sku_name):
        known["max_connections"] = replace(known["max_connections"], default=limit)
    return known | {name: ServerParameter("", "String") for name in server.parameters if name not in known}
