"""The benchmark's app for Flower: one training function, and a server and a client app around it for each way.

Imports Flower, so only the process that runs a simulation imports this module.
"""

import time
from collections.abc import Callable
from typing import Any

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from secagg.tools.bench.frameworks.digits import Arrays, Records, initial, records_of, train
from secagg.tools.bench.frameworks.setting import Setting

Seen = Callable[[Arrays], None]
"""Called with the first model, and with the model of each round."""


def client_app(setting: Setting) -> ClientApp:
    """The client's side of a way."""
    if setting.way == "secaggplus":
        from flwr.client.mod import secaggplus_mod  # noqa: PLC0415 - Flower's own, which warns that it is old

        return ClientApp(client_fn=_legacy_client(setting), mods=[Dying(setting), secaggplus_mod])
    mods: list[Any] = [Dying(setting)]
    if setting.secured:
        from secagg_client.flower import SecAggMod  # noqa: PLC0415 - not needed by the other ways

        mods.append(SecAggMod(identities=setting.identities or None))
    app = ClientApp(mods=mods)

    def on_train(message: Message, context: Context) -> Message:
        arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
        records = _records(context)
        trained, loss = train(arrays, records)
        time.sleep(setting.training_s)
        metrics = MetricRecord({"num-examples": len(records.inputs), "loss": loss})
        return Message(RecordDict({"arrays": _record(trained), "metrics": metrics}), reply_to=message)

    app.train()(on_train)
    return app


def serve(setting: Setting, grid: Grid, context: Context, seen: Seen) -> None:
    """The server's side: all rounds."""
    model = initial(setting.hidden)

    def evaluated(_: int, arrays: ArrayRecord) -> MetricRecord:
        seen({name: array.numpy() for name, array in arrays.items()})
        return MetricRecord()

    if setting.way == "secaggplus":
        _serve_legacy(setting, grid, context, model, seen)
        return
    least = min(setting.clients, setting.clients - len(setting.dying))
    strategy: Any = FedAvg(fraction_evaluate=0.0, min_train_nodes=least, min_available_nodes=least)
    if setting.secured:
        from secagg_client.flower import SecAgg, Sidecar  # noqa: PLC0415 - not needed by the other ways

        transport = Sidecar(setting.control, setting.address) if setting.way == "sidecar" else None
        strategy = SecAgg(strategy, transport=transport, clip="auto", max_weight=2000)
    strategy.start(grid=grid, initial_arrays=_record(model), num_rounds=setting.rounds, evaluate_fn=evaluated)


class Dying:
    """A mod in front of all others: a client that is to die raises from its n-th training message on."""

    def __init__(self, setting: Setting) -> None:
        self._dying = dict(setting.dying)

    def __call__(self, message: Message, context: Context, call_next: Any) -> Message:
        """Raise, or pass the message on."""
        client = int(context.node_config["partition-id"])
        if client in self._dying:
            counted: Any = context.state.get("dying", MetricRecord({"messages": 0}))
            if counted["messages"] >= self._dying[client]:  # Flower keeps the old context when an app raises
                raise RuntimeError("this client dies here")
            context.state["dying"] = MetricRecord({"messages": int(counted["messages"]) + 1})
        return call_next(message, context)


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def _records(context: Context) -> Records:
    return records_of(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))


def _legacy_client(setting: Setting) -> Callable[[Context], Any]:
    def make(context: Context) -> Any:
        return _LegacyClient(setting, _records(context)).to_client()

    return make


class _LegacyClient(NumPyClient):  # type: ignore[misc]  # Any, where Flower is not installed
    def __init__(self, setting: Setting, records: Records) -> None:
        self._setting, self._records = setting, records

    def fit(self, parameters: Any, config: Any) -> Any:
        names = initial(1)
        trained, loss = train(dict(zip(names, parameters, strict=True)), self._records)
        time.sleep(self._setting.training_s)
        return list(trained.values()), len(self._records.inputs), {"loss": loss}


def _serve_legacy(setting: Setting, grid: Grid, context: Context, model: Arrays, seen: Seen) -> None:
    def evaluated(_: int, parameters: Any, __: Any) -> tuple[float, dict[str, Any]]:
        seen(dict(zip(model, parameters, strict=True)))
        return 0.0, {}

    least = min(setting.clients, setting.clients - len(setting.dying))
    strategy = LegacyFedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=least,
        min_available_clients=least,
        initial_parameters=ndarrays_to_parameters(list(model.values())),
        evaluate_fn=evaluated,
    )
    legacy = LegacyContext(context=context, config=ServerConfig(num_rounds=setting.rounds), strategy=strategy)
    threshold = setting.clients // 2 + 1
    workflow = SecAggPlusWorkflow(
        num_shares=setting.clients, reconstruction_threshold=threshold, max_weight=2000, timeout=120.0
    )
    DefaultWorkflow(fit_workflow=workflow)(grid, legacy)
