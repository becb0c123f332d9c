"""Who works on what: choose the next piece of work for a worker's stream and lease it to that stream.

A lease lives in memory and ends with its completion or with its stream. After a crash of the engine there are no
leases, so everything unfinished is delivered again; after a crash of a worker its stream ends, and so do its leases.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.entities import Operation, read_batch
from local.functions.engine.events import event, text
from local.functions.engine.store import Store

ORCHESTRATION, ACTIVITY, ENTITY = "orchestration", "activity", "entity"


@dataclass(frozen=True, slots=True)
class Stream:
    """A connected worker and how much it takes at a time; zero is no limit."""

    number: int
    limits: dict[str, int]


@dataclass(frozen=True, slots=True)
class Lease:
    """A piece of work given to a stream. `key` is an instance, an activity's token or an entity."""

    token: str
    stream: int
    kind: str
    key: str
    taken: tuple[pb.HistoryEvent, ...] = ()
    positions: tuple[int, ...] = ()
    batch: Sequence[Operation] = ()


class WorkQueue:
    """The leases, and the choice of what comes next."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leases: dict[str, Lease] = {}
        self._busy: set[tuple[str, str]] = set()
        self._numbers = itertools.count(1)

    def open_stream(self, request: pb.GetWorkItemsRequest) -> Stream:
        """Register a worker that asks for work."""
        limits = {
            ORCHESTRATION: request.maxConcurrentOrchestrationWorkItems,
            ACTIVITY: request.maxConcurrentActivityWorkItems,
            ENTITY: request.maxConcurrentEntityWorkItems,
        }
        return Stream(next(self._numbers), limits)

    def close_stream(self, stream: Stream) -> None:
        """Take back everything a worker has not finished."""
        for lease in [lease for lease in self._leases.values() if lease.stream == stream.number]:
            self.end(lease)

    def find(self, token: str) -> Lease | None:
        """Find a lease by its completion token; None when it is stale."""
        return self._leases.get(token)

    def end(self, lease: Lease) -> None:
        """Give a lease back: the work was finished, or must be delivered again."""
        self._leases.pop(lease.token, None)
        self._busy.discard((lease.kind, lease.key))

    def next_item(self, stream: Stream, now: float) -> pb.WorkItem | None:
        """Lease the next piece of work this stream has room for."""
        held = Counter(lease.kind for lease in self._leases.values() if lease.stream == stream.number)
        for kind, choose in (
            (ORCHESTRATION, self._next_orchestration),
            (ENTITY, self._next_entity),
            (ACTIVITY, self._next_activity),
        ):
            limit = stream.limits[kind]
            if limit and held[kind] >= limit:
                continue
            if item := choose(stream, now):
                return item
        return None

    def _lease(self, lease: Lease) -> None:
        self._leases[lease.token] = lease
        self._busy.add((lease.kind, lease.key))

    def _new_token(self, kind: str, key: str) -> str:
        return f"{kind}:{key}:{next(self._numbers)}"

    def _next_orchestration(self, stream: Stream, now: float) -> pb.WorkItem | None:
        ready = self._store.rows(
            "SELECT i.id, i.execution FROM inbox m JOIN instance i ON i.id = m.instance"
            " WHERE m.due <= ?1 AND i.starts <= ?1 AND i.id NOT LIKE '@%@%'"  # an entity's id: never taken up
            " AND (i.status <> ?2 OR m.kind IN ('executionResumed', 'executionTerminated'))"
            " GROUP BY i.id ORDER BY MIN(m.position)",
            *(now, pb.ORCHESTRATION_STATUS_SUSPENDED),
        )
        for row in ready:
            if (ORCHESTRATION, row["id"]) not in self._busy:
                return self._deliver_orchestration(stream, row["id"], row["execution"], now)
        return None

    def _deliver_orchestration(self, stream: Stream, instance: str, execution: str, now: float) -> pb.WorkItem:
        messages = self._store.messages(instance, now)
        taken = [message.event for message in messages]
        if not taken[0].HasField("orchestratorStarted"):
            taken.insert(0, event(now, orchestratorStarted=pb.OrchestratorStartedEvent()))
        token = self._new_token(ORCHESTRATION, instance)
        positions = tuple(message.position for message in messages)
        self._lease(Lease(token, stream.number, ORCHESTRATION, instance, tuple(taken), positions))
        request = pb.OrchestratorRequest(
            instanceId=instance,
            executionId=text(execution),
            pastEvents=self._store.history(instance),
            newEvents=taken,
        )
        return pb.WorkItem(completionToken=token, orchestratorRequest=request)

    def _next_activity(self, stream: Stream, now: float) -> pb.WorkItem | None:
        for row in self._store.rows("SELECT token FROM activity ORDER BY position"):
            if (ACTIVITY, row["token"]) not in self._busy:
                return self._deliver_activity(stream, row["token"])
        return None

    def _deliver_activity(self, stream: Stream, token: str) -> pb.WorkItem:
        (row,) = self._store.rows("SELECT * FROM activity WHERE token = ?", token)
        self._lease(Lease(token, stream.number, ACTIVITY, token))
        request = pb.ActivityRequest(
            name=row["name"],
            version=text(row["version"]),
            input=text(row["input"]),
            orchestrationInstance=pb.OrchestrationInstance(instanceId=row["instance"]),
            taskId=row["task"],
            parentTraceContext=pb.TraceContext(traceParent=row["trace_parent"]),
        )
        return pb.WorkItem(completionToken=token, activityRequest=request)

    def _next_entity(self, stream: Stream, now: float) -> pb.WorkItem | None:
        ready = self._store.rows(
            "SELECT o.entity, e.state FROM operation o JOIN entity e ON e.id = o.entity"
            " WHERE o.due <= ? AND (e.locked_by IS NULL OR o.caller = e.lock_owner)"
            " GROUP BY o.entity ORDER BY MIN(o.position)",
            now,
        )
        for row in ready:
            if (ENTITY, row["entity"]) not in self._busy:
                return self._deliver_batch(stream, row["entity"], row["state"], now)
        return None

    def _deliver_batch(self, stream: Stream, entity: str, state: str | None, now: float) -> pb.WorkItem:
        batch = read_batch(self._store, entity, now)
        token = self._new_token(ENTITY, entity)
        self._lease(Lease(token, stream.number, ENTITY, entity, batch=batch))
        operations = [
            pb.OperationRequest(operation=each.name, requestId=each.request, input=text(each.input)) for each in batch
        ]
        request = pb.EntityBatchRequest(instanceId=entity, entityState=text(state), operations=operations)
        return pb.WorkItem(completionToken=token, entityRequest=request)
