"""The phases after a migration, in a rehearsal: what they left is looked at; then they are run alone and taken back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import config

from local.prometheus import operator
from local.rehearsal.app_client import AppClient
from local.rehearsal.current_state import Names
from shared.adapters.cluster import KubernetesCluster
from shared.alerting.alert_rules import METRICS
from shared.errors import VerificationFailed
from shared.model.migration import LATER_PHASES

PHASES = ("enable_autoscaling", "install_monitoring", "load_test", "write_handbook")
OPTIONS = {LATER_PHASES[phase]: True for phase in PHASES} | {"load_test_seconds": 20, "load_test_trials": 2}
"""200 users: 40 seconds a trial, of which 20 are their coming."""
ALONE = {"load_test_users": 20, "load_test_seconds": 5, "load_test_trials": 1}
PATIENCE_SECONDS = 300
RULE = "open-webui-alert-rules"
HANDBOOKS = {"html": "handbook.html", "markdown": "handbook.md"}


def check(app: AppClient, run: str, build: Path, say: Callable[[str], None], kubeconfig: Path) -> dict[str, Any]:
    """Write the handbook into `build`, then run the phases alone, as an operator would days later, and undo that.

    Meanwhile somebody has installed prometheus-operator, so the same phase makes a PrometheusRule too. Where the
    cluster has it from the beginning, the migration has made the rule, and this run changes nothing about it.
    """
    build.mkdir(parents=True, exist_ok=True)
    for format_, name in HANDBOOKS.items():
        (build / name).write_text(app.handbook(run, format_))
    exposition = app.metrics()
    exposed = {name for name, source in METRICS.items() if source == "guard" and f"\n{name}{{" in exposition}
    api = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
    with operator.brought(api) as brought:
        say(f"{'prometheus-operator; ' if brought else ''}the later phases once more, alone")
        later, rule = _alone(app, run, admin(kubeconfig), say, expects_rule=brought)
    return {"handbook": sorted(HANDBOOKS.values()), "run_alone": later, "metrics": sorted(exposed), "rule": rule}


def _alone(
    app: AppClient, run: str, cluster: KubernetesCluster, say: Callable[[str], None], *, expects_rule: bool
) -> tuple[str, dict[str, Any]]:
    """The phases alone, and taken back: the run's name, and what there was of a PrometheusRule."""
    later = app.start({"mode": "phases", "phases": list(PHASES), "options": ALONE})
    _expect(app, later, "applied")
    if _headings(app.handbook(later, "markdown")) != _headings(app.handbook(run, "markdown")):
        raise VerificationFailed(f"the handbook of run {later} is not that of the migration")
    rule = _expect_rule(cluster) if expects_rule else {}
    say("and taken back")
    _expect(app, app.act(later, "rollback")["id"], "rolled_back")
    if expects_rule and cluster.read("PrometheusRule", RULE) is not None:
        raise VerificationFailed(f"PrometheusRule {RULE} is left after the phase was taken back")
    if cluster.read("ConfigMap", RULE) is None:
        raise VerificationFailed(f"ConfigMap {RULE} of the migration went with the later run")
    return later, rule


def admin(kubeconfig: Path) -> KubernetesCluster:
    """The cluster, for looking: with all rights."""

    def connect() -> Any:
        return config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]

    return KubernetesCluster(Names().namespace, connect)


def _expect_rule(cluster: KubernetesCluster) -> dict[str, Any]:
    """The PrometheusRule as it must be; returns what the report says of it."""
    found = cluster.read("PrometheusRule", RULE)
    if found is None:
        raise VerificationFailed(f"there is no PrometheusRule {RULE}")
    kept = cluster.read("ConfigMap", RULE)
    if kept is None or json.loads(kept["data"]["rules.json"]) != found["spec"]:
        raise VerificationFailed(f"PrometheusRule {RULE} and the ConfigMap have different rules")
    if not operator.USUAL["matchLabels"].items() <= found["metadata"]["labels"].items():
        raise VerificationFailed(f"no Prometheus takes PrometheusRule {RULE}: {found['metadata']['labels']}")
    return {"name": RULE, "labels": found["metadata"]["labels"]}


def _expect(app: AppClient, run: str, state: str) -> None:
    ended = app.follow(run, lambda _: None, patience_seconds=PATIENCE_SECONDS)
    if ended["state"] != state:
        why = (ended["report"] or {}).get("failure")
        raise VerificationFailed(f"run {run} ended as {ended['state']}, not {state}: {why}")


def _headings(text: str) -> list[str]:
    """Figures move between two readings; what is told does not."""
    return [line for line in text.splitlines() if line.startswith("#")]
