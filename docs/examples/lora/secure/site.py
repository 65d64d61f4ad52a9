"""One of three sites: adapts the network to its own images. Run it as: python site.py 1"""

import sys

from model import ROUNDS, adapted, images, train
from secagg_client import Client
from secagg_client.torch import apply_, delta, snapshot

site = int(sys.argv[1])
net, (x, y) = adapted(), images(site)

folder = f"secagg-ca/participants/site-{site}"
identity = {"certificate": f"{folder}/cert.pem", "key": f"{folder}/key.pem", "ca": f"{folder}/ca.pem"}
with Client.from_files("localhost:7443", **identity) as client:
    for _ in range(ROUNDS):
        before = snapshot(net, only="lora_")
        train(net, x, y)
        result = client.participate(delta(net, before), weight=len(y), task="adapters", model=before)
        apply_(net, before, result.mean)
