"""`infra/monitoring`: rules, scrape configuration and dashboard as files, for any Prometheus, its operator and Azure's.

Made from the same rules as phase 7 applies, for an installation's own names. Two words are left to the shell, which is
the only place that may hold a key: `$SCALEOUT_HOST` and `$SCALEOUT_KEY` (`envsubst` fills them in).
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from local.prometheus.design import design
from shared.alerting.alert_rules import METRICS, Alert, alerts, rule_groups
from shared.alerting.dashboard import filled_in
from shared.model.migration import Target

SCRAPE_SECONDS = 60
"""The guard looks once a minute."""
SEVERITIES = {"critical": 1, "warning": 3}
"""Prometheus' words → Azure Monitor's Sev1 and Sev3."""
AZURE_TARGETS = {"kube-state-metrics": "kubestate", "cadvisor": "cadvisor", "kubelet": "kubelet"}
RBAC = "rbac.authorization.k8s.io"
DEFAULT_TARGET = Target("", "", "aks", "", "")


def files(target: Target) -> dict[str, str]:
    """Path below `infra/monitoring` → content."""
    return {
        "rules.yaml": _yaml(rule_groups(target)),
        "scrape.yaml": _yaml({"scrape_configs": [scrape_job()]}),
        "dashboard.json": json.dumps(filled_in(design(), target), indent=1) + "\n",
        "prometheus-operator/rules.yaml": _yaml(_operator_rules(target)),
        "prometheus-operator/scrape.yaml": _yaml(_operator_scrape(target)),
        "prometheus-operator/role.yaml": _yaml(*_operator_role(target)),
        "azure/scrape.yaml": _yaml(_azure_scrape()),
        "azure/keep-list.yaml": _yaml(_azure_keep_list()),
        "azure/rules.json": json.dumps(azure_rule_group(target), indent=1) + "\n",
    }


def write(folder: Path, target: Target) -> list[Path]:
    """Write all of them; returns where they are."""
    found = []
    for name, content in files(target).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        found.append(path)
    return found


def scrape_job() -> dict[str, Any]:
    """The guard's endpoint behind its function key, which Functions also takes as the parameter `code`."""
    return {
        "job_name": "scaleout-guard",
        "scheme": "https",
        "metrics_path": "/api/metrics",
        "params": {"code": ["$SCALEOUT_KEY"]},
        "scrape_interval": f"{SCRAPE_SECONDS}s",
        "scrape_timeout": "20s",  # the first request after a quiet time starts an instance
        "static_configs": [{"targets": ["$SCALEOUT_HOST"]}],
    }


def azure_rule_group(target: Target) -> dict[str, Any]:
    """An ARM template.

    Source: Microsoft.AlertsManagement/prometheusRuleGroups@2023-03-01; how Azure/prometheus-collector scopes its own.
    """
    group = {
        "type": "Microsoft.AlertsManagement/prometheusRuleGroups",
        "apiVersion": "2023-03-01",
        "name": f"scaleout-{target.deployment}",
        "location": "[resourceGroup().location]",
        "properties": {
            "interval": "PT1M",
            "scopes": ["[parameters('workspace')]", "[parameters('cluster')]"],
            "clusterName": "[last(split(parameters('cluster'), '/'))]",  # a workspace may serve several clusters
            "rules": [_azure_rule(alert) for alert in alerts(target)],
        },
    }
    described = {
        "workspace": "Resource id of the Azure Monitor workspace.",
        "cluster": "Resource id of the AKS cluster.",
        "actionGroup": "Resource id: whom to call.",
    }
    return {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {k: {"type": "string", "metadata": {"description": v}} for k, v in described.items()},
        "resources": [group],
    }


def _azure_rule(alert: Alert) -> dict[str, Any]:
    rule = alert.as_rule()
    return {
        "alert": alert.name,
        "enabled": True,
        "expression": alert.expression,
        "for": f"PT{alert.minutes}M",
        "severity": SEVERITIES[alert.severity],
        "labels": rule["labels"],
        "annotations": rule["annotations"],
        "resolveConfiguration": {"autoResolved": True, "timeToResolve": f"PT{max(2, alert.minutes)}M"},
        "actions": [{"actionGroupId": "[parameters('actionGroup')]"}],
    }


def _operator_rules(target: Target) -> dict[str, Any]:
    metadata = {"name": f"{target.deployment}-alert-rules", "namespace": target.namespace}
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    return {**kind, "metadata": metadata, "spec": rule_groups(target)}


def _operator_scrape(target: Target) -> dict[str, Any]:
    """A Secret for `additionalScrapeConfigs`, because the key belongs into no other kind of object."""
    metadata = {"name": "scaleout-scrape", "namespace": target.namespace}
    content = {"scrape.yaml": _yaml([scrape_job()])}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content}


def _operator_role(target: Target) -> list[dict[str, Any]]:
    """What phase 7 needs to keep a PrometheusRule by itself, and to see which labels a Prometheus selects rules by."""
    api_group = "monitoring.coreos.com"
    rules = {"apiGroups": [api_group], "resources": ["prometheusrules"], "verbs": ["get", "create", "patch", "delete"]}
    all_prometheuses = {"apiGroups": [api_group], "resources": ["prometheuses"], "verbs": ["list"]}
    here = {"name": "scaleout-monitoring", "namespace": target.namespace}
    everywhere = {"name": "scaleout-monitoring"}
    return [
        _rbac("Role", here) | {"rules": [rules]},
        _rbac("RoleBinding", here) | _bound("Role"),
        _rbac("ClusterRole", everywhere) | {"rules": [all_prometheuses]},
        _rbac("ClusterRoleBinding", everywhere) | _bound("ClusterRole"),
    ]


def _rbac(kind: str, metadata: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": f"{RBAC}/v1", "kind": kind, "metadata": metadata}


def _bound(role: str) -> dict[str, Any]:
    subject = {"apiGroup": RBAC, "kind": "User", "name": "IDENTITY_OBJECT_ID"}
    return {"subjects": [subject], "roleRef": {"apiGroup": RBAC, "kind": role, "name": "scaleout-monitoring"}}


def _azure_scrape() -> dict[str, Any]:
    """Source: learn.microsoft.com, azure-monitor/containers/prometheus-metrics-scrape-configuration."""
    whole = _yaml({"scrape_configs": [scrape_job()]})
    return _kube_system_map("ama-metrics-prometheus-config", {"prometheus-config": whole})


def _azure_keep_list() -> dict[str, Any]:
    """What the minimal ingestion profile would drop. Source: Azure/prometheus-collector, ama-metrics-settings."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for metric, source in METRICS.items():
        if source in AZURE_TARGETS:
            wanted[AZURE_TARGETS[source]].append(metric)
    keep = "\n".join(f'{name} = "{"|".join(metrics)}"' for name, metrics in wanted.items())
    settings = {"schema-version": "v1", "config-version": "ver1", "default-targets-metrics-keep-list": keep}
    return _kube_system_map("ama-metrics-settings-configmap", settings)


def _kube_system_map(name: str, content: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content}


class _Readable(yaml.SafeDumper):
    """Texts of several lines as blocks."""


def _as_block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _as_block)


def _yaml(*documents: Any) -> str:
    return yaml.dump_all(documents, Dumper=_Readable, sort_keys=False, width=1000, allow_unicode=True)
