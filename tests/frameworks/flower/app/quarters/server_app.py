"""Two rounds; the last lines that it prints say what it ran on and what came out."""

import json
import sys

import google.protobuf
import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from secagg_client.flower import SecAgg

import secagg

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), clip=1.0, max_weight=10)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord([np.zeros(4, np.float32)]), num_rounds=2)
    model = [array.tolist() for array in result.arrays.to_numpy_ndarrays()]
    ran_on = {"secagg": secagg.__file__, "protobuf": google.protobuf.__version__}
    sys.stdout.write(f"ran on {json.dumps(ran_on)}\nmodel {json.dumps(model)}\n")
