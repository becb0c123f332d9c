"""Phase 8: a load of users on the service, against thresholds; left out unless it is asked for.

A Job signs test users in and lets them work (`shared.load_test.generator`); then other replica counts and pool sizes
are tried within the connection budget, what stood before is put back, and users and files are removed. What is best is
recommended, never set. Undo ends the load and does the same: finding its own by their names it can come at any point.

The verdict is a figure of the report. A test that was not passed, or could not be made, undoes no migration: what
serves is not worse than before. Only a run of this phase on its own fails when nothing could be measured.

Each call looks at the cluster and takes the next step: the record in its ConfigMap says which trials are over.
"""

import secrets as chance
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared import deployments, jobs, manifests, replicas
from shared.autoscaling import HEADROOM, RESERVED
from shared.connection_budget import ServerLimits, transient_pods
from shared.errors import MigrationError, PermanentError, TransientError, UnsupportedDeployment
from shared.load_test import job as load
from shared.load_test import report, settings, stepping
from shared.load_test.job import LoadJob
from shared.load_test.record import Record, Trial, from_manifest, to_manifest
from shared.load_test.stepping import Room, Step
from shared.load_test.thresholds import Check, Thresholds, judge
from shared.model import NOT_ASKED_FOR, Brief, Change, Mode, Progress
from shared.names import Names
from shared.ports import Cluster, Manifest, Ports
from shared.survey import DeploymentFacts, Problem, Severity

NAME = "load_test"
THRESHOLDS = Thresholds()
PATIENCE = timedelta(minutes=10)
"""For the pods of a setting to become ready, or to be as before."""


@dataclass(frozen=True, slots=True)
class Plan:
    job: LoadJob | None = None
    """None: nobody asked for a load test."""
    facts: DeploymentFacts | None = None
    limits: ServerLimits | None = None
    others: int = 0
    """Sessions that are not Open WebUI's."""
    credential: str = ""
    """Name of the secret in the key vault."""
    most: int = 1
    """Trials at most."""
    alone: bool = False
    changes: tuple[Change, ...] = ()
    problems: tuple[Problem, ...] = ()


