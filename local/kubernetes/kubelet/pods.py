"""One pod: its volumes, its init containers one by one, its containers side by side, its status, its end.

The status is written by a task of its own that sends the newest state and repeats it until the API server takes it, so
nothing here waits for the API server or is lost when it is away for a moment.
"""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from local.kubernetes.kubelet.api import Api, ApiError, Object, ignoring
from local.kubernetes.kubelet.background import now
from local.kubernetes.kubelet.containers import Container, Machinery, Place
from local.kubernetes.kubelet.environment import resolve
from local.kubernetes.kubelet.network.service_proxy import ServiceProxy
from local.kubernetes.kubelet.process import launch
from local.kubernetes.kubelet.process.image import Commands
from local.kubernetes.kubelet.process.images import find_image
from local.kubernetes.kubelet.process.process_spec import ProcessSpec, Surroundings, decide
from local.kubernetes.kubelet.status import PodStatus, phase_of
from local.kubernetes.kubelet.storage.volumes import PodVolumes, Volume, mounts_of, reader

log = logging.getLogger(__name__)

_REPORT_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Workshop:
    """What pods are made with."""

    api: Api
    machinery: Machinery
    volumes: PodVolumes
    commands: Commands
    services: ServiceProxy


class Pod:
    """A pod of this node."""

    def __init__(self, pod: Object, ip: str, workshop: Workshop) -> None:
        meta, spec = pod["metadata"], pod["spec"]
        self.object, self.ip = pod, ip
        self.uid, self.namespace, self.name = meta["uid"], meta["namespace"], meta["name"]
        self._workshop = workshop
        self._directory = workshop.machinery.options.pods / self.uid
        log_directory = workshop.machinery.options.logs / f"{self.namespace}_{self.name}_{self.uid}"
        self.init = [self._container(each, log_directory, init=True) for each in spec.get("initContainers") or []]
        self.containers = [self._container(each, log_directory, init=False) for each in spec["containers"]]
        self._volumes: dict[str, Volume] = {}
        self._initialized = not self.init
        self._started_at = now()
        self._phase: str | None = None  # set when it no longer follows from the containers
        self._reported: Object | None = None
        self._conditions: Sequence[Object] = ()
        self._changed = asyncio.Event()
        self._story = workshop.machinery.background.start(self._run(), f"pod {self.name}")
        self._reporter = workshop.machinery.background.start(self._keep_reporting(), f"status of pod {self.name}")

    def _container(self, spec: Object, log_directory: Path, *, init: bool) -> Container:
        services = self._workshop.services.addresses
        place = Place(self.object, self.ip, log_directory, init, self._prepare, self.report, services)
        return Container(spec, place, self._workshop.machinery)

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def phase(self) -> str:
        if self._phase is not None:
            return self._phase
        statuses = [container.status for container in self.containers]
        return phase_of(statuses, self._restart_policy) if self._initialized else "Pending"

    @property
    def _restart_policy(self) -> str:
        return str(self.object["spec"].get("restartPolicy") or "Always")

    @property
    def is_running(self) -> bool:
        return any(container.leader is not None for container in [*self.init, *self.containers])

    @property
    def claimed(self) -> list[Volume]:
        """Its volumes that belong to a claim."""
        return [volume for volume in self._volumes.values() if volume.claim]

    def find_container(self, name: str) -> Container | None:
        return next((each for each in [*self.containers, *self.init] if each.name == name), None)

    # -- the story

    async def _run(self) -> None:
        await self.report()
        self._directory.mkdir(parents=True, exist_ok=True)
        read = reader(self._workshop.api, self.namespace)
        self._volumes = await self._workshop.volumes.prepare(self.object, self._directory / "volumes", read)
        for container in self.init:
            code = await container.run()
            if code != 0:
                self._phase = "Failed"
                await self.report()
                return
            container.status.ready = True
        self._initialized = True
        for container in self.containers:
            container.status.state = {"waiting": {"reason": "ContainerCreating"}}
        await self.report()
        async with asyncio.TaskGroup() as group:
            for container in self.containers:
                group.create_task(container.run())
        await self.report()

    async def _prepare(self, container: Object) -> ProcessSpec:
        """Gather what a container is started with. Raises PullError and ConfigurationMissing."""
        workshop = self._workshop
        image = find_image(container["image"], workshop.commands)
        pod = self.object | {"status": {"podIP": self.ip, "podIPs": [{"ip": self.ip}], "hostIP": "127.0.0.1"}}
        values = await resolve(container, pod, reader(workshop.api, self.namespace))
        await workshop.services.refresh(self.namespace)
        server = urlsplit(workshop.api.server)
        around = Surroundings(
            namespace=self.namespace,
            pod_name=self.object["spec"].get("hostname") or self.name,
            pod_ip=self.ip,
            scratch=self._directory / "containers" / container["name"],
            services=workshop.services.addresses(),
            api_server=(server.hostname or "127.0.0.1", server.port or 443),
            environment=workshop.machinery.options.environment,
        )
        spec = decide(container, image, values, mounts_of(container, self._volumes, values), around)
        if spec.keep_out and launch.landlock_version() == 0:
            message = "this kernel has no Landlock, so read-only mounts of this pod can be written"
            await workshop.machinery.events.warning(self.object, "ReadOnlyNotEnforced", message)
        return spec

    # -- the status

    async def report(self) -> None:
        """Have the status written; returns at once."""
        self._changed.set()

    def _status(self) -> Object:
        current = (self.object.get("status") or {}).get("conditions") or []
        mine = {condition["type"] for condition in self._conditions}
        previous = [*self._conditions, *(condition for condition in current if condition["type"] not in mine)]
        init, containers = ([each.status for each in group] for group in (self.init, self.containers))
        status = PodStatus(self.phase, self.ip, self._started_at, self._initialized, init, containers)
        return status.as_object(previous, now())

    async def _keep_reporting(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._send_status()
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                log.warning("status of pod %s/%s: %r", self.namespace, self.name, error)
                self._changed.set()
                await asyncio.sleep(_REPORT_AGAIN_SECONDS)

    async def _send_status(self) -> None:
        status = self._status()
        if status != self._reported:
            with ignoring(404, 409):  # gone, or another pod of that name
                await self._workshop.api.merge(f"{self.path}/status", {"metadata": {"uid": self.uid}, "status": status})
            self._reported, self._conditions = status, status["conditions"]

    # -- the end

    async def stop(self, grace: float, *, report: bool = True) -> None:
        """End all containers in order and report how they ended."""
        if not report:
            self._reporter.cancel()
        self._story.cancel()
        await asyncio.gather(self._story, return_exceptions=True)
        await asyncio.gather(*(container.stop(grace) for container in [*self.init, *self.containers]))
        codes = [container.status.exit_code for container in self.containers]
        if self.phase == "Running" and None not in codes:
            self._phase = "Succeeded" if all(code == 0 for code in codes) else "Failed"
        self._reporter.cancel()
        if report:
            with contextlib.suppress(ApiError, aiohttp.ClientError, TimeoutError):
                await self._send_status()

    async def remove(self) -> None:
        """Tell the API server that nothing of the pod is left, and delete its directory."""
        await asyncio.to_thread(shutil.rmtree, self._directory, True)
        with ignoring(404, 409):
            await self._workshop.api.delete(self.path, {"gracePeriodSeconds": 0, "preconditions": {"uid": self.uid}})
