"""Our engine answers as the real Durable Task extension 3.19.0 answered, but for what a table says with its reason.

`answers.json` and `answers_more.json` are recordings; `engine_cases.py` asks the same of our engine.
"""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import engine_cases_more
import pytest
from engine_cases import CASES
from fix_engine_probe import Probed, normal
from fix_rig import Rig
from record_answers import ask

from local.functions.engine.differences import DIFFERENCES

HERE = Path(__file__).parent
RECORDED: dict[str, Any] = {
    name: answers
    for file in ("answers.json", "answers_more.json")
    for name, answers in json.loads((HERE / file).read_text()).items()
}
WITHOUT_WINDOW = " (entityMessageReorderWindowInMinutes 0)"
REORDER_WINDOW = "AzureFunctionsJobHost__extensions__durableTask__entityMessageReorderWindowInMinutes"
ASKED_AT_ONCE = "input_of_5_megabytes"
"""Its last answer is the status right after a start: pending or completed, whoever is faster."""
AT_ONCE = 24
"""Most cases wait most of the time."""

__all__ = ["engine_cases_more"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    rig = Rig(tmp_path_factory.mktemp("default"), app=HERE / "probe_app")
    other = Rig(tmp_path_factory.mktemp("no-window"), {REORDER_WINDOW: "0"}, HERE / "probe_app")
    engine, without = Probed(rig.host.ready["durable"]), Probed(other.host.ready["durable"])

    def one(number: int, name: str) -> Any:
        instance = f"p{number:02d}-{int(time.time()) % 100_000}"
        if name.endswith(WITHOUT_WINDOW):
            return normal(ask(without, name.removesuffix(WITHOUT_WINDOW), instance))
        return normal(ask(engine, name, instance))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = {name: pool.submit(one, number, name) for number, name in enumerate(RECORDED)}
        found = {name: future.result() for name, future in asked.items()}
    for probed in (engine, without):
        probed.close()
    for each in (rig, other):
        each.close()
    yield found


def test_every_case_is_recorded_and_every_recording_is_asked() -> None:
    assert {name.removesuffix(WITHOUT_WINDOW) for name in RECORDED} == set(CASES)


@pytest.mark.parametrize("name", [name for name in RECORDED if name not in DIFFERENCES])
def test_it_answers_as_the_extension_does(answers: dict[str, Any], name: str) -> None:
    told = slice(-1) if name == ASKED_AT_ONCE else slice(None)
    assert answers[name][told] == normal(RECORDED[name])[told]


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_that_is_told_is_there(answers: dict[str, Any], name: str) -> None:
    assert answers[name] != normal(RECORDED[name])
