"""The FL server: averages the sites' adapters, weighted by their images. Run it as: python server.py"""

from model import ROUNDS, accuracy, adapted
from secagg_client import ControlClient
from secagg_client.torch import apply_, snapshot

net = adapted()

with ControlClient("unix:secagg-control.sock") as control:
    print(f"before: accuracy {accuracy(net):.3f}")
    for number in range(ROUNDS):
        before = snapshot(net, only="lora_")
        config = before.config(task="adapters", clip=0.5, max_participants=3, max_weight=500)
        apply_(net, before, control.result(control.open_round(config)).mean(config))
        print(f"round {number + 1}: accuracy {accuracy(net):.3f}")
