"""Ask an engine of Durable Functions over its gRPC, and note what it answered, without what differs each time."""

import json
import time
from collections.abc import Callable
from typing import Any

import grpc
from durabletask.internal import orchestrator_service_pb2 as pb
from durabletask.internal import orchestrator_service_pb2_grpc as stubs
from google.protobuf.json_format import MessageToDict
from google.protobuf.wrappers_pb2 import StringValue

type Answer = dict[str, Any]

ENDED = {"COMPLETED", "FAILED", "TERMINATED", "CANCELED"}
TOLD_EACH_TIME = {"executionId", "requestTime"}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
SHOWN = 400


class Probed:
    """The raw calls of one engine; each answers a dict, or how it was refused."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, UNLIMITED)
        self._stub = stubs.TaskHubSidecarServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: Any, seconds: float = 40) -> Answer:
        try:
            found: Answer = tidy(MessageToDict(getattr(self._stub, method)(request, timeout=seconds)))
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": cut(error.details())}
        return found

    def start(self, name: str, instance: str, given: object = None, **more: Any) -> Answer:
        """Start an orchestration; without any input where `given` is the ellipsis."""
        value = None if given is ... else StringValue(value=json.dumps(given))
        return self.call("StartInstance", pb.CreateInstanceRequest(name=name, instanceId=instance, input=value, **more))

    def get(self, instance: str, payloads: bool = True) -> Answer:
        return self.call("GetInstance", pb.GetInstanceRequest(instanceId=instance, getInputsAndOutputs=payloads))

    def status(self, instance: str) -> str:
        """Running is the default of its enum, and left out."""
        answer = self.get(instance, False)
        missing = "RUNNING" if answer.get("exists") else answer.get("code") or "MISSING"
        status: str = answer.get("orchestrationState", {}).get("orchestrationStatus", missing)
        return status.removeprefix("ORCHESTRATION_STATUS_")

    def ends(self, instance: str, seconds: float = 40) -> Answer:
        """Its state when it has ended, or when the time is up."""
        self._until(lambda: self.status(instance) in ENDED, seconds)
        return self.get(instance)

    def runs(self, instance: str, seconds: float = 20) -> bool:
        def running() -> bool:
            state = self.get(instance).get("orchestrationState", {})
            return bool(state) and "orchestrationStatus" not in state

        return self._until(running, seconds)

    def event(self, instance: str, name: str = "go", data: object = 1) -> Answer:
        value = StringValue(value=json.dumps(data))
        return self.call("RaiseEvent", pb.RaiseEventRequest(instanceId=instance, name=name, input=value))

    def terminate(self, instance: str, output: str | None = None) -> Answer:
        value = None if output is None else StringValue(value=output)
        return self.call("TerminateInstance", pb.TerminateRequest(instanceId=instance, output=value))

    def suspend(self, instance: str, reason: str = "") -> Answer:
        value = StringValue(value=reason) if reason else None
        return self.call("SuspendInstance", pb.SuspendRequest(instanceId=instance, reason=value))

    def resume(self, instance: str, reason: str = "") -> Answer:
        value = StringValue(value=reason) if reason else None
        return self.call("ResumeInstance", pb.ResumeRequest(instanceId=instance, reason=value))

    def purge(self, instance: str) -> Answer:
        return self.call("PurgeInstances", pb.PurgeInstancesRequest(instanceId=instance))

    def restart(self, instance: str) -> Answer:
        return self.call("RestartInstance", pb.RestartInstanceRequest(instanceId=instance))

    def rewind(self, instance: str) -> Answer:
        return self.call("RewindInstance", pb.RewindInstanceRequest(instanceId=instance))

    def query(self, prefix: str, **query: Any) -> Answer:
        asked = pb.InstanceQuery(instanceIdPrefix=StringValue(value=prefix), **query)
        return self.call("QueryInstances", pb.QueryInstancesRequest(query=asked))

    def entity(self, instance: str) -> Answer:
        return self.call("GetEntity", pb.GetEntityRequest(instanceId=instance, includeState=True))

    def signal(self, instance: str, name: str, request: str, value: object = None) -> Answer:
        asked = pb.SignalEntityRequest(instanceId=instance, name=name, requestId=request)
        asked.input.value = json.dumps(value)
        return self.call("SignalEntity", asked)

    def _until(self, reached: Callable[[], bool], seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if reached():
                return True
            time.sleep(0.2)
        return False


def cut(text: str, length: int = SHOWN) -> str:
    return text if len(text) <= length else f"{text[:length]}… {len(text)} characters"


def tidy(value: Any, key: str = "") -> Any:
    """Without what differs from call to call: times, executions, stacks, the middle of long texts."""
    if isinstance(value, dict):
        return {k: tidy(v, k) for k, v in sorted(value.items()) if k not in TOLD_EACH_TIME}
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if key.endswith("Timestamp"):
        return "<time>"
    if key == "stackTrace":
        return "<stack>" if value else value
    return cut(value) if isinstance(value, str) else value


def normal(answers: Any) -> Any:
    """What is compared: also without the times of entities and the sizes of whole messages."""
    if isinstance(answers, dict):
        if answers.get("code") == "RESOURCE_EXHAUSTED":
            return {"code": "RESOURCE_EXHAUSTED"}
        return {k: "<time>" if k == "lastModifiedTime" else normal(v) for k, v in answers.items()}
    return [normal(each) for each in answers] if isinstance(answers, list) else answers
