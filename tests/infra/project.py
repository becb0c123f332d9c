"""The texts that make up a deployment, as one value: read from the repository, or changed to seed a mistake."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml
from bicep_files import BicepFile

ROOT = Path(__file__).resolve().parents[2]
MAIN = "infra/main.bicep"
PARAMETERS = "infra/main.parameters.json"
SAMPLE = "local.settings.sample.json"
CODE = ("function_app.py", "api", "phases", "shared")


@dataclass(frozen=True)
class Project:
    texts: Mapping[str, str] = field(repr=False)
    """Path from the root → text."""

    @cached_property
    def bicep(self) -> dict[str, BicepFile]:
        return {path: _bicep(path, text) for path, text in self.texts.items() if path.endswith(".bicep")}

    def json(self, path: str) -> Any:
        return json.loads(self.texts[path])

    def yaml(self, path: str) -> list[Any]:
        return _yaml(self.texts[path])

    def under(self, folder: str, suffix: str) -> dict[str, str]:
        return {p: t for p, t in self.texts.items() if p.startswith(folder) and p.endswith(suffix)}

    def changed(self, path: str, right: str, wrong: str) -> "Project":
        """The same with one text replaced, once; the text must be there."""
        text = self.texts[path]
        assert right in text, f"{path} no longer says {right!r}"
        return Project({**self.texts, path: text.replace(right, wrong, 1)})


@cache
def _bicep(path: str, text: str) -> BicepFile:
    """Kept, so that a project with one changed file is read in no time."""
    return BicepFile(path, text)


@cache
def _yaml(text: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(text) if document]


def read_project(root: Path = ROOT) -> Project:
    files = [*(root / "infra").rglob("*.*"), root / "azure.yaml", root / SAMPLE, root / "docs/deploy.md"]
    for name in CODE:
        files += [root / name] if name.endswith(".py") else sorted((root / name).rglob("*.py"))
    return Project({str(path.relative_to(root)): path.read_text() for path in sorted(files) if path.is_file()})
