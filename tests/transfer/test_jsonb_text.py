"""Our text of a metadata value against the text that PostgreSQL gives it."""

import json
from typing import Any

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from shared.transfer.rows import jsonb_text

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_scalars = st.none() | st.booleans() | _text | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_values = st.dictionaries(_text, _scalars | st.lists(_scalars, max_size=3), max_size=6)


def test_is_what_postgresql_prints(database: Any) -> None:
    with psycopg.connect(database.app_url, autocommit=True) as connection:

        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        @given(value=_values)
        def check(value: dict[str, Any]) -> None:
            dumps = lambda one: json.dumps(one, ensure_ascii=False)  # noqa: E731
            row = connection.execute("select %s::jsonb::text", (Jsonb(value, dumps),)).fetchone()
            assert row is not None
            assert jsonb_text.text(value) == row[0]

        check()


def test_has_no_number_that_json_lacks() -> None:
    assert jsonb_text.text({"a": float("nan"), "b": float("inf")}) == '{"a": null, "b": null}'
    assert jsonb_text.number(-0.0) == "0.0"
    assert jsonb_text.number(1.5e-7) == "0.00000015"
