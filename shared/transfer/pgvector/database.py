"""Connections to the application's database, from the URL that Open WebUI itself is given.

Sessions keep no state between transactions (no session settings, no named prepared statements), so a connection works
the same through PgBouncer in transaction mode.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import psycopg
from psycopg import errors as pg_errors
from psycopg import pq

from ..database_url import effective_url, parse_url
from ..errors import ConfigurationError, PermanentError, TransferError, TransientError

APPLICATION_NAME = "scaleout-mover"

# Classes of SQLSTATE after which the same command may succeed.
# Source: PostgreSQL documentation, appendix A "Error Codes".
_TRANSIENT_CLASSES = ("08", "53", "57", "40", "55P03", "25006")


def vectors_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the database that holds `document_chunk`: PGVECTOR_DB_URL, else DATABASE_URL as Open WebUI
    does.

    Source: open_webui/config.py, `PGVECTOR_DB_URL = os.environ.get("PGVECTOR_DB_URL", DATABASE_URL)`.
    """
    return environment.get("PGVECTOR_DB_URL") or application_url(environment)


def application_url(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the application's own database."""
    url = effective_url(environment)
    if not url:
        raise ConfigurationError("DATABASE_URL is not set", hint="set DATABASE_URL to the application's PostgreSQL URL")
    return url


def conninfo(url: str) -> str:
    """Turn a URL in one of SQLAlchemy's spellings into one that libpq reads; parameters libpq does not know are
    dropped."""
    try:
        parsed = parse_url(url)
    except ValueError as error:
        raise ConfigurationError(f"the database URL cannot be read: {error}") from None
    if not parsed.is_postgres:
        raise ConfigurationError(
            f"the database URL starts with {parsed.scheme}://, not with postgresql://",
            hint="PGVector needs PostgreSQL; a SQLite application database must be moved first",
        )
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    given = dict(parsed.parameters)
    parameters = {key: value for key, value in given.items() if key in known}
    if "sslmode" not in parameters and given.get("ssl") in ("true", "1", "require"):
        parameters["sslmode"] = "require"  # asyncpg's spelling
    parameters.setdefault("application_name", APPLICATION_NAME)
    parameters.setdefault("connect_timeout", "15")
    return str(replace(parsed, scheme="postgresql", parameters=tuple(parameters.items())))


@contextmanager
def connected(url: str, *, autocommit: bool = False) -> Iterator["psycopg.Connection"]:
    """Open a connection for the block; errors of libpq and the server come out as ours."""
    with translated():
        connection = psycopg.connect(conninfo(url), autocommit=autocommit, prepare_threshold=None)
        with connection:
            yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours: transient, configuration or permanent."""
    try:
        yield
    except psycopg.Error as error:
        raise from_psycopg(error) from error


def from_psycopg(error: "psycopg.Error") -> TransferError:
    """Judge one error of psycopg. Without an SQLSTATE the server was never reached, or the connection broke."""
    state = error.sqlstate or ""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, (pg_errors.InvalidPassword, pg_errors.InvalidAuthorizationSpecification)) or _refused(text):
        return ConfigurationError(
            f"the server refuses the login: {text}", hint="check the user and password in the URL"
        )
    if isinstance(error, pg_errors.InvalidCatalogName):
        return ConfigurationError(text, hint="check the database name in the URL")
    if isinstance(error, pg_errors.InsufficientPrivilege):
        return ConfigurationError(
            text,
            hint="connect as the application's own role; it must own document_chunk and may use the schema scaleout",
        )
    if state.startswith(_TRANSIENT_CLASSES) or (not state and isinstance(error, psycopg.OperationalError)):
        return TransientError(text, hint="run the same command again: it goes on where it stood")
    return PermanentError(f"{text} (SQLSTATE {state})" if state else text)


def _refused(text: str) -> bool:
    """During the handshake libpq keeps no SQLSTATE, so only the words tell."""
    return "password authentication failed" in text or "no pg_hba.conf entry" in text
