"""Probes, and what they make of a container. Not what its pod's status says."""
