"""What the repository may contain, and who may import whom where import-linter cannot look."""

import ast
import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_BYTES = 15 * 2**20

# Written in pieces, or this file would be the first finding.
MACHINE_PATHS = re.compile(
    "|".join(["/" + "work/(?:main|shared|\\.)", "/" + "farm/", "/root/" + r"\.\w", "/tmp/" + "research"])
)
REGISTRIES = re.compile(
    "|".join(["py" + r"pi\.org", "python" + r"hosted\.org", "npm" + r"js\.org", r"deb\." + r"debian\.org"])
)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def test_no_file_names_a_path_of_somebodys_machine():
    assert lines_with(MACHINE_PATHS) == []


def test_no_file_names_the_host_of_a_package_registry():
    assert lines_with(REGISTRIES) == []


def test_no_file_is_too_large_to_clone():
    large = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > MOST_BYTES]
    assert large == []


def test_nothing_that_is_made_is_tracked():
    made = re.compile(r"(^|/)(__pycache__|build|\.venv|\.rehearsal|\.mypy_cache)(/|$)|\.pyc$|local\.settings\.json$")
    assert [str(path.relative_to(ROOT)) for path in tracked() if made.search(str(path.relative_to(ROOT)))] == []


def documents() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_documents_links_lead_somewhere(document):
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_documents_commands_exist(document):
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", document.read_text(), re.MULTILINE | re.DOTALL))
    inline = "\n".join(re.findall(r"`([^`\n]+)`", document.read_text()))
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = set(re.findall(r"^\s*(?:\$ )?make ([a-z-]+)", f"{blocks}\n{inline}", re.MULTILINE)) - targets
    modules = set(re.findall(r"python3? -m ((?:local|benchmarks|shared)[\w.]*)", f"{blocks}\n{inline}"))
    places = {name: ROOT.joinpath(*name.split(".")) for name in modules}
    missing = {
        name
        for name, place in places.items()
        if not ((place / "__main__.py").exists() or place.with_suffix(".py").exists())
    }
    assert (unknown, missing) == (set(), set())


def imports(path: Path, *, of_module_only: bool = False) -> list[str]:
    """Return what a file imports; `of_module_only` leaves out what a function imports when it is called."""
    tree = ast.parse(path.read_text())
    found = []
    for node in tree.body if of_module_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            prefix = ".".join(path.relative_to(ROOT).with_suffix("").parts[: -node.level]) + "." if node.level else ""
            found.append(prefix + (node.module or ""))
    return found


@pytest.mark.parametrize(("of_module_only", "also"), [(True, set()), (False, {"chromadb"})])
def test_the_mover_needs_the_standard_library_numpy_and_psycopg_only(of_module_only, also):
    """Chroma serves a store that the reader does not know; a function imports it, in Open WebUI's image."""
    allowed = sys.stdlib_module_names | {"numpy", "psycopg"} | also
    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in (ROOT / "shared" / "transfer").rglob("*.py")
        for name in imports(path, of_module_only=of_module_only)
        if name.split(".")[0] not in allowed and not name.startswith("shared.transfer")
    }
    assert foreign == set()


def test_only_local_and_tests_know_the_composition_root():
    knowing = {
        str(path.relative_to(ROOT))
        for folder in ("api", "phases", "shared", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if any(name.split(".")[0] == "function_app" for name in imports(path))
    }
    assert knowing == set()


def test_the_contracts_name_every_phase():
    contracts = configparser.ConfigParser(comment_prefixes=(";", "#"))
    contracts.read(ROOT / ".importlinter")
    apart = set(contracts["importlinter:contract:phases-apart"]["modules"].split())
    from phases.run.catalogue import PHASES

    assert {phase.module.__name__ for phase in PHASES} == apart
    assert apart <= set(contracts["importlinter:contract:no-sdk"]["source_modules"].split())
