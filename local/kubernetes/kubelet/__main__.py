"""`python -m local.kubernetes.kubelet`: run one node; prints `ready {"node": …, "port": …}` once it takes pods."""

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from local.kubernetes.kubelet import belongings, node, node_lease
from local.kubernetes.kubelet.api import Api, ApiError, Mirror, read_kubeconfig
from local.kubernetes.kubelet.background import Background
from local.kubernetes.kubelet.containers import Machinery
from local.kubernetes.kubelet.events import Recorder
from local.kubernetes.kubelet.kubelet import Kubelet
from local.kubernetes.kubelet.network.service_proxy import ServiceProxy
from local.kubernetes.kubelet.node_lease import NodeTaken
from local.kubernetes.kubelet.options import Options
from local.kubernetes.kubelet.pods import Workshop
from local.kubernetes.kubelet.probes.probe import Prober
from local.kubernetes.kubelet.process.image import Commands
from local.kubernetes.kubelet.process.paths import unsafe_characters
from local.kubernetes.kubelet.process.processes import Register
from local.kubernetes.kubelet.serving import metrics_api, serving_certificate, streams
from local.kubernetes.kubelet.serving.usage import UsageMeter
from local.kubernetes.kubelet.storage import drivers, snapshots
from local.kubernetes.kubelet.storage.volumes import PodVolumes

log = logging.getLogger("local.kubernetes.kubelet")

_COLLECTIONS = {
    "claims": "/api/v1/persistentvolumeclaims",
    "volumes": "/api/v1/persistentvolumes",
    "attachments": "/apis/storage.k8s.io/v1/volumeattachments",
    "services": "/api/v1/services",
}


def parse(arguments: list[str]) -> tuple[Path, Options]:
    parser = argparse.ArgumentParser(
        prog="python -m local.kubernetes.kubelet",
        description="Run pods as local processes; needs no root and no containers.",
    )
    _add_arguments(parser)
    given = parser.parse_args(arguments)
    problems = list(_problems(given))
    if problems:
        parser.error("; ".join(problems))
    options = Options(
        node=given.node,
        directory=given.dir.resolve(),
        python=given.python,
        labels=dict(label.split("=", 1) for label in given.label),
        environment=dict(variable.split("=", 1) for variable in given.env),
        port=given.port,
        serving_certificate=given.serving_certificate,
        metrics_api=given.metrics_api,
        probe_period_limit=given.probe_period,
        backoff_first=given.backoff,
        backoff_limit=given.backoff_limit,
        grace_limit=given.grace_limit,
        provision_delay=given.provision_delay,
        attach_delay=given.attach_delay,
        snapshot_class=given.snapshot_class,
        open_webui=given.open_webui,
    )
    return given.kubeconfig, options


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--kubeconfig", type=Path, required=True, help="of the API server, with a token or a certificate")
    add("--dir", type=Path, required=True, help="volumes, pods and logs are kept here")
    add("--node", default="scaleout-rehearsal", help="the node's name (default: %(default)s)")
    add("--label", action="append", default=[], metavar="KEY=VALUE", help="a label of the node")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="for every container")
    add("--python", type=Path, default=Path(sys.executable), help="the interpreter in images")
    add("--open-webui", type=Path, metavar="DIR", help="a real one's Python environment, for its image")
    add("--port", type=int, default=0, help="of the HTTPS server (default: a free one)")
    add(
        "--serving-certificate",
        type=Path,
        metavar="PEM",
        help="key and certificate of the HTTPS server, for IP 127.0.0.1 (default: one that the cluster signs)",
    )
    add(
        "--no-metrics-api",
        action="store_false",
        dest="metrics_api",
        help="do not serve metrics.k8s.io where nobody does",
    )
    add("--snapshot-class", action="store_true", help="create a VolumeSnapshotClass for disks, which AKS has not")
    for name, default, what in (
        ("probe-period", 1.0, "the longest time between probes"),
        ("backoff", 0.5, "the first wait of a crash loop"),
        ("backoff-limit", 5.0, "its longest wait"),
        ("grace-limit", 30.0, "the longest way to SIGKILL"),
        ("provision-delay", 0.0, "to provision a volume"),
        ("attach-delay", 0.0, "to attach or detach a disk"),
    ):
        add(f"--{name}", type=float, default=default, metavar="SECONDS", help=what)


