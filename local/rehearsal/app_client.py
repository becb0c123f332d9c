"""The rehearsal's view of the app: its HTTP interface, with a function key, as any operator uses it."""

import time
from typing import Any

import httpx

from shared.errors import ConfigurationError
from shared.rendering.prometheus_text import OPEN_METRICS

ENDED = frozenset({"planned", "refused", "migrated", "applied", "rolled_back", "halted", "failed", "terminated"})


class AppClient:
    """Starts a run and follows it; rides out a host that is being started again."""

    def __init__(self, url: str, key: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"x-functions-key": key}, timeout=60)

    def start(self, body: dict[str, Any]) -> str:
        """The new run's id."""
        answer = self._http.post("/api/migrations", json=body)
        content = answer.json()
        if answer.status_code != httpx.codes.ACCEPTED:
            problems = "\n".join(f"  - {problem}" for problem in content.get("problems", []))
            raise ConfigurationError(f"{content.get('error', answer.text)}\n{problems}".rstrip())
        return str(content["id"])

    def read(self, run: str) -> dict[str, Any] | None:
        """The run as it stands; None while the host is away."""
        try:
            answer = self._http.get(f"/api/migrations/{run}")
        except httpx.TransportError:
            return None
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def handbook(self, run: str, format_: str) -> str:
        """The handbook of an ended run; ConfigurationError says why there is none."""
        answer = self._http.get(f"/api/migrations/{run}/handbook", params={"format": format_})
        if answer.status_code != httpx.codes.OK:
            raise ConfigurationError(f"no handbook of run {run}: {answer.text}")
        return answer.text

    def act(self, run: str, action: str) -> dict[str, Any]:
        body = {"approved": True} if action == "approve" else {}
        answer = self._http.post(f"/api/migrations/{run}/{action}", json=body)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def metrics(self) -> str:
        """What Prometheus would scrape, which reads OpenMetrics; ConfigurationError when it is not served."""
        answer = self._http.get("/api/metrics", headers={"Accept": OPEN_METRICS}).raise_for_status()
        if answer.headers["content-type"] != OPEN_METRICS:
            raise ConfigurationError(f"/api/metrics is served as {answer.headers['content-type']}")
        return answer.text

    def guard(self) -> dict[str, Any]:
        """The first guarded Deployment, as GET /api/guard shows it; empty while the host is away."""
        try:
            answer = self._http.get("/api/guard")
        except httpx.TransportError:
            return {}
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
            return {}
        found: dict[str, Any] = answer.raise_for_status().json()["deployments"][0]
        return found

    def pause_guard(self, minutes: float, because: str) -> None:
        self._http.post("/api/guard/pause", json={"minutes": minutes, "because": because}).raise_for_status()

    def resume_guard(self) -> None:
        self._http.post("/api/guard/resume").raise_for_status()

    def follow(self, run: str, show: Any, *, patience_seconds: float = 3600) -> dict[str, Any]:
        """Call `show` with every new state until the run has ended; returns the last one."""
        end = time.monotonic() + patience_seconds
        while time.monotonic() < end:
            state = self.read(run)
            if state is not None:
                show(state)
                if state["state"] in ENDED:
                    return state
            time.sleep(0.25)
        raise ConfigurationError(f"run {run} did not end within {patience_seconds:g} s", hint="See the host's log.")
