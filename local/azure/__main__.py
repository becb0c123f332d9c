"""`python -m local.azure`: serve the Azure endpoints that the app calls, on 127.0.0.1.

Prints one line `ready {"env": {…}}`: the environment in which unmodified Azure SDK clients reach these endpoints under
Azure's real host names. Runs until SIGTERM.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
import threading
from pathlib import Path

from local.azure import identity
from local.azure.certificates import authority_file, server_context
from local.azure.config import BadConfiguration
from local.azure.endpoints import Endpoints
from local.azure.server import AzureServer


def client_environment(server: AzureServer, directory: Path) -> dict[str, str]:
    """What a client process needs. Both spellings, since some libraries read the lower one first."""
    ca_file = str(authority_file(directory))
    proxies = {"HTTPS_PROXY": server.url, "HTTP_PROXY": server.url, "NO_PROXY": "127.0.0.1,localhost"}
    return {
        "IDENTITY_ENDPOINT": f"{server.url}{identity.PATH}",
        "IDENTITY_HEADER": server.endpoints.identity_header,
        **proxies,
        **{name.lower(): value for name, value in proxies.items()},
        "REQUESTS_CA_BUNDLE": ca_file,
        "SSL_CERT_FILE": ca_file,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.azure", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="JSON: what exists, who may do what, which faults")
    parser.add_argument(
        "--dir", type=Path, help="keeps what changed, the calls and the certificates (default: a new one)"
    )
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1 (default: a free one)")
    parser.add_argument("--verbose", action="store_true", help="log every request")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    logging.basicConfig(level=logging.DEBUG if arguments.verbose else logging.INFO, format="local.azure: %(message)s")
    directory: Path = (arguments.dir or Path(tempfile.mkdtemp(prefix="local-azure-"))).absolute()
    try:
        endpoints = Endpoints(arguments.config, directory)
    except (BadConfiguration, OSError) as e:
        print(e, file=sys.stderr)
        return 2
    server = AzureServer(arguments.port, endpoints, server_context(directory))
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for the serving loop, so it cannot run in the handler, which interrupts that loop.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    ready = {"env": client_environment(server, directory), "url": server.url, "dir": str(directory)}
    print("ready", json.dumps(ready), flush=True)
    server.serve_forever(poll_interval=0.2)
    server.server_close()
    endpoints.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
