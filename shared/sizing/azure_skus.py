"""What each size of Azure Database for PostgreSQL Flexible Server carries. Facts only, no decision."""

from dataclasses import dataclass

PGBOUNCER_POOL = 50
"""Server connections the built-in PgBouncer opens for one user and database (`pgbouncer.default_pool_size`)."""

PGBOUNCER_CLIENTS = 5000
"""Clients it accepts (`pgbouncer.max_client_conn`). Source: Azure Database for PostgreSQL, server parameters."""


@dataclass(frozen=True, slots=True)
class AzureSku:
    """One size of Azure Database for PostgreSQL Flexible Server; `max_connections` is the default of a new server."""

    name: str
    tier: str
    max_connections: int

    @property
    def for_users(self) -> int:
        """Azure keeps 15 of them for itself: replication, monitoring and superusers."""
        return self.max_connections - 15

    @property
    def has_pgbouncer(self) -> bool:
        """The built-in PgBouncer does not exist on Burstable servers."""
        return self.tier != "Burstable"


AZURE_SKUS: tuple[AzureSku, ...] = (
    AzureSku("Standard_B1ms", "Burstable", 50),
    AzureSku("Standard_B2s", "Burstable", 429),
    AzureSku("Standard_B2ms", "Burstable", 859),
    AzureSku("Standard_D2ds_v5", "GeneralPurpose", 859),
    AzureSku("Standard_B4ms", "Burstable", 1718),
    AzureSku("Standard_D4ds_v5", "GeneralPurpose", 1718),
    AzureSku("Standard_E2ds_v5", "MemoryOptimized", 1718),
    AzureSku("Standard_B8ms", "Burstable", 3437),
    AzureSku("Standard_D8ds_v5", "GeneralPurpose", 3437),
    AzureSku("Standard_E4ds_v5", "MemoryOptimized", 3437),
    AzureSku("Standard_B12ms", "Burstable", 5000),
    AzureSku("Standard_D16ds_v5", "GeneralPurpose", 5000),
    AzureSku("Standard_E8ds_v5", "MemoryOptimized", 5000),
)
"""Smallest first. A server keeps its `max_connections` when its SKU changes, so the true values are read from it.
Source: learn.microsoft.com, azure/postgresql/flexible-server/concepts-limits."""
