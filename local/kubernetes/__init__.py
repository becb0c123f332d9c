"""A Kubernetes cluster on the loopback address: control plane and kubelet. No Azure, no Open WebUI.

It exists so that the app's unmodified Kubernetes client can do on a laptop what it does on AKS. It serves only the
kinds that the phases, the guard and the kubelet use, but for these it aims to behave as the real one does, in what it
refuses as well; `tests/local_cluster` states that behaviour and can be run against a real cluster, too.

Reading order: `model` (what is served) → `registry` (how anything is written) → `api_server` (HTTP) → `controllers`
(what then happens by itself) → `kubelet` (a node). The difficult parts are pure: `api_server.strategic_merge`,
`registry.field_ownership`, `model.selectors`, `model.schema`, `controllers.workloads.rolling_update`.
"""
