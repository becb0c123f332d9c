"""The Job's program: `run` puts the load on and measures it, `clean` removes the run's users and files.

Says what it does as JSON lines on stdout, as the mover does; the last is a result or an error. The administrator's
credential and the test users' password come from the environment, never from the command line.
"""

import argparse
import itertools
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from typing import Any

import gevent
from locust.env import Environment

from . import measurements
from .accounts import Account, Administrator, Refused, accounts_of, make, remove
from .measurements import Sample
from .visits import Visitor

CREDENTIAL, PASSWORD = "SCALEOUT_ADMINISTRATOR", "SCALEOUT_PASSWORD"
LONGEST_RAMP = 60.0
"""Seconds in which all users come: signing in costs the pods a password's hash each."""
REPORT_SECONDS = 1.0


class Course:
    """The samples of one test, and how many users there were when."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.users: list[tuple[float, int]] = []
        self.began = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self.began

    def note(self, name: str, response_time: float, exception: BaseException | None, **_: Any) -> None:
        """Locust's `request` event."""
        error = f"{exception}" or type(exception).__name__ if exception else ""
        self.samples.append(Sample(self.now(), name, response_time, error))

    def users_at(self, second: float) -> int:
        return max((count for at, count in self.users if at <= second), default=0)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the accounts, put the load on, and return table and course."""
    administrator = Administrator.sign_in(arguments.url, os.environ[CREDENTIAL])
    accounts = accounts_of(arguments.prefix, arguments.users)
    for done, _ in enumerate(make(administrator, accounts, os.environ[PASSWORD]), 1):
        if done % 20 == 0:
            _say(step="making test users", done=done, total=len(accounts), unit="users")
    started = datetime.now(UTC)
    course, stopped = _load(arguments, accounts)
    seconds = course.now()
    return {
        "users": arguments.users,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "stopped_early": stopped,
        "rows": measurements.table(course.samples, seconds),
        "course": measurements.course(course.samples, course.users_at, seconds),
        "errors": measurements.commonest_errors(course.samples),
    }


def _load(arguments: argparse.Namespace, accounts: list[Account]) -> tuple[Course, str]:
    """Run Locust until the time is over, or until most requests fail; returns the reason then."""
    Visitor.accounts, Visitor.password = itertools.cycle(accounts), os.environ[PASSWORD]
    Visitor.marker = arguments.marker
    visitor = type("Visitor", (Visitor,), {"abstract": False, "host": arguments.url})
    environment = Environment(user_classes=[visitor], stop_timeout=10)
    runner = environment.create_local_runner()
    course = Course()
    environment.events.request.add_listener(course.note)  # type: ignore[no-untyped-call]
    ramp = min(LONGEST_RAMP, arguments.seconds)
    runner.start(arguments.users, spawn_rate=arguments.users / ramp)
    stopped = ""
    while not stopped and course.now() < ramp + arguments.seconds:
        gevent.sleep(REPORT_SECONDS)
        course.users.append((course.now(), runner.user_count))
        stopped = measurements.failing(course.samples, course.now())
        _report(course, ramp + arguments.seconds, runner.user_count)
    runner.stop()
    return course, stopped


def _report(course: Course, total: float, users: int) -> None:
    recent = sorted(sample.milliseconds for sample in course.samples if sample.at > course.now() - 10)
    p95 = measurements.percentile(recent, 0.95)
    step = f"{users} users, {len(recent) / min(10.0, course.now()):.0f} requests a second, p95 {p95:.0f} ms"
    _say(step=step, done=min(round(course.now()), round(total)), total=round(total), unit="s")


def clean(arguments: argparse.Namespace) -> dict[str, Any]:
    """Remove the run's users and files; the last page of each was empty when this returns."""
    administrator = Administrator.sign_in(arguments.url, os.environ[CREDENTIAL])
    files = users = 0
    for files, users in remove(administrator, arguments.prefix, os.environ[PASSWORD]):
        _say(step="removing test users and files", done=files + users, total=files + users, unit="objects")
    return {"users": users, "files": files}


def main() -> int:
    """Exit 0 with a result as the last line, 1 with an error."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        result = arguments.command(arguments)
    except Refused as refused:
        hint = "The administrator's credential is the secret that options.load_test_secret names."
        kind = "configuration" if refused.status in {400, 401, 403} else "permanent"
        _say(error={"message": str(refused), "hint": hint, "kind": kind})
        return 1
    _say(result=result)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="load_test.pyz", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, command in (("run", run), ("clean", clean)):
        one = commands.add_parser(name, description=command.__doc__)
        one.set_defaults(command=command)
        one.add_argument("--url", required=True, help="Open WebUI's Service")
        one.add_argument("--prefix", required=True, help="of everything that this run makes")
        if name == "run":
            one.add_argument("--users", type=int, default=200)
            one.add_argument("--seconds", type=float, default=120, help="of the load, after the last user came")
            one.add_argument("--marker", default="scaleout-load=1", help="stands in the query of every request")
    return parser


def _say(**line: Any) -> None:
    print(json.dumps(line, separators=(",", ":")), flush=True)
