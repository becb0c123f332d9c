"""Which collections are moved, and what forbids the move before it starts."""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass

from ..errors import PermanentError
from ..rows.copy_binary import VectorColumn
from .catalog import Catalog, Collection, kind_of, open_database
from .schema import DEFAULT_DATABASE, DEFAULT_TENANT


@dataclass(frozen=True, slots=True)
class Selection:
    """Open WebUI uses one tenant and database; web search results are throw-away and left out by default.

    Source: open_webui/config.py, CHROMA_TENANT and CHROMA_DATABASE; open_webui/routers/retrieval.py, `web-search-…`.
    """

    tenant: str = DEFAULT_TENANT
    database: str = DEFAULT_DATABASE
    web_search: bool = False

    def includes(self, collection: Collection) -> bool:
        """Tell whether a collection is moved."""
        return self.includes_named(collection.tenant, collection.database, collection.name)

    def includes_named(self, tenant: str, database: str, name: str) -> bool:
        """Tell whether a collection of this tenant, database and name is moved."""
        mine = (tenant, database) == (self.tenant, self.database)
        return mine and (self.web_search or kind_of(name) != "web-search")

    def of(self, catalog: Catalog) -> tuple[Collection, ...]:
        """Return the collections that are moved."""
        return tuple(collection for collection in catalog.collections if self.includes(collection))


@dataclass(frozen=True, slots=True)
class DuplicateId:
    """One id that several collections use; in document_chunk it can exist once."""

    id: str
    collections: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.id} in {' and '.join(self.collections)}"


def duplicate_ids(catalog: Catalog, collections: tuple[Collection, ...]) -> tuple[int, list[DuplicateId]]:
    """Return how many ids are in more than one of these collections, and the first twenty of them.

    A store that only chromadb can read is not asked: there the primary key of document_chunk decides.
    """
    names = {collection.metadata_segment: collection.name for collection in collections}
    if catalog.reader != "files" or not names:
        return 0, []
    with closing(open_database(catalog.path)) as db:
        db.execute("pragma temp_store = memory")
        # Nearly always there is none at all, which the index of (segment, id) alone answers.
        if not db.execute("select 1 from embeddings group by embedding_id having count(*) > 1 limit 1").fetchone():
            return 0, []
        segments = json.dumps(list(names))
        twice = (
            "select embedding_id from embeddings where segment_id in (select value from json_each(?))"
            " group by 1 having count(*) > 1"
        )
        count = db.execute(f"select count(*) from ({twice})", (segments,)).fetchone()[0]
        return count, [_where(db, one, names) for (one,) in db.execute(f"{twice} order by 1 limit 20", (segments,))]


def _where(db: sqlite3.Connection, one: bytes, names: dict[str, str]) -> DuplicateId:
    name = one.decode("utf-8", "replace")
    segments = db.execute("select segment_id from embeddings where embedding_id = ?", (name,))
    return DuplicateId(name, tuple(sorted(names[s.decode()] for (s,) in segments if s.decode() in names)))


def require_movable(catalog: Catalog, collections: tuple[Collection, ...], column: VectorColumn) -> None:
    """Raise PermanentError, naming everything, when rows could not all be moved."""
    too_long = [f"{one.name} ({one.dimension})" for one in collections if (one.dimension or 0) > column.dimension]
    if too_long:
        raise PermanentError(
            f"{len(too_long)} collections have embeddings longer than {column.sql}: {', '.join(too_long[:20])}",
            hint="create the table with a larger --dimension (over 2,000: --halfvec)",
        )
    count, examples = duplicate_ids(catalog, collections)
    if count:
        named = "; ".join(map(str, examples))
        raise PermanentError(
            f"{count:,} ids are in more than one collection, document_chunk can hold each once: {named}",
            hint="re-index one of the named collections in Open WebUI, then plan again",
        )
