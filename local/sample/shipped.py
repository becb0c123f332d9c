"""The sample that the project ships: what a real Open WebUI 0.12.4 left behind (see data/README.md)."""

import hashlib
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigurationError

_SHIPPED = Path(__file__).with_name("data")


@dataclass(frozen=True, slots=True)
class SamplePaths:
    """A store laid out as Open WebUI has it."""

    data: Path  # what is mounted at /app/backend/data: vector_db, uploads, cache
    app_sql: Path  # the application database, a plain pg_dump, perhaps gzipped
    expected: Path  # JSON: what the store holds and what it answers

    @property
    def model(self) -> Path:
        """Where the application database says that the embedding model lies; its weights are not shipped."""
        return self.data / "cache" / "embedding" / "models" / "all-MiniLM-L6-v2"


def extract(target: Path) -> SamplePaths:
    """Unpack the sample's files into `target/data`, replacing what is there, after comparing the checksums."""
    _verify()
    data = target / "data"
    if data.exists():
        shutil.rmtree(data)
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(_SHIPPED / "openwebui-data.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return SamplePaths(data, _SHIPPED / "openwebui-app.sql.gz", _SHIPPED / "expected.json")


def _verify() -> None:
    damaged = []
    for line in (_SHIPPED / "SHA256SUMS").read_text().splitlines():
        checksum, name = line.split()
        path = _SHIPPED / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
            damaged.append(name)
    if damaged:
        raise ConfigurationError(
            f"The sample is damaged or incomplete: {', '.join(damaged)}.", hint="git checkout -- local/sample/data"
        )