def _problems(given: argparse.Namespace) -> Iterator[str]:
    if not given.kubeconfig.is_file():
        yield f"--kubeconfig {given.kubeconfig} is not a file"
    if unsafe := unsafe_characters(str(given.dir.resolve())):
        yield f"--dir {given.dir} contains {unsafe!r}, which would break commands that the path is put into"
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", given.node):
        yield f"--node {given.node!r} is not a node name"
    yield from (f"--label {label} is not KEY=VALUE" for label in given.label if "=" not in label)
    yield from (f"--env {variable} is not NAME=VALUE" for variable in given.env if "=" not in variable)
    if given.serving_certificate and not given.serving_certificate.is_file():
        yield f"--serving-certificate {given.serving_certificate} is not a file"
    if not given.python.is_file():
        yield f"--python {given.python} is not a file"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory against a second kubelet; raises BlockingIOError."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


async def run(kubeconfig: Path, options: Options) -> None:
    """Run the node until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    options.pods.mkdir(mode=0o700, exist_ok=True)  # Secrets are written out below
    register = Register(options.directory / "processes")
    if leftovers := register.end_leftovers():
        log.warning("ended %d processes that an earlier kubelet left behind", len(leftovers))
    async with Api(read_kubeconfig(kubeconfig)) as api:
        await _serve(api, options, register, stop)


async def _serve(api: Api, options: Options, register: Register, stop: asyncio.Event) -> None:
    await node_lease.require_free(api, options.node)
    background, events = Background(), Recorder(api, options.node)
    prober = Prober(options.probe_period_limit)
    mirrors = {name: Mirror(api, path) for name, path in _COLLECTIONS.items()}
    pods = Mirror(api, "/api/v1/pods")
    drivers.Storage(api, options, background, events, mirrors=mirrors)
    if await snapshots.are_served(api):
        mirrors["snapshots"] = Mirror(api, f"{snapshots.ROOT}/volumesnapshots")
        snapshots.Snapshots(api, options, background, mirrors=mirrors)
        if options.snapshot_class:
            await belongings.bring(api, f"{snapshots.ROOT}/volumesnapshotclasses", snapshots.disk_class(), options.node)
    services = ServiceProxy(api, background, options.services, services=mirrors["services"], pods=pods)
    workshop = Workshop(
        api,
        Machinery(options, events, prober, register, background),
        PodVolumes(api, events, node=options.node, volumes=options.volumes, mirrors=mirrors),
        Commands(options.directory / "bin", options.python, options.open_webui),
        services,
    )
    kubelet = Kubelet(api, pods, options.node, workshop, background)
    routes = streams.Streams(kubelet, UsageMeter(kubelet, options.node))
    serving = await serving_certificate.obtain(api, options)
    server, port = await streams.serve(routes, serving.tls, options.port)
    try:
        await drivers.install(api, options.node)
        for mirror in mirrors.values():
            background.start(mirror.run(), f"watch of {mirror.path}")
        await asyncio.gather(*(mirror.synced.wait() for mirror in mirrors.values()))
        await node.register(api, options, port)
        background.start(node.keep_alive(api, options, port), "heartbeat")
        background.start(pods.run(), "watch of pods")
        await pods.synced.wait()
        if options.metrics_api:
            await metrics_api.offer(api, options.node, port)
        signed = {"signed_by": serving.signed_by, "why": serving.why}
        print("ready " + json.dumps({"node": options.node, "port": port, "certificate": signed}), flush=True)
        await stop.wait()
    finally:
        await belongings.take_away(api, options.node)
        await kubelet.stop()
        await node.remove(api, options.node)
        await background.stop()
        await services.close()
        await prober.close()
        await server.cleanup()


def main() -> int:
    kubeconfig, options = parse(sys.argv[1:])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        with locked(options.directory):
            asyncio.run(run(kubeconfig, options))
    except BlockingIOError:
        print(f"another kubelet runs in {options.directory}", file=sys.stderr)
        return 1
    except (ApiError, OSError, ValueError, NodeTaken) as error:
        print(f"the kubelet cannot start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
