"""`GET /api/metrics`: what the health guard last saw, for Prometheus.

In OpenMetrics where the asker says that it reads it, as every newer Prometheus does, else in the text format 0.0.4. A
figure that the last reading does not have is left out, so that a rule on it sees nothing instead of a made-up zero.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import azure.durable_functions as df
import azure.functions as func

from api import durable
from phases.guard.entity import read_memory
from phases.guard.memory import Memory
from phases.guard.orchestrator import GUARD_ENTITY
from shared.guard.targets import Guarded
from shared.rendering.prometheus_text import END, FORMAT, OPEN_METRICS, Sample, family

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


async def read(client: df.DurableFunctionsClient, guarded: Sequence[Guarded], accept: str) -> func.HttpResponse:
    """Of every guarded Deployment. `accept`: the request's header."""
    states = await asyncio.gather(*(durable.read_entity(client, GUARD_ENTITY, each.key) for each in guarded))
    memories = {each.key: read_memory(state) for each, state in zip(guarded, states, strict=True)}
    is_open = OPEN_METRICS.partition(";")[0] in accept
    headers = {"Content-Type": OPEN_METRICS if is_open else FORMAT}
    return func.HttpResponse(render(memories, open_metrics=is_open), headers=headers)


def render(memories: dict[str, Memory], *, open_metrics: bool = False) -> str:
    """The exposition. Pure."""
    ticks = {key: float(memory.ticks) for key, memory in memories.items()}
    skipped = {key: float(memory.state.skipped_ticks) for key, memory in memories.items()}
    seen = {key: _timestamp(memory) for key, memory in memories.items()}
    found: list[tuple[str, str, str, Mapping[str, float | None]]] = [
        (name, "gauge", text, {key: _scaled(memory, figure, factor) for key, memory in memories.items()})
        for name, (figure, factor, text) in GAUGES.items()
    ]
    found += [
        ("scaleout_guard_reading_timestamp_seconds", "gauge", "When the guard last looked.", seen),
        ("scaleout_guard_ticks_total", "counter", "Readings judged.", ticks),
        ("scaleout_guard_skipped_ticks_total", "counter", "Ticks left out.", skipped),
    ]
    parts = [
        family(name, kind, text, _samples(values), open_metrics=open_metrics) for name, kind, text, values in found
    ]
    return "".join(parts) + (END if open_metrics else "")


def _samples(values: Mapping[str, float | None]) -> Iterable[Sample]:
    """By target; a figure that is not known is left out."""
    return (({"target": key}, value) for key, value in values.items() if value is not None)


def _scaled(memory: Memory, figure: str, factor: float) -> float | None:
    value = memory.reading.get(figure)
    return None if value is None else float(value) * factor


def _timestamp(memory: Memory) -> float | None:
    at = memory.reading.get("at")
    return datetime.fromisoformat(at).timestamp() if at else None
