"""Fire the app's timers: one invocation of each at a time, and one that was missed while the host was down.

When a timer ran and when it runs next is kept in a file. At start a timer whose next time has passed fires at once,
flagged as past due, and only once however many times were missed. Timers that fire more often than once a minute keep
no record, as in Azure.

Source: azure-webjobs-sdk-extensions, TimerListener.cs and TimerTriggerAttribute.UseMonitor.
"""

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from local.functions.files import replace_file
from local.functions.runtime.worker import Function
from local.functions.triggers.schedule import Schedule, read_schedule
from shared.errors import ConfigurationError

log = logging.getLogger(__name__)

NEVER = datetime(1, 1, 1, tzinfo=UTC)

Fire = Callable[[Function, str], Awaitable[None]]
"""Invoke a function with the JSON of its timer."""


@dataclass(frozen=True, slots=True)
class Status:
    """When a timer ran last and when it is to run next."""

    last: datetime
    next: datetime


def timer_document(status: Status | None, *, past_due: bool) -> str:
    """Build the JSON a timer function is given."""
    times = {"Last": status.last, "Next": status.next, "LastUpdated": status.last} if status else {}
    document = {
        "Schedule": {"AdjustForDST": True},
        "ScheduleStatus": {name: moment.isoformat() for name, moment in times.items()} or None,
        "IsPastDue": past_due,
    }
    return json.dumps(document)


class Timers:
    """The app's timers and the record of when they ran."""

    def __init__(self, functions: Sequence[Function], fire: Fire, path: Path) -> None:
        self._functions = {function.name: function for function in functions}
        self._fire = fire
        self._path = path
        self._alone = {name: asyncio.Lock() for name in self._functions}

    async def run(self, disabled: Callable[[str], bool]) -> None:
        """Run every timer that is not disabled, for ever; one with a bad schedule is reported and left out."""
        async with asyncio.TaskGroup() as group:
            for function in self._functions.values():
                if disabled(function.name):
                    log.info("the timer %s is disabled", function.name)
                    continue
                try:
                    schedule = read_schedule(str(function.trigger["schedule"]), os.environ)
                except ConfigurationError as error:
                    log.error("the timer %s does not run: %s %s", function.name, error.message, error.hint)
                    continue
                group.create_task(self._keep_time(function, schedule))

    async def fire_now(self, name: str) -> None:
        """Run a timer out of turn."""
        await self._invoke(self._functions[name], timer_document(None, past_due=False))

    async def _keep_time(self, function: Function, schedule: Schedule) -> None:
        now = datetime.now(UTC)
        monitored = function.trigger.get("useMonitor") is not False and not schedule.shorter_than_a_minute(now)
        known = self._read().get(function.name) if monitored else None
        status = known or Status(NEVER, schedule.after(now))
        if function.trigger.get("runOnStartup") or status.next <= now:
            status = await self._tick(function, schedule, status, past_due=status.next <= now, monitored=monitored)
        elif monitored:
            self._write(function.name, status)
        while True:
            await _sleep_until(status.next)
            status = await self._tick(function, schedule, status, past_due=False, monitored=monitored)

    async def _tick(
        self, function: Function, schedule: Schedule, status: Status, *, past_due: bool, monitored: bool
    ) -> Status:
        began = datetime.now(UTC)
        await self._invoke(function, timer_document(status, past_due=past_due))
        ended = Status(began, schedule.after(max(datetime.now(UTC), status.next)))
        if monitored:
            self._write(function.name, ended)
        return ended

    async def _invoke(self, function: Function, document: str) -> None:
        async with self._alone[function.name]:
            await self._fire(function, document)

    def _read(self) -> dict[str, Status]:
        known: Mapping[str, Mapping[str, str]] = {}
        with contextlib.suppress(FileNotFoundError, ValueError):
            known = json.loads(self._path.read_text())
        return {
            name: Status(datetime.fromisoformat(entry["last"]), datetime.fromisoformat(entry["next"]))
            for name, entry in known.items()
        }

    def _write(self, name: str, status: Status) -> None:
        known = self._read() | {name: status}
        document = {each: {"last": s.last.isoformat(), "next": s.next.isoformat()} for each, s in known.items()}
        replace_file(self._path, json.dumps(document, indent=2))


async def _sleep_until(moment: datetime) -> None:
    """Sleep in short naps: a clock that jumps (a suspended laptop) is noticed within a minute."""
    while (left := (moment - datetime.now(UTC)).total_seconds()) > 0:  # noqa: ASYNC110 the wall clock rings no bell
        await asyncio.sleep(min(left, 60.0))