def plan(brief: Brief, ports: Ports) -> Plan:
    request, survey = brief.request, brief.survey
    if not request.wants(NAME):
        return Plan()
    if survey.deployment is None or survey.database is None:
        raise UnsupportedDeployment("the preflight could not read all that this phase needs")
    target, options = request.target, request.options
    service = ports.cluster.read("Service", target.service)
    if service is None:
        raise UnsupportedDeployment(f"there is no Service {target.service}", hint="Set target.service.")
    port = service["spec"]["ports"][0]["port"]
    names = Names(target.deployment, brief.run)
    return Plan(
        job=LoadJob(
            names,
            options.load_test_image,
            f"http://{target.service}.{target.namespace}.svc:{port}",
            options.load_test_users,
            options.load_test_seconds,
        ),
        facts=survey.deployment,
        limits=survey.database.limits,
        others=survey.database.sessions,
        credential=options.load_test_secret,
        most=options.load_test_trials,
        alone=request.mode is Mode.PHASES,
        changes=tuple(_changes(names, options.load_test_users, options.load_test_trials)),
        problems=tuple(_problems(options.load_test_secret, options.load_test_users, ports)),
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    if plan.job is None or plan.facts is None:
        return NOT_ASKED_FOR
    test = LoadTest(plan, plan.job, plan.facts, ports)
    record = test.read()
    if record is None:
        return test.prepare()
    if record.result is not None:
        return test.conclude(record)
    step = test.next_step(record)
    if step.setting is None or record.broken:
        return test.finish(record, step)
    try:
        return test.advance(record, step)
    except TransientError:
        raise
    except MigrationError as error:  # nothing can be measured: what was made is removed all the same
        return test.keep(replace(record, broken=f"{error.message} {error.hint}".strip()), "ending the load test")


def undo(plan: Plan, ports: Ports) -> Progress:
    if plan.job is None or plan.facts is None:
        return NOT_ASKED_FOR
    test = LoadTest(plan, plan.job, plan.facts, ports)
    record, result = test.read(), {}
    if record is not None and record.result is None:
        if test.end_load():
            return Progress(finished=False, step="ending the load", check_again_in_seconds=0.5)
        settings.put_back(ports.cluster, plan.job.names.deployment, plan.facts, record.before)
        cleaning = test.clean()
        if not cleaning.finished:
            return cleaning
        result = {"cleaned": cleaning.result}
    test.remove(with_record=True)
    return Progress(finished=True, step="as it was", result=result)


@dataclass(frozen=True, slots=True)
class LoadTest:
    """The steps of one test; each is short and can be repeated."""

    plan: Plan
    job: LoadJob
    facts: DeploymentFacts
    ports: Ports

    @property
    def cluster(self) -> Cluster:
        return self.ports.cluster

    def read(self) -> Record | None:
        return from_manifest(self.cluster.read("ConfigMap", self.job.names.load_test))

    def keep(self, record: Record, step: str) -> Progress:
        """Remember this; the next call goes on from it."""
        names = self.job.names
        self.cluster.apply(to_manifest(names.load_test, names.run, record), force=True)
        # not interruptible: the orchestrator's waits, which grow with every call, begin anew with every stage
        return Progress(finished=False, step=step, check_again_in_seconds=0.2, interruptible=False)

    def prepare(self) -> Progress:
        """Keep the credential in the cluster for as long as the test takes, and what stands now."""
        names = self.job.names
        values = {
            load.CREDENTIAL: self.ports.secrets.read(self.plan.credential).encode(),
            load.PASSWORD: f"Aa1!{chance.token_urlsafe(18)}".encode(),  # fits Open WebUI's pattern for passwords
        }
        if self.cluster.read("Secret", names.load_test) is None:
            self.cluster.apply(manifests.opaque_secret(names.load_test, names.run, values))
        before = settings.read(self.cluster, names.deployment, self.facts)
        return self.keep(Record(before), "preparing the load test")

    def next_step(self, record: Record) -> Step:
        outcomes = [trial.outcome(THRESHOLDS.p95_ms) for trial in record.trials]
        return stepping.next_step(record.before.setting, outcomes, self._room(record), self.plan.most)

    def advance(self, record: Record, step: Step) -> Progress:
        """Put the setting, run the load on it, judge it."""
        assert step.setting is not None
        number = len(record.trials) + 1
        title = f"trial {number} of at most {self.plan.most}: {step.setting}"
        program = self.job.trial(number)
        if self.cluster.read("Job", program.job) is None:
            ready = settings.put(self.cluster, self.job.names.deployment, self.facts, record.before, step.setting)
            if not ready:
                return self._wait_for_setting(record, step, title)
        progress = jobs.advance(
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
        back = settings.put_back(self.cluster, self.job.names.deployment, self.facts, record.before)
        if not back and not self._is_late(record):
            waiting = "putting back what stood before"
            if not record.asked_at:
                return self.keep(replace(record, asked_at=self.ports.clock.now().isoformat()), waiting)
            return Progress(finished=False, step=waiting, check_again_in_seconds=0.5)
        standing = record.before.setting
        outcomes = [trial.outcome(THRESHOLDS.p95_ms) for trial in record.trials]
        recommendation = stepping.recommend(standing, outcomes, record.broken or step.because)
        result = report.result(record, recommendation, cleaning.result, put_back=back)
        return self.keep(replace(record, result=result), "load test over")

    def conclude(self, record: Record) -> Progress:
        """What it came to; the Secret and the Jobs go, the figures stay beside the run."""
        assert record.result is not None
        self.remove(with_record=False)
        if record.broken and self.plan.alone:
            raise PermanentError(f"the load test could not be made: {record.broken}", result=record.result)
        return Progress(finished=True, step=report.headline(record.result), result=record.result)

    def end_load(self) -> bool:
        """End whatever still puts load on; True while a pod of it runs."""
        names = [self.job.trial(number).job for number in range(1, self.plan.most + 1)]
        for name in names:
            live = self.cluster.read("Job", name)
            if live is not None and not _is_over(live):
                self.cluster.delete("Job", name)
        pods = self.cluster.list("Pod", {manifests.RUN: self.job.names.run})
        running = [p for p in pods if (p.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}]
        return any((pod["metadata"].get("labels") or {}).get("job-name") in names for pod in running)

    def clean(self) -> Progress:
        """Remove users and files. What cannot be removed is told, and stands in nobody's way: an undo must go on."""
        program = self.job.cleaning
        if self.cluster.read("Secret", self.job.names.load_test) is None:
            return Progress(finished=True, result={"left_behind": "the credential was gone before the users were"})
        try:
            return jobs.advance(
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
        for number in range(1, self.plan.most + 1):
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
        if not failure and not self._is_late(record):
            return Progress(finished=False, step=f"{title}: waiting for its pods", check_again_in_seconds=0.5)
        assert step.setting is not None
        found = failure or f"not ready within {PATIENCE.total_seconds():.0f} s"
        check = Check("started", "all its pods become ready", found, False)
        trial = Trial(step.setting, step.because, (check,), {}, {})
        return self.keep(replace(record, trials=(*record.trials, trial), asked_at=""), f"{title}: {found}")

    def _served(self, number: int, seconds: float) -> dict[str, int]:
        pods = [p for p in self.cluster.list("Pod", self.facts.labels) if not p["metadata"].get("deletionTimestamp")]
        marker = f"{self.job.marker(number)} "  # the blank: trial 1 is not trial 10
        since = round(seconds) + load.SLACK_SECONDS
        return replicas.count_served(self.cluster, pods, self.facts.container, marker=marker, since_seconds=since)

    def _room(self, record: Record) -> Room:
        assert self.plan.limits is not None
        transient = transient_pods(record.before.surge)
        return Room(self.plan.limits, self.plan.others + RESERVED, transient, HEADROOM)

    def _is_late(self, record: Record) -> bool:
        return bool(record.asked_at) and (self.ports.clock.now() - datetime.fromisoformat(record.asked_at) > PATIENCE)

    def _placement(self) -> Manifest:
        return deployments.placement(settings.read_deployment(self.cluster, self.job.names.deployment))


def _is_over(job: Manifest) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)


def _changes(names: Names, users: int, trials: int) -> Sequence[Change]:
    found = [
        Change("create", "Job", names.job("load-1"), f"{users} test users sign in and work; removed with their files"),
        Change("create", "Secret", names.load_test, "the administrator's credential, until the test is over"),
        Change("create", "ConfigMap", names.load_test, "the program and its figures"),
    ]
    if trials > 1:
        detail = f"up to {trials} replica counts and pool sizes, one after the other; put back afterwards"
        found.append(Change("change", "Deployment", names.deployment, detail))
    return found


def _problems(credential: str, users: int, ports: Ports) -> Sequence[Problem]:
    message = f"the load test puts {users} users on the service that people use"
    load_note = Problem("load", Severity.NOTE, message, "Choose a quiet hour.")
    try:
        ports.secrets.read(credential)
    except MigrationError as error:
        message = f"the load test needs an administrator of Open WebUI to make its users: {error.message}"
        hint = (
            f"az keyvault secret set --name {credential} --vault-name <vault> --value '<email>:<password>' (or an API"
            " key), and let the app's identity read it."
        )
        return [load_note, Problem("no_administrator", Severity.BLOCKING, message, hint)]
    return [load_note]
