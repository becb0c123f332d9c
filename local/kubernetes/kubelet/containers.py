"""One container: pull, configure, start, probe, end, and start again as its pod's policy says.

The process, the recording of its log and the waiting for its end are tasks of their own, so cancelling the container's
story (the pod is being deleted) leaves the process running until `stop` has ended it in order.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from local.kubernetes.kubelet.api import Object
from local.kubernetes.kubelet.background import Background, now
from local.kubernetes.kubelet.environment import ConfigurationMissing
from local.kubernetes.kubelet.events import Recorder
from local.kubernetes.kubelet.logs import ContainerLog
from local.kubernetes.kubelet.network.service_names import Addresses
from local.kubernetes.kubelet.options import Options
from local.kubernetes.kubelet.probes.probe import Prober, Target, read_probe
from local.kubernetes.kubelet.probes.probe_watch import ProbeWatch, Verdict
from local.kubernetes.kubelet.process.images import PullError
from local.kubernetes.kubelet.process.process_spec import ProcessSpec
from local.kubernetes.kubelet.process.processes import Register, kill_session
from local.kubernetes.kubelet.process.spawn import StartError, make_scratch, open_pipe, start_process
from local.kubernetes.kubelet.status import ContainerStatus, backoff_seconds, restarts_after

_CONFIGURATION_AGAIN_SECONDS = 1.0
_CANNOT_START = 128  # the exit code that Kubernetes gives a container whose command could not be started
_MESSAGE_BYTES, _MESSAGE_LINES, _FALLBACK_BYTES = 4096, 80, 2048


@dataclass(frozen=True, slots=True)
class Machinery:
    """What the containers of all pods share."""

    options: Options
    events: Recorder
    prober: Prober
    register: Register
    background: Background


@dataclass(frozen=True, slots=True)
class Place:
    """Where a container belongs: its pod, and how to tell the pod that something changed."""

    pod: Object
    pod_ip: str
    log_directory: Path
    init: bool
    prepare: Callable[[Object], Awaitable[ProcessSpec]]
    report: Callable[[], Awaitable[None]]
    services: Callable[[], Addresses]


class Container:
    """A container's story from the first pull to its last end."""

    def __init__(self, spec: Object, place: Place, machinery: Machinery) -> None:
        self.spec = spec
        self.status = ContainerStatus(spec["name"], spec["image"])
        self.log: ContainerLog | None = None
        self.previous_log: ContainerLog | None = None
        self.process_spec: ProcessSpec | None = None
        self._place, self._machinery = place, machinery
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Task[int] | None = None
        self._starting: asyncio.Task[asyncio.Task[int]] | None = None
        self._visitors: set[asyncio.subprocess.Process] = set()  # started by exec

    @property
    def name(self) -> str:
        return self.status.name

    @property
    def leader(self) -> int | None:
        """The process group of the running container."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    # -- the story

    async def run(self) -> int:
        """Run, and run again, until the pod's policy lets it rest; returns the last exit code."""
        policy = self._place.pod["spec"].get("restartPolicy") or "Always"
        while True:
            try:
                code, waiting = await self._run_once(), ""
            except StartError as error:
                code, waiting = _CANNOT_START, str(error)
                self.status.state = {"terminated": {"exitCode": code, "reason": "StartError", "message": waiting}}
                await self._place.report()
            if not restarts_after(code, policy, init=self._place.init):
                return code
            await self._back_off(waiting)

    async def _run_once(self) -> int:
        """Run once; returns the exit code. Raises StartError."""
        self.process_spec = await self._configured()
        self._starting = asyncio.create_task(self._start(self.process_spec))
        ended = await asyncio.shield(self._starting)
        await self._machinery.events.normal(self._place.pod, "Started", f"Started container {self.name}")
        watch = ProbeWatch(self.spec, self.status, self._machinery.prober, self._target(), self._on_probe)
        watching = self._machinery.background.start(watch.run(), f"probes of {self.name}")
        try:
            code = await asyncio.shield(ended)
        finally:
            watching.cancel()
        await self._place.report()
        return code

    async def _configured(self) -> ProcessSpec:
        """Wait for the image and for everything the environment refers to."""
        pulls = 0
        while True:
            try:
                return await self._place.prepare(self.spec)
            except ConfigurationMissing as error:
                await self._wait_because("CreateContainerConfigError", str(error))
                await asyncio.sleep(_CONFIGURATION_AGAIN_SECONDS)
            except PullError as error:
                await self._wait_because("ErrImagePull", str(error))
                options = self._machinery.options
                await asyncio.sleep(0.2)
                message = f'Back-off pulling image "{self.spec["image"]}": {error}'
                await self._wait_because("ImagePullBackOff", message)
                await asyncio.sleep(backoff_seconds(pulls, options.backoff_first, options.backoff_limit))
                pulls += 1

    async def _wait_because(self, reason: str, message: str) -> None:
        if self.status.state.get("waiting") == {"reason": reason, "message": message}:
            return
        self.status.state = {"waiting": {"reason": reason, "message": message}}
        await self._place.report()
        await self._machinery.events.warning(self._place.pod, "Failed", f"Error: {reason}: {message}")

    async def _back_off(self, cannot_start: str) -> None:
        options, pod = self._machinery.options, self._place.pod["metadata"]
        seconds = backoff_seconds(self.status.restarts, options.backoff_first, options.backoff_limit)
        self.status.last_state = self.status.state
        full_name = f"{self.name} pod={pod['name']}_{pod['namespace']}({pod['uid']})"
        message = f"back-off {seconds:g}s restarting failed container={full_name}"
        if cannot_start:
            await self._wait_because("RunContainerError", cannot_start)
        else:
            self.status.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
            await self._place.report()
            await self._machinery.events.warning(self._place.pod, "BackOff", message)
        await asyncio.sleep(seconds)
        self.status.restarts += 1

    # -- the process

    async def _start(self, spec: ProcessSpec) -> asyncio.Task[int]:
        """Start the process; returns the task that ends with it. Raises StartError."""
        self.previous_log = self.log or self.previous_log
        self.log = ContainerLog(self._place.log_directory / self.name / f"{self.status.restarts}.log")
        reader, output = await open_pipe()
        try:
            make_scratch(spec)
            process = await start_process(spec, spec.command, stdin=False, output=output)
        except OSError as error:
            raise StartError(str(error)) from error
        finally:
            os.close(output)
        self._process = process
        self._machinery.register.add(process.pid)
        recording = self._machinery.background.start(self.log.record(reader), f"log of {self.name}")
        self.status.container_id = f"process://{self._place.pod['metadata']['uid']}-{self.name}-{self.status.restarts}"
        self.status.state = {"running": {"startedAt": now()}}
        self.status.started = "startupProbe" not in self.spec
        self.status.ready = self.status.started and "readinessProbe" not in self.spec
        await self._place.report()
        return self._machinery.background.start(self._end(process, recording), f"end of {self.name}")

    async def _end(self, process: asyncio.subprocess.Process, recording: asyncio.Task[None]) -> int:
        """Wait for the process's end, tidy up behind it and note how it went."""
        returned = await process.wait()
        kill_session(process.pid)  # what it left running in its group
        for visitor in self._visitors:
            kill_session(visitor.pid)
        self._machinery.register.remove(process.pid)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(recording), 1)
        assert self.log is not None
        self.log.close()
        code = returned if returned >= 0 else 128 - returned
        self.status.ready = self.status.started = False
        self.status.state = {"terminated": self._terminated(code)}
        return code

    def _terminated(self, code: int) -> Object:
        started = self.status.state.get("running", {}).get("startedAt") or now()
        return {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": started,
            "finishedAt": now(),
            "containerID": self.status.container_id,
            **({"message": message} if (message := self._termination_message(code)) else {}),
        }

    def _termination_message(self, code: int) -> str:
        assert self.process_spec is not None
        assert self.log is not None
        with contextlib.suppress(OSError):
            if written := self.process_spec.termination_log.read_bytes()[:_MESSAGE_BYTES]:
                return written.decode("utf-8", "replace")
        if code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            return self.log.tail(_MESSAGE_LINES, _FALLBACK_BYTES)
        return ""

    # -- probes

    async def _on_probe(self, verdict: Verdict) -> None:
        """Tell what a probe has changed, and end a container that has failed for too long."""
        await self._place.report()
        events, pod = self._machinery.events, self._place.pod
        if verdict.failure:
            await events.warning(pod, "Unhealthy", f"{verdict.probe} probe failed: {verdict.failure}")
        if verdict.is_fatal:
            message = f"Container {self.name} failed {verdict.probe.lower()} probe, will be restarted"
            await events.normal(pod, "Killing", message)
            grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
            self._machinery.background.start(self._end_process(grace), f"ending {self.name}")

    def _target(self) -> Target:
        ports = {port["name"]: port["containerPort"] for port in self.spec.get("ports") or [] if "name" in port}
        return Target(self._place.pod_ip, ports, self._run_for_probe)

    async def _run_for_probe(self, command: Sequence[str]) -> str | None:
        try:
            visitor = await self.enter(command, stdin=False)
        except StartError as error:
            return str(error)
        try:
            output, errors = await visitor.communicate()
        finally:
            self.leave(visitor)
        return None if visitor.returncode == 0 else f"exit status {visitor.returncode}: {(errors or output)[:200]!r}"

    # -- from outside

    async def enter(self, command: Sequence[str], *, stdin: bool) -> asyncio.subprocess.Process:
        """Run a command beside the container's process, as exec does. Raises StartError."""
        if self.leader is None or self.process_spec is None:
            raise StartError(f"container {self.name} is not running")
        rewritten = self.process_spec.rewrite_command(command, self._place.services())
        visitor = await start_process(self.process_spec, rewritten, stdin=stdin)
        self._visitors.add(visitor)
        self._machinery.register.add(visitor.pid)
        return visitor

    def leave(self, visitor: asyncio.subprocess.Process) -> None:
        """End a command that `enter` started, if it still runs."""
        kill_session(visitor.pid)
        self._visitors.discard(visitor)
        self._machinery.register.remove(visitor.pid)

    async def stop(self, grace: float) -> None:
        """End the container in order: its preStop hook, SIGTERM, and SIGKILL after the grace."""
        if self._starting is not None:
            with contextlib.suppress(StartError):
                self._ended = await self._starting
        if self.leader is None:
            return
        begun = monotonic()
        await self._pre_stop(grace)
        await self._end_process(max(grace - (monotonic() - begun), 0.1))
        if self._ended is not None:
            await self._ended

    async def _pre_stop(self, grace: float) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("preStop") or {}
        if not hook or grace <= 0:
            return
        if "sleep" in hook:
            await asyncio.sleep(min(float(hook["sleep"]["seconds"]), grace))
            return
        probe = read_probe({"hook": {**hook, "timeoutSeconds": grace}}, "hook")
        assert probe is not None
        if failure := await self._machinery.prober.check(probe, self._target()):
            await self._machinery.events.warning(self._place.pod, "FailedPreStopHook", failure)

    async def _end_process(self, grace: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), min(grace, self._machinery.options.grace_limit))
        except TimeoutError:
            kill_session(process.pid)
