"""The few messages the Python worker runtime exchanges with its host, as plain objects.

In Azure they are protobuf; the runtime takes whatever module it is given, reads attributes and calls `WhichOneof`.

Source: FunctionRpc.proto of azure-functions-language-worker-protobuf; azure-functions-runtime 1.3, `handle_event.py`.
"""

from types import SimpleNamespace
from typing import Any


class Message(SimpleNamespace):
    """A protobuf message: attributes set by name, what was not set reads as None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "TypedData":  # by its absence the runtime tells data from a module
            raise AttributeError(name)
        return None

    def WhichOneof(self, _group: str) -> str | None:
        """Name the field that is set; these messages have one group each."""
        return next((name for name, value in vars(self).items() if value is not None and name != "name"), None)


class StatusResult(Message):
    """How a request ended."""

    Failure, Success, Cancelled = 0, 1, 2


class BindingInfo(Message):
    """A binding's direction and data type."""

    out, inout = 1, 2
    undefined = 0


setattr(BindingInfo, "in", 0)


class SameSite:
    """Values of a cookie's SameSite attribute."""

    Lax, Strict, ExplicitNone = "Lax", "Strict", "None"


setattr(SameSite, "None", "")


class RpcHttpCookie(Message):
    """One cookie of a response."""

    SameSite = SameSite


TypedData = ParameterBinding = Message

PROTOS = SimpleNamespace(
    StatusResult=StatusResult,
    BindingInfo=BindingInfo,
    RpcHttpCookie=RpcHttpCookie,
    **{
        name: type(name, (Message,), {})
        for name in (
            "FunctionMetadataResponse",
            "InvocationResponse",
            "NullableBool",
            "NullableDouble",
            "NullableString",
            "NullableTimestamp",
            "ParameterBinding",
            "RpcException",
            "RpcFunctionMetadata",
            "RpcHttp",
            "RpcRetryOptions",
            "Timestamp",
            "TypedData",
            "WorkerInitResponse",
            "WorkerMetadata",
        )
    },
)
"""What the runtime calls `protos`."""
