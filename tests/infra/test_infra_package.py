"""What is deployed: all that the app imports and reads, and nothing of the rehearsal, the tests or a developer."""

import ast
import subprocess
from pathlib import Path

import pathspec
import pytest
from project import ROOT

FORBIDDEN = ("local/", "tests/", "benchmarks/", "docs/", "scripts/", ".ci/", ".git", ".venv", "build/")


@pytest.fixture(scope="module")
def package() -> set[str]:
    """The tracked and new files that `.funcignore` lets into the package."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".funcignore").read_text().splitlines())
    return {path for path in listed if not ignored.match_file(path)}


def test_it_holds_the_app(package: set[str]) -> None:
    assert {"function_app.py", "host.json", "requirements.txt", "shared/settings.py", "phases/catalogue.py"} <= package


def test_it_holds_every_module_that_the_app_imports(package: set[str]) -> None:
    ours = {path.partition("/")[0] for path in package if "/" in path}
    seen: set[str] = set()
    waiting = ["function_app.py"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        assert path in package, f"{path} is imported but not deployed"
        waiting += [p for name in imported(ROOT / path) if (p := as_path(name))]
    assert len(seen) > 20
    assert {"shared", "phases"} <= ours


def test_it_holds_nothing_else(package: set[str]) -> None:
    assert [p for p in package if p.startswith(FORBIDDEN)] == []
    top = {p for p in package if "/" not in p}
    assert top == {"function_app.py", "host.json", "requirements.txt"}


def test_it_holds_no_settings_and_no_template(package: set[str]) -> None:
    assert [p for p in package if "settings" in p and p.endswith(".json")] == []
    assert [p for p in package if p.endswith((".bicep", ".parameters.json"))] == []


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def as_path(module: str) -> str:
    """The project's own file of a module; empty for anything else."""
    base = module.replace(".", "/")
    return next((p for p in (f"{base}.py", f"{base}/__init__.py") if (ROOT / p).exists()), "")
