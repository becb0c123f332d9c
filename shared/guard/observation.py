"""Look at one Deployment: ask every source at the same time, each with the same deadline, and note what did not answer.

A source that hangs costs one part of the reading and not the tick. Where the migration's state cannot be read, the
reading says that a phase may be restarting pods, so that the judge stands still rather than interfere.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from shared.errors import MigrationError, PermissionMissing
from shared.guard.ports import GuardPorts, NoConnectionLeft
from shared.guard.readings import MigrationState, Obstacle, Part, Reading, Unread

DEADLINE = timedelta(seconds=10)
"""For each of the two rounds of questions; together a third of a tick of one minute."""
EVENTS_SINCE = timedelta(minutes=10)
UNKNOWN_PHASE = MigrationState(phase="(which could not be read)", restarts_pods=True)


def observe(ports: GuardPorts, at: datetime, *, deadline: timedelta = DEADLINE) -> Reading:
    """Return what could be read, and what could not, as of `at`."""
    found, unread = _ask(
        {
            Part.CONNECTIONS: ports.connections.read_connections,
            Part.DEPLOYMENT: ports.workload.read_deployment,
            Part.PODS: lambda: tuple(ports.workload.list_pods()),
            Part.AUTOSCALER: ports.workload.read_autoscaler,
            Part.EVENTS: lambda: tuple(ports.workload.list_events(at - EVENTS_SINCE)),
            Part.MIGRATION: ports.migration.read_migration,
        },
        deadline,
    )
    names = [pod.name for pod in found.get(Part.PODS, ()) if not pod.ending and pod.running_since]
    answers, silent = _ask({Part.ANSWERS: lambda: tuple(ports.replicas.ask_replicas(names))}, deadline)
    values = {str(part): value for part, value in {**found, **answers}.items()}
    values.setdefault(str(Part.MIGRATION), UNKNOWN_PHASE)
    return replace(Reading(at, unread=(*unread, *silent)), **values)


def _ask(questions: Mapping[Part, Callable[[], Any]], deadline: timedelta) -> tuple[dict[Part, Any], list[Unread]]:
    """Ask all at once; what raised one of our errors, or said nothing in time, is unread."""
    pool = ThreadPoolExecutor(max_workers=len(questions), thread_name_prefix="guard")
    asked = {part: pool.submit(question) for part, question in questions.items()}
    wait(asked.values(), timeout=deadline.total_seconds())
    pool.shutdown(wait=False, cancel_futures=True)
    found: dict[Part, Any] = {}
    unread = []
    for part, future in asked.items():
        obstacle = _obstacle(part, future, deadline)
        if obstacle is None:
            found[part] = future.result()
        else:
            unread.append(obstacle)
    return found, unread


def _obstacle(part: Part, future: Future[Any], deadline: timedelta) -> Unread | None:
    """Why this part is missing; None when it was read. A bug is not an obstacle and is raised."""
    if not future.done() or future.cancelled():
        return Unread(part, Obstacle.UNREACHABLE, f"no answer in {deadline.total_seconds():.0f} s")
    error = future.exception()
    if error is None:
        return None
    if isinstance(error, NoConnectionLeft):
        return Unread(part, Obstacle.NO_CONNECTION_LEFT, error.message)
    if isinstance(error, PermissionMissing):
        return Unread(part, Obstacle.FORBIDDEN, error.message)
    if isinstance(error, MigrationError):
        return Unread(part, Obstacle.UNREACHABLE, error.message)
    raise error
