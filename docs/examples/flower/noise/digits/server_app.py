"""The server: averages what the clients trained."""

from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from secagg import Budget, Pipeline
from secagg_client.flower import SecAgg

from digits.task import TEST, Net, evaluate, images

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    torch.manual_seed(0)
    net = Net()
    noisy = Pipeline.parse("clip(l2=0.2) | rotate | quantise(bits=16) | noise(law=skellam, z=2.0184)")
    ledger = Path.home() / "privacy"  # what was spent of the budget, by this job and others of the same task
    strategy = SecAgg(FedAvg(), encoding=noisy, threshold=45, budget=Budget(epsilon=8), ledger=ledger)
    rounds = context.run_config["num-server-rounds"]
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(net.state_dict()), num_rounds=rounds)
    net.load_state_dict(result.arrays.to_torch_state_dict())
    print(f"accuracy {evaluate(net, *images(TEST))['accuracy']:.3f}")
