"""What host.json says of the task hub, as far as the engine heeds it.

Source: Microsoft.Azure.WebJobs.Extensions.DurableTask 3.19.0, DurableTaskOptions.cs, for names and defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

DEFAULT_REORDER_WINDOW_MINUTES = 30


@dataclass(frozen=True, slots=True)
class Hub:
    """Settings of one task hub.

    `entity_reorder_window_minutes`: within it an entity sorts what orchestrations send it by their timestamps. The
    extension sets none on a call or a lock request from Python, and the sorter drops what is no newer than the last
    (0001-01-01): with a window such a call is never answered. Signals and messages of clients are not sorted.
    Source: Azure/durabletask, Entities/StateFormat/MessageSorter.cs, ReceiveInOrder; tests/local_functions/answers.json
    and answers_more.json, the cases `entity_asked` and `entity_locked`.
    """

    entity_reorder_window_minutes: int = DEFAULT_REORDER_WINDOW_MINUTES

    @property
    def hears_calls_of_entities(self) -> bool:
        """Whether an entity takes calls and lock requests of orchestrations."""
        return self.entity_reorder_window_minutes == 0


def read_hub(host_settings: Mapping[str, Any]) -> Hub:
    """From host.json's content."""
    task = host_settings.get("extensions", {}).get("durableTask", {})
    return Hub(int(task.get("entityMessageReorderWindowInMinutes", DEFAULT_REORDER_WINDOW_MINUTES)))
