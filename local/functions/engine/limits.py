"""Sizes that the real extension refuses, and how it does. Texts count in UTF-16, as .NET and Azure Tables hold them.

Source: tests/local_functions/answers.json, `custom_status_of_…` and `activity_fails_long`; the extension's log
(RemoteOrchestratorContext.ValidateCustomStatusSize; Azure Tables: PropertyValueTooLarge).
"""

import json

LARGEST_CUSTOM_STATUS_BYTES = 16 * 1024
LARGEST_FAILURE_BYTES = 64 * 1024
REDELIVERED_AFTER_SECONDS = 10.0
"""After a row that the storage refused: the extension's dispatcher waits so long and takes the same messages again."""


class RowTooLarge(Exception):
    """The text of a failure does not fit into the history: the step is undone, and delivered again, for ever."""


def check_failure(text: str) -> None:
    """Raise RowTooLarge for the text of a failed orchestration that no row can hold."""
    if (size := _bytes(text)) > LARGEST_FAILURE_BYTES:
        raise RowTooLarge(f"{size:,} bytes of failure are more than a row holds ({LARGEST_FAILURE_BYTES:,})")


def custom_status_failure(orchestrator: str, status: str) -> str:
    """The output of an orchestration whose custom status is too large; empty where it is not."""
    size = _bytes(status)
    if size <= LARGEST_CUSTOM_STATUS_BYTES:
        return ""
    details = f"CustomStatus is too large: limit = 16 KB (UTF-16), actual = {size / 1024:.2f} KB."
    return unhandled(orchestrator, f"System.ArgumentException: {details}")


def unhandled(orchestrator: str, details: str) -> str:
    """The output of an orchestration in whose place the extension failed."""
    return failure_of_function(f"Function '{orchestrator}' failed with an unhandled exception.", details)


def failure_of_function(message: str, details: str | None) -> str:
    """The output of an orchestration that the extension itself failed: JSON, unlike that of one that raised."""
    return json.dumps({"message": message, "details": details}, separators=(",", ":"))


def _bytes(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass"))
