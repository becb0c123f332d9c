"""Make a store as Open WebUI would have made it, of any size, through the official Chroma client.

Every file has a collection `file-<id>`; files of a knowledge base are chunked once more into the collection
named after it, under other ids. There are uploads, a cache and an application database that belong to the
vectors. Texts are nonsense, vectors random but clustered, so that nearest neighbours mean something; the same
seed gives the same ids, texts and vectors.

Source: Open WebUI 0.12.4, retrieval/vector/dbs/chroma.py and routers/retrieval.py.
"""

import itertools
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from local.sample.app_database import ADMIN_ID, CREATED_AT, write_app_sql
from local.sample.defects import DEFECTS, SEED
from local.sample.shipped import SamplePaths
from local.sample.store import Chunk, Store, StoredFile
from shared.errors import ConfigurationError

_BATCH = 1000


def generate(
    target: Path,
    chunks: int,
    *,
    dimension: int = 384,
    collections: int = 2,
    files: int = 10,
    seed: int = 0,
    defects: Sequence[str] = (),
) -> SamplePaths:
    """Make a store of `chunks` chunks: `files` files in `collections` knowledge bases; `target/data` is replaced."""
    _check(chunks, dimension, collections, files, defects)
    store = Store.empty(seed, dimension)
    knowledge = [store.new_id() for _ in range(collections)]
    stored = _fill(store, chunks, knowledge, files)
    _add_knowledge_bases(store, knowledge)
    for name in defects:
        SEED[name](store)
    return _write(target, store, knowledge, stored, defects)


def _check(chunks: int, dimension: int, collections: int, files: int, defects: Sequence[str]) -> None:
    problems = [f"unknown defect {name!r} (known: {', '.join(DEFECTS)})" for name in defects if name not in DEFECTS]
    if files < 1 or collections < 1 or dimension < 2:
        problems.append("files and collections must be at least 1, dimension at least 2")
    if chunks < 2 * files:
        problems.append(f"{chunks} chunks are too few for {files} files: every file is stored twice")
    if problems:
        raise ConfigurationError("The store cannot be made: " + "; ".join(problems) + ".")


def _fill(store: Store, chunks: int, knowledge: Sequence[str], files: int) -> list[StoredFile]:
    """Spread `chunks` over the files, the first being the largest, and store each in its two collections."""
    pairs, odd = divmod(chunks, 2)
    weights = np.array([1 / (n + 1) for n in range(files)])
    sizes = np.maximum(1, np.floor(weights / weights.sum() * pairs).astype(int))
    sizes[0] += pairs - sizes.sum()
    stored = []
    for number, size in enumerate(sizes):
        texts = [store.text() for _ in range(size)]
        base = knowledge[number % len(knowledge)]
        file = StoredFile(store.new_id(), f"note {number} ünïcödé.txt", base, "\n".join(texts))
        own = [Chunk(store.new_id(), store.vector(), text, _metadata(file, n)) for n, text in enumerate(texts)]
        again = [Chunk(store.new_id(), chunk.vector, chunk.text, chunk.metadata) for chunk in own]
        extra = [Chunk(store.new_id(), store.vector(), store.text(), own[0].metadata)] if odd and number == 0 else []
        store.collections[f"file-{file.id}"] = own + extra
        store.collections.setdefault(base, []).extend(again)
        stored.append(file)
    return stored


def _metadata(file: StoredFile, number: int) -> dict[str, Any]:
    return {
        "name": file.name,
        "content_type": "text/plain",
        "size": len(file.content.encode()),
        "created_by": ADMIN_ID,
        "file_id": file.id,
        "source": file.name,
        "start_index": number * 800,
        "hash": file.checksum,
        "file_hash": file.checksum,
        "embedding_config": "{'engine': '', 'model': 'sentence-transformers/all-MiniLM-L6-v2'}",
    }


def _add_knowledge_bases(store: Store, knowledge: Sequence[str]) -> None:
    store.collections["knowledge-bases"] = [
        Chunk(name, store.vector(), f"Knowledge base {n}", {"knowledge_base_id": name})
        for n, name in enumerate(knowledge)
    ]


def _write(
    target: Path, store: Store, knowledge: Sequence[str], stored: Sequence[StoredFile], defects: Sequence[str]
) -> SamplePaths:
    paths = SamplePaths(target / "data", target / "openwebui-app.sql", target / "expected.json")
    shutil.rmtree(paths.data, ignore_errors=True)
    _write_vectors(paths.data / "vector_db", store)
    _write_files(paths.data, stored[1:] if "missing-upload" in defects else stored)
    write_app_sql(paths.app_sql, knowledge, stored)
    paths.expected.write_text(json.dumps(_expected(store, knowledge, stored), indent=1))
    return paths


def _write_vectors(directory: Path, store: Store) -> None:
    import chromadb
    from chromadb.config import Settings

    directory.mkdir(parents=True)
    client: Any = chromadb.PersistentClient(str(directory), settings=Settings(anonymized_telemetry=False))
    try:
        for name, chunks in store.collections.items():
            collection = client.get_or_create_collection(name, metadata={"hnsw:space": "cosine"})
            for batch in itertools.batched(chunks, _BATCH, strict=False):
                collection.add(
                    ids=[chunk.id for chunk in batch],
                    embeddings=np.stack([chunk.vector for chunk in batch]),
                    documents=[chunk.text for chunk in batch],
                    metadatas=[chunk.metadata for chunk in batch],
                )
            if name in store.deleted:
                collection.delete(ids=store.deleted[name])
    finally:
        client.close()


def _write_files(data: Path, stored: Sequence[StoredFile]) -> None:
    for folder in ("uploads", "cache/embedding/models", "cache/audio/speech", "cache/image/generations"):
        (data / folder).mkdir(parents=True)
    for file in stored:
        (data / "uploads" / f"{file.id}_{file.name}").write_text(file.content, encoding="utf-8")
    (data / "cache/embedding/models/config.json").write_text('{"model_type": "bert"}\n')


def _expected(store: Store, knowledge: Sequence[str], stored: Sequence[StoredFile]) -> dict[str, Any]:
    counts = {name: len(chunks) - len(store.deleted.get(name, ())) for name, chunks in store.collections.items()}
    return {
        "made_by": "local.sample.generate",
        "created_at": CREATED_AT,
        "dim": store.centres.shape[1],
        "manifest": {"files": {file.name: {"id": file.id} for file in stored}, "kbs": list(knowledge)},
        "chroma": {"collections": {name: {"count": count} for name, count in counts.items()}},
        "chunks": sum(counts.values()),
    }
