"""The Python worker that Azure runs is the one that the rehearsal and the tests run.

From Python 3.13 on a function app may say which worker it wants, in requirements.txt; without it Azure takes its own
default, which lags behind. Source: learn.microsoft.com/azure/azure-functions/python-313-changes
"""

from importlib.metadata import version

from packaging.requirements import Requirement
from packaging.version import Version
from project import ROOT, read_project
from setting_checks import app_settings

WORKER = "azure-functions-runtime"
FIRST_WITH_OPENTELEMETRY_AND_ASYNC = Version("1.3.0")
"""Before it every `async def` route answers 500 where PYTHON_ENABLE_OPENTELEMETRY is on: the propagator is None.
Source: azure-functions-runtime 1.1.1 and 1.3.0, handle_event.py, where `update_opentelemetry_status` is called."""


def pinned() -> Version:
    """What Azure installs: a release, named exactly."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    [found] = [r for line in lines if line and (r := Requirement(line)).name == WORKER]
    [specifier] = found.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


def test_azure_runs_the_worker_that_the_tests_ran() -> None:
    assert str(pinned()) == version(WORKER)
    assert not pinned().is_prerelease


def test_the_worker_bears_the_telemetry_that_is_switched_on() -> None:
    assert app_settings(read_project())["PYTHON_ENABLE_OPENTELEMETRY"] == "true"
    assert pinned() >= FIRST_WITH_OPENTELEMETRY_AND_ASYNC
