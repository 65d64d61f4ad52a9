"""The training script of the simulated sites: each moves every parameter by a tenth of its number."""

import sys

import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.client.tracking import SummaryWriter

DIES = sys.argv[1:]  # the names of sites whose process ends in the second round

flare.init()
writer = SummaryWriter()
site = flare.get_site_name()
number = int(site.split("-")[1])
seen = 0
while flare.is_running():
    model = flare.receive()
    seen += 1
    writer.add_scalar("loss of a site", 0.25, seen)
    if site in DIES and seen == 2:
        import os

        os._exit(1)
    parameters = {name: value + 0.1 * number for name, value in model.params.items()}
    meta = {"NUM_STEPS_CURRENT_ROUND": 10 * number}
    flare.send(FLModel(params=parameters, metrics={"accuracy": 0.1 * number}, meta=meta))
