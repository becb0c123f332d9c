"""The variables that Open WebUI reads, with its own defaults, and the ones that make the stand-in misbehave.

Source: Open WebUI 0.12.4, `env.py` and `config.py`.
"""

import json
import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

VERSION = "0.12.4"
_SQLALCHEMY_POOL_SIZE, _SQLALCHEMY_MAX_OVERFLOW = 5, 10


class StartError(Exception):
    """The real Open WebUI would not start either; the message carries the sense of its own."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The size of one engine's pool. A size of 0 means no pool: a connection for every use."""

    size: int
    overflow: int

    @property
    def most(self) -> int:
        return self.size + self.overflow


@dataclass(frozen=True, slots=True)
class Settings:
    """One process's settings."""

    database_url: str
    migrate: bool
    data_directory: Path
    static_directory: Path
    vector_database: str  # chroma or pgvector
    pgvector_url: str
    dimension: int
    half_precision: bool
    index_method: str
    create_extension: bool
    iterative_scan: str
    ivfflat_lists: int
    hnsw_m: int
    hnsw_ef_construction: int
    database_pool: Pool
    pgvector_pool: Pool
    redis_url: str
    websocket_manager: str  # redis, or empty: this process alone
    secret_key: str
    administrators_see_all: bool  # also what others own
    host: str
    port: int
    pod_name: str
    mounts: Mapping[str, str]  # container path → directory, where a kubelet without containers runs us
    misbehaviour: "Misbehaviour"


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What tests can ask for."""

    ready: bool  # STANDIN_READY=false: /ready answers 503 for ever
    unready_file: str  # STANDIN_UNREADY_FILE: /ready answers 503 while this file exists
    delay_file: str  # STANDIN_DELAY_FILE: chats and searches take longer by the seconds in this file, while it exists
    start_seconds: float  # STANDIN_START_SECONDS: wait before serving, as the real one takes 24–48 s
    fail_start: str  # STANDIN_FAIL_START: exit 1 with this message
    leaked_connections: int  # STANDIN_LEAK_CONNECTIONS: connections opened beside the pools and kept
    idle_in_transaction: int  # STANDIN_IDLE_IN_TRANSACTION: connections kept in an open transaction

    def delay_seconds(self) -> float:
        try:
            return float(Path(self.delay_file).read_text()) if self.delay_file else 0.0
        except FileNotFoundError:
            return 0.0

    def has_unready_file(self) -> bool:
        return bool(self.unready_file) and Path(self.unready_file).exists()


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings; raises StartError listing every problem."""
    problems: list[str] = []

    def number(name: str, default: int) -> int:
        text = environment.get(name) or str(default)
        if text.isdigit():
            return int(text)
        problems.append(f"{name} must be a whole number, not {text!r}")
        return default

    def true(name: str, default: bool) -> bool:
        return environment.get(name, str(default)).lower() == "true"

    database_url = _libpq_url(environment.get("DATABASE_URL", ""))
    if not database_url:
        problems.append("DATABASE_URL must name a PostgreSQL database: the stand-in has no SQLite")
    vector_database = environment.get("VECTOR_DB") or "chroma"
    if vector_database not in ("chroma", "pgvector"):
        problems.append(f"VECTOR_DB must be chroma or pgvector, not {vector_database!r}")
    dimension = number("PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH", 1536)
    half_precision = true("PGVECTOR_USE_HALFVEC", False)
    if vector_database == "pgvector" and dimension > 2000 and not half_precision:
        problems.append("PGVECTOR_INITIALIZE_MAX_VECTOR_LENGTH over 2000 needs PGVECTOR_USE_HALFVEC=true")
    method = environment.get("PGVECTOR_INDEX_METHOD", "").strip().lower()
    if method not in ("", "ivfflat", "hnsw"):
        problems.append(f"PGVECTOR_INDEX_METHOD must be ivfflat or hnsw, not {method!r}")
    data_directory = Path(environment.get("DATA_DIR") or "/app/backend/data")
    workers = max(number("UVICORN_WORKERS", 1), 1)
    settings = Settings(
        database_url=database_url,
        migrate=true("ENABLE_DB_MIGRATIONS", True),
        data_directory=data_directory,
        static_directory=Path(environment.get("STATIC_DIR") or data_directory.parent / "static"),
        vector_database=vector_database,
        pgvector_url=_libpq_url(environment.get("PGVECTOR_DB_URL") or environment.get("DATABASE_URL", "")),
        dimension=dimension,
        half_precision=half_precision,
        index_method=method or ("hnsw" if half_precision else "ivfflat"),
        create_extension=true("PGVECTOR_CREATE_EXTENSION", True),
        iterative_scan=environment.get("PGVECTOR_ITERATIVE_SCAN", "relaxed_order").strip().lower(),
        ivfflat_lists=number("PGVECTOR_IVFFLAT_LISTS", 100),
        hnsw_m=number("PGVECTOR_HNSW_M", 16),
        hnsw_ef_construction=number("PGVECTOR_HNSW_EF_CONSTRUCTION", 64),
        database_pool=read_pool(environment, "DATABASE", workers),
        pgvector_pool=read_pool(environment, "PGVECTOR", workers),
        redis_url=environment.get("WEBSOCKET_REDIS_URL") or environment.get("REDIS_URL", ""),
        websocket_manager=environment.get("WEBSOCKET_MANAGER", ""),
        administrators_see_all=true("BYPASS_ADMIN_ACCESS_CONTROL", True),
        secret_key=environment.get("WEBUI_SECRET_KEY", ""),
        host=environment.get("HOST") or "127.0.0.1",
        port=number("PORT", 8080),
        pod_name=environment.get("HOSTNAME", ""),
        mounts=json.loads(environment.get("KUBELET_MOUNTS") or "{}"),
        misbehaviour=_read_misbehaviour(environment, number, true),
    )
    if problems:
        raise StartError("; ".join(problems))
    return settings


