"""The FL server: sends its model to three clients, and adds the mean of what they trained."""

from multiprocessing.connection import Listener

import numpy as np
from secagg import FixedPoint, RoundConfig, Schema, digest_model
from secagg_client import ControlClient

model = {"weights": np.zeros(4, np.float32)}
encoding = FixedPoint(clip=5.0, value_bits=16, max_weight=100)
control = ControlClient("unix:/run/secagg/control.sock")

with Listener(("", 7000), authkey=b"an example") as listener:
    clients = [listener.accept() for _ in range(3)]
    for number in range(1, 4):
        for client in clients:
            client.send(model)
        config = RoundConfig(
            task="fl", schema=Schema.of(model), encoding=encoding, max_participants=3, model_digest=digest_model(model)
        )
        mean = control.result(control.open_round(config)).mean(config).arrays
        model = {name: (array + mean[name]).astype(np.float32) for name, array in model.items()}
        print(f"round {number}: weights {model['weights'].round(2)}")
