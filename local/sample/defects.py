"""What can be wrong with a store: each defect by name, and the function that seeds it."""

import hashlib
from collections.abc import Callable

import numpy as np

from local.sample.store import Chunk, Store

DEFECTS: dict[str, str] = {
    "duplicate-ids": "the same ids in two collections",
    "nul-text": "NUL characters in text and metadata",
    "other-dimension": "a collection with 3072 dimensions",
    "zero-vector": "vectors of length zero",
    "deleted": "chunks that were added and deleted again, so that the index holds their remains",
    "throw-away": "a web-search collection, which need not be kept",
    "huge-text": "a chunk with more than 1 MB of distinct words",
    "empty-collection": "a collection without a chunk",
    "missing-upload": "a file in the database whose upload is gone",
}


def _duplicate_ids(store: Store) -> None:
    twins = [Chunk(chunk.id, store.vector(), store.text(), chunk.metadata) for chunk in _some(store)]
    store.collections[f"file-{store.new_id()}"] = twins


def _nul_text(store: Store) -> None:
    store.collections[f"file-{store.new_id()}"] = [
        Chunk(store.new_id(), store.vector(), f"before\0after {n}", {"name": "nul\0.txt", "start_index": n})
        for n in range(3)
    ]


def _other_dimension(store: Store) -> None:
    wide = [store.vectors.normal(size=3072).astype(np.float32) for _ in range(5)]
    store.collections[f"file-{store.new_id()}"] = [
        Chunk(store.new_id(), vector, store.text(), {"start_index": n}) for n, vector in enumerate(wide)
    ]


def _zero_vector(store: Store) -> None:
    zero = np.zeros(store.centres.shape[1], dtype=np.float32)
    store.collections[f"file-{store.new_id()}"] = [Chunk(store.new_id(), zero, store.text(), {"start_index": 0})]


def _deleted(store: Store) -> None:
    for name in [name for name in store.collections if name.startswith("file-")][:2]:
        gone = [Chunk(store.new_id(), store.vector(), store.text(), {"start_index": -n}) for n in range(1, 4)]
        store.collections[name] += gone
        store.deleted[name] = [chunk.id for chunk in gone]


def _throw_away(store: Store) -> None:
    chunks = [Chunk(store.new_id(), store.vector(), store.text(), {"source": "web"}) for _ in range(3)]
    store.collections[f"web-search-{hashlib.sha256(b'query').hexdigest()[:52]}"] = chunks


def _huge_text(store: Store) -> None:
    words = " ".join(f"{store.random.getrandbits(64):016x}" for _ in range(80_000))
    store.collections[f"file-{store.new_id()}"] = [Chunk(store.new_id(), store.vector(), words, {"start_index": 0})]


def _empty_collection(store: Store) -> None:
    store.collections[f"file-{store.new_id()}"] = []


def _some(store: Store) -> list[Chunk]:
    return next(iter(store.collections.values()))[:3]


SEED: dict[str, Callable[[Store], None]] = {
    "duplicate-ids": _duplicate_ids,
    "nul-text": _nul_text,
    "other-dimension": _other_dimension,
    "zero-vector": _zero_vector,
    "deleted": _deleted,
    "throw-away": _throw_away,
    "huge-text": _huge_text,
    "empty-collection": _empty_collection,
    "missing-upload": lambda store: None,  # seeded where the uploads are written
}
