"""These tests run on the real durable extension, where its program is named; otherwise they say why they do not."""

from pathlib import Path

import pytest

from local.functions.durable_host.program import find_program
from local.functions.durable_host.storage import find_azurite
from shared.errors import ConfigurationError


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    try:
        find_program(), find_azurite()
    except ConfigurationError as error:
        why = pytest.mark.skip(reason=f"{error.message}. {error.hint}")
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(why)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the rehearsal and its report are."""
    monkeypatch.setattr("local.rehearsal.rehearse.HOME", tmp_path / "rehearsal")
    monkeypatch.setattr("local.rehearsal.rehearse.BUILD", tmp_path / "build")
    tmp_path.chmod(0o711)  # the database's account is not ours when we are root
    return tmp_path
