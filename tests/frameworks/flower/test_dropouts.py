"""Nodes that fail, fall silent, or whose replies are lost, in every exchange: the round goes on without them."""

import re
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import FedAvg, Result
from secagg_client.flower import SecAgg, SecAggMod

from secagg.crypto.identity import TrustAnchors
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import ConfigError, RoundAborted
from secagg.messages import Phase
from tests.frameworks.flower.memory_grid import Fault, MemoryGrid, app_of, model
from tests.rounds import deployment

AT = {
    "keys": "open",
    "shares": str(Phase.ADVERTISE_KEYS),
    "training": str(Phase.SHARE_KEYS),
    "unmasking": str(Phase.MASKED_INPUT),
}
"""By what a node is asked for, the step that asks."""
FAULTS = ["error", "silence", "lost", "raise"]


def carries(message: Message, kind: str, kinds: str = "train") -> bool:
    """Whether a message asks for that, in training or in evaluation."""
    return message.metadata.message_type == kinds and kind in message.content["secagg"]["kinds"]


def failing(nodes: set[int], fault: str, kind: str, *, from_round: int = 1) -> Fault:
    """These nodes fail whenever they are asked for that, from a round on."""
    seen: dict[int, int] = {}

    def what(node: int, _number: int, message: Message) -> str | None:
        if node not in nodes or not carries(message, kind):
            return None
        seen[node] = seen.get(node, 0) + 1
        return fault if seen[node] >= from_round else None

    return what


def grid_of(nodes: int, fault: Fault) -> MemoryGrid:
    return MemoryGrid({n: app_of([SecAggMod()], shift=0.001 * n, weight=n) for n in range(1, nodes + 1)}, fault=fault)


def run(grid: MemoryGrid, rounds: int = 1, **options: Any) -> Result:
    given: dict[str, Any] = {"clip": 0.05, "value_bits": 24, "max_weight": 50, "phase_s": 0.02} | options
    strategy = FedAvg(fraction_evaluate=0.0 if "metrics" not in options else 1.0)
    return SecAgg(strategy, **given).start(grid=grid, initial_arrays=model(), num_rounds=rounds, timeout=0.1)


def shift(arrays: ArrayRecord) -> float:
    return float((arrays["bias"].numpy().astype(np.float64) - model()["bias"].numpy()).mean())


def mean_of(nodes: set[int]) -> float:
    return 0.001 * sum(node * node for node in nodes) / sum(nodes)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("asked", AT)
def test_the_mean_is_that_of_the_others_before_the_update_is_in_and_of_all_after(asked: str, fault: str) -> None:
    result = run(grid_of(5, failing({2}, fault, AT[asked])))
    there = {1, 3, 4, 5} if asked != "unmasking" else {1, 2, 3, 4, 5}
    assert shift(result.arrays) == pytest.approx(mean_of(there), abs=1e-6)


@pytest.mark.parametrize("asked", AT)
def test_two_of_five_may_fail_and_three_may_not(asked: str) -> None:
    result = run(grid_of(5, failing({2, 4}, "error", AT[asked])))
    there = {1, 3, 5} if asked != "unmasking" else {1, 2, 3, 4, 5}
    assert shift(result.arrays) == pytest.approx(mean_of(there), abs=1e-6)
    assert not run(grid_of(5, failing({1, 2, 4}, "error", AT[asked]))).arrays


@pytest.mark.parametrize("asked", AT)
def test_a_node_that_failed_once_is_there_again(asked: str) -> None:
    times = []

    def once(node: int, _number: int, message: Message) -> str | None:
        if node == 2 and carries(message, AT[asked]):
            times.append(message)
            return "error" if len(times) == 1 else None
        return None

    grid = grid_of(5, once)
    result = run(grid, rounds=3, metrics={"loss": (0, 10)})
    assert result.train_metrics_clientapp.keys() == {1, 2, 3}
    assert len(times) > 1


