"""What the JSON schemas do not say about the API's Go structs, and what shows in every answer.

A field that is a value and not a pointer looks the same unset and zero. As `omitempty` it is left out when it is zero
(`value: ""` of an environment variable, `initialDelaySeconds: 0`); a struct is written even when it is empty.
Source: kubernetes/api, */v*/types.go, at the version of the schemas.
"""

from collections.abc import Mapping

WRITTEN_EMPTY: Mapping[str, frozenset[str]] = {
    "apps.v1.DeploymentSpec": frozenset({"strategy"}),
    "apps.v1.ReplicaSetSpec": frozenset({"template"}),
    "apps.v1.StatefulSetSpec": frozenset({"updateStrategy"}),
    "apps.v1.StatefulSetStatus": frozenset({"availableReplicas"}),
    "core.v1.PersistentVolumeClaimSpec": frozenset({"resources"}),
    "core.v1.PodTemplateSpec": frozenset({"metadata", "spec"}),
    "core.v1.ServiceStatus": frozenset({"loadBalancer"}),
    "policy.v1.PodDisruptionBudgetStatus": frozenset(
        {"currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"}
    ),
}
"""Of a struct: fields that are written even when they are empty, besides those that its schema requires."""

OMITTED_WHEN_ZERO = frozenset(
    {"active", "availableReplicas", "clusterIP", "component", "containerID", "count", "currentReplicas"}
    | {"dnsPolicy", "effect", "externalName", "externalTrafficPolicy", "failed", "failureThreshold"}
    | {"fieldPath", "fsType", "fullyLabeledReplicas", "generateName", "group", "healthCheckNodePort"}
    | {"host", "hostIP", "hostIPC", "hostNetwork", "hostPID", "hostPort", "hostname", "image", "imagePullPolicy"}
    | {"initialDelaySeconds", "ip", "key", "kind", "loadBalancerIP", "medium", "message", "minReadySeconds"}
    | {"name", "namespace", "nodeName", "nodePort", "nominatedNodeName", "observedGeneration", "operator"}
    | {"path", "paused", "periodSeconds", "persistentVolumeReclaimPolicy", "phase", "podCIDR", "podIP"}
    | {"priorityClassName", "protocol", "providerID", "publishNotReadyAddresses", "qosClass", "readOnly"}
    | {"readyReplicas", "reason", "replicas", "request", "resize", "resourceVersion", "restartPolicy"}
    | {"schedulerName", "scheme", "secretName", "serviceAccount", "serviceAccountName"}
    | {"sessionAffinity", "signal", "sizeBytes", "stdin", "stdinOnce", "storageClassName", "subPath"}
    | {"subPathExpr", "subdomain", "succeeded", "successThreshold", "terminationMessagePath"}
    | {"terminationMessagePolicy", "timeoutSeconds", "tty", "type", "uid", "unavailableReplicas"}
    | {"unschedulable", "updatedReplicas", "value", "volumeName", "workingDir"}
)
"""Names of the scalar fields that are values with `omitempty`."""

KEPT_WHEN_ZERO: Mapping[str, frozenset[str]] = {
    "apps.v1.DeploymentSpec": frozenset({"replicas"}),
    "apps.v1.ReplicaSetSpec": frozenset({"replicas"}),
    "apps.v1.StatefulSetSpec": frozenset({"replicas"}),
    "autoscaling.v2.HorizontalPodAutoscalerStatus": frozenset({"observedGeneration"}),
    "core.v1.CSIVolumeSource": frozenset({"fsType", "readOnly"}),
    "core.v1.ClientIPConfig": frozenset({"timeoutSeconds"}),
    "core.v1.Container": frozenset({"restartPolicy"}),
    "core.v1.EndpointAddress": frozenset({"nodeName"}),
    "core.v1.HostPathVolumeSource": frozenset({"type"}),
    "core.v1.PersistentVolumeClaimSpec": frozenset({"storageClassName"}),
    "core.v1.PodDNSConfigOption": frozenset({"value"}),
    "core.v1.ResourceHealth": frozenset({"message"}),
    "core.v1.TypedObjectReference": frozenset({"namespace"}),
    "discovery.v1.Endpoint": frozenset({"hostname", "nodeName"}),
    "discovery.v1.EndpointPort": frozenset({"name", "protocol"}),
}
"""Structs in which a field of such a name is a pointer."""

WRITTEN_NULL: Mapping[str, frozenset[str]] = {
    "core.v1.ContainerStateRunning": frozenset({"startedAt"}),
    "core.v1.ContainerStateTerminated": frozenset({"finishedAt", "startedAt"}),
    "core.v1.Event": frozenset({"eventTime", "firstTimestamp", "lastTimestamp"}),
    "core.v1.NodeCondition": frozenset({"lastHeartbeatTime", "lastTransitionTime"}),
    "core.v1.PersistentVolumeClaimCondition": frozenset({"lastProbeTime", "lastTransitionTime"}),
    "core.v1.PodCondition": frozenset({"lastProbeTime", "lastTransitionTime"}),
    "apps.v1.DeploymentCondition": frozenset({"lastTransitionTime", "lastUpdateTime"}),
    "apps.v1.ReplicaSetCondition": frozenset({"lastTransitionTime"}),
    "apps.v1.StatefulSetCondition": frozenset({"lastTransitionTime"}),
    "autoscaling.v2.HorizontalPodAutoscalerCondition": frozenset({"lastTransitionTime"}),
    "autoscaling.v2.HorizontalPodAutoscalerStatus": frozenset({"currentMetrics"}),
    "batch.v1.JobCondition": frozenset({"lastProbeTime", "lastTransitionTime"}),
}
"""Of a struct: fields that are null when they are not set: times, which are structs in Go, and lists without
`omitempty`."""
