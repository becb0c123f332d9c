"""Ask a Redis from inside a pod whether it answers."""

from shared.model.ports import Cluster

PING = """
import socket, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
with socket.create_connection((url.hostname, url.port or 6379), timeout=5) as connection:
    connection.sendall(b"PING\\r\\n")
    print(connection.recv(200).decode("utf-8", "replace").strip())
"""


def trouble_with(cluster: Cluster, pod: str, container: str, url: str) -> str:
    """Why this pod cannot use that Redis without a password; empty when it answers."""
    done = cluster.execute(pod, container, ["python3", "-c", PING, url], timeout_seconds=15)
    if done.exit_code != 0:
        return (done.stderr.strip().splitlines() or ["no answer"])[-1]
    answer = done.stdout.strip()
    return "" if answer == "+PONG" else answer or "no answer"
