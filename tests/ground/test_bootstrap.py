"""The set-up finds Python, installs once, notices changes, and says in one line what is missing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = ["scripts/bootstrap.sh", ".python-version", "requirements.txt", "requirements-dev.txt", "requirements-dev.in"]

# Stands in for a Python 3.13: notes what it is asked, and makes environments of itself.
INTERPRETER = """#!/bin/bash
echo "${0##*/} $*" >> "$CALLS"
if [[ "$*" == "${FAILING:-nothing}"* ]]; then exit 1; fi
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/uv"; fi
[ "$1" != --version ] || echo Python 3.13.0
"""


class Checkout:
    """A fresh clone with an interpreter of its own, and a record of what was run."""

    def __init__(self, root: Path) -> None:
        self.root = root / "clone"
        for name in COPIED:
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        self.calls = root / "calls"
        self.interpreter = self.program("some-python", INTERPRETER)

    def program(self, name: str, text: str) -> Path:
        path = self.root.parent / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
        return path

    def set_up(self, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        variables = {
            "PATH": f"{self.interpreter.parent}:/usr/bin:/bin",
            "HOME": str(self.root.parent),
            "CALLS": str(self.calls),
            "SCALEOUT_PYTHON": str(self.interpreter),
            **environment,
        }
        script = self.root / "scripts" / "bootstrap.sh"
        return subprocess.run(
            [script], env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )

    @property
    def commands(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if " -c " not in line and "--version" not in line]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_run_installs_everything_and_the_second_nothing(checkout):
    first = checkout.set_up()
    assert first.returncode == 0, first.stderr
    uv_pin = re.search(r"^uv==.*$", (ROOT / "requirements-dev.in").read_text(), re.MULTILINE).group()
    assert checkout.commands == [
        "some-python -m venv .venv",
        f"python -m pip install -q {uv_pin}",
        "uv pip install -q --python .venv/bin/python -r requirements-dev.txt",
        "python -m local.postgres --prepare",
    ]
    second = checkout.set_up()
    assert (second.returncode, checkout.commands, second.stdout + second.stderr) == (0, [], "")


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", ".python-version", "scripts/bootstrap.sh"]
)
def test_a_change_of_what_went_in_installs_again_into_the_same_environment(checkout, name):
    checkout.set_up()
    with (checkout.root / name).open("a") as file:
        file.write("\n")
    assert checkout.set_up().returncode == 0
    assert len(checkout.commands) == 3
    assert not any("venv" in command.split()[:3] for command in checkout.commands)


def test_an_interrupted_run_is_not_taken_for_a_finished_one(checkout):
    checkout.set_up(FAILING="-m local.postgres")
    assert not (checkout.root / ".venv" / ".scaleout").exists()
    assert checkout.set_up().returncode == 0
    assert "python -m local.postgres --prepare" in checkout.commands


def test_an_environment_of_another_python_is_replaced(checkout):
    checkout.set_up()
    (checkout.root / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (checkout.root / ".venv" / ".scaleout").unlink()
    checkout.set_up()
    assert "some-python -m venv .venv" in checkout.commands


def test_pip_installs_where_uv_cannot(checkout):
    run = checkout.set_up(FAILING="pip install -q --python")
    assert run.returncode == 0
    assert "python -m pip install -q -r requirements-dev.txt" in checkout.commands
    assert "pip tries" in run.stderr


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FAILING": "-m venv"}, "has no venv module. Install it"),
        ({"SCALEOUT_PYTHON": "", "PYENV_ROOT": "/nonexistent"}, "no Python 3.13 here, and uv could not fetch one"),
        ({"FAILING": "-m pip"}, "the packages could not be installed"),
    ],
)
def test_what_is_missing_is_said_in_one_line_with_the_fix(checkout, environment, message):
    checkout.program("uv", "#!/bin/sh\nexit 1\n")
    for name in ("python3.13", "python3", "python"):
        checkout.program(name, "#!/bin/sh\nexit 1\n")
    run = checkout.set_up(**environment)
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert run.returncode == 1
    assert len(errors) == 1
    assert message in errors[0]


def test_help_lists_every_target_and_every_target_can_be_run():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):(?!=)", text, re.MULTILINE))
    clean = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    shown = subprocess.run(["make"], cwd=ROOT, env=clean, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z-]+) ", shown)) == targets
    assert set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE).group(1).split()) == targets
    for target in sorted(targets):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, env=clean, capture_output=True, check=True)


def test_ci_runs_make_test_without_a_terminal(tmp_path):
    (tmp_path / "make").write_text('#!/bin/sh\necho "$PWD $* $(wc -c)"\n')
    (tmp_path / "make").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "CI": "true"}
    run = subprocess.run(
        ["bash", ROOT / ".ci" / "run"],
        cwd=tmp_path,
        env=environment,
        input="not for make",
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == [str(ROOT), "test", "0"]
