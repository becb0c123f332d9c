"""A real PostgreSQL from a wheel, behaving as Azure's Flexible Server does. No table of anybody.

with Postgres(directory) as server:
    url = server.app_url()
"""

from local.postgres.server import Postgres

__all__ = ["Postgres"]
