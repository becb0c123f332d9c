"""Rows that PostgreSQL or Open WebUI would refuse, and what becomes of each: nothing disappears unnamed.

    clean      the row is copied with the offending part removed, as Open WebUI itself would store it
    keep out   the row is not copied; its id is in the ledger and in the report
    stop       the transfer does not start

Source: open_webui/retrieval/vector/utils.py (process_metadata, sanitize_text_for_db: NUL and surrogates are stripped);
PostgreSQL refuses NUL in text, \\u0000 in jsonb, invalid UTF-8; pgvector refuses NaN and infinity and scores zero
vectors NaN; to_tsvector refuses more than 1 MB of distinct lexemes, so such a row could not be indexed.
"""

import re
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from .rows import Rows

CLEAN, KEEP_OUT, STOP = "clean", "keep_out", "stop"

POLICIES = {
    "already_there": KEEP_OUT,
    "nul": CLEAN,
    "lone_surrogate": CLEAN,
    "missing_text": CLEAN,
    "nan": KEEP_OUT,
    "zero_vector": KEEP_OUT,
    "missing_vector": KEEP_OUT,
    "oversize_text": KEEP_OUT,
    "vector_too_long": STOP,
    "duplicate_id": STOP,
}

_MAX_LEXEME_BYTES = 1 << 20
_WORDS = re.compile(rb"\S+")


@dataclass(frozen=True, slots=True)
class Finding:
    """One row that needed a policy."""

    id: str
    code: str

    @property
    def kept_out(self) -> bool:
        """Tell whether the row is not copied."""
        return POLICIES[self.code] == KEEP_OUT


def clean(rows: Rows) -> tuple[Rows, list[Finding]]:
    """Return the rows that can be copied, cleaned, and every finding. Costs next to nothing for rows without one."""
    findings = [Finding(_name(one), "missing_vector") for one in rows.without_vector]
    bad = _bad_vectors(rows)
    if not bad and _all_clean(rows):
        return replace(rows, without_vector=[]), findings
    out: set[int] = set()
    texts, metadatas, ids = list(rows.texts), list(rows.metadatas), list(rows.ids)
    for at, (one, text, metadata) in enumerate(zip(rows.ids, rows.texts, rows.metadatas, strict=True)):
        codes: list[str] = [bad[at]] if at in bad else []
        ids[at] = _clean_text(one, codes)
        if text is None:
            codes.append("missing_text")
        else:
            texts[at] = _clean_text(text, codes)
            if len(text) > _MAX_LEXEME_BYTES and _lexeme_bytes(text) > _MAX_LEXEME_BYTES:
                codes.append("oversize_text")
        if metadata is not None:
            metadatas[at] = _clean_json(metadata, codes)
        for code in dict.fromkeys(codes):
            finding = Finding(_name(one), code)
            findings.append(finding)
            if finding.kept_out:
                out.add(at)
    cleaned = replace(rows, ids=ids, texts=texts, metadatas=metadatas, without_vector=[])
    if out:
        cleaned = cleaned.take([at for at in range(len(rows)) if at not in out])
    return cleaned, findings


def _all_clean(rows: Rows) -> bool:
    """Look at the whole slice at once, which is several times faster than row by row; False when a row needs a closer
    look."""
    if None in rows.texts or max(map(len, rows.texts), default=0) > _MAX_LEXEME_BYTES:  # type: ignore[arg-type]
        return False
    # No sequence of UTF-8 goes on past a line break, so what is valid joined is valid apart.
    metadata = b"\n".join(filter(None, rows.metadatas))
    joined = b"\n".join(chain(rows.ids, rows.texts, (metadata,)))  # type: ignore[arg-type]
    return b"\\u0000" not in metadata and b"\0" not in joined and _is_utf8(joined)


def _is_utf8(raw: bytes) -> bool:
    if raw.isascii():
        return True
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def _bad_vectors(rows: Rows) -> dict[int, str]:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows.vectors, rows.vectors)
    if bool(np.isfinite(squares).all()) and bool(squares.all()):
        return {}
    finite = np.isfinite(rows.vectors).all(axis=1)
    zero = ~rows.vectors.any(axis=1)
    found = {int(at): "zero_vector" for at in np.flatnonzero(zero)}
    found.update({int(at): "nan" for at in np.flatnonzero(~finite)})
    return found


def _clean_text(raw: bytes, codes: list[str]) -> bytes:
    if b"\0" in raw:
        codes.append("nul")
        raw = raw.replace(b"\0", b"")
    if raw.isascii():
        return raw
    try:
        raw.decode()
    except UnicodeDecodeError:
        codes.append("lone_surrogate")
        return raw.decode("utf-8", "ignore").encode()
    return raw


def _clean_json(raw: bytes, codes: list[str]) -> bytes:
    cleaned = _clean_text(raw, codes)
    if b"\\u0000" in cleaned:
        # An even number of backslashes before it is a literal backslash followed by u0000.
        without = re.sub(rb"(?<!\\)((?:\\\\)*)\\u0000", rb"\1", cleaned)
        if without != cleaned:
            codes.append("nul")
            cleaned = without
    return cleaned


def _lexeme_bytes(text: bytes) -> int:
    """An upper bound: the words of the text, each once."""
    return sum(map(len, set(_WORDS.findall(text.lower()))))
