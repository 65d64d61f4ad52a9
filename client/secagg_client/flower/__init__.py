"""Secure aggregation for Flower apps, on Flower's own channel: `SecAggMod` in the client app, `SecAgg` in the server's.

    app = ClientApp(mods=[SecAggMod()])                                                             # client_app.py
    SecAgg(FedAvg(), clip="auto", max_weight=500).start(grid=grid, initial_arrays=arrays)           # server_app.py

The server app's strategy is given one reply, which holds the mean of all updates. A weighted mean of one is itself, so
strategies that use means only work unchanged.
"""

from importlib.util import find_spec

from secagg.errors import MissingExtraError
from secagg.lazy import exports

if find_spec("flwr") is None:
    raise MissingExtraError("secagg_client.flower", "flower")

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "secagg_client.flower.mod": "SecAggMod",
        "secagg_client.flower.server": "SecAgg",
        "secagg_client.flower.sidecar": "Sidecar",
    },
)
