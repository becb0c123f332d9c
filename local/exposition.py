"""Prometheus' text format, written: families of samples in, an exposition out. Pure.

Source: prometheus.io, "Exposition formats", version 0.0.4.
"""

from collections.abc import Iterable, Mapping

FORMAT = "text/plain; version=0.0.4; charset=utf-8"

type Sample = tuple[Mapping[str, str], float]
"""Labels and value."""


def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    """One metric with its samples; `kind`: gauge or counter."""
    lines = [f"{name}{{{_labels(labels)}}} {value:.10g}" for labels, value in samples]
    return "\n".join([f"# HELP {name} {text}", f"# TYPE {name} {kind}", *lines]) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
