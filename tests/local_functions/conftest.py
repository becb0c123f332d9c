"""One rig is shared by the tests that kill nothing; those that do make their own."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fix_rig import Rig


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The rig whose processes are killed; every test leaves them running."""
    made = Rig(tmp_path_factory.mktemp("fragile"))
    yield made
    made.close()
