"""A URL is read as SQLAlchemy reads it, and leads libpq to the same place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url

from shared.transfer.database_url import DatabaseUrl, parse_url
from shared.transfer.errors import ConfigurationError
from shared.transfer.pgvector.database import conninfo

URLS = [
    "postgresql://u:p/#?[:x@h:5433/d?sslmode=require",
    "postgresql+psycopg2://u%40x:p%2Fq%40@h/d",
    "postgres://u@h",
    "postgresql://u:p@[::1]:5/d",
    "postgresql://u:@h/d",
    "postgresql://u:a@b@h/d",
    "postgresql://u:p@a,b/d",
    "postgresql://h/d?options=-csearch_path%3Dx&application_name=y",
    "postgresql://u:pä s+s@h/d",
]


def as_sqlalchemy(text):
    url = make_url(text)
    return (url.drivername, url.username or "", url.password, url.host or "", url.port, url.database or "")


def ours(url):
    return (url.scheme, url.user, url.password, url.host, url.port, url.name)


@pytest.mark.parametrize("text", URLS)
def test_it_is_read_as_sqlalchemy_reads_it(text):
    assert ours(parse_url(text)) == as_sqlalchemy(text)


@pytest.mark.parametrize("text", URLS)
def test_it_leads_libpq_to_the_same_place(text):
    found, url = conninfo_to_dict(conninfo(text)), parse_url(text)
    assert (found.get("user", ""), found.get("password") or None) == (url.user, url.password or None)
    assert (found["host"], found.get("dbname", "")) == (url.host, url.name)


PLAIN = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)
SECRET = st.text(
    st.characters(codec="utf-8", exclude_characters="@%\n\r\0", exclude_categories=["Cs", "Cc"]), max_size=12
)


@given(PLAIN, SECRET, PLAIN, st.none() | st.integers(1, 65535), PLAIN)
def test_any_password_comes_through_as_sqlalchemy_takes_it(user, password, host, port, name):
    text = f"postgresql://{user}:{password}@{host}{'' if port is None else f':{port}'}/{name}"
    url = parse_url(text)
    assert ours(url) == as_sqlalchemy(text)
    assert ours(parse_url(str(url))) == ours(url)
    assert conninfo_to_dict(conninfo(text)).get("password", "") == (url.password or "")
    if len(password) > 3 and password not in f"DatabaseUrl scheme='postgresql' {user} {host} {name}":
        assert password not in repr(url)


def test_several_hosts_as_sqlalchemy_spells_them():
    url = parse_url("postgresql://u:p@/d?host=a:1&host=b:2&sslmode=require")
    assert (url.host, url.parameters) == ("a:1,b:2", (("sslmode", "require"),))
    assert conninfo_to_dict(conninfo("postgresql://u:p@/d?host=a:1&host=b:2"))["host"] == "a,b"


@pytest.mark.parametrize("text", ["", "nonsense", "postgresql:/u:hidden@h", "postgresql://u:p@h:hidden/d", "$(HIDDEN)"])
def test_what_cannot_be_read_is_refused_without_a_word_of_it(text):
    with pytest.raises(ValueError, match=r"form|port") as error:
        parse_url(text)
    assert "hidden" not in str(error.value).lower()
    with pytest.raises(ConfigurationError) as refused:
        conninfo(text)
    assert "hidden" not in str(refused.value).lower()


def test_another_port_changes_nothing_else():
    url = DatabaseUrl("postgresql", "u", "p@/#", "h", 5432, "d", (("sslmode", "require"),))
    assert str(url.with_port(6432)) == "postgresql://u:p%40%2F%23@h:6432/d?sslmode=require"
