"""Tells whether a copy of a store caught chromadb in the middle of a write.

A write is not one step: chromadb commits its log, then texts and metadata, and every thousand records it writes the
HNSW files and then the pickle over the old ones. A copy that falls between these holds what a crash at that moment
would leave. It is whole in the sense of SQLite, but chromadb itself may refuse it, and waiting for the next moment is
better than to find a way round it.
"""

from pathlib import Path

from ..errors import UnknownFormat
from .catalog import Catalog, read_catalog
from .hnsw import require_complete
from .index_metadata import read_id_map

_END_OF_PICKLE = b"."
"""Source: Python documentation, pickletools, STOP."""


def disturbance(path: Path) -> str:
    """Return what shows that a write was under way, '' when nothing does. Reads the logs and headers, not the rows."""
    try:
        catalog = read_catalog(path)
        _require_complete_files(catalog)
    except UnknownFormat as error:
        return error.message
    lagging = [one.name for one in catalog.collections if one.metadata_lag]
    return f"texts and metadata are behind the log in {', '.join(lagging[:5])}" if lagging else ""


def _require_complete_files(catalog: Catalog) -> None:
    for one in catalog.collections:
        folder = catalog.path / one.vector_segment
        if one.vector_segment and one.dimension and (folder / "index_metadata.pickle").is_file():
            if not (folder / "index_metadata.pickle").read_bytes().endswith(_END_OF_PICKLE):
                raise UnknownFormat(f"index_metadata.pickle of segment {folder.name} has no end")
            read_id_map(folder / "index_metadata.pickle")
            require_complete(folder, one.dimension, normalised=one.space == "cosine")
