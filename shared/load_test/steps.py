"""The steps of a load test in the cluster: each is short, looks at the world anew and can be repeated.

The Secret with the administrator's credential comes first and goes last but for the record, so what is left of an
interrupted test can always be removed. Users and files are removed only when no pod of the load runs any more, or it
would make new ones meanwhile.
"""

import secrets as chance
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.errors import MigrationError, TransientError
from shared.kubernetes import deployments, manifests
from shared.kubernetes.autoscaling import HEADROOM, RESERVED
from shared.kubernetes.pods import living, replicas_of
from shared.load_test import job as load
from shared.load_test import report, settings, stepping
from shared.load_test.job import LoadJob
from shared.load_test.record import Record, Trial, from_manifest, to_manifest
from shared.load_test.stepping import Room, Step
from shared.load_test.thresholds import Check, Thresholds, judge
from shared.model.migration import Progress
from shared.model.ports import Cluster, Manifest, Ports
from shared.model.survey import DeploymentFacts
from shared.programs import job_protocol, replica_probe
from shared.sizing.connection_budget import ServerLimits, transient_pods

THRESHOLDS = Thresholds()
PATIENCE = timedelta(minutes=10)
"""For the pods of a setting to become ready, or to be as before."""
MARGIN_SECONDS = 60
"""Of the pods' logs, before the load began."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be tested, and how far it may go."""

    job: LoadJob
    facts: DeploymentFacts
    limits: ServerLimits
    others: int
    """Sessions that are not Open WebUI's."""
    credential: str
    """Name of the secret in the key vault."""
    most: int
    """Trials at most."""


