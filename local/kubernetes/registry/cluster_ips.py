"""The addresses of Services.

They come from 127.96.0.0/12, a loopback range, and not from the usual 10.0.0.0/16: all of 127/8 can be listened on
without any set-up, so the kubelet's service proxy really serves `clusterIP:port` on this machine and what the pods
are told is true. Each process begins somewhere else in the range, because two clusters on one machine share it.
"""

import ipaddress
import random
from collections.abc import Iterable, Set
from itertools import count

from local.kubernetes.model.objects import Object

SERVICE_NETWORK = ipaddress.ip_network("127.96.0.0/12")
FIRST = random.randrange(1, SERVICE_NETWORK.num_addresses // 2)  # noqa: S311 - any number will do


def addresses_in_use(services: Iterable[Object]) -> frozenset[str]:
    return frozenset(service["spec"].get("clusterIP", "") for service in services)


def allocate(service: Object, in_use: Set[str]) -> None:
    """Give a Service its address, in place, unless it wants none or names one itself."""
    spec = service["spec"]
    if spec["type"] == "ExternalName":
        return
    if "clusterIP" not in spec:
        spec["clusterIP"] = next(a for number in count(FIRST) if (a := str(SERVICE_NETWORK[number])) not in in_use)
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
