"""Flower's simulation, with a CPU for each of twenty clients and two CPUs in all: they take turns, and none blocks."""

import re
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg, Result
from flwr.simulation import run_simulation
from secagg_client.flower import SecAgg, SecAggMod

from tests.frameworks.flower.memory_grid import app_of, model
from tests.frameworks.flower.test_dropouts import AT

CLIENTS = 20
DYING = {3: "keys", 7: "shares", 11: "training", 15: "unmasking"}
"""Numbers of clients, and at what they die."""


def dies(message: Message, context: Context, call_next: Any) -> Message:
    """A mod before ours: a client whose app fails outside of our mod."""
    kinds = message.content["secagg"]["kinds"]
    at = DYING.get(int(context.node_config["partition-id"]))
    if at and message.metadata.message_type == "train" and AT[at] in kinds:
        raise RuntimeError("this client dies")
    return call_next(message, context)


def client() -> ClientApp:
    return app_of([dies, SecAggMod()], shift=0.01, weight=10)


def test_twenty_clients_lose_one_in_each_exchange_and_no_round(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "flwr")
    results: list[Result] = []
    server = ServerApp()

    def main(grid: Any, context: Context) -> None:
        # Flower counts its sample of the first round before it waits for nodes, so the least number is all of them.
        strategy = FedAvg(min_available_nodes=CLIENTS, min_train_nodes=CLIENTS, min_evaluate_nodes=CLIENTS)
        metrics = {"loss": (0.0, 10.0)}
        # A busy machine takes minutes to start Ray, and the dying clients answer with errors at once.
        secure = SecAgg(strategy, clip=0.05, value_bits=24, max_weight=50, metrics=metrics, phase_s=300.0)
        results.append(secure.start(grid=grid, initial_arrays=model(), num_rounds=5))

    server.main()(main)
    run_simulation(
        server_app=server,
        client_app=client(),
        num_supernodes=CLIENTS,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "include_dashboard": False},
        },
    )
    (result,) = results
    assert result.train_metrics_clientapp.keys() == result.evaluate_metrics_clientapp.keys() == {1, 2, 3, 4, 5}
    moved = result.arrays["bias"].numpy() - model()["bias"].numpy()
    assert moved == pytest.approx(np.full(7, 0.05), abs=1e-5)
    sums = [int(count) for count in re.findall(r"SecAgg: the mean of (\d+) of 20 nodes", caplog.text)]
    assert len(sums) == 5
    assert min(sums) >= CLIENTS - len(DYING)
