"""The queries of the workbook and of the alerts, and which events, metrics and properties each asks for."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROPERTY = re.compile(r"""Properties(?:\.(\w+)|\[["'](\w+)["']\])""")


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
        return {dotted or bracketed for dotted, bracketed in PROPERTY.findall(self.text)}

    def changed(self, right: str, wrong: str) -> "Query":
        assert right in self.text, f"{self.title} no longer says {right!r}"
        return Query(self.title, self.text.replace(right, wrong))


def workbook_queries() -> list[Query]:
    workbook = json.loads((ROOT / "infra/monitoring/workbook.json").read_text())
    return [Query(i["content"]["title"], i["content"]["query"]) for i in workbook["items"] if i["type"] == 3]


def alert_queries() -> list[Query]:
    rules = (ROOT / "infra/modules/alerts.bicep").read_text()
    return [Query(title, text) for title, text in re.findall(r"title: '([^']+)'\n.*\n    query: '([^']+)'", rules)]


def unsent(query: Query, sent: Mapping[str, Mapping[str, set[str]]]) -> list[str]:
    """What this query asks for that is never sent. `sent`: table → event or metric → properties that each item has.

    Kusto calls a property that is not there empty and reports nothing, so this is asked beside running the query.
    """
    if query.table not in sent:  # the Functions host sends AppRequests
        return []
    things = sent[query.table]
    if missing := query.names - set(things):
        return [f"{query.title}: {query.table} never gets {name}" for name in sorted(missing)]
    read = [things[name] for name in query.names] or [set[str]().union(*things.values())]
    return [
        f"{query.title}: {query.table} {sorted(query.names)} has no property {name}"
        for name in sorted(query.properties)
        if not all(name in properties for properties in read)
    ]
