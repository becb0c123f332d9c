"""Reads the vectors of one collection's HNSW files, with plain reads of the spans that a batch needs.

`header.bin` (100 bytes) describes `data_level0.bin`: per element a list header (bit 16: deleted), the links, the vector
and its label. Cosine collections store vectors normalised, and `length.bin` their original norms. Everything in the
header is checked against the files, so a layout this reader does not know is refused, never misread. Reading instead of
mapping keeps a worker's memory at one span.

Source: hnswlib `HierarchicalNSW::saveIndex` in chroma-hnswlib 0.7 and in chromadb 1.x's fork; facts measured on 0.4.24,
0.5.23, 0.6.3, 1.5.9.
"""

import os
import struct
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFormat

_HEADER = struct.Struct("<iQQQQQQiIQQQdQ")
_FILES = ("header.bin", "data_level0.bin", "length.bin", "link_lists.bin")
_SCAN_BYTES = 4 << 20
_GAP = 32  # elements: a hole this small is read over rather than seeked over


class HnswFiles:
    """The vectors of one segment folder, by label."""

    def __init__(self, folder: Path, dimension: int, *, normalised: bool) -> None:
        count, size, links = _read_header(folder, dimension)
        self._size, self._links, self._dimension, self._count = size, links, dimension, count
        self._file = os.open(folder / "data_level0.bin", os.O_RDONLY)
        self._element = np.dtype(
            {
                "names": ["flags", "vector", "label"],
                "formats": ["<u4", ("<f4", (dimension,)), "<u8"],
                "offsets": [0, links, links + dimension * 4],
                "itemsize": size,
            }
        )
        self._lengths = _read_lengths(folder, count) if normalised else None
        self._positions = self._scan_labels()

    def __enter__(self) -> "HnswFiles":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def vectors(self, labels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of these labels, shape (n, dimension), as they were given to Chroma."""
        at = np.searchsorted(self._sorted_labels, labels)
        if len(labels) and (
            not len(self._sorted_labels)
            or bool((self._sorted_labels[np.minimum(at, len(self._sorted_labels) - 1)] != labels).any())
        ):
            raise UnknownFormat("a label of index_metadata.pickle is not in data_level0.bin, or is deleted there")
        positions = self._positions[at]
        found = self._read_positions(positions)
        return found if self._lengths is None else found * self._lengths[positions, None]

    def _read_positions(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.empty((len(positions), self._dimension), np.float32)
        order = np.argsort(positions, kind="stable")
        ordered = positions[order]
        breaks = np.flatnonzero(np.diff(ordered) > _GAP) + 1
        for run in np.split(np.arange(len(ordered)), breaks):
            if len(run):
                first, last = int(ordered[run[0]]), int(ordered[run[-1]])
                span = self._read_span(first, last - first + 1)
                found[order[run]] = span["vector"][ordered[run] - first]
        return found

    def _read_span(self, first: int, count: int) -> NDArray[np.void]:
        raw = os.pread(self._file, count * self._size, first * self._size)
        if len(raw) != count * self._size:
            raise UnknownFormat("data_level0.bin is shorter than its header says")
        return np.frombuffer(raw, self._element)

    def _scan_labels(self) -> NDArray[np.int64]:
        """Labels are given out by chromadb but placed by hnswlib's threads, so the order has to be read."""
        labels = np.empty(self._count, np.int64)
        deleted = np.empty(self._count, bool)
        step = max(1, _SCAN_BYTES // self._size)
        for first in range(0, self._count, step):
            span = self._read_span(first, min(step, self._count - first))
            labels[first : first + len(span)] = span["label"]
            deleted[first : first + len(span)] = (span["flags"] >> 16) & 1
        order = np.argsort(labels, kind="stable")
        order = order[~deleted[order]]
        self._sorted_labels = labels[order]
        return order


def require_complete(folder: Path, dimension: int, *, normalised: bool) -> None:
    """Raise UnknownFormat if the files are not as long as the header says, as while chromadb writes them."""
    count, _, _ = _read_header(folder, dimension)
    if normalised:
        _read_lengths(folder, count)


def _read_header(folder: Path, dimension: int) -> tuple[int, int, int]:
    """Return (elements, bytes an element, bytes of links), after checking the header against the dimension and the
    files."""
    missing = [name for name in _FILES[:3] if not (folder / name).is_file()]
    if missing:
        raise UnknownFormat(f"segment {folder.name} lacks {', '.join(missing)}")
    raw = (folder / "header.bin").read_bytes()
    if len(raw) < _HEADER.size:
        raise UnknownFormat(f"header.bin of segment {folder.name} has {len(raw)} bytes, {_HEADER.size} are needed")
    version, _, capacity, count, size, label_offset, data_offset, _, _, _, max_links, *_ = _HEADER.unpack_from(raw)
    links = max_links * 4 + 4
    expected = (1, links, links + dimension * 4, links + dimension * 4 + 8)
    if (version, data_offset, label_offset, size) != expected or count > capacity:
        raise UnknownFormat(f"header.bin of segment {folder.name} does not fit dimension {dimension}")
    if (folder / "data_level0.bin").stat().st_size < count * size:
        raise UnknownFormat(f"data_level0.bin of segment {folder.name} is shorter than its header says")
    return count, size, links


def _read_lengths(folder: Path, count: int) -> NDArray[np.float32]:
    lengths = np.fromfile(folder / "length.bin", "<f4", count)
    if len(lengths) != count:
        raise UnknownFormat(f"length.bin of segment {folder.name} has {len(lengths)} norms for {count} vectors")
    return lengths
