"""The recordings that our engine is held to are still what the extension answers."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "local_functions"))

from fix_engine_probe import Probed, normal
from fix_rig import SAMPLE, Rig
from record_answers import ask
from test_functions_like_the_extension import ASKED_AT_ONCE, RECORDED, REORDER_WINDOW, WITHOUT_WINDOW

pytestmark = [pytest.mark.extension, pytest.mark.timeout(300)]

HOST_JSON = "AzureFunctionsJobHost__extensions__durableTask__"
POLLING = {f"{HOST_JSON}storageProvider__maxQueuePollingInterval": "00:00:01"}
"""By default a queue in which nothing was is looked at every 30 s, longer than some cases wait."""
APP = SAMPLE.with_name("probe_app")
SPEED = {
    "ten_starts_at_once": "how many pass depends on the storage's speed",
    "start_of_an_unknown_orchestrator": "the functions are listed in no order",
    "activity_nobody": "recorded on a slowed hub",
    ASKED_AT_ONCE: "its last answer depends on who is faster",
    "id_'@counter@x'_10": "its message comes back for ever and slows every entity",
    "activity_fails_long": "slows the others; failure_of_33000_times_L shows the same",
}
"""Cases that are not asked again, with the reason."""
ASKED = [name for name in RECORDED if name not in SPEED]

type Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def put(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    rig = Rig(tmp_path_factory.mktemp("default"), POLLING, APP, real_extension=True)
    other = Rig(tmp_path_factory.mktemp("no-window"), POLLING | {REORDER_WINDOW: "0"}, APP, real_extension=True)

    def one(name: str) -> Any:
        probed = Probed((other if name.endswith(WITHOUT_WINDOW) else rig).host.ready["durable"])
        instance = f"p{ASKED.index(name):02d}-{int(time.time()) % 100_000}"
        try:
            return normal(ask(probed, name.removesuffix(WITHOUT_WINDOW), instance))
        finally:
            probed.close()

    yield one
    rig.close()
    other.close()


@pytest.mark.parametrize("name", ASKED)
def test_the_extension_answers_as_recorded(put: Ask, name: str) -> None:
    assert put(name) == normal(RECORDED[name])
