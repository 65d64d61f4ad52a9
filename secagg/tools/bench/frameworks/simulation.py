"""One run in a process of its own: `python -m secagg.tools.bench.frameworks.simulation SETTING FIGURES MODEL UPLOAD`.

The files get the figures as JSON, the last model as npz, and the last upload of one client as npy.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from secagg.tools.bench.frameworks import flower_apps
from secagg.tools.bench.frameworks.recording import record
from secagg.tools.bench.frameworks.relay import Relay
from secagg.tools.bench.frameworks.setting import Setting
from secagg.tools.bench.memory import memory_of
from secagg.tools.deployment.identities import create_identities
from secagg.tools.deployment.sidecar import Sidecar


def run(setting: Setting, models: Path, uploads: Path) -> dict[str, Any]:
    """Play all rounds. What `record` gives."""
    found: dict[str, Any] = {}
    server = ServerApp()
    with coordinating(setting, found) as (held, relay):

        def main(grid: Grid, context: Context) -> None:
            found.update(record(held, grid, context, models, uploads, relay=relay))

        server.main()(main)
        run_simulation(
            server_app=server,
            client_app=flower_apps.client_app(held),
            num_supernodes=setting.clients,
            backend_config={
                "client_resources": {"num_cpus": setting.cpus, "num_gpus": 0.0},
                "init_args": {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False},
            },
        )
    return found


@contextmanager
def coordinating(setting: Setting, found: dict[str, Any]) -> Iterator[tuple[Setting, Relay | None]]:
    """A coordinator where the way needs one: the setting that names it, and what counts the bytes. At the end `found`
    is told its memory.
    """
    if setting.way != "sidecar":
        yield setting, None
        return
    with TemporaryDirectory(prefix="secagg-bench-") as name:
        folder = Path(name)
        made = create_identities(folder, [f"client-{number}" for number in range(setting.clients)])
        for number, own in enumerate(made.participants.values()):
            (folder / str(number)).symlink_to(own)
        with Sidecar(made.server, folder) as coordinator, Relay(coordinator.data_plane) as relay:
            yield (
                replace(setting, identities=name, control=coordinator.control_plane, address=relay.address),
                relay,
            )
            found["coordinator_peak_bytes"] = memory_of(coordinator.pid).peak_bytes


if __name__ == "__main__":
    told, *files = map(Path, sys.argv[2:])
    told.write_text(json.dumps(run(Setting.of(sys.argv[1]), *files)), encoding="utf-8")
