"""Ask each replica from inside itself, or the Service from inside a replica.

By exec, because a pod's address need not be reachable from where this runs, and what counts is what the pod sees.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import PermanentError
from shared.model.ports import Cluster, Manifest

GET = """
import json, os, sys, urllib.error, urllib.request
host = os.environ.get("HOST") or "127.0.0.1"
host = "127.0.0.1" if host in ("0.0.0.0", "::") else host
base = sys.argv[1].replace("{self}", "[%s]" % host if ":" in host else host)
answers = []
for _ in range(int(sys.argv[2])):
    try:
        with urllib.request.urlopen(base, timeout=10) as answer:
            answers.append([answer.status, answer.read(500).decode("utf-8", "replace"), ""])
    except urllib.error.HTTPError as error:
        answers.append([error.code, error.read(500).decode("utf-8", "replace"), ""])
    except OSError as error:
        answers.append([0, "", str(error)[:200]])
        if len(answers) > 2 and not any(status for status, _, _ in answers):
            break
print(json.dumps(answers))
"""
"""Prints the answers to some requests, each over a connection of its own; `{self}` is the address that this pod's own
server listens on. Gives up after three requests that nobody answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back to one request."""

    status: int
    """0: nothing came."""
    body: str
    """Its first 500 bytes."""
    trouble: str = ""
    """Why nothing came."""

    @property
    def told(self) -> str:
        """For a person."""
        return self.trouble or str(self.status)

    def is_json(self, key: str) -> bool:
        """Whether it is a JSON object with this key: a page that is served for every path is not an answer."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return False
        return isinstance(found, dict) and key in found


def ask(cluster: Cluster, pod: str, container: str, url: str, times: int = 1) -> list[Answer]:
    """The answers to `times` GETs of `url` from inside the pod; fewer where nobody answers."""
    done = cluster.execute(pod, container, ["python3", "-c", GET, url, str(times)], timeout_seconds=60)
    if done.exit_code != 0:
        raise PermanentError(f"could not ask from pod {pod}: {done.stderr.strip()[-300:]}")
    return [Answer(*answer) for answer in json.loads(done.stdout)]


def count_logged(
    cluster: Cluster, pods: Sequence[Manifest], container: str, *, marker: str, since_seconds: int
) -> dict[str, int]:
    """How many requests with this marker each pod has logged. None at all says nothing: a log level may hide them.

    Source: Open WebUI 0.12.4, utils/logger.py: `uvicorn.access` logs at INFO, so GLOBAL_LOG_LEVEL=WARNING hides it.
    """
    names = [str(pod["metadata"]["name"]) for pod in pods]
    return {name: cluster.logs(name, container, since_seconds=since_seconds).count(marker) for name in names}
