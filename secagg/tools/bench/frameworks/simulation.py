"""One run in a process of its own: `python -m secagg.tools.bench.frameworks.simulation SETTING FIGURES MODEL UPLOAD`.

The files get the figures as JSON, the last model as npz, and the last upload of one client as npy.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from secagg.tools.bench.frameworks import flower_apps
from secagg.tools.bench.frameworks.digits import Arrays, accuracy
from secagg.tools.bench.frameworks.relay import Relay
from secagg.tools.bench.frameworks.setting import Setting
from secagg.tools.bench.frameworks.view import described, upload
from secagg.tools.bench.frameworks.watched_grid import Watched, WatchedGrid
from secagg.tools.bench.memory import memory_of
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import Sidecar


def run(setting: Setting, models: Path, uploads: Path) -> dict[str, Any]:
    """Play all rounds, beside a coordinator of their own where the way needs one. What `_play` gives."""
    if setting.way != "sidecar":
        return _play(setting, None, models, uploads)
    with TemporaryDirectory(prefix="secagg-bench-") as name:
        folder = Path(name)
        made = create_identities(folder, [f"client-{number}" for number in range(setting.clients)])
        for number, own in enumerate(made.participants.values()):
            (folder / str(number)).symlink_to(own)
        with Sidecar(made.server, folder) as coordinator, Relay(coordinator.data_plane) as relay:
            held = replace(setting, identities=name, control=coordinator.control_plane, address=relay.address)
            found = _play(held, relay, models, uploads)
            found["coordinator_peak_bytes"] = memory_of(coordinator.pid).peak_bytes
            return found


def _play(setting: Setting, relay: Relay | None, models: Path, uploads: Path) -> dict[str, Any]:
    """Play all rounds. Seconds, messages, bytes and accuracy of each round but the first, and one client's replies."""
    rounds: list[dict[str, Any]] = []
    watched = Watched()
    found: dict[str, Any] = {}
    server = ServerApp()

    def main(grid: Grid, context: Context) -> None:
        ended_at: list[float] = []

        def seen(model: Arrays) -> None:
            now = time.perf_counter()
            messages, down, up = watched.next_round()
            beside_up, beside_down = relay.counted() if relay else (0, 0)
            if ended_at:  # the first call is about the model that nobody has trained yet
                rounds.append(
                    {
                        "s": now - ended_at[-1],
                        "accuracy": accuracy(model, setting.clients),
                        "messages_per_client": messages / setting.clients,
                        "down_bytes_per_client": (down + beside_down) / setting.clients,
                        "up_bytes_per_client": (up + beside_up) / setting.clients,
                    }
                )
                np.savez(models, allow_pickle=False, **model)
            ended_at.append(time.perf_counter())

        before = memory_of()
        flower_apps.serve(setting, WatchedGrid(grid, watched), context, seen)
        after = memory_of()
        found["server_before_bytes"], found["server_peak_bytes"] = before.now_bytes, after.peak_bytes

    server.main()(main)
    run_simulation(
        server_app=server,
        client_app=flower_apps.client_app(setting),
        num_supernodes=setting.clients,
        backend_config={
            "client_resources": {"num_cpus": setting.cpus, "num_gpus": 0.0},
            "init_args": {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False},
        },
    )
    np.save(uploads, upload(watched.kept), allow_pickle=False)
    return {**found, "rounds": rounds, "errors": watched.errors, "view": described(watched.kept)}


if __name__ == "__main__":
    told, *files = map(Path, sys.argv[2:])
    told.write_text(json.dumps(run(Setting.of(sys.argv[1]), *files)), encoding="utf-8")
