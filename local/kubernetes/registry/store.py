"""Where the objects live: in memory for reading, in SQLite for a restart, and as a history of events for watching.

Every write gets the next number of one counter, the `resourceVersion`, and is in SQLite before it is announced, so a
killed process loses nothing that anyone has seen. (SQLite does not sync to the disk: a power failure may lose the
last writes, a kill may not.) The history is not kept over a restart: a watch from before it gets a 410, as after a
compaction of etcd, and lists again.
"""

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from local.kubernetes.model import custom_kinds
from local.kubernetes.model.kinds import DEFINITIONS, STORED, Resource, served
from local.kubernetes.model.objects import Object, name_of, namespace_of
from local.kubernetes.model.status_errors import expired

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"

_TABLES = """
create table if not exists objects (
    resource text not null, namespace text not null, name text not null, body text not null,
    primary key (resource, namespace, name)
) without rowid;
create table if not exists counter (revision integer not null);
insert into counter select 0 where not exists (select 1 from counter);
"""


@dataclass(frozen=True, slots=True)
class Key:
    """Where an object is found: namespace is empty for cluster-wide ones."""

    resource: Resource
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Event:
    """One write. `previous` is the object before it, None when it was created."""

    revision: int
    type: str
    key: Key
    obj: Object
    previous: Object | None

    @property
    def resource(self) -> Resource:
        return self.key.resource


type Listener = Callable[[Event], None]


class Store:
    """All objects of the cluster. Objects that come out of it are shared: copy before changing."""

    def __init__(self, file: Path, history_length: int = 10_000) -> None:
        file.touch(mode=0o600)  # it holds the Secrets
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("pragma journal_mode = wal")
        self._database.execute("pragma synchronous = off")
        self._database.executescript(_TABLES)
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {resource: {} for resource in STORED}
        self._history: deque[Event] = deque(maxlen=history_length)
        self._listeners: list[Listener] = []
        self.revision: int = self._database.execute("select revision from counter").fetchone()[0]
        self._oldest = self.revision
        self._load()

    def close(self) -> None:
        self._database.close()

    def _load(self) -> None:
        rows = self._database.execute("select * from objects").fetchall()
        for resource, _, _, body in rows:
            if resource == DEFINITIONS.qualified_name:
                custom_kinds.install(json.loads(body))
        resources = {resource.qualified_name: resource for resource in (*STORED, *served())}
        for resource, namespace, name, body in rows:
            if resource in resources:
                self._of(resources[resource])[namespace, name] = json.loads(body)

    def _of(self, resource: Resource) -> dict[tuple[str, str], Object]:
        """The objects of a kind; those of a custom one come and go."""
        return self._objects.setdefault(resource, {})

    def get(self, key: Key) -> Object | None:
        return self._of(key.resource).get((key.namespace, key.name))

    def all_of(self, resource: Resource, namespace: str = "") -> list[Object]:
        """Return all objects of a kind, in one namespace when one is given, ordered by namespace and name."""
        found = sorted(self._of(resource).items())
        return [obj for (in_namespace, _), obj in found if namespace in ("", in_namespace)]

    def everything(self) -> Iterator[tuple[Resource, Object]]:
        for resource, objects in list(self._objects.items()):
            for obj in list(objects.values()):
                yield resource, obj

    def put(self, resource: Resource, obj: Object) -> Object:
        """Store `obj` under its name with a new resourceVersion; the caller gives up the object."""
        key = Key(resource, namespace_of(obj), name_of(obj))
        previous = self.get(key)
        obj["metadata"]["resourceVersion"] = str(self.revision + 1)
        self._write("insert or replace into objects values (?, ?, ?, ?)", key, json.dumps(obj))
        self._of(resource)[key.namespace, key.name] = obj
        self._announce(Event(self.revision, MODIFIED if previous else ADDED, key, obj, previous))
        return obj

    def remove(self, key: Key) -> Object:
        """Delete the object; the last event shows it as it was, with the resourceVersion of the deletion."""
        previous = self._objects[key.resource][key.namespace, key.name]
        last = {**previous, "metadata": {**previous["metadata"], "resourceVersion": str(self.revision + 1)}}
        self._write("delete from objects where (resource, namespace, name) = (?, ?, ?)", key)
        del self._objects[key.resource][key.namespace, key.name]
        self._announce(Event(self.revision, DELETED, key, last, previous))
        return last

    def _write(self, statement: str, key: Key, *values: str) -> None:
        database = self._database
        database.execute("begin")
        try:
            database.execute(statement, (key.resource.qualified_name, key.namespace, key.name, *values))
            database.execute("update counter set revision = ?", (self.revision + 1,))
            database.execute("commit")
        except BaseException:
            database.execute("rollback")
            raise
        self.revision += 1

    def _announce(self, event: Event) -> None:
        if len(self._history) == self._history.maxlen:
            self._oldest = self._history[0].revision
        self._history.append(event)
        for listener in list(self._listeners):
            listener(event)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` for every write from now on; it must neither block nor write. Returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def events_since(self, revision: int) -> list[Event]:
        """Return the writes after `revision`, or raise a 410 when the history does not reach back that far."""
        if revision < self._oldest:
            raise expired(f"too old resource version: {revision} ({self._oldest})")
        return [event for event in self._history if event.revision > revision]
