"""The server app's side of a run, with everything written down."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context
from flwr.serverapp import Grid

from secagg.tools.bench.frameworks import flower_apps
from secagg.tools.bench.frameworks.digits import Arrays, accuracy
from secagg.tools.bench.frameworks.relay import Relay
from secagg.tools.bench.frameworks.setting import Setting
from secagg.tools.bench.frameworks.view import described, upload
from secagg.tools.bench.frameworks.watched_grid import Watched, WatchedGrid
from secagg.tools.bench.memory import memory_of


def record(
    setting: Setting, grid: Grid, context: Context, models: Path, uploads: Path, *, relay: Relay | None
) -> dict[str, Any]:
    """Play all rounds: seconds, messages, bytes and accuracy of each, memory, and one client's replies.

    Args:
        setting: what is played.
        grid: Flower's.
        context: the server app's.
        models: file for the latest model, npz.
        uploads: file for the latest upload of one client, npy.
        relay: what counts the bytes beside Flower, if any pass it.
    """
    rounds: list[dict[str, Any]] = []
    watched = Watched()
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
            np.savez(models, **dict[str, Any](model))
        ended_at.append(time.perf_counter())

    flower_apps.serve(setting, WatchedGrid(grid, watched), context, seen)
    np.save(uploads, upload(watched.kept), allow_pickle=False)
    return {
        "server_peak_bytes": memory_of().peak_bytes,
        "rounds": rounds,
        "errors": watched.errors,
        "view": described(watched.kept),
    }
