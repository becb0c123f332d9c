"""Answer questions about instances and entities; the cost does not depend on the length of a history."""

from dataclasses import dataclass
from typing import Any

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.events import seconds, stamp, text
from local.functions.engine.store import TERMINAL, Instance, Store


def instance_state(instance: Instance, *, given: bool = True, told: bool = True) -> pb.OrchestrationState:
    """Describe an instance. `given`: with its input; `told`: with its output and its custom status.

    When it ended and why it failed is told in the output alone. Source: tests/local_functions/answers.json.
    """
    return pb.OrchestrationState(
        instanceId=instance.id,
        name=instance.name,
        version=text(instance.version),
        orchestrationStatus=pb.OrchestrationStatus.Name(instance.status),
        createdTimestamp=stamp(instance.created),
        lastUpdatedTimestamp=stamp(instance.updated),
        input=text(instance.input) if given else None,
        output=text(instance.output) if told else None,
        customStatus=text(instance.custom_status) if told else None,
        executionId=text(instance.execution),
        parentInstanceId=text(instance.parent),
    )


def query_instances(store: Store, query: pb.InstanceQuery) -> pb.QueryInstancesResponse:
    """List instances by creation time, a page at a time; a page of none holds none, and is not the last."""
    if not query.maxInstanceCount:
        return pb.QueryInstancesResponse(continuationToken=text("0"))
    where, values = _created_between(query)
    if query.HasField("instanceIdPrefix") and query.instanceIdPrefix.value:
        where.append("substr(id, 1, length(?)) = ?")
        values += [query.instanceIdPrefix.value] * 2
    page = Page(query.maxInstanceCount, query.continuationToken.value)
    found, following = page.read(store, _select("instance", where, "created, id"), values)
    states = [instance_state(Instance(*row), given=query.fetchInputsAndOutputs) for row in found]
    return pb.QueryInstancesResponse(orchestrationState=states, continuationToken=text(following))


def entity_as_instance(store: Store, entity: str) -> pb.OrchestrationState | None:
    """An entity as the instance that it is to the storage; None where there is none."""
    found = store.row("SELECT * FROM entity WHERE id = ?", entity)
    if found is None:
        return None
    at = stamp(found["updated"])
    return pb.OrchestrationState(instanceId=entity, name=entity, createdTimestamp=at, lastUpdatedTimestamp=at)


def list_ended(store: Store, query: pb.PurgeInstanceFilter) -> list[Instance]:
    """List the ended instances a purge asks for."""
    where, values = _created_between(query)
    found = store.rows(_select("instance", where, "created"), *values)
    return [instance for row in found if (instance := Instance(*row)).ended]


def list_ids(store: Store, request: pb.ListInstanceIdsRequest) -> pb.ListInstanceIdsResponse:
    """List the ids of ended instances by completion time, a page at a time."""
    statuses = [int(status) for status in request.runtimeStatus or TERMINAL]
    where = ["completed IS NOT NULL", f"status IN ({','.join('?' * len(statuses))})"]
    values: list[Any] = list(statuses)
    for bound, comparison in (("completedTimeFrom", ">="), ("completedTimeTo", "<")):
        if request.HasField(bound):
            where.append(f"completed {comparison} ?")
            values.append(seconds(getattr(request, bound)))
    page = Page(request.pageSize or 100, request.lastInstanceKey.value)
    found, following = page.read(store, _select("instance", where, "completed, id"), values)
    return pb.ListInstanceIdsResponse(instanceIds=[row["id"] for row in found], lastInstanceKey=text(following))


def read_entity(store: Store, entity: str, *, state: bool) -> pb.GetEntityResponse:
    """Describe one entity."""
    found = store.row("SELECT * FROM entity WHERE id = ?", entity)
    return pb.GetEntityResponse(
        exists=found is not None, entity=_metadata(store, found, state=state) if found else None
    )


def query_entities(store: Store, query: pb.EntityQuery) -> pb.QueryEntitiesResponse:
    """List entities by id, a page at a time; those without a state only when transient ones are asked for."""
    where: list[str] = ["1"] if query.includeTransient else ["state IS NOT NULL"]
    values: list[Any] = []
    if query.HasField("instanceIdStartsWith"):
        where.append("substr(id, 1, length(?)) = ?")
        values += [query.instanceIdStartsWith.value] * 2
    for bound, comparison in (("lastModifiedFrom", ">="), ("lastModifiedTo", "<")):
        if query.HasField(bound):
            where.append(f"updated {comparison} ?")
            values.append(seconds(getattr(query, bound)))
    page = Page(query.pageSize.value, query.continuationToken.value)
    found, following = page.read(store, _select("entity", where, "id"), values)
    entities = [_metadata(store, row, state=query.includeState) for row in found]
    return pb.QueryEntitiesResponse(entities=entities, continuationToken=text(following))


def _metadata(store: Store, row: Any, *, state: bool) -> pb.EntityMetadata:
    waiting = store.row("SELECT COUNT(*) AS number FROM operation WHERE entity = ?", row["id"])
    return pb.EntityMetadata(
        instanceId=row["id"],
        lastModifiedTime=stamp(row["updated"]),
        backlogQueueSize=waiting["number"] if waiting else 0,
        lockedBy=text(row["locked_by"]),
        serializedState=text(row["state"]) if state else None,
    )


def _created_between(query: Any) -> tuple[list[str], list[Any]]:
    where: list[str] = ["1"]
    values: list[Any] = []
    if query.runtimeStatus:
        where.append(f"status IN ({','.join('?' * len(query.runtimeStatus))})")
        values += [int(status) for status in query.runtimeStatus]
    for bound, comparison in (("createdTimeFrom", ">="), ("createdTimeTo", "<")):
        if query.HasField(bound):
            where.append(f"created {comparison} ?")
            values.append(seconds(getattr(query, bound)))
    return where, values


@dataclass(frozen=True, slots=True)
class Page:
    """A slice of a listing: at most `size` rows (zero: all), from where the last page ended."""

    size: int
    after: str

    def read(self, store: Store, select: str, values: list[Any]) -> tuple[list[Any], str | None]:
        """Read the rows and the continuation token of the next page, None at the end."""
        offset = int(self.after) if self.after.isdigit() else 0
        found = store.rows(f"{select} LIMIT ? OFFSET ?", *values, self.size + 1 if self.size else -1, offset)
        if self.size and len(found) > self.size:
            return found[: self.size], str(offset + self.size)
        return found, None


def _select(table: str, where: list[str], order: str) -> str:
    return f"SELECT * FROM {table} WHERE {' AND '.join(where)} ORDER BY {order}"  # noqa: S608 own names only
