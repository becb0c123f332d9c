"""Activities and an entity: plain dicts in, plain JSON out."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import azure.functions as func
from durabletask.entities import DurableEntity

bp = df.Blueprint()


class TransientError(Exception):
    """The only error a real activity lets escape."""


def append(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(line + "\n")


@bp.activity_trigger(input_name="spec")
def record(spec: dict) -> dict:
    append(spec["file"], spec.get("line", "ran"))
    return {"state": "done", "thread": threading.current_thread().name}


@bp.activity_trigger(input_name="spec")
def slow(spec: dict) -> dict:
    append(spec["file"], f"start {os.getpid()}")
    time.sleep(spec["seconds"])
    append(spec["file"], f"end {os.getpid()}")
    return {"pid": os.getpid()}


@bp.activity_trigger(input_name="spec")
def flaky(spec: dict) -> dict:
    append(spec["file"], "tried")
    tried = len(Path(spec["file"]).read_text().splitlines())
    if tried < spec["works_at"]:
        raise TransientError(f"busy: attempt {tried}")
    return {"attempts": tried}


@bp.activity_trigger(input_name="spec")
async def raise_error(spec: dict) -> dict:
    raise ValueError(spec["message"])


@bp.activity_trigger(input_name="spec")
def large(spec: dict) -> dict:
    return {"text": "x" * spec["bytes"]}


@bp.activity_trigger(input_name="spec")
def traced(spec: dict, context: func.Context) -> dict:
    return {"traceparent": context.trace_context.trace_parent}


@bp.entity_trigger(context_name="context", entity_name="Counter")
class Counter(DurableEntity):
    def add(self, amount: int) -> int:
        total = self.get_state(int, 0) + amount
        self.set_state(total)
        return total

    def get(self, _: Any = None) -> int:
        return self.get_state(int, 0)

    def fail(self, _: Any = None) -> None:
        raise ValueError("the counter refuses")
