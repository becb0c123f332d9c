"""Run the app's durable functions in the worker, for whoever decides what runs: our engine or the real extension."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local.functions.faults import Faults, Outcome
from local.functions.runtime.worker import Function, InvocationFailed, Worker, encoded, text

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DurableFunctions:
    """The app's durable functions by the name orchestrations call them."""

    orchestrators: Mapping[str, Function]
    activities: Mapping[str, Function]
    entities: Mapping[str, Function]

    def all(self) -> list[Function]:
        """All of them."""
        return [f for kind in (self.orchestrators, self.activities, self.entities) for f in kind.values()]


def sort_durable(functions: Sequence[Function]) -> DurableFunctions:
    """Sort the durable functions by kind; a name in the trigger wins over the function's."""

    def named(kind: str, key: str) -> dict[str, Function]:
        return {str(f.trigger.get(key) or f.name): f for f in functions if f.kind == kind}

    entities = {name.lower(): function for name, function in named("entityTrigger", "entityName").items()}
    return DurableFunctions(
        named("orchestrationTrigger", "orchestration"), named("activityTrigger", "activity"), entities
    )


class Invoker:
    """Calls durable functions. `client`: what a `durableClient` binding is given, in JSON."""

    def __init__(self, worker: Worker, client: str, faults: Faults) -> None:
        self._worker = worker
        self.client = client
        self._faults = faults

    async def exchange(self, function: Function, given: str) -> str:
        """Hand protobuf in base64 to an orchestrator or an entity, which answers the same way. InvocationFailed."""
        returned = await self._worker.invoke(function, {function.trigger["name"]: text(given)})
        return (returned.string or returned.json or "") if returned else ""

    async def act(self, function: Function, called: str, given: str, trace_parent: str = "") -> Outcome:
        """Run an activity, or the fault that is injected before or after it. `called`: by the orchestration."""
        fault = self._faults.take(called, given)
        if fault and fault.when == "before":
            return fault.happen()
        outcome = await self._run(function, called, given, trace_parent)
        return fault.happen() if fault else outcome

    async def _run(self, function: Function, called: str, given: str, trace_parent: str) -> Outcome:
        inputs = {function.trigger["name"]: encoded(given)} | {name: text(self.client) for name in function.clients}
        try:
            returned = await self._worker.invoke(function, inputs, trace_parent=trace_parent)
        except InvocationFailed as error:
            log.warning("the activity %s raised %s\n%s", called, error, error.stack_trace)
            return Outcome(None, error.error_type, error.message, error.stack_trace)
        if returned is None:
            return Outcome(result="null")
        return Outcome(result=returned.string, is_text=True) if returned.json is None else Outcome(returned.json)
