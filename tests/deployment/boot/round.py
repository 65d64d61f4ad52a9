"""A round of three participants over TLS and the control socket: all that the sidecar does, under the unit's limits."""

import threading

import numpy as np
from secagg_client import Client, ControlClient

from secagg import FixedPoint, RoundConfig, Schema, digest_model

MODEL = {"weights": np.zeros((200, 300), np.float32)}
CONFIG = RoundConfig(
    task="unit",
    schema=Schema.of(MODEL),
    max_participants=3,
    model_digest=digest_model(MODEL),
    encoding=FixedPoint(clip=1.0, value_bits=16, max_weight=1000),
)


def take_part(name: str) -> None:
    files = {"certificate": f"people/{name}/cert.pem", "key": f"people/{name}/key.pem", "ca": "secagg-ca/ca.pem"}
    with Client.from_files("localhost:7443", **files) as client:
        update = {name: np.full_like(array, 0.25) for name, array in MODEL.items()}
        client.participate(update, weight=120, task="unit", model=MODEL, timeout_s=60)


for number in (1, 2, 3):
    threading.Thread(target=take_part, args=(f"site-{number}",), daemon=True).start()
with ControlClient("unix:/run/secagg/control.sock") as control:
    mean = control.result(control.open_round(CONFIG)).mean(CONFIG)
print("mean", round(float(mean.arrays["weights"].mean()), 3))  # noqa: T201, the test reads it
