"""`GET /api/metrics`: what the health guard last saw, for Prometheus.

In OpenMetrics where the asker says that it reads it, as every newer Prometheus does, else in the text format 0.0.4. A
figure that the last reading does not have is left out, so that a rule on it sees nothing instead of a made-up zero.
Source: OpenMetrics 1.0: a counter's family is named without `_total`, and the exposition ends with `# EOF`.
"""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime

import azure.durable_functions as df
import azure.functions as func

from api import durable
from phases.guard_entity import read_memory
from phases.guard_memory import Memory
from phases.health_guard import GUARD_ENTITY
from shared.guarded import Guarded

FORMAT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TOTAL = "_total"

GAUGES = {
    "scaleout_replicas_wanted": ("replicas", 1.0, "Replicas that the Deployment asks for."),
    "scaleout_replicas_ready": ("ready", 1.0, "Replicas that are ready."),
    "scaleout_replicas_answering": ("answering", 1.0, "Replicas whose /ready answered 200."),
    "scaleout_ready_slowest_seconds": ("slowest_answer_ms", 0.001, "Slowest answer of a replica to /ready."),
    "scaleout_connections_used": ("connections_used", 1.0, "Client sessions of the database server."),
    "scaleout_connections_for_users": ("connections_for_users", 1.0, "Connections that ordinary roles can open."),
    "scaleout_database_latency_seconds": ("database_latency_ms", 0.001, "Of one select 1."),
}
"""Metric → (figure of the reading, factor, help)."""

type Sample = tuple[str, float | None]
"""Target and value; None is left out."""


async def read(client: df.DurableFunctionsClient, guarded: Sequence[Guarded], accept: str) -> func.HttpResponse:
    """Of every guarded Deployment. `accept`: the request's header."""
    states = await asyncio.gather(*(durable.read_entity(client, GUARD_ENTITY, each.key) for each in guarded))
    memories = {each.key: read_memory(state) for each, state in zip(guarded, states, strict=True)}
    is_open = OPEN_METRICS.partition(";")[0] in accept
    headers = {"Content-Type": OPEN_METRICS if is_open else FORMAT}
    return func.HttpResponse(render(memories, open_metrics=is_open), headers=headers)


def render(memories: dict[str, Memory], *, open_metrics: bool = False) -> str:
    """The exposition. Pure."""
    parts = [
        _family(name, "gauge", text, ((key, _scaled(memory, figure, factor)) for key, memory in memories.items()))
        for name, (figure, factor, text) in GAUGES.items()
    ]
    seen = [(key, _timestamp(memory)) for key, memory in memories.items()]
    ticks = [(key, float(memory.ticks)) for key, memory in memories.items()]
    skipped = [(key, float(memory.state.skipped_ticks)) for key, memory in memories.items()]
    parts += [
        _family("scaleout_guard_reading_timestamp_seconds", "gauge", "When the guard last looked.", seen),
        _family("scaleout_guard_ticks_total", "counter", "Readings judged.", ticks, open_metrics=open_metrics),
        _family("scaleout_guard_skipped_ticks_total", "counter", "Ticks left out.", skipped, open_metrics=open_metrics),
    ]
    return "".join(parts) + ("# EOF\n" if open_metrics else "")


def _family(name: str, kind: str, text: str, samples: Iterable[Sample], *, open_metrics: bool = False) -> str:
    family = name.removesuffix(TOTAL) if open_metrics else name
    lines = [f'{name}{{target="{_escaped(key)}"}} {value:.10g}' for key, value in samples if value is not None]
    return "\n".join([f"# HELP {family} {text}", f"# TYPE {family} {kind}", *lines]) + "\n"


def _scaled(memory: Memory, figure: str, factor: float) -> float | None:
    value = memory.reading.get(figure)
    return None if value is None else float(value) * factor


def _timestamp(memory: Memory) -> float | None:
    at = memory.reading.get("at")
    return datetime.fromisoformat(at).timestamp() if at else None


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
