"""PostgreSQL for the rehearsal and the tests: a real server from a wheel, behaving as Azure's Flexible Server
does.

with Postgres(directory) as server:
    url = server.app_url()
"""

from local.postgres.server import Postgres

__all__ = ["Postgres"]
