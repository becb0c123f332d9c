"""Packs rows as PostgreSQL's binary COPY wants them, and hashes them as PostgreSQL can hash them again.

The vectors of a slice become one matrix of bytes with numpy (length, dimension and zero padding included); per row
there is one join of ready pieces. The digest of a set of rows is the sum of 60 bits of md5 a row: independent of order,
and additive, so that batches can be added up and a changed row exchanged. md5 guards against accidents here, not
against an adversary.

Source: PostgreSQL documentation, COPY "Binary Format"; pgvector src/vector.c vector_send, src/halfvec.c halfvec_send.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rows import Rows

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)

_FIVE_FIELDS = struct.pack(">h", 5)
_NULL = struct.pack(">i", -1)
_JSONB_VERSION = b"\1"
_size = struct.Struct(">i").pack


@dataclass(frozen=True, slots=True)
class VectorColumn:
    """The type of `document_chunk.vector`: shorter vectors are padded with zeros, as Open WebUI does."""

    dimension: int = 1536
    half: bool = False

    @property
    def sql(self) -> str:
        """Return the type as SQL spells it."""
        return f"{'halfvec' if self.half else 'vector'}({self.dimension})"

    @property
    def name(self) -> str:
        """Return `vector` or `halfvec`."""
        return "halfvec" if self.half else "vector"


def pack(rows: Rows, collection: str, column: VectorColumn) -> tuple[bytes, int]:
    """Return the rows as COPY data (no header, no trailer) and their digest."""
    block, offset, width = _vector_block(rows.vectors, column)
    prefix = _field(collection.encode())
    view = memoryview(block.reshape(-1))
    row_bytes = block.shape[1] if len(rows) else 0
    parts: list[bytes | memoryview] = []
    total = 0
    md5 = hashlib.md5
    for at, (one, text, metadata) in enumerate(zip(rows.ids, rows.texts, rows.metadatas, strict=True)):
        start = at * row_bytes
        tail = prefix + (_NULL if text is None else _size(len(text)) + text)
        tail += _NULL if metadata is None else _size(len(metadata) + 1) + _JSONB_VERSION + metadata
        parts += (_FIVE_FIELDS + _size(len(one)) + one, view[start : start + row_bytes], tail)
        vector = view[start + offset : start + offset + width]
        hashed = b"".join(
            (
                one,
                b"\xff",
                vector,
                b"\xff",
                text if text is not None else b"\xfe",
                b"\xff",
                metadata if metadata is not None else b"\xfe",
            )
        )
        total += int.from_bytes(md5(hashed, usedforsecurity=False).digest()[:8], "big") >> 4
    return b"".join(parts), total


def digest(rows: Rows, column: VectorColumn) -> int:
    """Return the digest alone."""
    return pack(rows, "", column)[1]


def digest_sql(column: VectorColumn, given: str) -> str:
    """Return the SQL of one row's digest; `given` is the dimension of its embedding, before padding."""
    vector = f"substr({column.name}_send(subvector(vector, 1, {given})), 5)"  # without the length in front
    fields = ("textsend(id)", vector, "textsend(text)", "textsend(vmetadata::text)")
    # Neither byte occurs in UTF-8: \xff ends a field, \xfe stands for null.
    hashed = " || '\\xff'::bytea || ".join(f"coalesce({field}, '\\xfe'::bytea)" for field in fields)
    return f"('x' || substr(md5({hashed}), 1, 15))::bit(60)::bigint"


def padding_sql(column: VectorColumn, given: str) -> str:
    """Return the SQL that tells whether what follows the embedding is all zeros."""
    norm = "l2_norm" if column.half else "vector_norm"
    rest = f"subvector(vector, {given} + 1, {column.dimension} - {given})"
    return f"case when vector is null or {given} >= {column.dimension} then true else {norm}({rest}) = 0 end"


def _field(value: bytes) -> bytes:
    return _size(len(value)) + value


def _vector_block(vectors: NDArray[np.float32], column: VectorColumn) -> tuple[NDArray[np.uint8], int, int]:
    """Return one row of bytes per vector (field length, dimension, unused, elements), where the elements start, and how
    long the given ones are."""
    count, given = vectors.shape
    if given > column.dimension:
        raise ValueError(f"vectors of {given} dimensions do not fit {column.sql}")
    element = np.dtype(">f2" if column.half else ">f4")
    width = element.itemsize * given
    head = struct.pack(">ihh", 4 + element.itemsize * column.dimension, column.dimension, 0)
    block = np.zeros((count, len(head) + element.itemsize * column.dimension), np.uint8)
    block[:, : len(head)] = np.frombuffer(head, np.uint8)
    block[:, len(head) : len(head) + width] = (
        np.ascontiguousarray(vectors.astype(element)).view(np.uint8).reshape(count, width)
    )
    return block, len(head), width
