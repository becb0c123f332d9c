"""Critical sections: an orchestration holds a set of entities, all of them or none.

A locked entity takes operations from the orchestration that holds it only; what others sent waits. Requests are granted
in the order they came as far as their entities are free.
"""

import json

from durabletask.internal import orchestrator_service_pb2 as pb

from local.functions.engine.events import event
from local.functions.engine.store import Store


def request_lock(store: Store, asked: pb.EntityLockRequestedEvent, now: float) -> None:
    """Queue a request for a critical section and grant what can be granted."""
    store.rows(
        "INSERT INTO lock_request(critical_section, owner, entities) VALUES (?, ?, ?)",
        *(asked.criticalSectionId, asked.parentInstanceId.value, json.dumps(list(asked.lockSet))),
    )
    grant_locks(store, now)


def release_lock(store: Store, sent: pb.EntityUnlockSentEvent, now: float) -> None:
    """Free one entity of a critical section that ended."""
    store.rows(
        "UPDATE entity SET locked_by = NULL, lock_owner = NULL WHERE id = ? AND locked_by = ?",
        *(sent.targetInstanceId.value, sent.criticalSectionId),
    )
    grant_locks(store, now)


def release_all_locks(store: Store, owner: str, now: float) -> None:
    """Free whatever an orchestration that ended still holds or waits for."""
    store.rows("DELETE FROM lock_request WHERE owner = ?", owner)
    store.rows("UPDATE entity SET locked_by = NULL, lock_owner = NULL WHERE lock_owner = ?", owner)
    grant_locks(store, now)


def grant_locks(store: Store, now: float) -> None:
    """Grant every waiting request whose entities are all free."""
    for request in store.rows("SELECT * FROM lock_request ORDER BY position"):
        entities: list[str] = json.loads(request["entities"])
        held = store.row(
            "SELECT 1 FROM entity WHERE locked_by IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
            request["entities"],
        )
        if held is None:
            _grant(store, request["critical_section"], request["owner"], entities, now)
            store.rows("DELETE FROM lock_request WHERE position = ?", request["position"])


def _grant(store: Store, critical_section: str, owner: str, entities: list[str], now: float) -> None:
    for entity in entities:
        store.rows("INSERT OR IGNORE INTO entity(id, updated) VALUES (?, ?)", entity, now)
        store.rows("UPDATE entity SET locked_by = ?, lock_owner = ? WHERE id = ?", critical_section, owner, entity)
    granted = pb.EntityLockGrantedEvent(criticalSectionId=critical_section)
    store.post(owner, event(now, entityLockGranted=granted), now)
