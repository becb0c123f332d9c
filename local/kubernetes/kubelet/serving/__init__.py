"""What the node itself answers: logs, exec, usage, metrics. Nothing that runs a pod."""
