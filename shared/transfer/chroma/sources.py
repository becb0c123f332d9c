"""Where rows come from: the files themselves, or chromadb on a private copy when the files are not understood."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFormat
from ..progress import Progress, silent
from ..rows.rows import Rows
from .catalog import Catalog, Collection, Copied, LogHead, read_catalog
from .client import ClientStore, read_catalog_by_client
from .selection import Selection
from .snapshot import private_copy, store_fingerprint
from .store import ChromaStore

Result = TypeVar("Result")


class Source(Protocol):
    """Rows of collections, by keys or by ids."""

    def keys(self, collection: Collection) -> NDArray[np.int64]:
        """Return the keys of a collection's rows, ascending."""

    def ids(self, collection: Collection) -> Iterator[bytes]:
        """Yield the ids of a collection's rows."""

    def read(self, collection: Collection, keys: NDArray[np.int64]) -> Rows:
        """Read the rows with these keys."""

    def read_ids(self, collection: Collection, ids: list[bytes]) -> Rows:
        """Read the rows with these ids that exist."""

    def written_since(self, collection: Collection, since: int) -> list[bytes]:
        """Return the ids of rows that may have been written after this watermark."""


@contextmanager
def open_source(catalog: Catalog) -> Iterator[Source]:
    """Open the rows of a catalogue."""
    if catalog.reader == "chromadb":
        with ClientStore(catalog) as client:
            yield client
    else:
        with ChromaStore(catalog) as store:
            yield store


def can_fall_back() -> bool:
    """Tell whether chromadb can be imported here."""
    return importlib.util.find_spec("chromadb") is not None


def read_movable(
    path: Path, selection: Selection, *, since: LogHead | None = None, copied: Mapping[str, Copied] | None = None
) -> Catalog:
    """Read the catalogue; with `copied`, of what is to be moved and has changed since.

    Raises UnknownFormat if what is to be moved was left in the middle of a write.
    """
    if copied is None:
        catalog = read_catalog(path, since=since)
    else:
        catalog = read_catalog(path, since=since, copied=copied, includes=selection.includes_named)
    if lagging := [one.name for one in selection.of(catalog) if one.metadata_lag]:
        raise UnknownFormat(f"texts and metadata are behind the log in {', '.join(lagging[:5])}")
    return catalog


def with_fallback(
    store: Path,
    path: Path,
    scratch: Path,
    use: Callable[[Catalog], Result],
    *,
    selection: Selection,
    since: LogHead | None = None,
    copied: Mapping[str, Copied] | None = None,
    progress: Progress = silent,
) -> tuple[Result, str]:
    """Call `use` with the catalogue of `path`; if the files are not understood, again with chromadb's, of a private
    copy.

    Return what `use` returned and how the store was read: `files`, or `chromadb` and why. `use` must be safe to repeat.
    """
    try:
        return use(read_movable(path, selection, since=since, copied=copied)), "files"
    except UnknownFormat as error:
        if not can_fall_back():
            raise UnknownFormat(
                error.message, hint="chromadb is not installed here; run this where it is, as in Open WebUI's image"
            ) from error
        copy, fingerprint = _copy_for_chromadb(path, scratch, progress)
        catalog = read_catalog_by_client(copy, fingerprint, selection.tenant, selection.database)
        return use(catalog), f"chromadb, because {error.message}"


def _copy_for_chromadb(path: Path, scratch: Path, progress: Progress) -> tuple[Path, str]:
    """Copy what was read, for chromadb to open; one of another state is removed.

    Each state has a path of its own: within a process chromadb keeps what it once opened by its path.
    """
    own = scratch / f"chromadb-{store_fingerprint(path)}"
    for other in scratch.glob("chromadb-*"):
        if other != own:
            shutil.rmtree(other, ignore_errors=True)
    return private_copy(path, own, progress=progress)
