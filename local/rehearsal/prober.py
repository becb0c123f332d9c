"""Measure the downtime from outside: ask the Service all the time, note when nobody answered and which store did."""

import threading
import time
from dataclasses import dataclass, field

import httpx


@dataclass(slots=True)
class Seen:
    """What the prober saw. Times in seconds of the monotonic clock."""

    requests: int = 0
    failures: int = 0
    longest_gap_seconds: float = 0.0
    """Between two answers with nothing but failures between them."""
    stores: set[str] = field(default_factory=set)
    store_changes: int = 0
    """How often an answer came from another store than the one before it."""


class Prober:
    """Asks `url` + `/ready` every `interval_seconds` in a thread, each time over a new connection."""

    def __init__(self, url: str, interval_seconds: float = 0.1) -> None:
        self.seen = Seen()
        self._url = url
        self._interval = interval_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="prober")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Seen:
        self._ended.set()
        self._thread.join(10)
        return self.seen

    def _run(self) -> None:
        last_answer, failed_since, last_store = time.monotonic(), False, ""
        while not self._ended.is_set():
            store = self._ask()
            now = time.monotonic()
            self.seen.requests += 1
            if store is None:
                self.seen.failures += 1
                failed_since = True
            else:
                if failed_since:
                    self.seen.longest_gap_seconds = max(self.seen.longest_gap_seconds, now - last_answer)
                self.seen.store_changes += bool(last_store and store != last_store)
                self.seen.stores.add(store)
                last_answer, failed_since, last_store = now, False, store
            self._ended.wait(self._interval)

    def _ask(self) -> str | None:
        """The store that answered, or None."""
        try:
            answer = httpx.get(f"{self._url}/ready", timeout=2.0, headers={"connection": "close"})
        except httpx.HTTPError:
            return None
        return answer.headers.get("x-store", "unknown") if answer.status_code == httpx.codes.OK else None
