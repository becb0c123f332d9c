"""Makes a small store with whatever chromadb is installed, and writes down what that chromadb says is in it.

    python make_old_store.py OUT.tar.xz [--from OLDER.tar.xz]

Run it in a throw-away environment of each version: `pip install "chromadb==0.4.24" "numpy<2"`. With `--from` an older
version's store is opened, and thereby upgraded, and then changed. The stores beside this file were made by 0.4.24,
0.5.23, 0.6.3 and 1.5.9, and `upgraded` by 1.5.9 from 0.5.23's.
"""

import base64
import io
import json
import random
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import chromadb
import numpy as np
from chromadb.config import Settings

DIMENSION = 8


def main() -> None:
    """Make the store and its truth, and pack both."""
    target = Path(sys.argv[1])
    folder = Path(tempfile.mkdtemp()) / "vector_db"
    if "--from" in sys.argv:
        with tarfile.open(sys.argv[-1]) as tar:
            tar.extractall(folder.parent, filter="data")
    client = chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))
    change(client) if "--from" in sys.argv else fill(client)
    aside = folder.parent / "aside"  # asking for the truth may flush or purge: the store stays as the writer left it
    shutil.copytree(folder, aside)
    truth = json.dumps({"version": chromadb.__version__, "collections": dump(aside)}).encode()
    with tarfile.open(target, "w:xz") as tar:
        tar.add(folder, "vector_db")
        entry = tarfile.TarInfo("truth.json")
        entry.size = len(truth)
        tar.addfile(entry, io.BytesIO(truth))
    print(chromadb.__version__, target, target.stat().st_size)


def fill(client) -> None:
    """One collection that was flushed, one that lives in the log, one with another distance, one emptied, one
    deleted."""
    numbers, chance = np.random.default_rng(7), random.Random(7)
    for name, rows, space in (
        ("flushed", 1150, "cosine"),
        ("file-small", 40, "cosine"),
        ("euclid", 1050, "l2"),
        ("inner", 30, "ip"),
        ("emptied", 5, "cosine"),
        ("web-search-x", 5, "cosine"),
        ("gone", 20, "cosine"),
    ):
        collection = client.create_collection(name, metadata={"hnsw:space": space}, embedding_function=None)
        for first in range(0, rows, 400):
            add(collection, numbers, [f"{name}-{n}" for n in range(first, min(rows, first + 400))])
        if rows >= 20:
            churn(collection, numbers, chance, name, rows)
    client.get_collection("emptied", embedding_function=None).delete(ids=[f"emptied-{n}" for n in range(5)])
    client.delete_collection("gone")


def add(collection, numbers, ids) -> None:
    """Add rows as Open WebUI does, with every type of metadata."""
    collection.add(
        ids=ids,
        embeddings=(numbers.normal(size=(len(ids), DIMENSION)) * 3).astype(np.float32).tolist(),
        documents=[f'text {n} — naïve 漢字 🎉 "quoted" \\ \t' for n in ids],
        metadatas=[
            {
                "name": f"Report {at}.pdf",
                "page": at,
                "score": at / 7,
                "tiny": 1.5e-7,
                "huge": 1e22,
                "ok": at % 2 == 0,
                "big": 2**53 + 1,
            }
            for at, _ in enumerate(ids)
        ],
    )


def churn(collection, numbers, chance, name, rows) -> None:
    """Update, upsert and delete."""
    ids = [f"{name}-{n}" for n in range(rows)]
    chosen = chance.sample(ids, min(12, rows // 2))
    third = max(1, len(chosen) // 3)

    def vectors(count):
        return numbers.normal(size=(count, DIMENSION)).astype(np.float32).tolist()

    collection.update(ids=chosen[:third], embeddings=vectors(third), documents=["updated"] * third)
    collection.update(ids=chosen[:1], metadatas=[{"only": "metadata"}])
    upserted = [*chosen[third : 2 * third], f"{name}-new"]
    collection.upsert(ids=upserted, embeddings=vectors(len(upserted)), documents=["upserted"] * len(upserted))
    collection.delete(ids=chosen[2 * third :])
    collection.add(ids=[f"{name}-bare"], embeddings=vectors(1))


def change(client) -> None:
    """What a newer version does to a store that an older one wrote."""
    numbers, chance = np.random.default_rng(8), random.Random(8)
    for name in ("flushed", "file-small", "euclid"):
        collection = client.get_collection(name, embedding_function=None)
        ids = collection.get(limit=20)["ids"]
        collection.delete(ids=ids[:3])
        collection.update(ids=ids[3:5], embeddings=numbers.normal(size=(2, DIMENSION)).astype(np.float32).tolist())
        add(collection, numbers, [f"{name}-later-{n}" for n in range(1010 if name == "flushed" else 20)])
        collection.add(
            ids=[f"{name}-list"],
            embeddings=numbers.normal(size=(1, DIMENSION)).tolist(),
            metadatas=[{"tags": ["a", "b"], "n": [1, 2]}],
        )
        chance.random()


def dump(folder: Path):
    """Return what chromadb itself reads."""
    client = chromadb.PersistentClient(path=str(folder), settings=Settings(anonymized_telemetry=False))
    found = {}
    for one in client.list_collections():
        name = "".join(one) if isinstance(one, str) else one.name  # 0.6 lists names
        collection = client.get_collection(name, embedding_function=None)
        got = collection.get(include=["embeddings", "documents", "metadatas"])
        found[name] = {
            row: [base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode(), text, metadata]
            for row, vector, text, metadata in zip(
                got["ids"], got["embeddings"], got["documents"], got["metadatas"], strict=True
            )
        }
    return found


if __name__ == "__main__":
    main()
