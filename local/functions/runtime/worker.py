"""Drive the real Python worker runtime, `azure-functions-runtime`, in this process.

It indexes the app as it does in Azure (a function that Azure would reject is rejected here with the same words) and
runs its functions. The runtime has its own thread and event loop, because in Azure it has its own process: an
`async def` that blocks stops the other async functions, not the host.
"""

import asyncio
import json
import os
import sys
import threading
import uuid
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.functions.runtime.rpc import PROTOS, Message, ParameterBinding, StatusResult, TypedData
from shared.errors import ConfigurationError

THREADS = "24"
"""Threads for `def` functions unless the app sets PYTHON_THREADPOOL_THREAD_COUNT: ten activities and what else runs."""


@dataclass(frozen=True, slots=True)
class Function:
    """An indexed function. A binding is what the app declared, as in a function.json."""

    id: str
    name: str
    bindings: tuple[Mapping[str, Any], ...]

    @property
    def trigger(self) -> Mapping[str, Any]:
        """The binding that starts it."""
        return next(binding for binding in self.bindings if binding["type"].lower().endswith("trigger"))

    @property
    def kind(self) -> str:
        """The trigger's type, such as `httpTrigger`."""
        return str(self.trigger["type"])

    @property
    def clients(self) -> tuple[str, ...]:
        """The parameters that take a durable client."""
        return tuple(binding["name"] for binding in self.bindings if binding["type"] == "durableClient")


class InvocationFailed(Exception):
    """The function raised. `error_type` is the last part of the exception's type."""

    def __init__(self, description: str, stack_trace: str) -> None:
        super().__init__(description)
        self.error_type, self.message = split_error(description)
        self.stack_trace = stack_trace


def split_error(description: str) -> tuple[str, str]:
    """Split `Type: message` as the durable extension does.

    Source: azure-functions-durable-extension, OutOfProcMiddleware.cs, TrySplitExceptionTypeFromMessage.
    """
    error_type, colon, message = description.partition(":")
    return (error_type.rstrip(), message.lstrip()) if colon and error_type else ("(unknown)", description)


class Worker:
    """The runtime with one app."""

    def __init__(self, app: Path) -> None:
        self._app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="worker", daemon=True)

    async def start(self) -> list[Function]:
        """Load and index the app. Raises ConfigurationError with the runtime's own words."""
        os.environ.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
        os.environ.setdefault("PYTHON_THREADPOOL_THREAD_COUNT", THREADS)
        sys.path.insert(0, str(self._app))
        self._thread.start()
        found: list[Function] = await self._on_its_loop(self._index())
        return found

    async def invoke(
        self, function: Function, inputs: Mapping[str, Message], *, trace_parent: str = ""
    ) -> Message | None:
        """Run a function and return what it returned. Raises InvocationFailed."""
        import azure_functions_runtime as runtime

        invocation = Message(
            invocation_id=str(uuid.uuid4()),
            function_id=function.id,
            input_data=[ParameterBinding(name=name, data=value) for name, value in inputs.items()],
            trigger_metadata={},
            trace_context=Message(trace_parent=trace_parent, trace_state="", attributes={}),
            retry_context=Message(retry_count=0, max_retry_count=0),
        )
        request = Message(request=Message(invocation_request=invocation))
        response = await self._on_its_loop(runtime.invocation_request(request))
        if response.result.status != StatusResult.Success:
            failed = response.result.exception
            raise InvocationFailed(failed.message, failed.stack_trace or "")
        returned: Message | None = response.return_value
        return returned

    async def _on_its_loop(self, call: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._loop))

    async def _index(self) -> list[Function]:
        import azure_functions_runtime as runtime

        runtime.start_threadpool_executor()
        init = Message(capabilities={}, function_app_directory=str(self._app))
        properties = {"host": "127.0.0.1", "protos": PROTOS}
        request = Message(request=Message(worker_init_request=init), properties=properties)
        answer = await runtime.worker_init_request(request)
        if answer.result.status != StatusResult.Success:
            failed = answer.result.exception
            raise ConfigurationError(f"the app cannot be indexed: {failed.message}", hint=failed.stack_trace or "")
        metadata = await runtime.functions_metadata_request(Message())
        found = metadata.function_metadata_results
        if not found:
            raise ConfigurationError(f"no functions in {self._app}", hint="Is there a function_app.py in it?")
        return [Function(f.function_id, f.name, tuple(json.loads(b) for b in f.raw_bindings)) for f in found]


def text(value: str) -> Message:
    """Wrap a string for the worker."""
    return TypedData(string=value)


def encoded(value: str) -> Message:
    """Wrap a JSON document for the worker."""
    return TypedData(json=value)
