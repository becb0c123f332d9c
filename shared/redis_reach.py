"""Ask a Redis from inside a pod whether it answers."""

from shared.ports import Cluster

PING = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5) as connection:
    connection.sendall(b"PING\\r\\n")
    print(connection.recv(200).decode("utf-8", "replace").strip())
"""


def trouble_with(cluster: Cluster, pod: str, container: str, host: str, port: int = 6379) -> str:
    """Why this pod cannot use that Redis without a password; empty when it answers."""
    done = cluster.execute(pod, container, ["python3", "-c", PING, host, str(port)], timeout_seconds=15)
    if done.exit_code != 0:
        return (done.stderr.strip().splitlines() or ["no answer"])[-1]
    answer = done.stdout.strip()
    return "" if answer == "+PONG" else answer or "no answer"
