"""What is deployed: all that the app imports and reads, and nothing of the rehearsal, the tests or a developer."""

import ast
from pathlib import Path

import pytest
from package_rules import by_azd, by_git, packed
from project import ROOT

LINES = (ROOT / ".funcignore").read_text().splitlines()
RULES = {
    "git": by_git(LINES),
    "azd": by_azd(LINES),
    "azd until 1.23.12": by_azd(LINES, negations_exclude=True),
}
READ = {"api/monitor.html", "infra/monitoring/dashboard.json"}
"""By the app, beside its modules and what the host reads."""
OF_A_DEVELOPER = (
    *(".git/config", ".github/workflows/ci.yml", ".azure/webui/.env", ".env", ".vscode/settings.json", ".idea/x.xml"),
    *(".venv/lib/site.py", ".venv-old/pyvenv.cfg", "venv/bin/python", "env/bin/python", "node_modules/a/b.js"),
    *(".rehearsal/run/x.json", "build/report.json", ".mypy_cache/a", ".ruff_cache/a", ".hypothesis/a", ".coverage"),
    *("local.settings.json", "api/__pycache__/runs.cpython-313.pyc", "shared/x.pyc", "api/.DS_Store", "azd.log"),
)


@pytest.fixture(scope="module")
def packages() -> dict[str, set[str]]:
    """Rules → what they would pack of this folder as it lies here, with all that is not in git."""
    return {name: set(packed(ROOT, excluded)) for name, excluded in RULES.items()}


@pytest.fixture(params=RULES)
def package(request: pytest.FixtureRequest, packages: dict[str, set[str]]) -> set[str]:
    return packages[request.param]


def test_all_rules_pack_the_same(packages: dict[str, set[str]]) -> None:
    assert packages["git"] == packages["azd"] == packages["azd until 1.23.12"]


def test_nothing_is_let_in_again() -> None:
    assert [line for line in LINES if line.startswith("!")] == []


def test_a_list_that_lets_things_in_again_packs_three_files_with_azd() -> None:
    """As it was before, and as azd's own library did with it."""
    lines = ["/*", "!/function_app.py", "!/host.json", "!/requirements.txt", "!/api", "!/phases", "!/shared", "!/infra"]
    assert set(packed(ROOT, by_azd(lines))) == {"function_app.py", "host.json", "requirements.txt"}


def test_it_holds_the_app(package: set[str]) -> None:
    assert {
        "function_app.py",
        "host.json",
        "requirements.txt",
        "shared/model/settings.py",
        "phases/run/catalogue.py",
    } <= package


def test_it_holds_what_the_app_reads(package: set[str]) -> None:
    assert package >= READ


def test_it_holds_every_module_that_the_app_imports(package: set[str]) -> None:
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


def test_it_holds_nothing_else(package: set[str]) -> None:
    top = {path.partition("/")[0] for path in package}
    assert top == {"function_app.py", "host.json", "requirements.txt", "api", "phases", "shared", "infra"}
    assert {path.split("/")[1] for path in package if path.startswith("infra/")} == {"kubernetes", "monitoring"}
    assert [path for path in package if "/rbac/" in path or "__pycache__" in path] == []


@pytest.mark.parametrize("rules", RULES)
def test_it_holds_nothing_of_a_developer(rules: str, tmp_path: Path) -> None:
    for name in ("function_app.py", *OF_A_DEVELOPER):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(packed(tmp_path, RULES[rules])) == {"function_app.py"}


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
