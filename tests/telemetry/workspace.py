"""A Log Analytics workspace on this machine: what was sent, as the tables that the queries read, and a Kusto engine.

The engine translates Kusto to DuckDB's SQL and refuses what it does not know: an unknown table, column or function is
an error here as it is in Azure. Columns: learn.microsoft.com/azure/azure-monitor/reference/tables/appevents and its
neighbours, those that the exporter or the Functions host fill.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb
import duckdb_kql
from fix_ingestion import TABLES

COMMON = {
    "TimeGenerated": "timestamp",
    "OperationId": "varchar",
    "OperationName": "varchar",
    "ParentId": "varchar",
    "AppRoleName": "varchar",
    "Properties": "json",
}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "AppEvents": {"Name": "varchar"},
    "AppMetrics": {"Name": "varchar", "Sum": "double", "Min": "double", "Max": "double", "ItemCount": "bigint"},
    "AppDependencies": {
        **{"Name": "varchar", "DependencyType": "varchar", "Target": "varchar", "Data": "varchar"},
        **{"Success": "boolean", "DurationMs": "double", "ResultCode": "varchar"},
    },
    "AppRequests": {
        **{"Name": "varchar", "Url": "varchar", "Success": "boolean", "DurationMs": "double", "ResultCode": "varchar"},
    },
    "AppTraces": {"Message": "varchar", "SeverityLevel": "integer"},
    "AppExceptions": {"OuterMessage": "varchar", "SeverityLevel": "integer"},
}
SEVERITIES = {"Verbose": 0, "Information": 1, "Warning": 2, "Error": 3, "Critical": 4}


class QueryRefused(Exception):
    """The engine does not run this query; the text says which name it does not know."""


class Workspace:
    def __init__(self) -> None:
        self._connection = duckdb_kql.connect()
        for table, columns in COLUMNS.items():
            described = ", ".join(f'"{name}" {kind}' for name, kind in {**COMMON, **columns}.items())
            self._connection.sql(f'create table "{table}" ({described})')

    def add(self, items: Iterable[dict[str, Any]]) -> None:
        """Take what came to the ingestion endpoint."""
        for item in items:
            if (table := TABLES.get(item["data"]["baseType"])) is not None:
                for row in _rows(item):
                    columns = [c for c in {**COMMON, **COLUMNS[table]} if c in row]
                    names = ", ".join(f'"{c}"' for c in columns)
                    self._connection.execute(
                        f'insert into "{table}" ({names}) values ({", ".join("?" * len(columns))})',
                        [row[c] for c in columns],
                    )

    def run(self, query: str) -> list[dict[str, Any]]:
        """The rows; QueryRefused where the query asks for what is not there."""
        try:
            result = duckdb_kql.kql(self._connection, query)
            return [dict(zip(result.columns, row, strict=True)) for row in result.fetchall()]
        except (duckdb_kql.KqlError, duckdb.Error) as error:
            raise QueryRefused(" ".join(str(error).split())) from error

    def close(self) -> None:
        self._connection.close()


def _rows(item: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """One row of its table; of a metric one for each that the item carries."""
    data, tags = item["data"]["baseData"], item.get("tags", {})
    row = {
        "TimeGenerated": item["time"],
        "OperationId": tags.get("ai.operation.id"),
        "OperationName": tags.get("ai.operation.name"),
        "ParentId": tags.get("ai.operation.parentId"),
        "AppRoleName": tags.get("ai.cloud.role"),
        "Properties": json.dumps(data.get("properties") or {}),
        "Name": data.get("name"),
        "Message": data.get("message"),
        "SeverityLevel": SEVERITIES.get(data.get("severityLevel"), data.get("severityLevel")),
        "DependencyType": data.get("type"),
        "Target": data.get("target"),
        "Data": data.get("data"),
        "Success": data.get("success"),
        "ResultCode": data.get("resultCode"),
        "DurationMs": _milliseconds(data.get("duration")),
    }
    if "metrics" not in data:
        return [row]
    return [
        row | {"Name": m["name"], "Sum": m["value"], "Min": m.get("min", m["value"]), "Max": m.get("max", m["value"]),
               "ItemCount": m.get("count", 1)}
        for m in data["metrics"]
    ]  # fmt: skip


def _milliseconds(duration: str | None) -> float | None:
    """Of `d.hh:mm:ss.fff`."""
    if not (parts := re.fullmatch(r"(\d+)\.(\d+):(\d+):([\d.]+)", duration or "")):
        return None
    days, hours, minutes, seconds = (float(p) for p in parts.groups())
    return 1000 * (((days * 24 + hours) * 60 + minutes) * 60 + seconds)
