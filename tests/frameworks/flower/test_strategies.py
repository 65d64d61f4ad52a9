"""What needs single updates is refused by name, before anything is sent."""

from typing import Any

import pytest
from flwr.app import MetricRecord
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, FedAvgM, FedProx, Strategy
from secagg_client.flower import SecAgg, SecAggMod, strategies
from secagg_client.flower.strategies import MEAN_BASED, raise_minimums

from secagg.errors import ConfigError
from secagg.tools.redteam.self_test.patches import without_check
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, model

ARGUMENTS: dict[str, dict[str, Any]] = {
    "Bulyan": {"num_malicious_nodes": 0},
    "FedXgbCyclic": {},
    "Krum": {"num_malicious_nodes": 0},
    "MultiKrum": {"num_malicious_nodes": 0, "num_nodes_to_select": 1},
    "QFedAvg": {"client_learning_rate": 0.1},
    "DifferentialPrivacyServerSideFixedClipping": {
        "strategy": FedAvg(),
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "num_sampled_clients": 5,
    },
    "DifferentialPrivacyClientSideFixedClipping": {
        "strategy": FedAvg(),
        "noise_multiplier": 1.0,
        "clipping_norm": 1.0,
        "num_sampled_clients": 5,
    },
    "DifferentialPrivacyServerSideAdaptiveClipping": {
        "strategy": FedAvg(),
        "noise_multiplier": 0.1,
        "num_sampled_clients": 5,
    },
    "DifferentialPrivacyClientSideAdaptiveClipping": {
        "strategy": FedAvg(),
        "noise_multiplier": 0.1,
        "num_sampled_clients": 5,
    },
}
ALL = [name for name in flower.__all__ if name not in {"Strategy", "Result"}]
NEEDS_SINGLES = sorted(set(ALL) - {kind.__name__ for kind in MEAN_BASED})


def made(name: str) -> Strategy:
    try:
        return getattr(flower, name)(**ARGUMENTS.get(name, {}))
    except TypeError:
        return getattr(flower, name)()


@pytest.mark.parametrize("kind", MEAN_BASED)
def test_strategies_of_means_are_taken(kind: type[Strategy]) -> None:
    SecAgg(kind())


@pytest.mark.parametrize("name", NEEDS_SINGLES)
@pytest.mark.parametrize("mean_based", [False, True])
def test_what_needs_single_updates_is_refused_by_name_even_if_the_caller_vouches(name: str, mean_based: bool) -> None:
    with pytest.raises(ConfigError, match=f"^{name} needs single updates"):
        SecAgg(made(name), mean_based=mean_based)


def test_every_strategy_of_flower_is_known_by_name() -> None:
    """A strategy that Flower adds must be looked at before it is taken or refused in our words."""
    assert len(NEEDS_SINGLES) == 12


def test_a_class_of_ones_own_is_taken_if_it_leaves_the_aggregation_alone() -> None:
    class Sampling(FedProx):  # type: ignore[misc]
        def configure_train(self, *given: Any, **named: Any) -> Any:
            return super().configure_train(*given, **named)

    class Aggregating(FedAvgM):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            return super().aggregate_train(server_round, replies)

    class Evaluating(FedAvg):  # type: ignore[misc]
        def aggregate_evaluate(self, server_round: int, replies: Any) -> Any:
            return super().aggregate_evaluate(server_round, replies)

    class Median(flower.FedMedian):  # type: ignore[misc]
        pass

    SecAgg(Sampling())
    for kind, method in ((Aggregating, "aggregate_train"), (Evaluating, "aggregate_evaluate")):
        with pytest.raises(ConfigError, match=f"{kind.__name__} has a {method} of its own"):
            SecAgg(kind())
        SecAgg(kind(), mean_based=True)
    patched = FedAvg()
    patched.aggregate_train = lambda server_round, replies: (None, None)
    with pytest.raises(ConfigError, match="FedAvg has a aggregate_train of its own"):
        SecAgg(patched)
    with pytest.raises(ConfigError, match="Median is a FedMedian, which needs single updates"):
        SecAgg(Median(), mean_based=True)


@pytest.mark.parametrize("name", ["train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"])
def test_a_function_that_aggregates_metrics_must_be_vouched_for(name: str) -> None:
    strategy = FedAvg(**{name: lambda records, key: MetricRecord()})
    with pytest.raises(ConfigError, match=name):
        SecAgg(strategy)
    SecAgg(strategy, mean_based=True)


def test_what_is_no_strategy_of_the_message_api_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no strategy of flwr"):
        SecAgg(object())


def test_minimums_below_the_smallest_cohort_are_raised_and_told() -> None:
    strategy = FedAvg(min_train_nodes=5)
    told = raise_minimums(strategy)
    assert (strategy.min_train_nodes, strategy.min_evaluate_nodes, strategy.min_available_nodes) == (5, 3, 3)
    assert told == [
        "min_evaluate_nodes=2 is below the smallest cohort of a secure round, and is 3 now",
        "min_available_nodes=2 is below the smallest cohort of a secure round, and is 3 now",
    ]


def test_evaluation_that_is_off_stays_off() -> None:
    strategy = FedAvg(fraction_evaluate=0.0)
    raise_minimums(strategy)
    assert strategy.min_evaluate_nodes == 0


def test_without_the_check_a_median_is_silently_a_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: why these are refused."""
    without_check(monkeypatch, strategies, "check_strategy", "needs-single-updates")
    monkeypatch.setattr("secagg_client.flower.server.check_strategy", strategies.check_strategy)
    shifts = {1: 0.001, 2: 0.001, 3: 0.04}
    grid = MemoryGrid({node: app_of([SecAggMod()], shift=shift) for node, shift in shifts.items()})
    secure = SecAgg(flower.FedMedian(fraction_evaluate=0.0), clip=0.05, value_bits=24, mean_based=True)
    result = secure.start(grid=grid, initial_arrays=model(), num_rounds=1)
    moved = float((result.arrays["bias"].numpy() - model()["bias"].numpy()).mean())
    assert moved == pytest.approx(sum(shifts.values()) / 3, abs=1e-5)  # and not 0.001


def test_without_the_check_an_aggregation_of_ones_own_gets_one_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(FedAvg):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            given.append([reply for reply in replies if not reply.has_error()])
            return super().aggregate_train(server_round, given[-1])

    given: list[Any] = []
    with pytest.raises(ConfigError):
        SecAgg(Counting())
    without_check(monkeypatch, strategies, "check_strategy", "own-aggregation")
    monkeypatch.setattr("secagg_client.flower.server.check_strategy", strategies.check_strategy)
    grid = MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)})
    SecAgg(Counting(fraction_evaluate=0.0), clip=0.05).start(grid=grid, initial_arrays=model(), num_rounds=1)
    assert [len(replies) for replies in given] == [1]
