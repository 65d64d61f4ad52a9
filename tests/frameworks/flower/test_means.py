"""Every strategy of means gives what it gives in plain, within the rounding bound; nothing of the app changes."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp.mod import fixedclipping_mod
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Result, Strategy
from secagg_client.flower import SecAgg, SecAggMod

from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.robust.grouping import Combine, Groups
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, model

METRICS = {"loss": (0.0, 10.0), "accuracy": (0.0, 1.0)}
KINDS: list[tuple[type[Strategy], dict[str, Any], float]] = [
    (FedAvg, {}, 1e-5),
    (FedProx, {"proximal_mu": 0.1}, 1e-5),
    (FedAvgM, {"server_momentum": 0.9, "server_learning_rate": 0.5}, 2e-5),
    (FedYogi, {"eta": 0.01}, 1e-4),
    (FedAdam, {"eta": 0.01}, 1e-4),
    (FedAdagrad, {"eta": 0.01}, 1e-4),
]


def grid_of(mods: bool, nodes: int = 5) -> MemoryGrid:
    apps = {
        node: app_of([SecAggMod()] if mods else [], shift=0.004 * node, loss=0.1 * node, weight=min(10 * node, 50))
        for node in range(1, nodes + 1)
    }
    return MemoryGrid(apps)


def run(
    strategy: Strategy, grid: MemoryGrid, arrays: ArrayRecord | None = None, rounds: int = 3, **options: Any
) -> Result:
    given: dict[str, Any] = {"clip": 0.05, "value_bits": 24, "max_weight": 50, "metrics": METRICS} | options
    return SecAgg(strategy, **given).start(grid=grid, initial_arrays=arrays or model(), num_rounds=rounds)


def distance(one: ArrayRecord, other: ArrayRecord) -> float:
    assert list(one) == list(other)
    floats = [name for name in one if name != "counter"]
    return max(float(np.abs(one[name].numpy() - other[name].numpy()).max()) for name in floats)


@pytest.mark.parametrize(("kind", "arguments", "tolerance"), KINDS, ids=lambda value: getattr(value, "__name__", ""))
def test_strategies_of_means_give_what_they_give_in_plain(
    kind: type[Strategy], arguments: dict[str, Any], tolerance: float
) -> None:
    plain = kind(**arguments).start(grid=grid_of(mods=False), initial_arrays=model(), num_rounds=3)
    secure = run(kind(**arguments), grid_of(mods=True))
    assert distance(plain.arrays, secure.arrays) < tolerance
    assert distance(plain.arrays, model()) > 100 * tolerance
    for mine, theirs in (
        (secure.train_metrics_clientapp, plain.train_metrics_clientapp),
        (secure.evaluate_metrics_clientapp, plain.evaluate_metrics_clientapp),
    ):
        assert mine.keys() == theirs.keys() == {1, 2, 3}
        for number in mine:
            assert dict(mine[number]) == pytest.approx(dict(theirs[number]), abs=1e-5)


def test_integer_buffers_stay_as_the_server_has_them() -> None:
    result = run(FedAvg(), grid_of(mods=True), rounds=2)
    assert result.arrays["counter"].numpy() == 3


def test_the_number_of_examples_is_the_sum_of_all() -> None:
    seen = []

    class Noting(FedAvg):  # type: ignore[misc]
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            replies = list(replies)
            seen.append([dict(reply.content["metrics"]) for reply in replies])
            return super().aggregate_train(server_round, replies)

    run(Noting(), grid_of(mods=True), rounds=1, mean_based=True)
    assert [metrics["num-examples"] for metrics in seen[0]] == [150]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_come_back_as_they_were(dtype: str) -> None:
    arrays = model(bias=np.linspace(-1, 1, 7).astype(dtype))
    plain = FedAvg().start(grid=grid_of(mods=False), initial_arrays=arrays, num_rounds=2)
    secure = run(FedAvg(), grid_of(mods=True), arrays, rounds=2)
    assert secure.arrays["bias"].dtype == plain.arrays["bias"].dtype == dtype
    assert distance(plain.arrays, secure.arrays) < (2e-3 if dtype == "float16" else 1e-5)


def test_arrays_without_values_and_of_no_numbers_stay() -> None:
    arrays = model(empty=np.zeros((0, 3), np.float32), flags=np.array([True, False]))
    result = run(FedAvg(), grid_of(mods=True), arrays, rounds=2)
    assert result.arrays["empty"].numpy().shape == (0, 3)
    assert result.arrays["flags"].numpy().tolist() == [True, False]


def test_a_part_of_the_nodes_trains_and_evaluates() -> None:
    grid = grid_of(mods=True, nodes=8)
    result = run(FedAvg(fraction_train=0.5, fraction_evaluate=0.5), grid, rounds=3)
    assert result.train_metrics_clientapp.keys() == result.evaluate_metrics_clientapp.keys() == {1, 2, 3}
    trained = {number: {node for node, way, message in grid.seen if way == "down"} for number in (1,)}
    assert trained[1] <= set(range(1, 9))


def test_without_evaluation_nobody_is_asked_to_evaluate() -> None:
    for strategy, options in ((FedAvg(fraction_evaluate=0.0), {}), (FedAvg(), {"metrics": None})):
        grid = grid_of(mods=True)
        result = run(strategy, grid, rounds=1, **options)
        assert {message.metadata.message_type for _, way, message in grid.seen} == {"train"}
        assert not result.evaluate_metrics_clientapp


def test_a_function_that_evaluates_at_the_server_is_called_with_the_strategys_arrays() -> None:
    seen = []
    SecAgg(FedAvg(), clip=0.05).start(
        grid=grid_of(mods=True),
        initial_arrays=model(),
        num_rounds=2,
        evaluate_fn=lambda number, arrays: seen.append((number, list(arrays))),
    )
    assert seen == [(number, ["conv", "counter", "bias"]) for number in (0, 1, 2)]


def test_a_clip_that_is_searched_holds_every_update() -> None:
    plain = FedAvg().start(grid=grid_of(mods=False), initial_arrays=model(), num_rounds=2)
    secure = run(FedAvg(), grid_of(mods=True), rounds=2, clip="auto")
    assert distance(plain.arrays, secure.arrays) < 1e-5


def test_a_clip_is_searched_again_if_the_first_training_changed_nothing() -> None:
    calls = dict.fromkeys(range(1, 4), 0)

    def warming_up(message: Message, context: Context) -> Message:
        calls[context.node_id] += 1
        step = np.float32(0.0 if calls[context.node_id] == 1 else 0.01)
        arrays = {n: Array(np.asarray(a.numpy() + step, a.numpy().dtype)) for n, a in message.content["arrays"].items()}
        content = RecordDict({"arrays": ArrayRecord(arrays), "metrics": MetricRecord({"num-examples": 10})})
        return Message(content, reply_to=message)

    grid = MemoryGrid({node: app_of([SecAggMod()], train=warming_up) for node in calls})
    result = SecAgg(FedAvg(fraction_evaluate=0.0)).start(grid=grid, initial_arrays=model(), num_rounds=2)
    assert result.arrays["bias"].numpy() == pytest.approx(model()["bias"].numpy() + 0.01, abs=1e-4)


def test_a_mod_behind_ours_clips_the_plain_update() -> None:
    mods = [SecAggMod(), fixedclipping_mod]
    grid = MemoryGrid({node: app_of(mods, shift=0.5) for node in (1, 2, 3)})
    start = ArrayRecord({"bias": Array(np.zeros(4, np.float32))})
    secure = SecAgg(FedAvg(fraction_evaluate=0.0), clip=1.0, value_bits=24, max_weight=50)
    norm = ConfigRecord({"clipping_norm": 0.2})
    result = secure.start(grid=grid, initial_arrays=start, num_rounds=1, train_config=norm)
    assert result.arrays["bias"].numpy() == pytest.approx([0.1] * 4, abs=1e-3)


def test_groups_are_combined_by_median() -> None:
    result = run(FedAvg(), grid_of(mods=True, nodes=9), rounds=1, groups=Groups(count=3, combine=Combine.MEDIAN))
    shift = result.arrays["bias"].numpy() - model()["bias"].numpy()
    assert np.ptp(shift) < 1e-5
    assert 0.004 * 1 < shift.mean() < 0.004 * 9
    assert "loss" in result.train_metrics_clientapp[1]  # summed over all groups, beside the sum of each


def test_an_encoding_of_ones_own_is_used() -> None:
    pipeline = Pipeline.parse("clip(l2=1.0) | rotate | weigh(max=50) | quantise(bits=24, range=1.0)")
    plain = FedAvg().start(grid=grid_of(mods=False), initial_arrays=model(), num_rounds=1)
    for encoding in (pipeline, FixedPoint(1.0, 24, 50)):
        secure = SecAgg(FedAvg(), encoding=encoding).start(
            grid=grid_of(mods=True), initial_arrays=model(), num_rounds=1
        )
        assert distance(plain.arrays, secure.arrays) < 1e-4


@pytest.mark.parametrize("weights", ["weigh(max=5000) | ", ""])
def test_metrics_are_weighted_as_far_as_the_encoding_is(weights: str) -> None:
    grid = MemoryGrid({node: app_of([SecAggMod()], weight=3000, loss=0.25) for node in (1, 2, 3)})
    encoding = Pipeline.parse(f"{weights}quantise(bits=24, range=1.0)")
    most = 1000 if weights else 5000
    secure = SecAgg(FedAvg(fraction_evaluate=0.0), encoding=encoding, metrics={"loss": (0, 1)}, max_weight=most)
    result = secure.start(grid=grid, initial_arrays=model(), num_rounds=1)
    assert result.train_metrics_clientapp[1]["loss"] == 0.25
    assert result.arrays["bias"].numpy() == pytest.approx(model()["bias"].numpy() + 0.01, abs=1e-4)


def test_start_takes_what_the_strategys_own_takes_in_the_same_order() -> None:
    seen = []

    class Noting(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            seen.append(dict(config))
            return super().configure_train(server_round, arrays, config, grid)

    secure = SecAgg(Noting(fraction_evaluate=0.0), clip=0.05)
    secure.start(grid_of(mods=True), model(), 1, 60.0, ConfigRecord({"rate": 0.1}))
    assert seen == [{"rate": 0.1}]
