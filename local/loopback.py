"""Ports on the loopback interface, where everything of a rehearsal listens."""

import socket


def free_port() -> int:
    """A TCP port that is free at this moment; for programs that cannot choose and tell one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
