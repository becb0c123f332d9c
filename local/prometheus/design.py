"""The Grafana dashboard, designed with Grafana's own SDK: builders in, `infra/monitoring/dashboard.json` out.

Read from the top: is it served, by how many, how near is the next wall, what does each pod need. Every query names the
installation by variables; `shared.alerting.dashboard` gives them their values.
"""

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass

from grafana_foundation_sdk.builders.common import ReduceDataOptions, VizLegendOptions, VizTooltipOptions
from grafana_foundation_sdk.builders.dashboard import (
    ConstantVariable,
    Dashboard,
    DatasourceVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.timeseries import Panel as TimeSeries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DynamicConfigValue,
    GridPos,
    Threshold,
    ThresholdsMode,
)

from shared.alerting.alert_rules import selectors_named
from shared.wire import JsonObject

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
CONSTANTS = {
    "namespace": "namespace of Open WebUI",
    "deployment": "its Deployment and autoscaler",
    "claim": "claim of the share",
    "guarded": "how the health guard calls it",
}
S = selectors_named("$namespace", "$deployment", "$claim", "$guarded")
MAIN = f'{S.pods},container!="",container!="POD"'
WIDTH = 24
STAT_HEIGHT, COURSE_HEIGHT = 4, 8
LIMIT_STYLE = (("custom.lineStyle", {"fill": "dash", "dash": [8, 8]}), ("custom.fillOpacity", 0))


@dataclass(frozen=True, slots=True)
class Query:
    """One expression. `limit`: drawn as a dashed line, because the others are held against it."""

    expression: str
    legend: str
    limit: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `turns`: where it becomes orange and red."""

    title: str
    unit: str
    query: str
    says: str
    turns: tuple[float, float] | None = None
    low_is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """Lines over time."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    says: str
    top: float | None = None
    """Where the axis ends unless something is higher; None: with the data."""
    whole: bool = False
    """Counts: no decimals."""


USED, FOR_USERS = f"scaleout_connections_used{{{S.guard}}}", f"scaleout_connections_for_users{{{S.guard}}}"
ANSWERING, WANTED = f"scaleout_replicas_answering{{{S.guard}}}", f"scaleout_replicas_wanted{{{S.guard}}}"
SHARE = [f"kubelet_volume_stats_{what}_bytes{{{S.claim}}}" for what in ("used", "capacity")]
CPU = f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{MAIN}}}[2m]))"
REQUESTED = 'sum by (pod) (kube_pod_container_resource_requests{{{},resource="{}"}})'
RESTARTS = f"increase(kube_pod_container_status_restarts_total{{{S.pods}}}[1h])"
WAITING = f"kube_pod_container_status_waiting_reason{{{S.pods}}}"
NONE = 'label_replace(vector(0), "reason", "none", "", "")'

FIGURES = (
    Figure("Replicas answering", "short", ANSWERING, "Replicas whose /ready answered 200.", (1, 2), low_is_bad=True),
    Figure("Of replicas wanted", "short", WANTED, "Replicas that the Deployment asks for."),
    Figure("Connections taken", "percentunit", f"{USED} / {FOR_USERS}", "Of those for users.", (0.8, 0.95)),
    Figure("Share used", "percentunit", f"max({SHARE[0]} / {SHARE[1]})", "As the kubelet sees it.", (0.75, 0.85)),
    Figure(
        "Slowest /ready", "s", f"scaleout_ready_slowest_seconds{{{S.guard}}}", "It asks database and Redis.", (1, 2)
    ),
    Figure(
        "Guard's last look, ago",
        "s",
        f"time() - scaleout_guard_reading_timestamp_seconds{{{S.guard}}}",
        "Seconds since the health guard's last reading; it looks once a minute.",
        (180, 300),
    ),
)

