"""Bicep files as data: parsed bodies, and the identifiers and strings of the text.

No Bicep compiler is to be had from the package registries, so a parser (pycep) and these few rules stand in for it. The
parser gives identifiers and strings alike as text; what tells them apart is read from the file itself.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pycep import BicepParser

ROOT = Path(__file__).resolve().parents[2]
MAIN = "infra/main.bicep"
FUNCTIONS = {
    *("resourceGroup", "subscription", "tenant", "environment", "subscriptionResourceId", "loadTextContent"),
    *("uniqueString", "guid", "toLower", "take", "split", "last", "empty", "union", "cidrSubnet"),
}
KEYWORDS = {
    *("param", "var", "resource", "module", "output", "targetScope", "existing", "if", "for", "in"),
    *("true", "false", "null", "string", "bool", "int", "object", "array"),
}


@dataclass(frozen=True)
class BicepFile:
    path: str
    text: str

    @cached_property
    def tree(self) -> dict[str, Any]:
        return BicepParser().parse(text=self.text)

    def names(self, kind: str) -> dict[str, Any]:
        """`kind`: parameters, variables, resources, modules or outputs."""
        return self.tree.get(kind, {})

    @cached_property
    def symbols(self) -> set[str]:
        kinds = ("parameters", "variables", "resources", "modules")
        return {name for kind in kinds for name in self.names(kind)}

    @cached_property
    def code(self) -> str:
        """The text without comments, and with strings reduced to the expressions in them."""
        text = re.sub(r"^\s*(?://|#).*$", "", self.text, flags=re.MULTILINE)
        text = re.sub(r"^@description\(.*\)$", "", text, flags=re.MULTILINE)

        def inner(match: re.Match[str]) -> str:
            return "( " + " ".join(re.findall(r"\$\{([^}]*)\}", match[0])) + " )"

        return re.sub(r"'(?:\\.|[^'\\])*'", inner, text)

    @cached_property
    def strings(self) -> list[str]:
        text = re.sub(r"^\s*//.*$", "", self.text, flags=re.MULTILINE)
        return [s.replace("\\'", "'") for s in re.findall(r"'((?:\\.|[^'\\])*)'", text)]

    @cached_property
    def used(self) -> list[str]:
        """Every identifier that stands for a value: not a property's key, not what follows a dot, not a keyword."""
        found = re.finditer(r"(?<![\w.@])([A-Za-z_]\w*)(?!\w)(\s*:(?!:))?", self.code)
        lines = {m.start() for m in re.finditer(r"(?<=\n)(?:param|var|resource|module|output) \w+(?: \w+)?", self.code)}
        declared = re.compile(r"(?:param|var|resource|module|output|for)\s+\(?$")
        names = []
        for m in found:
            before = self.code[: m.start()]
            is_key = m[2] is not None and not _in_conditional(before) and not before.endswith(" in ")
            if m[1] in KEYWORDS or is_key or declared.search(before) or m.start() in lines:
                continue
            names.append(m[1])
        return names

    @cached_property
    def loop_variables(self) -> set[str]:
        found = re.findall(r"\[for\s+(?:\((\w+),\s*(\w+)\)|(\w+))\s+in", self.code)
        return {name for group in found for name in group if name}

    def bodies(self) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
        """(symbolic name, resource, its body) of every resource that is created."""
        return [(name, r, body_of(r)) for name, r in self.names("resources").items() if not r["existing"]]


def _in_conditional(before: str) -> bool:
    """Whether the colon after the identifier belongs to `a ? b : c` on this line."""
    line = before.rpartition("\n")[2]
    return line.count("?") > line.count(" : ") and "?" in line


def body_of(declaration: dict[str, Any]) -> dict[str, Any]:
    """The object inside loops and conditions."""
    body = declaration["config"]
    while "config" in body and ("loop_type" in body or "condition" in body):
        body = body["config"]
    return body


def read_files(root: Path = ROOT) -> dict[str, BicepFile]:
    paths = [root / MAIN, *sorted((root / "infra/modules").glob("*.bicep"))]
    return {str(p.relative_to(root)): BicepFile(str(p.relative_to(root)), p.read_text()) for p in paths}
