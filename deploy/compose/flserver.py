"""A toy FL server: it opens one round after the other at its sidecar, and adds the mean to its model."""

from digits import accuracy, new_model, updated

from secagg import FixedPoint, RoundConfig, Schema, digest_model
from secagg_client import ControlClient

model = new_model()
with ControlClient("unix:/run/secagg/control.sock") as control:
    for number in range(1, 6):
        config = RoundConfig(
            task="digits",
            schema=Schema.of(model),
            max_participants=5,
            model_digest=digest_model(model),
            encoding=FixedPoint(clip=1.0, value_bits=16, max_weight=1000),
        )
        mean = control.result(control.open_round(config)).mean(config)
        model = updated(model, mean.arrays)
        print(f"round {number}: mean over {mean.weight} images, accuracy {accuracy(model):.3f}", flush=True)
