"""A slice of a collection's rows on their way, and what reading them cost nothing to find out."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one collection, in the order of their keys.

    `keys` are `embeddings.id`, `vectors` is (n, dimension) float32, `texts` and `ids` are UTF-8, `metadatas` are in
    exactly the text form that PostgreSQL gives a jsonb value, so they can be sent and hashed as they are; None where
    there is none. `without_vector` are ids that the store lists but has no usable vector for; they are in no other
    field.
    """

    keys: NDArray[np.int64]
    ids: list[bytes]
    vectors: NDArray[np.float32]
    texts: list[bytes | None]
    metadatas: list[bytes | None]
    without_vector: list[bytes] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: list[int]) -> "Rows":
        """Return the rows at these positions."""
        return Rows(
            self.keys[positions],
            [self.ids[at] for at in positions],
            self.vectors[positions],
            [self.texts[at] for at in positions],
            [self.metadatas[at] for at in positions],
        )
