"""The autoscaler's bounds and what would make it blind, as pure decisions."""

import pytest

from phases import enable_autoscaling
from phases.enable_autoscaling import find_problems
from shared.errors import ConfigurationError
from shared.kubernetes import autoscaling
from shared.kubernetes.autoscaling import Bounds
from shared.model.migration import MigrationRequest, Mode, Options, Target
from shared.model.survey import Severity
from shared.sizing.connection_budget import Demand, PoolSizes, ServerLimits, plan_budget
from tests.way_back.fix_cluster import FakeClock, FakeCluster, ports_of

SMALL = ServerLimits(50, 10, 5, "Standard_B1ms", "Burstable")
LARGE = ServerLimits(1718, 10, 5, "Standard_D4ds_v5", "GeneralPurpose")
TIGHT = PoolSizes(1, 1, 1, 0)


def deployment(*, cpu="500m", manager="kube-controller-manager", limits=None):
    resources = {"requests": {"cpu": cpu} if cpu else {}, "limits": limits or {}}
    containers = [{"name": "open-webui", "resources": resources}]
    fields = [{"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    return {
        "metadata": {"name": "open-webui", "managedFields": fields},
        "spec": {"replicas": 3, "template": {"spec": {"containers": containers}}},
    }


ROOMY = Bounds(3, 9, "room")


def codes(live, bounds=ROOMY, *, sees=True):
    return {problem.code: problem.severity for problem in find_problems(live, bounds, sees=sees)}


def test_the_maximum_is_what_the_connections_carry():
    budget = plan_budget(SMALL, Demand(replicas=3, autoscaler_maximum=autoscaling.LARGEST))
    bounds = autoscaling.bounds_within_budget(3, budget, "Standard_B1ms")
    assert (bounds.minimum, bounds.maximum) == (3, budget.largest_replica_count)
    assert "35 connections for users" in bounds.because


def test_a_large_server_gives_the_runbooks_twenty_and_says_that_it_could_carry_more():
    bounds = autoscaling.bounds_with_pools(3, LARGE, TIGHT, 1, 0)
    assert (bounds.minimum, bounds.maximum) == (3, 20)
    assert "20 is the most" in bounds.because


@pytest.mark.parametrize("others", range(0, 40, 3))
@pytest.mark.parametrize("surge", [0, 1])
def test_the_running_pods_pools_never_exceed_the_server_at_the_maximum(others, surge):
    bounds = autoscaling.bounds_with_pools(3, SMALL, TIGHT, surge, others)
    assert 1 <= bounds.minimum <= bounds.maximum <= autoscaling.LARGEST
    if bounds.maximum > 1:
        alive = bounds.maximum + (2 * surge if surge else 1)
        assert alive * TIGHT.most_per_process + others + 1 <= SMALL.for_users


def test_the_object_says_why_and_never_names_a_replica_count():
    made = autoscaling.autoscaler("hpa", "run-1", "open-webui", Bounds(3, 9, "because of this"), "2026-01-01T00:00:00Z")
    assert made["metadata"]["annotations"][autoscaling.BECAUSE] == "because of this"
    assert (made["spec"]["minReplicas"], made["spec"]["maxReplicas"]) == (3, 9)
    assert "replicas" not in made["spec"]
    assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert {window["stabilizationWindowSeconds"] for window in made["spec"]["behavior"].values()} == {60, 300}


def test_nothing_is_wrong_with_a_deployment_that_requests_cpu():
    assert codes(deployment()) == {}


def test_a_container_without_a_cpu_request_blocks():
    assert codes(deployment(cpu="")) == {"no_cpu_request": Severity.BLOCKING}


def test_a_cpu_limit_counts_as_a_request():
    assert codes(deployment(cpu="", limits={"cpu": "1"})) == {}


def test_a_cluster_without_metrics_and_a_full_server_are_said_but_do_not_block():
    found = codes(deployment(), Bounds(3, 3, "room"), sees=False)
    assert found == {"no_metrics_server": Severity.WARNING, "no_room_to_scale": Severity.WARNING}


def test_whoever_else_sets_the_replicas_is_named():
    assert codes(deployment(manager="argocd-controller")) == {"replicas_owner": Severity.WARNING}


@pytest.mark.parametrize(
    ("mode", "options", "phases", "wanted"),
    [
        (Mode.MIGRATE, Options(), (), False),
        (Mode.MIGRATE, Options(autoscaling=True), (), True),
        (Mode.PHASES, Options(), ("enable_autoscaling",), True),
        (Mode.PHASES, Options(autoscaling=True), ("write_handbook",), False),
    ],
)
def test_a_later_phase_runs_only_where_it_is_asked_for(mode, options, phases, wanted):
    request = MigrationRequest(Target("s", "g", "c", "https://v", "p"), mode, options, phases)
    assert request.wants("enable_autoscaling") is wanted


NOT_SERVED = (
    "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource"
    " cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get"
    " pods.metrics.k8s.io)"
)
"""Recorded from Kubernetes 1.36.2 without metrics-server."""
NO_METRICS_YET = NOT_SERVED.rpartition(": unable to fetch")[0] + ": no metrics returned from resource metrics API"
"""Source: Kubernetes 1.36, pkg/controller/podautoscaler/metrics/client.go."""


class Trial:
    """The phase on a cluster whose autoscaler says what it is told to."""

    def __init__(self, *, serves):
        self.cluster, self.clock = FakeCluster(groups={"metrics.k8s.io"} if serves else set()), FakeClock()
        self.plan = enable_autoscaling.Plan("r1", "open-webui", Bounds(3, 9, "room"), "open-webui")
        self.ports = ports_of(self.cluster, self.clock)

    def step(self, *, status="False", reason="FailedGetResourceMetric", says=""):
        done = enable_autoscaling.apply(self.plan, self.ports)
        if says:
            condition = {"type": "ScalingActive", "status": status, "reason": reason, "message": says}
            self.cluster.objects["HorizontalPodAutoscaler", "open-webui"]["status"] = {"conditions": [condition]}
            done = enable_autoscaling.apply(self.plan, self.ports)
        return done


def test_an_autoscaler_that_sees_is_done():
    done = Trial(serves=True).step(status="True", reason="ValidMetricFound", says="able to calculate")
    assert (done.finished, done.result["maximum"]) == (True, 9)


def test_without_an_api_of_metrics_it_fails_as_soon_as_the_autoscaler_says_so():
    trial = Trial(serves=False)
    assert not trial.step().finished
    with pytest.raises(ConfigurationError, match=r"could not find the requested resource \(get pods.metrics"):
        trial.step(says=NOT_SERVED)
    enable_autoscaling.undo(trial.plan, trial.ports)
    assert ("HorizontalPodAutoscaler", "open-webui") not in trial.cluster.objects


def test_metrics_of_new_pods_are_waited_for_and_what_is_missing_is_told_meanwhile():
    trial = Trial(serves=True)
    done = trial.step(says=NO_METRICS_YET)
    assert (done.finished, "no metrics returned" in done.step) == (False, True)
    trial.clock.sleep(enable_autoscaling.PATIENCE.total_seconds())
    with pytest.raises(ConfigurationError, match="no metrics returned from resource metrics API"):
        trial.step()


def test_one_that_never_looks_is_given_up_too():
    trial = Trial(serves=True)
    trial.step()
    trial.clock.sleep(enable_autoscaling.PATIENCE.total_seconds())
    with pytest.raises(ConfigurationError, match="has not looked within 90 s"):
        trial.step()
