"""Our server answers as a real Kubernetes 1.36.2 did, in all recorded cases but those in `recordings/excepted.toml`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from fix_recordings import all_cases, all_exceptions
from fix_replay import comparable, differences, replay

EXCEPTED = {key: one for one in all_exceptions() for key in one.cases}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as started:
        yield started


def differing(key: str, runner: asyncio.Runner, folder: Path) -> dict[str, str]:
    """Ask one case; returns what differs, by its path in the answer."""
    case = all_cases()[key]
    code, body = runner.run(replay(case, folder))
    real, ours = comparable({**_wrapped(case.after), "HTTP": case.code}), comparable({**_wrapped(body), "HTTP": code})
    return dict(differences(real, ours))


def _wrapped(answer: object) -> dict[str, object]:
    return answer if isinstance(answer, dict) else {"text": answer}


@pytest.mark.parametrize("key", sorted(all_cases().keys() - EXCEPTED.keys()))
def test_our_answer_is_the_recorded_one(key: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    case = all_cases()[key]
    found = differing(key, runner, tmp_path)
    assert not found, f"{case.method} {case.path}\n{case.request}\n" + "\n".join(found.values())


@pytest.mark.parametrize("key", sorted(EXCEPTED))
def test_an_exception_is_needed_and_no_wider_than_it_says(key: str, runner: asyncio.Runner, tmp_path: Path) -> None:
    found = differing(key, runner, tmp_path)
    assert found, "this case is answered as recorded: take it off recordings/excepted.toml"
    if EXCEPTED[key].fields:
        assert found.keys() == EXCEPTED[key].fields


def test_all_exceptions_are_of_recorded_cases() -> None:
    assert EXCEPTED.keys() <= all_cases().keys()
    assert len(all_cases()) == 407
