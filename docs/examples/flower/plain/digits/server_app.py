"""The server: averages what the clients trained."""

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from digits.task import TEST, Net, evaluate, images

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    torch.manual_seed(0)
    net = Net()
    strategy = FedAvg()
    rounds = context.run_config["num-server-rounds"]
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(net.state_dict()), num_rounds=rounds)
    net.load_state_dict(result.arrays.to_torch_state_dict())
    print(f"accuracy {evaluate(net, *images(TEST))['accuracy']:.3f}")
