"""Looks at every collection and every row of a store, and names what would not move as it is."""

from dataclasses import dataclass, field
from typing import Any

from ..chroma.catalog import Catalog, Collection
from ..chroma.selection import Selection, duplicate_ids
from ..chroma.sources import open_source
from ..chroma.store import SLICE_ROWS
from ..pgvector.index_plan import choose_index
from ..progress import Progress
from ..rows.cleaning import KEEP_OUT, STOP, clean
from .problems import BLOCKING, NOTE, SHOWN_IDS, Problems


@dataclass(frozen=True, slots=True)
class StoreInspection:
    """One look at one store. `column_dimension` is that of the vector column it would move to."""

    catalog: Catalog
    selection: Selection
    column_dimension: int
    problems: Problems = field(default_factory=Problems)

    def look(self, progress: Progress) -> None:
        """Find every problem. Reads all rows, a slice at a time."""
        collections = self.selection.of(self.catalog)
        self._find_duplicates(collections)
        self._check_dimensions(collections)
        self._note_left_out(collections)
        self._note_distances(collections)
        self._look_at_rows(collections, progress)

    def as_json(self, fingerprint: str, size: int) -> dict[str, Any]:
        """Return what is there."""
        catalog = self.catalog
        largest = max((one.rows for one in catalog.collections), default=0)
        return {
            "version_hint": catalog.version_hint,
            "collections": [
                {
                    "name": one.name,
                    "id": one.id,
                    "rows": one.rows,
                    "dimension": one.dimension,
                    "space": one.space,
                    "kind": one.kind,
                }
                for one in catalog.collections
            ],
            "rows": catalog.rows,
            "bytes": size,
            "log_rows": catalog.log_rows,
            "fingerprint": fingerprint,
            "index_plan": choose_index(catalog.rows, largest, self.column_dimension, 1 << 30).as_json(),
        }

    def _find_duplicates(self, collections: tuple[Collection, ...]) -> None:
        count, duplicates = duplicate_ids(self.catalog, collections)
        if count:
            self.problems.add(
                "duplicate_id",
                BLOCKING,
                f"{count:,} ids are in more than one collection, document_chunk can hold each once: "
                + "; ".join(map(str, duplicates)),
                ids=[one.id for one in duplicates],
                count=count,
                policy=STOP,
            )

    def _check_dimensions(self, collections: tuple[Collection, ...]) -> None:
        long = [one for one in collections if (one.dimension or 0) > self.column_dimension]
        if long:
            self.problems.add(
                "vector_too_long",
                BLOCKING,
                f"{len(long)} collections have embeddings longer than {self.column_dimension} dimensions, which"
                f" Open WebUI would cut: {', '.join(f'{one.name} ({one.dimension})' for one in long[:SHOWN_IDS])}",
                ids=[one.name for one in long],
                policy=STOP,
            )
        dimensions = sorted({one.dimension for one in collections if one.dimension and one.rows})
        if len(dimensions) > 1:
            self.problems.add(
                "mixed_dimension",
                NOTE,
                f"embeddings have {', '.join(map(str, dimensions))} dimensions: more than one embedding model was used",
                count=len(dimensions),
                policy="padded with zeros to the column's dimension",
            )

    def _note_left_out(self, collections: tuple[Collection, ...]) -> None:
        left_out = [one for one in self.catalog.collections if one not in collections]
        searches = [one for one in left_out if one.kind == "web-search"]
        foreign = [one for one in left_out if one.kind != "web-search"]
        for code, some, what in (
            ("web_search", searches, "hold web search results, which are throw-away"),
            ("other_database", foreign, "belong to another tenant or database than Open WebUI's"),
        ):
            if some:
                rows = sum(one.rows for one in some)
                self.problems.add(
                    code,
                    NOTE,
                    f"{len(some)} collections with {rows:,} rows {what}",
                    ids=[one.name for one in some],
                    policy=KEEP_OUT,
                )

    def _note_distances(self, collections: tuple[Collection, ...]) -> None:
        other = [one.name for one in collections if one.space != "cosine" and one.rows]
        if other:
            self.problems.add(
                "other_distance",
                NOTE,
                f"{len(other)} collections are searched by l2 or ip; with PGVector Open WebUI always searches"
                " by cosine",
                ids=other,
                policy="vectors are copied as they are",
            )

    def _look_at_rows(self, collections: tuple[Collection, ...], progress: Progress) -> None:
        total = sum(one.rows for one in collections)
        done = 0
        with open_source(self.catalog) as source:
            for collection in collections:
                keys = source.keys(collection)
                for at in range(0, len(keys), SLICE_ROWS):
                    rows = source.read(collection, keys[at : at + SLICE_ROWS])
                    for finding in clean(rows)[1]:
                        self.problems.count(finding.code, finding.id)
                    done += len(rows)
                    progress("inspect", done, total, "rows")
