"""What Prometheus reads, written: families of samples in, an exposition out. Pure.

Source: prometheus.io, "Exposition formats", 0.0.4; OpenMetrics 1.0, in which a counter's family is named without
`_total` and the exposition ends with `# EOF`.
"""

from collections.abc import Iterable, Mapping

FORMAT = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END = "# EOF\n"

type Sample = tuple[Mapping[str, str], float]
"""Labels and value."""


def family(name: str, kind: str, text: str, samples: Iterable[Sample], *, open_metrics: bool = False) -> str:
    """One metric with its samples; `kind`: gauge or counter."""
    called = name.removesuffix("_total") if open_metrics else name
    lines = [f"{name}{{{_labels(labels)}}} {value:.10g}" for labels, value in samples]
    return "\n".join([f"# HELP {called} {text}", f"# TYPE {called} {kind}", *lines]) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
