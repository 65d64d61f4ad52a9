"""The training script of FLARE's sites: `flare_site.py CLIENTS MODEL TRAINING_S`."""

import sys
import time

import nvflare.client as flare
from nvflare.app_common.abstract.fl_model import FLModel

from secagg.tools.bench.frameworks.digits import HIDDEN, flat, records_of, shaped, train

KEY = "numpy_key"


def main(clients: int, hidden: int, training_s: float) -> None:
    """Train whenever a model comes, until the job is over."""
    flare.init()
    records = records_of(int(flare.get_site_name().removeprefix("site-")) - 1, clients)
    while flare.is_running():
        model = flare.receive()
        trained, loss = train(shaped(model.params[KEY], hidden), records)
        time.sleep(training_s)
        meta = {"NUM_STEPS_CURRENT_ROUND": len(records.inputs)}
        flare.send(FLModel(params={KEY: flat(trained)}, metrics={"loss": loss}, meta=meta))


if __name__ == "__main__":
    main(int(sys.argv[1]), HIDDEN[sys.argv[2]], float(sys.argv[3]))
