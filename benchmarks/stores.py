"""Chroma stores of any size, quickly: a small one made by chromadb, multiplied with SQL.

The small store is what Open WebUI would have written: cosine collections named after files and knowledge bases, texts
of a thousand characters, its twelve metadata keys, embeddings in clusters. Copies get new ids everywhere; only the
full-text rows are not multiplied, which nobody reads.
"""

import json
import pickle
import random
import shutil
import sqlite3
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings
from numpy.typing import NDArray

_BATCH = 1000


def client_of(path: Path) -> Any:
    """Open a store with chromadb."""
    return chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))


def make_store(path: Path, rows: int, dimension: int, base_rows: int = 10_000) -> Path:
    """Make a store with this many rows (a multiple of `base_rows`); one that is there is used again."""
    if path.is_dir():
        return path
    base = path.with_name(f"base-{base_rows}x{dimension}")
    if not base.is_dir():
        _make_base(base, base_rows, dimension)
    partial = path.with_name(f".{path.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(base, partial)
    _multiply(partial, rows // base_rows)
    partial.rename(path)
    return path


def _make_base(path: Path, rows: int, dimension: int) -> None:
    numbers, chance = np.random.default_rng(1), random.Random(1)
    client = client_of(path)
    sizes = np.maximum(1, numbers.lognormal(0, 1.0, 20) / 32 * rows).astype(int)
    sizes[0] += rows - sizes.sum()
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 11))) for _ in range(20_000)]
    weights = (1 / np.arange(1, 20_001) ** 1.05).cumsum()
    centres = numbers.normal(size=(300, dimension)).astype(np.float32)
    for number, size in enumerate(sizes.tolist()):
        name = _uuid(chance) if number % 4 == 0 else f"file-{_uuid(chance)}"
        collection = client.create_collection(name, metadata={"hnsw:space": "cosine"}, embedding_function=None)
        file, user, digest = _uuid(chance), _uuid(chance), f"{chance.getrandbits(256):064x}"
        for first in range(0, size, _BATCH):
            some = range(first, min(size, first + _BATCH))
            collection.add(
                ids=[_uuid(chance) for _ in some],
                embeddings=_embeddings(numbers, centres, len(some)).tolist(),
                documents=[" ".join(chance.choices(words, cum_weights=weights.tolist(), k=170))[:1000] for _ in some],
                metadatas=[
                    {
                        "name": f"Report {number} — final.pdf",
                        "source": f"uploads/report_{number}.pdf",
                        "file_id": file,
                        "hash": digest,
                        "created_by": user,
                        "embedding_config": json.dumps({"engine": "", "model": "all-MiniLM-L6-v2"}),
                        "start_index": at * 800,
                        "page": at // 3,
                        "total_pages": size // 3 + 1,
                        "page_label": str(at // 3),
                        "content_type": "application/pdf",
                        "ocr": at % 2 == 0,
                    }
                    for at in some
                ],
            )


def _embeddings(numbers: np.random.Generator, centres: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    chosen = centres[numbers.integers(0, 6, count) + numbers.integers(0, 290)]
    vectors = chosen + numbers.normal(size=chosen.shape).astype(np.float32) * 0.8
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _multiply(path: Path, times: int) -> None:
    with sqlite3.connect(path / "chroma.sqlite3", isolation_level=None) as db:
        db.execute("pragma journal_mode = off")
        db.execute("pragma synchronous = off")
        db.execute("begin")
        rows = db.execute("select max(id) from embeddings").fetchone()[0]
        log = db.execute("select max(seq_id) from embeddings_queue").fetchone()[0]
        collections = [one for (one,) in db.execute("select id from collections")]
        segments = [one for (one,) in db.execute("select id from segments")]
        columns = [row[1] for row in db.execute("pragma table_info(collections)")]
        db.execute("create temp table renamed (old text primary key, new text)")
        for number in range(1, times):
            db.execute("delete from renamed")
            names = {one: str(uuid.uuid4()) for one in collections + segments}
            db.executemany("insert into renamed values (?, ?)", names.items())
            _copy_rows(db, number, number * rows, number * log, rows, log, columns)
            for segment in segments:
                _copy_folder(path / segment, path / names[segment], number)
        db.execute("commit")
    db.close()


def _copy_rows(
    db: sqlite3.Connection, number: int, row_offset: int, log_offset: int, rows: int, log: int, columns: list[str]
) -> None:
    changed = {"id": "r.new", "name": f"name || '-{number}'"}
    chosen = ", ".join(changed.get(one, f"c.{one}") for one in columns)
    metadata = "key, str_value, int_value, float_value, bool_value"
    values = "key, string_value, int_value, float_value, bool_value"
    topic = "'persistent://default/default/'"
    for statement in (
        f"insert into collections select {chosen} from collections c join renamed r on r.old = c.id",
        "insert into segments select s.new, type, scope, c.new from segments join renamed s on s.old = segments.id"
        " join renamed c on c.old = collection",
        f"insert into collection_metadata select r.new, {metadata} from collection_metadata join renamed r on"
        " r.old = collection_id",
        f"insert into max_seq_id select r.new, seq_id + {log_offset} from max_seq_id join renamed r on r.old"
        " = segment_id",
        f"insert into embeddings select id + {row_offset}, r.new, embedding_id || '-{number}', seq_id +"
        f" {log_offset}, created_at"
        f" from embeddings join renamed r on r.old = segment_id where id <= {rows}",
        f"insert into embedding_metadata select id + {row_offset}, {values} from embedding_metadata where id <= {rows}",
        f"insert into embeddings_queue select seq_id + {log_offset}, created_at, operation, {topic} || r.new,"
        f" id || '-{number}',"
        f" vector, encoding, metadata from embeddings_queue join renamed r on topic = {topic} || r.old where"
        f" seq_id <= {log}",
    ):
        db.execute(statement)


def _copy_folder(source: Path, target: Path, number: int) -> None:
    if not source.is_dir():
        return
    shutil.copytree(source, target)
    pickled = target / "index_metadata.pickle"
    if pickled.exists():
        state = pickle.loads(pickled.read_bytes())
        state["id_to_label"] = {f"{one}-{number}": label for one, label in state["id_to_label"].items()}
        state["label_to_id"] = {label: f"{one}-{number}" for label, one in state["label_to_id"].items()}
        state["id_to_seq_id"] = {f"{one}-{number}": seq for one, seq in state["id_to_seq_id"].items()}
        pickled.write_bytes(pickle.dumps(state, 3))


def change_store(path: Path, rows: int) -> None:
    """Change this many rows as users do: half new, a quarter updated, a quarter deleted, over up to 30 collections."""
    touched = _some_collections(path, max(1, min(30, rows // 50)))
    client = client_of(path)
    numbers = np.random.default_rng(rows)
    share = max(4, rows // len(touched))
    left = rows
    for name, dimension, ids in touched:
        collection = client.get_collection(name, embedding_function=None)
        count = min(share, left)
        new, updated = count // 2, min(count // 4, len(ids) // 2)
        collection.add(
            ids=[str(uuid.uuid4()) for _ in range(new)],
            embeddings=numbers.normal(size=(new, dimension)).tolist(),
            documents=["a new chunk of text " * 40] * new,
            metadatas=[{"name": "new.pdf", "start_index": at} for at in range(new)],
        )
        if updated:
            collection.update(
                ids=ids[:updated],
                embeddings=numbers.normal(size=(updated, dimension)).tolist(),
                documents=["changed " * 100] * updated,
            )
            collection.delete(ids=ids[updated : 2 * updated])
        left -= new + 2 * updated
        if left <= 0:
            return


def _some_collections(path: Path, count: int) -> list[tuple[str, int, list[str]]]:
    """Return name, dimension and ids of collections, evenly over the names; chromadb would read its whole log for
    each."""
    ids = (
        "select embedding_id from embeddings e join segments s on s.id = e.segment_id"
        " where s.collection = ? and s.scope = 'METADATA' order by e.id"
    )
    with closing(sqlite3.connect(path / "chroma.sqlite3")) as db:
        found = db.execute("select name, dimension, id from collections order by name").fetchall()
        some = found[:: max(1, len(found) // count)]
        return [(name, dimension, [one for (one,) in db.execute(ids, (key,))]) for name, dimension, key in some]


def main() -> None:
    """Make or change a store in a process of its own: chromadb keeps what it once opened.

    python -m benchmarks.stores make PATH ROWS DIMENSION BASE_ROWS
    python -m benchmarks.stores change PATH ROWS
    """
    command, path, *numbers = sys.argv[1:]
    (make_store if command == "make" else change_store)(Path(path), *map(int, numbers))


if __name__ == "__main__":
    main()
