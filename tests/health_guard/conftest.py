from collections.abc import Iterator

import pytest

from tests.health_guard.fix_guard_hub import GuardHub


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardHub]:
    made = GuardHub(str(tmp_path_factory.mktemp("hub") / "engine.db"))
    yield made
    made.close()
