"""A site: trains on its own images."""

import nvflare.client as flare
from model import SITES, TEST, Net, accuracy, fit, images
from nvflare.app_common.abstract.fl_model import FLModel

flare.init()
number = int(flare.get_site_name().removeprefix("site-")) - 1
x, y = images(slice(number, TEST.start, SITES))
net = Net()
while flare.is_running():
    model = flare.receive()
    net.load_state_dict(model.params)
    metrics = {"accuracy": accuracy(net, x, y), "loss": fit(net, x, y)}
    flare.send(FLModel(params=net.state_dict(), metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": len(y)}))
