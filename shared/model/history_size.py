"""Keep what the mover reports within what durable history takes. Pure.

A payload may hold 1 MB (source: facts §6), and an Open WebUI with 20,000 files has 20,000 collections.
"""

from typing import Any

from shared.wire import JsonObject

LISTED = 200


def condensed(result: JsonObject) -> JsonObject:
    """The result with its `collections` counted and only the largest listed."""
    collections = result.get("collections")
    if not isinstance(collections, list):
        return result
    largest = sorted(collections, key=_rows, reverse=True)[:LISTED]
    return result | {"collections": largest, "collection_count": len(collections)}


def condensed_store(store: JsonObject) -> JsonObject:
    """The same for an `inspect` result; also says how wide the widest vectors are."""
    chroma = store.get("chroma")
    if not isinstance(chroma, dict):
        return store
    widest = max((int(c.get("dimension") or 0) for c in chroma.get("collections") or []), default=0)
    return store | {"chroma": condensed(chroma) | {"widest_dimension": widest}}


def _rows(collection: Any) -> int:
    return int(collection.get("rows") or 0) if isinstance(collection, dict) else 0