@dataclass(frozen=True, slots=True)
class LoadTest:
    """One test, as far as it is."""

    order: Order
    ports: Ports

    @property
    def cluster(self) -> Cluster:
        return self.ports.cluster

    @property
    def job(self) -> LoadJob:
        return self.order.job

    @property
    def facts(self) -> DeploymentFacts:
        return self.order.facts

    def read(self) -> Record | None:
        return from_manifest(self.cluster.read("ConfigMap", self.job.names.load_test))

    def keep(self, record: Record, step: str) -> Progress:
        """Remember this; the next call goes on from it."""
        names = self.job.names
        self.cluster.apply(to_manifest(names.load_test, names.run, record), force=True)
        return Progress(finished=False, step=step, check_again_in_seconds=0.2)

    def prepare(self) -> Progress:
        """Keep the credential in the cluster for as long as the test takes, and what stands now."""
        names = self.job.names
        values = {
            load.CREDENTIAL: self.ports.secrets.read(self.order.credential).encode(),
            load.PASSWORD: f"Aa1!{chance.token_urlsafe(18)}".encode(),  # fits Open WebUI's pattern for passwords
        }
        if self.cluster.read("Secret", names.load_test) is None:
            self.cluster.apply(manifests.opaque_secret(names.load_test, names.run, values))
        before = settings.read(self.cluster, names.deployment, self.facts)
        return self.keep(Record(before), "preparing the load test")

    def next_step(self, record: Record) -> Step:
        outcomes = [trial.outcome(THRESHOLDS.p95_ms) for trial in record.trials]
        return stepping.next_step(record.before.setting, outcomes, self._room(record), self.order.most)

    def advance(self, record: Record, step: Step) -> Progress:
        """Put the setting, run the load on it, judge it."""
        assert step.setting is not None
        number = len(record.trials) + 1
        title = f"trial {number} of at most {self.order.most}: {step.setting}"
        program = self.job.trial(number)
        if self.cluster.read("Job", program.job) is None:
            ready = settings.put(self.cluster, self.job.names.deployment, self.facts, record.before, step.setting)
            if not ready:
                return self._wait_for_setting(record, step, title)
        progress = job_protocol.advance(
            self.cluster, program, lambda: load.run_manifest(self.job, number, self._placement()), title
        )
        if not progress.finished:
            return replace(progress, step=f"{title}: {progress.step}" if progress.step != title else title)
        served = self._served(number, progress.result["seconds"])
        checks = judge(progress.result["rows"], progress.result["stopped_early"], served, THRESHOLDS)
        trial = Trial(step.setting, step.because, checks, served, progress.result)
        return self.keep(replace(record, trials=(*record.trials, trial), asked_at=""), f"{title}: judged")

    def finish(self, record: Record, step: Step) -> Progress:
        """Remove users and files, put back what stood before, and keep the result."""
        if self.end_load():
            return Progress(finished=False, step="ending the load", check_again_in_seconds=0.5)
        cleaning = self.clean()
        if not cleaning.finished:
            return cleaning
        back = self.put_back(record, PATIENCE)
        if not back.finished:
            return back
        standing = record.before.setting
        outcomes = [trial.outcome(THRESHOLDS.p95_ms) for trial in record.trials]
        recommendation = stepping.recommend(standing, outcomes, record.broken or step.because)
        result = report.result(record, recommendation, cleaning.result, put_back=back.result["put_back"])
        return self.keep(replace(record, result=result), "load test over")

    def put_back(self, record: Record, patience: timedelta) -> Progress:
        """Ask for what stood before and wait so long for its pods; the result says whether they are ready."""
        back = settings.put_back(self.cluster, self.job.names.deployment, self.facts, record.before)
        if back or self._is_over(record.back_at, patience):
            return Progress(finished=True, result={"put_back": back})
        waiting = "putting back what stood before"
        if not record.back_at:
            return self.keep(replace(record, back_at=self.ports.clock.now().isoformat()), waiting)
        return Progress(finished=False, step=waiting, check_again_in_seconds=0.5)

    def end_load(self) -> bool:
        """End whatever still puts load on; True while a pod of it runs."""
        names = [self.job.trial(number).job for number in range(1, self.order.most + 1)]
        for name in names:
            live = self.cluster.read("Job", name)
            if live is not None and not _has_ended(live):
                self.cluster.delete("Job", name)
        pods = self.cluster.list("Pod", {manifests.RUN: self.job.names.run})
        return any((pod["metadata"].get("labels") or {}).get("job-name") in names for pod in living(pods))

    def clean(self) -> Progress:
        """Remove users and files. What cannot be removed is told, and stands in nobody's way: an undo must go on."""
        program = self.job.cleaning
        if self.cluster.read("Secret", self.job.names.load_test) is None:
            return Progress(finished=True, result={"left_behind": "the credential was gone before the users were"})
        try:
            return job_protocol.advance(
                self.cluster,
                program,
                lambda: load.clean_manifest(self.job, self._placement()),
                "removing test users and files",
            )
        except TransientError:
            raise
        except MigrationError as error:
            hint = f"Remove the users and files whose names start with {self.job.prefix} in Open WebUI."
            return Progress(finished=True, result={"left_behind": error.message, "hint": hint})

    def remove(self, *, with_record: bool) -> None:
        """The test's own objects."""
        for number in range(1, self.order.most + 1):
            self.cluster.delete("Job", self.job.trial(number).job)
        self.cluster.delete("Job", self.job.cleaning.job)
        self.cluster.delete("Secret", self.job.names.load_test)
        if with_record:
            self.cluster.delete("ConfigMap", self.job.names.load_test)

    def _wait_for_setting(self, record: Record, step: Step, title: str) -> Progress:
        """Until its pods are ready; a setting whose pods do not start is a trial that failed."""
        if not record.asked_at:
            return self.keep(replace(record, asked_at=self.ports.clock.now().isoformat()), f"{title}: setting")
        failure = deployments.startup_failure(self.cluster.list("Pod", self.facts.labels))
        if not failure and not self._is_over(record.asked_at, PATIENCE):
            return Progress(finished=False, step=f"{title}: waiting for its pods", check_again_in_seconds=0.5)
        assert step.setting is not None
        found = failure or f"not ready within {PATIENCE.total_seconds():.0f} s"
        check = Check("started", "all its pods become ready", found, False)
        trial = Trial(step.setting, step.because, (check,), {}, {})
        return self.keep(replace(record, trials=(*record.trials, trial), asked_at=""), f"{title}: {found}")

    def _served(self, number: int, seconds: float) -> dict[str, int]:
        pods = replicas_of(self.cluster.list("Pod", self.facts.labels))
        marker = f"{self.job.marker(number)} "  # the blank: trial 1 is not trial 10
        since = round(seconds) + MARGIN_SECONDS
        return replica_probe.count_logged(self.cluster, pods, self.facts.container, marker=marker, since_seconds=since)

    def _room(self, record: Record) -> Room:
        transient = transient_pods(record.before.surge)
        return Room(self.order.limits, self.order.others + RESERVED, transient, HEADROOM)

    def _is_over(self, since: str, patience: timedelta) -> bool:
        return bool(since) and self.ports.clock.now() - datetime.fromisoformat(since) > patience

    def _placement(self) -> Manifest:
        return deployments.placement(settings.read_deployment(self.cluster, self.job.names.deployment))


def _has_ended(job: Manifest) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)