def test_a_threshold_of_ones_own_holds(caplog: pytest.LogCaptureFixture) -> None:
    """By default three of five nodes are enough."""
    assert not run(grid_of(5, failing({1, 2}, "error", AT["training"])), threshold=4).arrays
    assert "fewer than the threshold 4" in caplog.text


def test_more_colluding_nodes_than_a_round_can_stand_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_colluding"):
        run(grid_of(5, lambda *_: None), max_colluding=5)


def test_twenty_nodes_lose_one_in_each_exchange_and_no_round(caplog: pytest.LogCaptureFixture) -> None:
    dying = {3: "keys", 7: "shares", 11: "training", 15: "unmasking"}

    def fault(node: int, _number: int, message: Message) -> str | None:
        return "error" if node in dying and carries(message, AT[dying[node]]) else None

    result = run(grid_of(20, fault), rounds=5, metrics={"loss": (0, 10)})
    assert result.train_metrics_clientapp.keys() == {1, 2, 3, 4, 5}
    means = re.findall(r"SecAgg: the mean of (\d+) of 20 nodes", caplog.text)
    assert len(means) == 5
    assert min(map(int, means)) >= 16


def test_the_strategy_is_told_who_dropped_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flwr")
    run(grid_of(5, failing({2}, "error", AT["training"])))
    assert "SecAgg: node 2 dropped out: error 8: the client app died" in caplog.text
    assert "aggregate_train: Received 1 results and 1 failures" in caplog.text


def test_a_round_without_a_sum_leaves_the_model_and_the_job_goes_on() -> None:
    grid = grid_of(5, lambda node, number, message: "error" if node > 2 and number == 1 else None)
    result = run(grid, rounds=2)
    assert shift(result.arrays) == pytest.approx(mean_of({1, 2, 3, 4, 5}), abs=1e-6)


@pytest.mark.parametrize("fault", ["error", "silence"])
def test_a_round_in_which_nobody_takes_part_stops_the_job(fault: str) -> None:
    with pytest.raises(RoundAborted, match="no node took part in a secure round, so the job stops"):
        run(grid_of(5, lambda node, number, message: fault), rounds=3)


def test_an_evaluation_in_which_nobody_takes_part_does_not() -> None:
    grid = grid_of(5, lambda node, number, message: "error" if message.metadata.message_type == "evaluate" else None)
    result = run(grid, rounds=2, metrics={"accuracy": (0, 1)})
    assert not result.evaluate_metrics_clientapp
    assert result.arrays


@pytest.mark.parametrize("asked", AT)
def test_an_evaluation_goes_on_without_a_node(asked: str) -> None:
    def fault(node: int, _number: int, message: Message) -> str | None:
        return "error" if node == 4 and carries(message, AT[asked], "evaluate") else None

    result = run(grid_of(5, fault), metrics={"accuracy": (0, 1)})
    assert dict(result.evaluate_metrics_clientapp[1]) == {"accuracy": pytest.approx(0.25, abs=1e-6)}


def test_of_an_error_that_flower_reports_the_log_has_the_last_line(caplog: pytest.LogCaptureFixture) -> None:
    """The rest is a traceback, which in a simulation names files and lines of the client."""
    run(grid_of(5, failing({2}, "raise", AT["training"])))
    (line,) = [line for line in caplog.messages if "node 2 dropped out" in line]
    assert "a worker died" in line
    assert "Traceback" not in line


@pytest.mark.parametrize("trust", [None, deployment().trust])
def test_many_nodes_may_stand_on_a_ring(trust: TrustAnchors | None) -> None:
    schema = Schema((ArraySpec("w", (3,)),))
    for graph, on_ring in (("auto", True), ("complete", False)):
        strategy = SecAgg(FedAvg(), clip=1.0, threshold=300, max_colluding=4, graph=graph, trust=trust)  # type: ignore[arg-type]
        config = strategy._settings.train_rounds(schema, 400, bytes(32), None)[0]
        assert (config.ring is not None) is on_ring
    with pytest.raises(ConfigError, match="graph is 'complete' or 'auto'"):
        SecAgg(FedAvg(), clip=1.0, graph="ring")  # type: ignore[arg-type]
