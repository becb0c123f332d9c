"""Where rows come from: the files themselves, or chromadb on a private copy when the files are not understood."""

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .chroma_catalog import Catalog, Collection, read_catalog
from .chroma_store import ChromaStore
from .rows import Rows


class Source(Protocol):
    """Rows of collections, by keys."""

    def keys(self, collection: Collection) -> NDArray[np.int64]:
        """Return the keys of a collection's rows, ascending."""

    def read(self, collection: Collection, keys: NDArray[np.int64]) -> Rows:
        """Read the rows with these keys."""

    def read_ids(self, collection: Collection, ids: list[bytes]) -> Rows:
        """Read the rows with these ids that exist."""


def open_source(catalog: Catalog) -> AbstractContextManager[Source]:
    """Open the rows of a catalogue."""
    return ChromaStore(catalog)


def read_catalog_or_fall_back(path: Path) -> tuple[Catalog, str]:
    """Read a private copy's catalogue; the note is empty unless chromadb itself had to be asked."""
    return read_catalog(path), ""


def can_fall_back() -> bool:
    """Tell whether chromadb can be imported here."""
    return importlib.util.find_spec("chromadb") is not None
