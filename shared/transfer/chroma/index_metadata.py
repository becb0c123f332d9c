"""Reads `index_metadata.pickle`: which id has which label in a collection's HNSW files.

A pickle can run code, and chromadb's holds three dictionaries of every id, of which one is needed. So this is not an
unpickler but a reader of the few opcodes that chromadb's writers emit (Python's pickle, protocol 2 to 5, in 0.x;
serde-pickle, protocol 3, in 1.x). It runs nothing, keeps 16 bytes a row instead of several hundred, and refuses every
other opcode or name.

Source: chromadb/segment/impl/vector/local_persistent_hnsw.py, `PersistentData`; Python's pickletools.
"""

import struct
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFormat

_CLASS = ("chromadb.segment.impl.vector.local_persistent_hnsw", "PersistentData")
_MARK = object()
_OBJECT = object()


class IdMap:
    """Labels by id, found through 64-bit hashes of the ids; hashes that collide are refused when the map is made."""

    def __init__(self, ids: "array[int]", labels: "array[int]", max_seq_id: int | None) -> None:
        hashes = np.frombuffer(ids, np.int64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._labels = np.frombuffer(labels, np.int64)[order]
        self.max_seq_id = max_seq_id
        if len(hashes) > 1 and bool((self._hashes[1:] == self._hashes[:-1]).any()):
            raise UnknownFormat("two ids of one collection have the same 64-bit hash")

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Every label in use, in no particular order."""
        return self._labels

    def find(self, ids: list[bytes]) -> NDArray[np.int64]:
        """Return the label of every id, −1 where the HNSW files do not have it."""
        if not len(self._hashes):
            return np.full(len(ids), -1, np.int64)
        wanted = np.fromiter((hash(one) for one in ids), np.int64, len(ids))
        at = np.minimum(np.searchsorted(self._hashes, wanted), len(self._hashes) - 1)
        return np.where(self._hashes[at] == wanted, self._labels[at], -1)


def read_id_map(path: Path) -> IdMap:
    """Read the pickle; `max_seq_id` is only there in stores of chromadb 0.4."""
    with path.open("rb") as file:
        try:
            state = _Machine(file).run()
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise UnknownFormat(f"{path.name} of segment {path.parent.name} is damaged") from error
    labels = state.get("id_to_label")
    if not isinstance(labels, _Labels):
        raise UnknownFormat(f"{path.name} of segment {path.parent.name} has no id_to_label")
    seq_id = state.get("max_seq_id")
    if seq_id is not None and not isinstance(seq_id, int):
        raise UnknownFormat(
            f"{path.name} of segment {path.parent.name} has a max_seq_id of type {type(seq_id).__name__}"
        )
    return IdMap(labels.ids, labels.labels, seq_id)


class _Labels:
    """Stands where id_to_label is being built, and keeps hashes instead of ids."""

    def __init__(self) -> None:
        self.ids = array("q")
        self.labels = array("q")

    def add(self, pairs: list[Any]) -> None:
        for one, label in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(one, bytes) or not isinstance(label, int):
                raise UnknownFormat("id_to_label maps something other than text to numbers")
            self.ids.append(hash(one))
            self.labels.append(label)


class _Finished(Exception):
    """Everything wanted has been read; what follows is the same ids again."""


class _Machine:
    """A pickle machine of strings, numbers and dictionaries. Strings stay bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._read = file.read
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._memoized = 0
        self._state: dict[str, Any] = {}
        self._labels: _Labels | None = None

    def run(self) -> dict[str, Any]:
        operations = self._operations()
        read = self._read
        try:
            while True:
                opcode = read(1)
                if opcode == b".":
                    break
                operation = operations.get(opcode)
                if operation is None:
                    raise UnknownFormat(f"opcode {opcode!r} in index_metadata.pickle")
                operation()
        except _Finished:
            pass
        return self._state

    def _operations(self) -> dict[bytes, Callable[[], None]]:
        push, read = self._stack.append, self._read
        four, eight = struct.Struct("<I").unpack, struct.Struct("<Q").unpack

        def text(size: int) -> None:
            value = read(size)
            if len(value) != size:
                raise UnknownFormat("index_metadata.pickle ends in the middle")
            if value == b"label_to_id" and self._labels is not None:
                self._set_items(self._pop_to_mark())
                raise _Finished
            push(value)

        return {
            b"\x80": lambda: _discard(read(1)),
            b"\x95": lambda: _discard(read(8)),
            b"}": self._open_dict,
            b"(": lambda: push(_MARK),
            b"u": lambda: self._set_items(self._pop_to_mark()),
            b"s": lambda: self._set_items([self._stack.pop(-2), self._stack.pop()]),
            b"X": lambda: text(four(read(4))[0]),
            b"\x8c": lambda: text(read(1)[0]),
            b"\x8d": lambda: text(eight(read(8))[0]),
            b"K": lambda: push(read(1)[0]),
            b"M": lambda: push(int.from_bytes(read(2), "little")),
            b"J": lambda: push(int.from_bytes(read(4), "little", signed=True)),
            b"\x8a": lambda: push(int.from_bytes(read(read(1)[0]), "little", signed=True)),
            b"N": lambda: push(None),
            b"\x94": self._memoize,
            b"q": lambda: self._remember(read(1)[0]),
            b"r": lambda: self._remember(four(read(4))[0]),
            b"h": lambda: push(self._recall(read(1)[0])),
            b"j": lambda: push(self._recall(four(read(4))[0])),
            b"c": self._global,
            b"\x93": self._stack_global,
            b")": lambda: push(()),
            b"\x81": self._new_object,
            b"b": self._build,
        }

    def _open_dict(self) -> None:
        if self._stack and self._stack[-1] == b"id_to_label":
            self._labels = _Labels()
            self._stack.append(self._labels)
        else:
            self._stack.append({})

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, _Labels):
            target.add(items)
        elif isinstance(target, dict):
            pairs = dict(zip(items[::2], items[1::2], strict=True))
            target.update(pairs)
            self._state.update({key.decode(): value for key, value in pairs.items() if isinstance(key, bytes)})
        else:
            raise UnknownFormat("index_metadata.pickle sets items on something that is no dictionary")

    def _pop_to_mark(self) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                items = self._stack[at + 1 :]
                del self._stack[at:]
                return items
        raise UnknownFormat("index_metadata.pickle lacks a mark")

    def _memoize(self) -> None:
        self._remember(self._memoized)

    def _remember(self, key: int) -> None:
        self._memoized += 1
        if self._labels is None:  # ids are not kept: nothing refers back to them before label_to_id
            self._memo[key] = self._stack[-1]

    def _recall(self, key: int) -> Any:
        if key not in self._memo:
            raise UnknownFormat("index_metadata.pickle refers to a value this reader does not keep")
        return self._memo[key]

    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._admit(module, name)

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._admit(module.decode(), name.decode())

    def _admit(self, module: str, name: str) -> None:
        if (module, name) != _CLASS:
            raise UnknownFormat(f"index_metadata.pickle names {module}.{name}")
        self._stack.append(_OBJECT)

    def _new_object(self) -> None:
        self._stack.pop()  # the empty arguments; the class below them stands for the object

    def _build(self) -> None:
        self._stack.pop()  # the state, already in self._state

    def _line(self) -> str:
        line = bytearray()
        while (byte := self._read(1)) not in (b"\n", b""):
            line += byte
        return line.decode()


def _discard(_: bytes) -> None:
    """Framing carries no value."""
