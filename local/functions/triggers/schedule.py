"""Read a timer's schedule: NCRONTAB with five or six fields, a TimeSpan, or the name of a setting that holds one.

Source: https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer, "NCRONTAB expressions", "TimeSpan".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

from croniter import CroniterError, croniter

from shared.errors import ConfigurationError

TIME_SPAN = re.compile(r"(?:(?P<days>\d+)\.)?(?P<first>\d+):(?P<second>\d+):(?P<third>\d+)")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a timer fires: every `every`, or whenever `cron` matches. `six` says that it begins with seconds."""

    cron: str = ""
    six: bool = False
    every: timedelta = timedelta(0)

    def after(self, moment: datetime) -> datetime:
        """Return the next time the timer fires after a moment."""
        if not self.cron:
            return moment + self.every
        # NCRONTAB wants both the day of the month and the day of the week to match, cron takes either.
        times = croniter(self.cron, moment, second_at_beginning=self.six, day_or=False)
        return cast(datetime, times.get_next(datetime))

    def shorter_than_a_minute(self, moment: datetime) -> bool:
        """Say whether it fires more often than once a minute; such timers have no past."""
        first = self.after(moment)
        return self.after(first) - first < timedelta(minutes=1)


def read_schedule(text: str, settings: Mapping[str, str]) -> Schedule:
    """Parse a schedule; `%NAME%` reads it from a setting. Raises ConfigurationError."""
    if named := re.fullmatch(r"%(.+)%", text.strip()):
        if named[1] not in settings:
            raise ConfigurationError(
                f"the schedule {text} names a setting that does not exist", hint=f"Set {named[1]}."
            )
        text = settings[named[1]]
    text = text.strip()
    if span := TIME_SPAN.fullmatch(text):
        return Schedule(every=_read_span(span))
    six = len(text.split()) == 6
    try:
        schedule = Schedule(cron=text, six=six)
        schedule.after(datetime.now().astimezone())
    except CroniterError as error:
        hint = "Six fields: {second} {minute} {hour} {day} {month} {day of week}."
        raise ConfigurationError(f"{text!r} is not a schedule: {error}", hint=hint) from error
    return schedule


def _read_span(span: re.Match[str]) -> timedelta:
    """Read hh:mm:ss; hours above 23 are days, as .NET reads them: 24:00:00 is 24 days."""
    first, second, third = int(span["first"]), int(span["second"]), int(span["third"])
    if span["days"]:
        return timedelta(days=int(span["days"]), hours=first, minutes=second, seconds=third)
    if first > 23:
        return timedelta(days=first, hours=second, minutes=third)
    return timedelta(hours=first, minutes=second, seconds=third)
