"""What a made store consists of, and the seeded randomness that its ids, texts and vectors come from."""

import hashlib
import uuid
from dataclasses import dataclass, field
from random import Random
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_WORDS = (
    *("volume", "claim", "replica", "rollout", "probe", "budget", "pulsar", "galaxy", "transit", "corona", "bond"),
    *("yield", "ledger", "dividend", "espresso", "crema", "kettle", "harbour", "tide", "anchor", "jib", "seedling"),
    *("compost", "trellis", "orchard", "lantern", "archive", "quarry", "viaduct", "meadow", "ünïcödé", "日本語", "🚲"),
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of a collection."""

    id: str
    vector: NDArray[np.float32]
    text: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An upload and what the application database knows of it."""

    id: str
    name: str
    knowledge_id: str
    content: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.content.encode()).hexdigest()


@dataclass(slots=True)
class Store:
    """What is being made: the source of randomness, and the collections so far."""

    random: Random
    vectors: np.random.Generator
    centres: NDArray[np.float32]
    collections: dict[str, list[Chunk]] = field(default_factory=dict)
    deleted: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def empty(cls, seed: int, dimension: int) -> Self:
        """Return a store whose vectors will gather round 32 centres."""
        vectors = np.random.default_rng(seed)
        centres = vectors.normal(size=(32, dimension)).astype(np.float32)
        unit = centres / np.linalg.norm(centres, axis=1, keepdims=True)
        return cls(Random(seed), vectors, unit)  # noqa: S311 (nothing secret is made)

    def new_id(self) -> str:
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def text(self, words: int = 60) -> str:
        return " ".join(self.random.choices(_WORDS, k=words))

    def vector(self) -> NDArray[np.float32]:
        """Return a vector near one of the centres, of length one."""
        near = self.centres[self.random.randrange(len(self.centres))]
        noisy = near + self.vectors.normal(scale=0.6 / np.sqrt(len(near)), size=len(near))
        unit: NDArray[np.float32] = (noisy / np.linalg.norm(noisy)).astype(np.float32)
        return unit
