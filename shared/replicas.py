"""Ask each replica from inside itself: its own /ready, and how the Service spreads requests.

By exec, because a pod's address need not be reachable from where this runs, and what counts is what the pod sees.
"""

import json
from collections.abc import Sequence

from shared.errors import PermanentError
from shared.ports import Cluster, Manifest

GET = """
import json, os, sys, urllib.error, urllib.request
host = os.environ.get("HOST") or "127.0.0.1"
base = sys.argv[1].replace("{self}", "127.0.0.1" if host in ("0.0.0.0", "::") else host)
codes = []
for _ in range(int(sys.argv[2])):
    try:
        codes.append(urllib.request.urlopen(base, timeout=10).status)
    except urllib.error.HTTPError as error:
        codes.append(error.code)
    except OSError as error:
        codes.append(str(error))
print(json.dumps(codes))
"""
"""Prints the status codes of some requests; `{self}` is the address that this pod's own server listens on."""


def get_codes(cluster: Cluster, pod: str, container: str, url: str, times: int = 1) -> list[int | str]:
    """Status codes of `times` GETs of `url` from inside the pod; a text where no answer came."""
    done = cluster.execute(pod, container, ["python3", "-c", GET, url, str(times)], timeout_seconds=60)
    if done.exit_code != 0:
        raise PermanentError(f"could not ask from pod {pod}: {done.stderr.strip()[-300:]}")
    codes: list[int | str] = json.loads(done.stdout)
    return codes


def spread(
    cluster: Cluster, pods: Sequence[Manifest], container: str, url: str, *, marker: str, times: int
) -> dict[str, int]:
    """How many of `times` requests each pod answered, by the marker in its access log."""
    names = [str(pod["metadata"]["name"]) for pod in pods]
    get_codes(cluster, names[0], container, url, times)
    return count_served(cluster, pods, container, marker=marker, since_seconds=120)


def count_served(
    cluster: Cluster, pods: Sequence[Manifest], container: str, *, marker: str, since_seconds: int
) -> dict[str, int]:
    """How many requests with this marker each pod has logged."""
    names = [str(pod["metadata"]["name"]) for pod in pods]
    return {name: cluster.logs(name, container, since_seconds=since_seconds).count(marker) for name in names}