def _read_misbehaviour(
    environment: Mapping[str, str], number: Callable[[str, int], int], true: Callable[[str, bool], bool]
) -> Misbehaviour:
    return Misbehaviour(
        ready=true("STANDIN_READY", True),
        unready_file=environment.get("STANDIN_UNREADY_FILE", ""),
        delay_file=environment.get("STANDIN_DELAY_FILE", ""),
        start_seconds=float(environment.get("STANDIN_START_SECONDS") or 0),
        fail_start=environment.get("STANDIN_FAIL_START", ""),
        leaked_connections=number("STANDIN_LEAK_CONNECTIONS", 0),
        idle_in_transaction=number("STANDIN_IDLE_IN_TRANSACTION", 0),
    )


def read_pool(environment: Mapping[str, str], prefix: str, workers: int) -> Pool:
    """Read an engine's pool as Open WebUI does: the overflow counts only beside a size, and what is no number is unset.

    Every uvicorn worker is a process with pools of its own; this one process holds the connections of all.
    """
    size, overflow = (_integer(environment.get(f"{prefix}_POOL_{name}")) for name in ("SIZE", "MAX_OVERFLOW"))
    if size is None:
        return Pool(_SQLALCHEMY_POOL_SIZE * workers, _SQLALCHEMY_MAX_OVERFLOW * workers)
    if size <= 0:
        return Pool(0, 0)
    return Pool(size * workers, (overflow or 0) * workers)


def _integer(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:
        return None


def _libpq_url(url: str) -> str:
    """Turn SQLAlchemy's spelling of a PostgreSQL URL into libpq's; anything else becomes empty."""
    scheme, separator, rest = url.partition("://")
    if scheme.partition("+")[0] not in ("postgresql", "postgres") or not separator:
        return ""
    return f"postgresql://{rest}"


def on_this_machine(path: str, mounts: Mapping[str, str]) -> Path:
    """Translate a path as containers see it, such as `file.path` holds, to the one on this machine."""
    for mount in sorted(mounts, key=len, reverse=True):
        if path == mount or path.startswith(mount + "/"):
            return Path(mounts[mount] + path[len(mount) :])
    return Path(path)


def in_the_container(path: Path, mounts: Mapping[str, str]) -> str:
    """Translate a path on this machine to the one that containers see: what goes into `file.path`."""
    for mount, directory in sorted(mounts.items(), key=lambda each: len(each[1]), reverse=True):
        if path.is_relative_to(directory):
            return posixpath.normpath(posixpath.join(mount, path.relative_to(directory).as_posix()))
    return str(path)
