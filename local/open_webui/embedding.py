"""A stand-in for the embedding model: words hashed into 384 numbers, normalised; the same text, the same vector."""

import hashlib
import math
import re

DIMENSION = 384  # as all-MiniLM-L6-v2, Open WebUI's default model


def embed(text: str) -> list[float]:
    vector = [0.0] * DIMENSION
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        vector[int.from_bytes(digest[:4], "big") % DIMENSION] += 1.0 if digest[4] & 1 else -1.0
    length = math.sqrt(sum(number * number for number in vector))
    if length == 0.0:
        vector[0], length = 1.0, 1.0
    return [number / length for number in vector]
