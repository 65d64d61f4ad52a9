"""One job in FLARE's simulator: `python -m secagg.tools.bench.frameworks.flare_job SETTING FOLDER`.

The folder gets the figures of `flare_watch`, and the last model as `model.npy`.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.app_common.np.recipes.fedavg import NumpyFedAvgRecipe
from nvflare.recipe.sim_env import SimEnv
from secagg_client.nvflare import secure

from secagg.config import ThreatModel
from secagg.tools.bench.frameworks import flare_site
from secagg.tools.bench.frameworks.digits import flat, initial
from secagg.tools.bench.frameworks.flare_watch import Watch
from secagg.tools.bench.frameworks.relay import Relay
from secagg.tools.bench.frameworks.setting import Setting
from secagg.tools.bench.memory import memory_of
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import Sidecar

NAME = "bench"
CLIP = 0.25
"""Updates of this job stay below; FLARE's plain run clips nothing."""


def run(setting: Setting, folder: Path) -> None:
    """Play all rounds, beside a coordinator of their own where the way needs one."""
    if setting.way != "sidecar":
        _play(setting, folder, {})
        return
    made = create_identities(folder, [f"site-{number + 1}" for number in range(setting.clients)])
    startup = folder / "workspace" / NAME / "startup" / "secagg"
    for name, own in made.participants.items():
        shutil.copytree(own, startup / name)
    shutil.copy(made.server / "ca.pem", startup)
    with Sidecar(made.server, folder) as coordinator, Relay(coordinator.data_plane) as relay:
        addresses = {"control": coordinator.control_plane, "coordinator": relay.address}
        _play(setting, folder, {"transport": "sidecar", "threat_model": ThreatModel.ACTIVE, **addresses})
        up, down = relay.counted()
        peak = memory_of(coordinator.pid).peak_bytes
    figures = folder / "figures.json"
    beside = {"beside_up_bytes": up, "beside_down_bytes": down, "coordinator_peak_bytes": peak}
    figures.write_text(json.dumps(json.loads(figures.read_text("utf-8")) | beside), encoding="utf-8")


def _play(setting: Setting, folder: Path, transport: dict[str, Any]) -> None:
    first = folder / "first.npy"
    np.save(first, flat(initial(setting.hidden)), allow_pickle=False)
    recipe = NumpyFedAvgRecipe(
        name=NAME,
        initial_ckpt=str(first),
        min_clients=setting.clients,
        num_rounds=setting.rounds,
        train_script=str(flare_site.__file__),
        train_args=f"{setting.clients} {setting.model} {setting.training_s}",
    )
    recipe._job.set_app_packages(["secagg", "secagg_client"])
    recipe._job.to_server(Watch(str(folder)), id="watch")
    if setting.secured:
        secure(recipe, clip=CLIP, max_weight=500, metrics={"loss": (0, 100)}, **transport)
    done = recipe.execute(SimEnv(num_clients=setting.clients, workspace_root=str(folder / "workspace")))
    shutil.copy(Path(str(done.get_result()), "server", "simulate_job", "models", "server.npy"), folder / "model.npy")


if __name__ == "__main__":
    given, folder = Setting.of(sys.argv[1]), Path(sys.argv[2])
    sys.argv = sys.argv[:1]  # which FLARE would read
    run(given, folder)
