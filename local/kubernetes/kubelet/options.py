"""What can be set about this kubelet, and the layout of its directory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ADDRESS = "127.0.0.1"
"""Of the HTTPS server, and the node's InternalIP."""


def _memory_kibibytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Options:
    """One kubelet's settings; times in seconds."""

    node: str
    directory: Path
    python: Path
    labels: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)  # for every container, under its own
    port: int = 0  # of the HTTPS server; 0 takes a free one
    serving_certificate: Path | None = None  # key and certificate in one PEM file; None asks the cluster
    metrics_api: bool = True  # serve metrics.k8s.io where nobody does
    cpu: str = "32"  # more than a laptop has: a rehearsal must not fail on a request for CPU that nothing here reserves
    memory: str = field(default_factory=lambda: f"{max(_memory_kibibytes(), 64 << 20)}Ki")
    probe_period_limit: float = 1.0  # probes that a cluster runs every ten seconds would make a rehearsal wait
    backoff_first: float = 0.5  # a cluster starts at 10
    backoff_limit: float = 5.0  # a cluster goes up to 300
    grace_limit: float = 30.0
    provision_delay: float = 0.0
    attach_delay: float = 0.0
    snapshot_class: bool = False  # AKS comes without one
    open_webui: Path | None = None  # the Python environment of a real one; None: the stand-in
    pod_network: str = ""  # three octets, such as 127.64.7; empty takes one from the process number

    @property
    def volumes(self) -> Path:
        """One directory a volume, named after it."""
        return self.directory / "volumes"

    @property
    def snapshots(self) -> Path:
        """One directory a snapshot, named after its handle."""
        return self.directory / "snapshots"

    @property
    def claims(self) -> Path:
        """`<namespace>/<claim>`: links to the volumes, for people and scripts."""
        return self.directory / "claims"

    @property
    def pods(self) -> Path:
        return self.directory / "pods"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    @property
    def services(self) -> Path:
        return self.directory / "services.json"

    @property
    def addresses(self) -> str:
        """The first three octets of the pods' addresses; different for kubelets that run side by side."""
        return self.pod_network or f"127.{64 + (os.getpid() >> 8) % 32}.{os.getpid() % 256}"
