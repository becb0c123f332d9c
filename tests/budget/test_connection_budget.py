"""The connection budget never promises a connection the server does not have."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigurationError
from shared.sizing.azure_skus import AZURE_SKUS, AzureSku
from shared.sizing.connection_budget import (
    COMFORTABLE,
    LARGEST,
    MINIMUM,
    ConnectionBudget,
    Demand,
    PoolSizes,
    ServerLimits,
    plan_budget,
    replicas_that_fit,
    split_pools,
    transient_pods,
)

BY_NAME = {sku.name: sku for sku in AZURE_SKUS}


def limits_of(sku: AzureSku, *, pgbouncer: bool = False) -> ServerLimits:
    return ServerLimits(sku.max_connections, 5, 10, sku.name, sku.tier, pgbouncer)


def b1ms() -> ServerLimits:
    return limits_of(BY_NAME["Standard_B1ms"])


def pods_alive_at_once(replicas: int, max_surge: int) -> int:
    """Walk a rolling update pod by pod, old pods ending for one step: an oracle that shares nothing with the code."""
    old, new, ending, most = replicas, 0, 0, replicas
    while old:
        if max_surge:
            starting = min(max_surge, old)
            most = max(most, old + new + starting + ending)
            new, old, ending = new + starting, old - starting, starting
        else:
            old, ending = old - 1, 1
            most = max(most, old + new + ending + 1)
            new += 1
    return max(most, replicas + ending)


def assert_never_over(budget: ConnectionBudget, limits: ServerLimits, demand: Demand) -> None:
    fixed = demand.guard_connections + budget.mover_connections + demand.other_connections
    for replicas in {1, budget.replicas, min(budget.largest_replica_count, demand.autoscaler_maximum or 10**6)}:
        alive = pods_alive_at_once(replicas, budget.max_surge)
        assert alive * budget.pools.most_per_process + fixed <= limits.for_users
    assert all(connections <= budget.connections_at_peak <= limits.for_users for _, connections in budget.states)


@pytest.mark.parametrize("sku", AZURE_SKUS, ids=lambda sku: sku.name)
def test_no_state_of_a_rolling_update_is_over_the_limit_for_any_sku_replicas_and_surge(sku: AzureSku) -> None:
    for replicas in range(1, 21):
        for max_surge in range(5):
            for maximum in (None, replicas, 20):
                demand = Demand(replicas, max_surge, maximum)
                budget = plan_budget(limits_of(sku), demand)
                assert_never_over(budget, limits_of(sku), demand)
                assert budget.pools.most_per_process >= MINIMUM
                assert budget.sufficient == (budget.replicas == replicas)


@given(
    st.integers(1, 6000),
    st.integers(0, 60),
    st.integers(1, 60),
    st.integers(0, 10),
    st.none() | st.integers(1, 100),
    st.integers(0, 300),
    st.integers(0, 8),
    st.floats(0, 0.5),
)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_no_server_however_odd_is_promised_away(
    maximum, reserved, replicas, surge, autoscaler, other, mover, ratio
) -> None:
    limits = ServerLimits(maximum, reserved, 0)
    demand = Demand(replicas, surge, autoscaler, 1, mover, other)
    budget = plan_budget(limits, demand, headroom_ratio=ratio)
    if budget.largest_replica_count >= 1:
        assert_never_over(budget, limits, demand)
    else:
        assert not budget.sufficient
    assert budget.replicas >= 1


def test_a_b1ms_carries_three_replicas_with_small_pools_and_says_what_would_be_comfortable() -> None:
    budget = plan_budget(b1ms(), Demand(3, 1, 20))
    assert b1ms().for_users == 35
    assert (budget.sufficient, budget.needs, budget.replicas, budget.largest_replica_count) == (True, "none", 3, 3)
    assert budget.pools == PoolSizes(1, 1, 1, 0)
    assert budget.connections_at_peak == 5 * 5 + 3
    assert budget.recommended_sku == "Standard_B2s"
    assert "35 connections" in budget.reason
    assert "20 is lowered to 3" in budget.reason


def test_a_b1ms_gives_up_a_mover_connection_for_the_fourth_replica_the_surge_for_the_fifth_and_refuses_the_sixth() -> (
    None
):
    four = plan_budget(b1ms(), Demand(4))
    assert (four.sufficient, four.max_surge, four.mover_connections) == (True, 1, 1)
    five = plan_budget(b1ms(), Demand(5))
    assert (five.sufficient, five.max_surge, five.mover_connections) == (True, 0, 1)
    assert "reduced" in five.reason
    six = plan_budget(b1ms(), Demand(6))
    assert (six.sufficient, six.needs, six.replicas) == (False, "larger_sku", 5)
    assert "6 replicas do not fit" in six.reason


def test_the_defaults_of_three_replicas_do_not_fit_a_b1ms_but_do_fit_a_b2s() -> None:
    assert PoolSizes(5, 10, 5, 10).most_per_process == 45
    assert b1ms().for_users < 3 * 45
    assert plan_budget(limits_of(BY_NAME["Standard_B2s"]), Demand(3)).pools.most_per_process == LARGEST


def test_pools_stay_comfortable_for_as_many_replicas_as_the_autoscaler_may_want() -> None:
    budget = plan_budget(limits_of(BY_NAME["Standard_B2s"]), Demand(3, 1, 20))
    assert budget.pools.most_per_process >= COMFORTABLE
    assert 10 <= budget.largest_replica_count < 20


def test_a_general_purpose_server_is_told_to_turn_pgbouncer_on_before_it_is_told_to_grow() -> None:
    crowded = Demand(20, other_connections=750)
    assert plan_budget(limits_of(BY_NAME["Standard_D2ds_v5"]), crowded).needs == "pgbouncer"
    assert plan_budget(limits_of(BY_NAME["Standard_B2ms"]), crowded).needs == "larger_sku"
    eased = plan_budget(limits_of(BY_NAME["Standard_D2ds_v5"], pgbouncer=True), Demand(20, other_connections=600))
    assert eased.sufficient
    assert eased.connections_at_peak <= eased.for_users


@pytest.mark.parametrize("per_process", range(MINIMUM, LARGEST + 1))
def test_no_pool_is_ever_zero_since_zero_means_unlimited(per_process: int) -> None:
    pools = split_pools(per_process)
    assert pools.most_per_process == per_process
    assert pools.database_pool_size >= 1
    assert pools.pgvector_pool_size >= 1
    assert pools.database_pool_size + pools.database_max_overflow >= 2
    assert min(pools.database_max_overflow, pools.pgvector_max_overflow) >= 0


def test_the_environment_has_the_names_open_webui_reads() -> None:
    assert PoolSizes(2, 1, 3, 4).as_environment() == {
        "DATABASE_POOL_SIZE": "2",
        "DATABASE_POOL_MAX_OVERFLOW": "1",
        "PGVECTOR_POOL_SIZE": "3",
        "PGVECTOR_POOL_MAX_OVERFLOW": "4",
    }


@pytest.mark.parametrize(("replicas", "surge"), [(1, 1), (3, 0), (3, 1), (5, 2), (20, 4)])
def test_transient_pods_are_what_a_walk_through_a_rolling_update_counts(replicas: int, surge: int) -> None:
    walked = pods_alive_at_once(replicas, surge) - replicas
    assert walked <= transient_pods(surge)
    if replicas >= 2 * max(1, surge):
        assert walked == transient_pods(surge)


def test_an_impossible_demand_names_every_problem() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Demand(0, -1, 0)
    assert all(name in caught.value.message for name in ("replicas", "max_surge", "autoscaler_maximum"))


def test_a_server_that_kept_its_old_limit_after_a_change_of_sku_is_told_so() -> None:
    kept = ServerLimits(50, 5, 10, "Standard_B2s", "Burstable")
    assert "allows max_connections 429" in plan_budget(kept, Demand(3)).reason


def test_the_live_ceiling_is_the_planned_one_when_the_same_sessions_are_there() -> None:
    for sku in AZURE_SKUS:
        budget = plan_budget(limits_of(sku), Demand(2, 1, 20))
        taken, transient = 1 + budget.mover_connections, transient_pods(budget.max_surge)
        per_process = budget.pools.most_per_process
        live = replicas_that_fit(limits_of(sku), per_process, taken=taken, transient=transient, headroom_ratio=0.1)
        assert live == budget.largest_replica_count


def test_each_foreign_session_lowers_the_live_ceiling_until_nothing_fits() -> None:
    ceilings = [replicas_that_fit(b1ms(), 5, taken=taken) for taken in range(36)]
    assert ceilings == sorted(ceilings, reverse=True)
    assert (ceilings[0], ceilings[30], ceilings[31]) == (7, 1, 0)
