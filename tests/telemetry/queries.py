"""The queries of the workbook and of the alerts, and what each asks the telemetry for."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EVERYWHERE = {"TimeGenerated", "OperationName", "OperationId", "Properties", "AppRoleName"}
COLUMNS = {
    "AppEvents": {"Name"},
    "AppMetrics": {"Name", "Sum", "Min", "Max", "ItemCount"},
    "AppDependencies": {"Name", "DependencyType", "Target", "Data", "Success", "DurationMs", "ResultCode"},
    "AppRequests": {"Name", "Success", "DurationMs", "ResultCode", "Url"},
    "AppTraces": {"Message", "SeverityLevel"},
}
"""Source: learn.microsoft.com/azure/azure-monitor/reference/tables/appevents and its neighbours."""
LANGUAGE = """
where project summarize order by desc asc take and or in not has bin count countif max min sum minif maxif
tostring todouble tolong isnotempty isempty extend true false
"""
WORDS = frozenset(LANGUAGE.split())


@dataclass(frozen=True)
class Query:
    """`names`: of events or metrics that it selects. `properties`: that it reads of them."""

    title: str
    text: str

    @property
    def table(self) -> str:
        return self.text.split("|")[0].strip()

    @property
    def names(self) -> set[str]:
        found: set[str] = set()
        for one, many in re.findall(r'\bName (?:== "([\w.]+)"|in \(([^)]*)\))', self.text):
            found |= {one} if one else set(re.findall(r'"([\w.]+)"', many))
        return found

    @property
    def properties(self) -> set[str]:
        return set(re.findall(r"Properties\.(\w+)", self.text))

    @property
    def columns(self) -> set[str]:
        """Every word that is neither of the language, nor a property, nor named in the query itself."""
        text = re.sub(r'"[^"]*"|Properties\.\w+|\b\d+\w*', " ", self.text.partition("|")[2])
        named = set(re.findall(r"(\w+) = ", text))
        return set(re.findall(r"[A-Za-z_]\w*", text)) - WORDS - named


def all_queries() -> list[Query]:
    workbook = json.loads((ROOT / "infra/monitoring/workbook.json").read_text())
    found = [Query(i["content"]["title"], i["content"]["query"]) for i in workbook["items"] if i["type"] == 3]
    rules = (ROOT / "infra/modules/monitoring.bicep").read_text()
    pairs = re.findall(r"title: '([^']+)'\n.*\n    query: '([^']+)'", rules)
    return found + [Query(title, text) for title, text in pairs]


def problems(query: Query, sent: Mapping[str, Mapping[str, set[str]]]) -> list[str]:
    """What this query asks for that is never sent. `sent`: table → event or metric → properties."""
    where = f"{query.title}: {query.table}"
    if query.table not in COLUMNS:
        return [f"{where} is no table"]
    unknown = query.columns - COLUMNS[query.table] - EVERYWHERE
    found = [f"{where} has no column {name}" for name in sorted(unknown)]
    if query.table == "AppRequests":  # the Functions host sends these
        return found
    things = sent[query.table]
    if missing := query.names - set(things):
        return [*found, *(f"{where} never gets {name}" for name in sorted(missing))]
    read = [things[name] for name in query.names] or [set[str]().union(*things.values())]
    return found + [
        f"{where} {sorted(query.names)} has no property {name}"
        for name in sorted(query.properties)
        if not all(name in properties for properties in read)
    ]
