"""Tables of the documentation, made from the code. `cog` calls these; a stale table fails `make test`."""

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "local_cluster"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fix_recordings import all_cases, all_exceptions

from api.openapi import document
from local.functions.engine.differences import DIFFERENCES
from local.prometheus.monitoring_files import DEFAULT_TARGET
from phases.reading.permissions import questions
from phases.reading.problems import PERMISSIONS, SNAPSHOT_PERMISSIONS
from phases.run.catalogue import PHASES
from phases.validate import CRITERIA
from shared import errors
from shared.alerting.alert_rules import alerts as rules_of
from shared.model import migration
from shared.model.settings import Settings
from shared.telemetry import CATALOGUE


def phases() -> str:
    """Number, name, first line of the module, way back, what a failure takes back."""
    rows = []
    for phase in PHASES:
        story = (phase.module.__doc__ or "").strip().splitlines()[0]
        back = "no" if not phase.reversible else "yes" if phase.undoes else "nothing to undo"
        fails = "nothing" if not phase.applies else "halts" if not phase.reversible else "all of the run"
        fails = "itself alone" if phase.addition else fails
        rows.append((phase.number, f"`{phase.name}`", story.partition(": ")[2], back, fails))
    return _table(("#", "phase", "does", "undo", "a failure takes back"), rows)


def engine_differences() -> str:
    """Recorded case, what the extension does, what our engine does, why."""
    rows = [(f"`{name}`", d.extension, d.engine, d.reason) for name, d in DIFFERENCES.items()]
    return _table(("case", "the extension", "our engine", "why"), rows)


def http() -> str:
    """Method, path, summary, status codes."""
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"], ", ".join(sorted(operation["responses"])))
        for path, operations in document()["paths"].items()
        for method, operation in operations.items()
        if method in {"get", "post"}
    ]
    return _table(("request", "does", "answers"), rows)


def settings() -> str:
    """App settings with their meaning and default."""
    described = _field_docs(Settings)
    rows = [
        (f"`{f.metadata['env']}`", described.get(f.name, ""), f"`{f.default}`" if f.default else "")
        for f in dataclasses.fields(Settings)
    ]
    return _table(("app setting", "meaning", "default"), rows)


def request_fields(name: str) -> str:
    """Fields of `Target` or `Options`."""
    kind = getattr(migration, name)
    described = _field_docs(kind)
    rows = []
    for f in dataclasses.fields(kind):
        default = (
            "from the app's settings" if f.default is dataclasses.MISSING else f"`{f.default!r}`".replace("'", '"')
        )
        rows.append((f"`{name.lower()}.{f.name}`", described.get(f.name, ""), default))
    return _table(("field", "meaning", "default"), rows)


def error_kinds() -> str:
    """The error tree and what the migration does."""
    rows = [
        (f"`{kind.__name__}`", (kind.__doc__ or "").splitlines()[0])
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.MigrationError)
    ]
    return _table(("error", "means"), rows)


def criteria() -> str:
    """The success criteria, in the runbook's order."""
    return "\n".join(f"{number}. {name}" for number, name in enumerate(CRITERIA, 1)) + "\n"


def events() -> str:
    """The custom events of Application Insights."""
    rows = [(f"`{e}`", what, ", ".join(f"`{f}`" for f in fields)) for e, (what, fields) in CATALOGUE.items()]
    return _table(("event", "means", "fields"), rows)


def permission_questions() -> str:
    """What GET /api/permissions asks."""
    return _table(("area", "may it", "needs"), [(q.area, q.what, q.needs) for q in questions()])


def permissions() -> str:
    """What the identity must be allowed in Kubernetes."""
    grouped: dict[tuple[str, str, bool], list[str]] = {}
    for p in (*PERMISSIONS, *SNAPSHOT_PERMISSIONS):
        grouped.setdefault((p.group or "core", p.kind, p.namespaced), []).append(p.verb)
    rows = [
        (group, resource, ", ".join(verbs), "namespace" if namespaced else "cluster")
        for (group, resource, namespaced), verbs in grouped.items()
    ]
    return _table(("group", "resource", "verbs", "scope"), rows)


def alerts() -> str:
    """Alert rules with their expressions' meaning."""
    rows = [(f"`{a.name}`", a.severity, f"{a.minutes} min", f"`{a.expression}`") for a in rules_of(DEFAULT_TARGET)]
    return _table(("alert", "severity", "after", "when"), rows)


AZURE_SERVICES = {
    "identity": "Managed identity",
    "key_vault": "Key Vault",
    "aks": "AKS credentials and the cluster's API",
    "flexible_server": "PostgreSQL Flexible Server (ARM)",
    "postgres_login": "PostgreSQL with Entra",
    "faults": "Any of them, in trouble",
    "shapes": "The bodies themselves, against the SDK's models",
}
"""tests/azure/test_azure_<module>.py → what it speaks with."""


def azure_contract() -> str:
    """Every call and error shape that the unmodified clients are tested with, in the tests' own sentences."""
    folder = Path(__file__).resolve().parents[1] / "tests" / "azure"
    rows = []
    for module, service in AZURE_SERVICES.items():
        source = ast.parse((folder / f"test_azure_{module}.py").read_text(encoding="utf-8"))
        names = [
            node.name for node in source.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        rows += [(service, name.removeprefix("test_").replace("_", " ")) for name in names]
    return _table(("service", "what is held"), rows)


ASKED = {
    "application/strategic-merge-patch+json": "strategic merge patches",
    "application/merge-patch+json": "JSON merge patches",
    "application/json-patch+json": "JSON patches",
    "application/apply-patch+yaml": "server-side apply",
    "text/plain": "patches of no known type",
    "POST": "objects created, pods evicted",
    "PUT": "objects replaced",
    "DELETE": "objects deleted",
    "GET": "objects and lists read; kinds, groups and selectors that are not known",
}


def recorded_answers() -> str:
    """How many recorded answers of a real Kubernetes the local cluster is held to, by what was asked."""
    excepted = {case for one in all_exceptions() for case in one.cases}
    asked: dict[str, list[bool]] = {kind: [] for kind in ASKED}
    for case in all_cases().values():
        asked[case.content if case.method == "PATCH" else case.method].append(case.id not in excepted)
    asked["together"] = [equal for outcomes in asked.values() for equal in outcomes]
    rows = [
        (ASKED.get(kind, kind), str(len(equal)), str(sum(equal)), str(equal.count(False)))
        for kind, equal in asked.items()
    ]
    return _table(("asked", "replayed", "equal", "excepted"), rows)


def excepted_answers() -> str:
    """What the local cluster does not answer as the real one, and why."""
    rows = [(_code(one.cases), _code(one.fields) or "the whole answer", one.reason) for one in all_exceptions()]
    return _table(("cases", "differs", "why"), rows)


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _field_docs(kind: type) -> dict[str, str]:
    """The texts under the fields of a dataclass."""
    pattern = re.compile(r'^    (\w+): [^\n]*\n    """(.*?)"""', re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in pattern.findall(inspect.getsource(kind))}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)] + [[cell.replace("|", "\\|") for cell in row] for row in rows]
    rule = ["---"] * len(lines[0])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [lines[0], rule, *lines[1:]]) + "\n"
