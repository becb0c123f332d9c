"""The shipped store is whole, any dump loads without psql, and made stores have what was asked for."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import psycopg
import pytest

from local.sample import DEFECTS, extract, generate, load_sql, shipped
from shared.errors import ConfigurationError


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return extract(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("made"), chunks=201, files=4, defects=list(DEFECTS))


def collections_of(data: Path):
    import chromadb

    client = chromadb.PersistentClient(str(data / "vector_db"))
    try:
        return {c.name: c.get(include=["embeddings", "documents", "metadatas"]) for c in client.list_collections()}
    finally:
        client.close()


def test_the_shipped_store_holds_what_its_description_says(sample):
    expected = json.loads(sample.expected.read_text())
    counts = {name: len(rows["ids"]) for name, rows in collections_of(sample.data).items()}
    assert counts == {name: collection["count"] for name, collection in expected["chroma"]["collections"].items()}
    assert sum(counts.values()) == 2619
    assert len(list((sample.data / "uploads").iterdir())) == len(expected["manifest"]["files"]) == 24


def test_a_damaged_sample_is_refused_by_name(tmp_path, monkeypatch):
    copy = tmp_path / "data"
    shutil.copytree(shipped._SHIPPED, copy)
    with (copy / "openwebui-app.sql.gz").open("ab") as file:
        file.write(b"x")
    (copy / "expected.json").unlink()
    monkeypatch.setattr(shipped, "_SHIPPED", copy)
    with pytest.raises(ConfigurationError, match=r"expected\.json, openwebui-app\.sql\.gz"):
        extract(tmp_path / "target")


def test_the_shipped_application_database_loads_and_belongs_to_the_application(sample, database):
    rows = load_sql(sample.app_sql, database.admin_url, owner="openwebui")
    assert rows == 437
    with psycopg.connect(database.app_url) as connection:
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
        assert owners == [("openwebui",)]
        assert connection.execute("SELECT count(*) FROM file").fetchone() == (24,)
        (name,) = connection.execute("SELECT name FROM knowledge ORDER BY name DESC LIMIT 1").fetchone()
        assert name == "Kitchen & misc ☕"
        indexes = connection.execute("SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'").fetchone()
        assert indexes[0] > 80


DUMP = r"""--
-- PostgreSQL database dump
--
\restrict abc
SET standard_conforming_strings = on;
CREATE FUNCTION public.twice(n int) RETURNS int LANGUAGE plpgsql AS $_$
BEGIN
    RETURN n * 2;  -- it's doubled;
END;
$_$;
ALTER FUNCTION public.twice(n int) OWNER TO somebody_else;
CREATE TABLE public."odd ; name" (
    id int NOT NULL,
    text text DEFAULT 'it''s; quoted
;'
);
COPY public."odd ; name" (id, text) FROM stdin;
1	tab\tnew\\nline; CREATE TABLE nonsense;
2	\N
3	-- no comment
\.

GRANT SELECT ON TABLE public."odd ; name" TO somebody_else;
COPY public."odd ; name" (id) FROM stdin;
4
\.
\unrestrict abc
"""


@pytest.mark.parametrize("name", ["dump.sql", "dump.sql.gz"])
def test_statements_end_where_quotes_say_they_do(tmp_path, database, name):
    dump = tmp_path / name
    dump.write_bytes(gzip.compress(DUMP.encode()) if name.endswith("gz") else DUMP.encode())
    assert load_sql(dump, database.app_url) == 4
    with psycopg.connect(database.app_url) as connection:
        rows = connection.execute('SELECT id, text FROM "odd ; name" ORDER BY id').fetchall()
        assert connection.execute("SELECT twice(4)").fetchone() == (8,)
    assert rows == [
        (1, "tab\tnew\\nline; CREATE TABLE nonsense;"),
        (2, None),
        (3, "-- no comment"),
        (4, "it's; quoted\n;"),
    ]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("CREATE TABLE fine (id int);\nCREATE TABLE broken (id nonsense);\n", "line 2.*nonsense.*does not exist"),
        ("CREATE TABLE fine (id int);\n\\connect other\n", "Line 2: .connect other is a command for psql"),
        (
            "CREATE TABLE fine (id int);\nCREATE TABLE unfinished (\n",
            "in the middle of the statement that begins on line 2",
        ),
    ],
)
def test_a_dump_that_does_not_fit_is_named_by_line_and_leaves_nothing_behind(tmp_path, database, bad, message):
    (tmp_path / "bad.sql").write_text(bad)
    with pytest.raises(ConfigurationError, match=message):
        load_sql(tmp_path / "bad.sql", database.app_url)
    with psycopg.connect(database.app_url) as connection:
        assert connection.execute("SELECT to_regclass('fine')").fetchone() == (None,)


def test_a_made_store_has_every_defect_that_was_asked_for(flawed):
    stored = collections_of(flawed.data)
    expected = json.loads(flawed.expected.read_text())
    assert {name: len(rows["ids"]) for name, rows in stored.items()} == {
        name: collection["count"] for name, collection in expected["chroma"]["collections"].items()
    }
    ids = [identity for rows in stored.values() for identity in rows["ids"]]
    texts = [text for rows in stored.values() for text in rows["documents"]]
    vectors = [np.asarray(vector) for rows in stored.values() for vector in rows["embeddings"]]
    assert len(ids) - len(set(ids)) == 3
    assert sum("\0" in text for text in texts) == 3
    assert max(len(set(text.split())) for text in texts) == 80_000
    assert {len(vector) for vector in vectors} == {384, 3072}
    assert sum(not vector.any() for vector in vectors) == 1
    assert any(name.startswith("web-search-") for name in stored)
    assert any(not rows["ids"] for rows in stored.values())
    assert len(list((flawed.data / "uploads").iterdir())) == 3


def test_the_application_database_of_a_made_store_matches_its_vectors(flawed, database):
    load_sql(flawed.app_sql, database.app_url)
    with psycopg.connect(database.app_url) as connection:
        files = {row[0] for row in connection.execute("SELECT id FROM file")}
        links = connection.execute(
            "SELECT k.id, f.file_id FROM knowledge k JOIN knowledge_file f ON f.knowledge_id = k.id"
        )
        pairs = links.fetchall()
        assert connection.execute("SELECT count(*) FROM auth").fetchone() == (2,)
    names = set(json.loads(flawed.expected.read_text())["chroma"]["collections"])
    assert len(files) == 4
    assert {f"file-{file}" for file in files} <= names
    assert {base for base, _ in pairs} <= names
    assert {file for _, file in pairs} == files


def test_the_same_seed_makes_the_same_rows(tmp_path):
    first, second, other = (
        collections_of(generate(tmp_path / str(n), chunks=40, dimension=8, files=2, seed=seed).data)
        for n, seed in enumerate([1, 1, 2])
    )
    assert first.keys() == second.keys() != other.keys()
    for name, rows in first.items():
        assert rows["ids"] == second[name]["ids"]
        assert np.array_equal(rows["embeddings"], second[name]["embeddings"])


def test_impossible_wishes_are_listed_together(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        generate(tmp_path, chunks=3, dimension=1, files=9, defects=["nonsense"])
    assert all(
        part in caught.value.message for part in ("unknown defect 'nonsense'", "dimension", "3 chunks are too few")
    )
