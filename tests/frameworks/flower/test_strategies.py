"""What needs single updates is refused by name, before anything is sent."""

from typing import Any

import pytest
from flwr.app import MetricRecord
from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, FedAvgM, FedProx, Strategy
from secagg_client.flower import SecAgg
from secagg_client.flower.strategies import MEAN_BASED, raise_minimums

from secagg.errors import ConfigError

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