SERVED = (
    Course(
        "Replicas",
        "short",
        (
            Query(f"kube_deployment_status_replicas_available{{{S.deployment}}}", "available"),
            Query(f"kube_deployment_spec_replicas{{{S.deployment}}}", "wanted"),
            Query(f"kube_horizontalpodautoscaler_status_desired_replicas{{{S.autoscaler}}}", "autoscaler wants"),
            Query(f"kube_horizontalpodautoscaler_spec_min_replicas{{{S.autoscaler}}}", "its minimum", limit=True),
            Query(f"kube_horizontalpodautoscaler_spec_max_replicas{{{S.autoscaler}}}", "its maximum", limit=True),
        ),
        "The autoscaler's maximum comes from the database's connections.",
        whole=True,
    ),
    Course(
        "Answers of /ready, and select 1",
        "s",
        (
            Query(f"scaleout_ready_slowest_seconds{{{S.guard}}}", "slowest /ready"),
            Query(f"scaleout_database_latency_seconds{{{S.guard}}}", "select 1"),
        ),
        "Both slow: the database. Only /ready: Redis or the pod.",
    ),
)
WALLS = (
    Course(
        "Database connections",
        "short",
        (Query(USED, "taken"), Query(FOR_USERS, "for users", limit=True)),
        "At the limit the next pod is refused.",
        whole=True,
    ),
    Course(
        "Share",
        "bytes",
        (Query(f"max({SHARE[0]})", "used"), Query(f"max({SHARE[1]})", "size", limit=True)),
        "Grows in place: raise the request of its claim.",
    ),
)
PODS = (
    Course(
        "CPU, of what is requested",
        "percentunit",
        (
            Query(f"{CPU} / {REQUESTED.format(S.pods, 'cpu')}", "{{pod}}"),
            Query("vector(0.7)", "autoscaler's aim", True),
        ),
        "Above 70 % on average the autoscaler adds replicas.",
        top=1,
    ),
    Course(
        "Memory",
        "bytes",
        (
            Query(f"sum by (pod) (container_memory_working_set_bytes{{{MAIN}}})", "{{pod}}"),
            Query(f"max({REQUESTED.format(S.pods, 'memory')})", "requested by each", limit=True),
        ),
        "Working set, which is what the kernel ends a pod for.",
    ),
    Course(
        "Restarts in the last hour",
        "short",
        (Query(f"sum by (pod) ({RESTARTS})", "{{pod}}"),),
        "A pod that restarts again and again says why in kubectl logs --previous.",
        top=3,
        whole=True,
    ),
    Course(
        "Pods that wait",
        "short",
        (Query(f"sum by (reason) ({WAITING}) or {NONE}", "{{reason}}"),),
        "ContainerCreating is ordinary for seconds; the other reasons are not.",
        top=3,
        whole=True,
    ),
)
SECTIONS = (("Is it served?", SERVED), ("How near is the next wall?", WALLS), ("What does each pod need?", PODS))


def queries() -> list[str]:
    """Every expression of every panel."""
    courses = [course for _, section in SECTIONS for course in section]
    return [f.query for f in FIGURES] + [query.expression for course in courses for query in course.queries]


def design() -> JsonObject:
    """Grafana's JSON, without values for the variables."""
    board = (
        Dashboard("Open WebUI")
        .uid("scaleout")
        .tags(["scaleout", "open-webui"])
        .timezone("browser")
        .refresh("1m")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(DatasourceVariable("source").type("prometheus").label("Prometheus"))
    )
    for name, label in CONSTANTS.items():
        board.with_variable(ConstantVariable(name).label(label))
    _place(board)
    found: JsonObject = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    return found


def _place(board: Dashboard) -> None:
    """Figures in one line, then two courses beside each other under the heading of their section."""
    ids, width, y = itertools.count(1), WIDTH // len(FIGURES), STAT_HEIGHT
    for column, figure in enumerate(FIGURES):
        board.with_panel(_stat(figure).id(next(ids)).grid_pos(GridPos(STAT_HEIGHT, width, column * width, 0)))
    for title, courses in SECTIONS:
        board.with_row(Row(title).id(next(ids)).grid_pos(GridPos(1, WIDTH, 0, y)))
        y += 1
        for pair in itertools.batched(courses, 2, strict=False):
            for column, course in enumerate(pair):
                place = GridPos(COURSE_HEIGHT, WIDTH // 2, column * WIDTH // 2, y)
                board.with_panel(_lines(course).id(next(ids)).grid_pos(place))
            y += COURSE_HEIGHT


def _stat(figure: Figure) -> Stat:
    panel = Stat().title(figure.title).description(figure.says).datasource(SOURCE).unit(figure.unit)
    panel.reduce_options(ReduceDataOptions().calcs(["lastNotNull"])).graph_mode(BigValueGraphMode.AREA)
    if figure.turns:
        panel.thresholds(_steps(figure.turns, low_is_bad=figure.low_is_bad))
    return panel.min(0).with_target(_target(figure.query, figure.title.lower(), "A"))


def _steps(turns: tuple[float, float], *, low_is_bad: bool) -> ThresholdsConfig:
    colours = ("red", "orange", "green") if low_is_bad else ("green", "orange", "red")
    steps = [Threshold(value, colour) for value, colour in zip((None, *turns), colours, strict=True)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(course: Course) -> TimeSeries:
    legend = VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    tooltip = VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    panel = TimeSeries().title(course.title).description(course.says).datasource(SOURCE).unit(course.unit).min(0)
    panel.legend(legend.show_legend(True).calcs(["lastNotNull"])).tooltip(tooltip).line_width(2).fill_opacity(8)
    if course.top is not None:
        panel.axis_soft_max(course.top)
    if course.whole:
        panel.decimals(0)
    for letter, query in zip("ABCDEFG", course.queries, strict=False):
        panel.with_target(_target(query.expression, query.legend, letter))
        if query.limit:
            panel.override_by_query(letter, list(_dashed()))
    return panel


def _dashed() -> Iterable[DynamicConfigValue]:
    return (DynamicConfigValue(name, value) for name, value in LIMIT_STYLE)


def _target(expression: str, legend: str, letter: str) -> Dataquery:
    return Dataquery().expr(expression).legend_format(legend).ref_id(letter).datasource(SOURCE)
