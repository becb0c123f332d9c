"""Our dynamic client keeps what an API server serves to itself."""

import hashlib
import logging
import tempfile
from pathlib import Path

import pytest
from fix_contract import Cluster

from shared.adapters.discovery import dynamic_client


@pytest.fixture
def shared_file(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client's own discoverers keep it: in the temporary directory, named after the host."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    host = hashlib.md5(cluster.api.configuration.host.encode(), usedforsecurity=False).hexdigest()
    return tmp_path / f"osrcp-{host}.json"


def test_nothing_is_left_in_the_temporary_directory(cluster: Cluster, shared_file: Path) -> None:
    found = dynamic_client(cluster.api).resources.get(api_version="apps/v1", kind="Deployment")
    assert found.name == "deployments"
    assert list(shared_file.parent.iterdir()) == []


def test_what_another_process_has_half_written_there_is_not_read(
    cluster: Cluster, shared_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared_file.write_text('{"library_version": ')
    with caplog.at_level(logging.WARNING):
        found = dynamic_client(cluster.api).resources.get(api_version="v1", kind="Pod")
    assert found.name == "pods"
    assert not caplog.records
    assert shared_file.read_text() == '{"library_version": '
