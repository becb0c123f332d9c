"""Which replicas answer what is sent to the Service.

Each replica gets a small file with its own name in the folder that Open WebUI serves as `/static`; whoever answers a
request through the Service gives its own file back. That depends on no log and no log level: the access log leaves
health checks out. The folder is the container's own, emptied at every start, and the files are removed at once.

Source: Open WebUI 0.12.4, main.py: `app.mount('/static', StaticFiles(directory=STATIC_DIR))`, without sign-in; env.py:
`STATIC_DIR`, else `static` in the package; config.py: a filter on `uvicorn.access` drops every line with `/health`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from secrets import token_hex

from shared.criteria.criterion import NotMeasured
from shared.errors import MigrationError
from shared.model.ports import Cluster, Manifest
from shared.programs.replica_probe import Answer, ask

MARK = """
import importlib.util, os, sys
folder = os.environ.get("STATIC_DIR")
if not folder:
    found = importlib.util.find_spec("open_webui")
    folder = os.path.join(list(found.submodule_search_locations)[0], "static") if found else ""
path = os.path.join(folder, sys.argv[1])
if len(sys.argv) > 2:
    with open(path, "w") as file:
        file.write(sys.argv[2])
elif os.path.exists(path):
    os.remove(path)
"""
"""Writes a file into the folder that is served as /static, or without a text removes it."""


def count_answers(
    cluster: Cluster, pods: Sequence[str], container: str, port: int, service: Manifest, *, times: int
) -> Counter[str]:
    """How many of `times` requests through the Service each of these pods answered. NotMeasured says why not."""
    name = f"scaleout-{token_hex(6)}.txt"
    try:
        for pod in pods:
            _mark(cluster, pod, container, name, pod)
            _require_own(pod, ask(cluster, pod, container, f"http://{{self}}:{port}/static/{name}"))
        answers: list[Answer] = []
        for index, pod in enumerate(pods):  # each asks its part, so that sticky sessions do not bind all to one
            share = times // len(pods) + (index < times % len(pods))
            answers += ask(cluster, pod, container, f"{address(service)}/static/{name}", share)
        return _count(pods, answers)
    finally:
        for pod in pods:
            with suppress(MigrationError):  # one that went away took its file along; the others' go all the same
                cluster.execute(pod, container, ["python3", "-c", MARK, name], timeout_seconds=30)


def address(service: Manifest) -> str:
    """`http://ip:port` of a Service inside the cluster. NotMeasured where it has none."""
    spec = service["spec"]
    cluster_ip = str(spec.get("clusterIP") or "")
    if not spec.get("ports") or cluster_ip in {"", "None"}:
        raise NotMeasured(f"Service {service['metadata']['name']} has no cluster address")
    host = f"[{cluster_ip}]" if ":" in cluster_ip else cluster_ip
    return f"http://{host}:{spec['ports'][0]['port']}"


def _mark(cluster: Cluster, pod: str, container: str, name: str, text: str) -> None:
    done = cluster.execute(pod, container, ["python3", "-c", MARK, name, text], timeout_seconds=30)
    if done.exit_code != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise NotMeasured(f"a replica could not be marked: pod {pod} has no writable folder for /static ({last})")


def _require_own(pod: str, answers: Sequence[Answer]) -> None:
    if [answer.body for answer in answers] != [pod]:
        raise NotMeasured(f"a replica could not be marked: pod {pod} answered {answers[0].told} for its own file")


def _count(pods: Sequence[str], answers: Sequence[Answer]) -> Counter[str]:
    counts = Counter(dict.fromkeys(pods, 0))
    counts.update(answer.body for answer in answers if answer.body in pods)
    if lost := [answer.told for answer in answers if answer.body not in pods]:
        described = json.dumps(Counter(lost).most_common(3))
        raise NotMeasured(
            f"{len(lost)} of {len(answers)} requests through the Service came back otherwise: {described}"
        )
    return counts
