"""The house: small folders that say what belongs in them, short modules, short functions."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOPS = ("api", "phases", "shared", "local")
MODULES_A_FOLDER, LINES_A_MODULE, LINES_A_FUNCTION = 15, 350, 60
MODULES = [path for top in TOPS for path in sorted((ROOT / top).rglob("*.py"))]
FOLDERS = sorted({path.parent for path in MODULES})


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_a_folder_is_small_and_says_what_belongs_in_it(folder):
    modules = [path.stem for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= MODULES_A_FOLDER
    assert (ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or "").strip()


def test_modules_and_functions_are_short():
    long = [named(path) for path in MODULES if path.read_text().count("\n") > LINES_A_MODULE]
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                long += [f"{named(path)}: {node.name}"] if lines > LINES_A_FUNCTION else []
    assert long == []
