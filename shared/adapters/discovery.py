"""What an API server serves, asked anew by each client and kept in its memory only.

The client's own discoverers keep it in one file of the temporary directory, named after the host alone. Activities, the
guard and the rehearsal are processes beside each other: one of them read the file while another wrote it, and a file
that somebody else put there would be believed.

Source: kubernetes-client/python, kubernetes/dynamic/discovery.py, `Discoverer.__init_cache` and `_write_cache`.
"""

import os
from pathlib import Path
from typing import Any

from kubernetes import client, dynamic

_NO_FILE = Path(os.devnull, "none")
"""A path at which nothing can be: the null device is no directory."""


class _InMemory(dynamic.LazyDiscoverer):
    def __init__(self, asking: Any, _cache_file: None) -> None:
        super().__init__(asking, str(_NO_FILE))  # type: ignore[no-untyped-call]

    def _write_cache(self) -> None:
        """Write nothing."""


def dynamic_client(api: client.ApiClient) -> dynamic.DynamicClient:
    """Return a dynamic client of `api`, which must be reachable; raises what the client raises."""
    return dynamic.DynamicClient(api, discoverer=_InMemory)  # type: ignore[no-untyped-call]
