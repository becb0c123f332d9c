"""The question that the guard asks PostgreSQL, and what its answer means.

`ConnectionStatistics.read_connections` opens one connection with `application_name` `scaleout-guard`, runs
`SESSIONS_SQL` with the application's role as parameter, and closes it. Connect as a member of pg_monitor, such as the
administrator: others see neither the state nor the kind of sessions that are not their own.
"""

from collections.abc import Iterable
from datetime import timedelta

from shared.guard.readings import Connections, Sessions
from shared.sizing.connection_budget import ServerLimits

GUARD_APPLICATION = "scaleout-guard"

SESSIONS_SQL = """
select case when usename = %(role)s and application_name = '' then %(application)s
            else coalesce(nullif(application_name, ''), usename::text, 'unknown') end as application,
       coalesce(state, 'unknown') as state,
       count(*)::int as sessions,
       coalesce(extract(epoch from max(clock_timestamp() - state_change)
                filter (where state like 'idle in transaction%%')), 0)::float8 as longest_idle_in_transaction
from pg_stat_activity
where coalesce(backend_type, 'client backend') = 'client backend' and datid is not null
group by 1, 2
order by 1, 2
"""
"""Sessions of the application's role without a name are Open WebUI's: SQLAlchemy sets none, and neither libpq without
PGAPPNAME. Client backends of every role count, Azure's own as well: they take from the same connections. Where their
kind is hidden, those with a database are taken for client backends."""


def to_connections(
    rows: Iterable[tuple[str, str, int, float]], limits: ServerLimits, latency: timedelta
) -> Connections:
    """What the rows of `SESSIONS_SQL` say; `latency`: of one `select 1` on that connection."""
    found = tuple(rows)
    idle = max((seconds for _, _, _, seconds in found), default=0.0)
    sessions = tuple(Sessions(application, state, count) for application, state, count, _ in found)
    return Connections(sessions, limits, timedelta(seconds=idle), latency)
