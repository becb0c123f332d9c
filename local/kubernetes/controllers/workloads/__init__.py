"""Deployments, ReplicaSets, StatefulSets and Jobs: who makes pods. Not where they run."""
