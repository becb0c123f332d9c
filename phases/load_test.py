"""Phase 8: a load of users on the service, against thresholds; left out unless it is asked for.

A Job signs test users in and lets them work (`shared.load_test.generator`); then other replica counts and pool sizes
are tried within the connection budget, what stood before is put back, and users and files are removed. What is best is
recommended, never set. Undo ends the load and does the same: finding its own by their names it can come at any point.

The verdict is a figure of the report. A test that was not passed, or could not be made, undoes no migration: what
serves is not worse than before. Only a run of this phase on its own fails when nothing could be measured.

Each call looks at the cluster and takes the next step: the record in its ConfigMap says which trials are over.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from shared.errors import MigrationError, PermanentError, TransientError, UnsupportedDeployment
from shared.load_test import report
from shared.load_test.job import LoadJob
from shared.load_test.record import Record
from shared.load_test.steps import LoadTest, Order
from shared.model.migration import NOT_ASKED_FOR, Brief, Change, Mode, Progress
from shared.model.ports import Ports
from shared.model.survey import Problem, Severity
from shared.names import Names
from shared.wire import JsonObject

NAME = "load_test"
UNDO_PATIENCE = timedelta(minutes=2)
"""For the pods to be as before: a migration that stays is left whole. A rollback is not held up longer by bad pods."""


@dataclass(frozen=True, slots=True)
class Plan:
    order: Order | None = None
    """None: nobody asked for a load test."""
    alone: bool = False
    """Without a migration around it."""
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
    names = Names(target.deployment, brief.run)
    url = f"http://{target.service}.{target.namespace}.svc:{service['spec']['ports'][0]['port']}"
    users, seconds = options.load_test_users, options.load_test_seconds
    return Plan(
        order=Order(
            job=LoadJob(names, options.load_test_image, url, users, seconds),
            facts=survey.deployment,
            limits=survey.database.limits,
            others=survey.database.sessions,
            credential=options.load_test_secret,
            most=options.load_test_trials,
        ),
        alone=request.mode is Mode.PHASES,
        changes=tuple(_changes(names, users, options.load_test_trials)),
        problems=tuple(_problems(options.load_test_secret, users, ports)),
    )


def apply(plan: Plan, ports: Ports) -> Progress:
    if plan.order is None:
        return NOT_ASKED_FOR
    test = LoadTest(plan.order, ports)
    record = test.read()
    if record is None:
        return _prepare(plan, test)
    if record.result is not None:
        return _conclude(plan, test, record, record.result)
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
    if plan.order is None:
        return NOT_ASKED_FOR
    test = LoadTest(plan.order, ports)
    record, result = test.read(), {}
    if record is not None and record.result is None:
        if test.end_load():
            return Progress(finished=False, step="ending the load", check_again_in_seconds=0.5)
        with contextlib.suppress(UnsupportedDeployment):  # it is gone: there is nothing to put anything back on
            back = test.put_back(record, UNDO_PATIENCE)
            if not back.finished:
                return back
        cleaning = test.clean()
        if not cleaning.finished:
            return cleaning
        result = {"cleaned": cleaning.result}
    test.remove(with_record=True)
    return Progress(finished=True, step="as it was", result=result)


def _prepare(plan: Plan, test: LoadTest) -> Progress:
    """Where not even this can be done, nothing was made."""
    try:
        return test.prepare()
    except TransientError:
        raise
    except MigrationError as error:
        if plan.alone:
            raise
        result = report.without_a_trial(error.message)
        return Progress(finished=True, step=report.headline(result), result=result)


def _conclude(plan: Plan, test: LoadTest, record: Record, result: JsonObject) -> Progress:
    """What it came to; the Secret and the Jobs go, the figures stay beside the run."""
    test.remove(with_record=False)
    if record.broken and plan.alone:
        raise PermanentError(f"the load test could not be made: {record.broken}", result=result)
    return Progress(finished=True, step=report.headline(result), result=result)


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
