"""Whatever users do after the switch, in whatever order: the old side ends as the new one."""

import random
from collections.abc import Callable

import pytest

from tests.way_back.conftest import Migrated, assert_equal_rows, client_of, files_of

type Migrate = Callable[..., Migrated]

NAMES = ("file-9b2d", "file-b", "knowledge-bases", "user-memory-1", "web-search-old", "0f8fad5b-d9cb-469f")
NEW = ("file-new", "web-search-new", "7c9e6679-7425-40de", "user-memory-2")
TEXTS = ("", "plain", "two\nlines\ttab", "日本語 🎉", "quote ' \" \\ %s $1", "x" * 5000)
METADATA = (
    {"name": "ü.txt", "page": 3, "score": 0.25, "last": True},
    {"source": "a\nb", "nested": "{'a': [1, 2]}"},
    {"null": None, "kept": 1},
)


class Users:
    """Does things to a migrated Open WebUI, each drawn from a seeded generator."""

    def __init__(self, migrated: Migrated, seed: int) -> None:
        self.there, self.random = migrated, random.Random(seed)
        self.deeds = (self.add, self.add, self.change, self.delete, self.drop, self.reindex, self.upload, self.remove)

    def work(self, times: int) -> None:
        for _ in range(times):
            self.random.choice(self.deeds)()

    def add(self) -> None:
        name, number = self.random.choice(NAMES + NEW), self.random.randrange(10**6)
        self.there.insert(name, f"{name}+{number} ✓", number, self.random.choice(TEXTS), self._metadata())

    def change(self) -> None:
        if row := self._row():
            name, one = row
            self.there.insert(name, one, self.random.randrange(10**6), self.random.choice(TEXTS), self._metadata())

    def delete(self) -> None:
        if row := self._row():
            self.there.delete(row[1])

    def drop(self) -> None:
        if self.random.random() < 0.3 and (row := self._row()):
            self.there.delete_collection(row[0])

    def reindex(self) -> None:
        """Every vector of a collection is computed anew."""
        if self.random.random() < 0.3 and (row := self._row()):
            for one, (_, text, metadata) in self.there.new_side()[row[0]].items():
                self.there.insert(row[0], one, self.random.randrange(10**6), text, metadata)

    def upload(self) -> None:
        name = self.random.choice(["a.txt", "ünï 日本.txt", "new\nline.txt", "sub/folder/b.bin"])
        path = self.there.share / "uploads" / f"{self.random.randrange(5)}_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.random.randbytes(self.random.choice([0, 7, 70_000])))

    def remove(self) -> None:
        found = sorted(path for path in (self.there.share / "uploads").rglob("*") if path.is_file())
        if found:
            self.random.choice(found).unlink()

    def _metadata(self) -> dict[str, object] | None:
        return self.random.choice(METADATA)

    def _row(self) -> tuple[str, str] | None:
        rows = [(name, one) for name, there in sorted(self.there.new_side().items()) for one in sorted(there)]
        return self.random.choice(rows) if rows else None


def without_nulls(rows: dict[str, dict]) -> dict[str, dict]:
    """As Chroma can keep them: a null in the metadata is no entry."""
    return {
        name: {
            one: (vector, text, {key: value for key, value in (metadata or {}).items() if value is not None} or None)
            for one, (vector, text, metadata) in there.items()
        }
        for name, there in rows.items()
    }


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_the_old_side_ends_as_the_new_one(migrate: Migrate, seed: int) -> None:
    migrated = migrate(dict.fromkeys(NAMES, 12))
    left_out = dict(migrated.old_side()["web-search-old"])
    users = Users(migrated, seed)
    for _ in range(3):  # a way back, work, a way back …
        users.work(25)
        migrated.carry_back()
        old, new = migrated.old_side(), without_nulls(migrated.new_side())
        for one, row in old.get("web-search-old", {}).items():
            if one in left_out:  # throw-away results that the migration left in the old store stay there
                new.setdefault("web-search-old", {}).setdefault(one, row)
        assert_equal_rows(old, new)
        assert files_of(migrated.disk) == files_of(migrated.share)
    assert client_of(migrated.disk / "vector_db").count_collections() >= len(migrated.new_side())
