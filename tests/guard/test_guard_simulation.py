"""The simulation: what it shows, that it could show otherwise, and that the documentation shows the same."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.guard_simulation import report
from benchmarks.guard_simulation.autoscalers import HorizontalPodAutoscaler, Keda
from benchmarks.guard_simulation.compare import Result, compare, most_turns, rollback_ticks, run
from benchmarks.guard_simulation.healthy import live_through
from benchmarks.guard_simulation.plots import write_plots
from benchmarks.guard_simulation.throughput import seconds_for
from benchmarks.guard_simulation.traces import TRACES, Trace
from benchmarks.guard_simulation.world import B2S, STEP, World
from shared.guard.policy import Policy
from shared.rendering.line_plot import GAP, HEIGHT, LEFT, TOP, WIDTH

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "guard.md"


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return compare()


@pytest.fixture(scope="module")
def figures(results: list[Result]) -> dict:
    return report.as_json(results, rollback_ticks(), live_through(500))


def of(results: list[Result], trace: str, contestant: str) -> Result:
    return next(r for r in results if (r.trace, r.contestant) == (trace, contestant))


def test_everything_that_must_hold_does(figures: dict) -> None:
    assert figures["holds"] == dict.fromkeys(report.WISHES, True)
    assert figures["connections_refused"]["ours"] == 0
    assert figures["connections_refused"]["hpa"] > 1000
    assert figures["ticks_to_rollback"] <= 3


def test_only_the_guard_rolls_a_bad_image_back(results: list[Result]) -> None:
    assert of(results, "bad image", "guard over HPA").seconds_to_act <= 180
    assert of(results, "bad image", "HPA alone").seconds_to_act is None


def test_keda_falls_back_during_a_metrics_outage_and_the_guard_does_not(results: list[Result]) -> None:
    assert of(results, "metrics outage", "KEDA alone").false_actions > 0
    assert of(results, "metrics outage", "guard").actions == 0


def test_what_the_guard_pays_for_refusing_nobody_is_shown(results: list[Result]) -> None:
    ours, hpa = of(results, "spike", "guard over HPA"), of(results, "spike", "HPA alone")
    assert ours.connections_refused == 0 < hpa.connections_refused
    assert ours.waiting_query_minutes > hpa.waiting_query_minutes
    assert ours.operator_calls > 0


def test_a_rash_policy_would_roll_healthy_deployments_back() -> None:
    rash = Policy(minimum_replicas=3, readings_to_act=1, readings_to_roll_back=1)
    assert live_through(300, policy=rash).false_rollbacks > 0


def test_the_model_rolls_one_pod_at_a_time_and_keeps_the_others_serving() -> None:
    world = World(load=30)
    world.fill()
    world.revision = 2
    for _ in range(40):
        world.advance()
        assert len(world.alive()) <= 4
        assert len(world.serving()) >= 3
    assert {pod.revision for pod in world.pods} == {2}


def test_the_model_refuses_connections_beyond_the_limit() -> None:
    world = World(replicas=20, load=600)
    world.fill()
    world.advance()
    assert world.used == B2S.for_users
    assert world.refused == 20 * 22 + 4 - B2S.for_users


@pytest.mark.parametrize(
    ("load", "replicas"),
    [(3 * 24 * 0.7, 3), (3 * 24 * 0.76, 3), (3 * 24 * 0.9, 4), (3 * 24 * 1.38, 6), (1000.0, 7)],
    ids=["on target", "within the tolerance", "above", "twice", "at most four more"],
)
def test_the_hpa_scales_as_its_documentation_says(load: float, replicas: int) -> None:
    world = World(load=load)
    world.fill()
    HorizontalPodAutoscaler().decide(world)
    assert world.replicas == replicas


def test_the_hpa_scales_down_only_after_its_stabilisation_window() -> None:
    world, hpa = World(replicas=8, load=8 * 24 * 0.7), HorizontalPodAutoscaler()
    world.fill()
    for _ in range(60):
        hpa.decide(world)
        world.advance()
        world.load = 40
        if world.now <= 300:
            assert world.replicas == 8
    assert world.replicas == 3


def test_keda_polls_every_half_minute_and_falls_back_after_three_failures() -> None:
    world, keda = World(load=40, metrics_up=False), Keda()
    world.fill()
    for _ in range(6):
        assert world.replicas == 3
        world.advance()
        keda.decide(world)
    assert world.now == 6 * STEP
    assert world.replicas == 6


def test_turns_are_counted_within_any_ten_minutes() -> None:
    assert [most_turns(turns) for turns in ([], [5], [0, 600], [0, 599], [0, 300, 599, 1200])] == [0, 1, 1, 2, 3]


def test_a_trace_that_calls_for_nothing_counts_every_resize_as_false() -> None:
    def doubled(world: World) -> None:
        world.load = 40 if world.now < 600 else 120

    assert run(Trace("calm", "", 30, doubled), "HPA alone").false_actions > 0


def test_a_core_ticks_a_thousand_deployments_in_less_than_a_minute() -> None:
    assert seconds_for(50) < 60 * 50 / 1000


def test_the_documentation_shows_what_the_command_finds(results: list[Result], figures: dict, tmp_path: Path) -> None:
    text = DOCS.read_text()
    assert report.fill_in(text, "simulation", report.tables(figures)) == text, (
        "run: python -m local guard-sim --docs docs/guard.md"
    )
    assert report.fill_in(text, "policy", report.policy_table()) == text
    for path in write_plots(results, tmp_path, B2S.for_users):
        assert (DOCS.parent / "guard" / path.name).read_text() == path.read_text(), f"{path.name} is stale"
    assert len(list((DOCS.parent / "guard").glob("*.svg"))) == len(TRACES)


def test_every_plot_is_well_formed_and_draws_inside_its_panels(results: list[Result], tmp_path: Path) -> None:
    for path in write_plots(results, tmp_path, B2S.for_users):
        lines = ElementTree.parse(path).getroot().findall("{http://www.w3.org/2000/svg}polyline")
        assert len(lines) == 2 * 4 + 2, "four contestants in two panels, the load and the limit"
        for line in lines:
            points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
            assert len(points) >= 2
            assert all(LEFT <= x <= LEFT + WIDTH and TOP <= y <= TOP + 2 * HEIGHT + GAP for x, y in points)


def test_the_command_writes_the_figures_and_says_what_holds(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.guard_simulation",
        "--json",
        str(tmp_path / "a" / "sim.json"),
        "--healthy-hours",
        "20",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "a" / "sim.json").read_text())
    assert found["healthy_hours"] == 20
    assert {"connections_refused", "max_direction_changes_10min", "ticks_to_rollback", "false_rollbacks"} <= set(found)
    assert "no connection refused" in done.stdout
