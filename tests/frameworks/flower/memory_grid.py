"""Flower in memory: a grid that runs real client apps, and copies messages and contexts as Flower does."""

import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

RUN = 7
SERVER = 1
Fault = Callable[[int, int, Message], str | None]
"""By node, number of its message from 1, and message: "error", "silence", "lost" (the reply is), "raise", or None."""


@dataclass
class MemoryGrid(Grid):  # type: ignore[misc]  # Any, where Flower is not installed
    """Runs the app of a node when its message is pushed.

    Attributes:
        apps: by node id.
        node_configs: by node id.
        fault: what goes wrong.
        seen: what the server handed in and got, in order: node, direction ("down" or "up") and message.
    """

    apps: Mapping[int, ClientApp]
    node_configs: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    fault: Fault = lambda node, number, message: None
    seen: list[tuple[int, str, Message]] = field(default_factory=list)
    contexts: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, SERVER, 1
        self._ids = count(1)
        self._counts: dict[int, int] = {}
        self._replies: dict[str, Message] = {}
        for node in self.apps:
            config = self.node_configs.get(node, {})
            self.contexts[node] = pickle.dumps(Context(RUN, node, config, RecordDict(), {}))

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages]

    def _push(self, message: Message) -> str:
        message_id, node = str(next(self._ids)), message.metadata.dst_node_id
        message.metadata.__dict__["_message_id"] = message_id
        self.seen.append((node, "down", copied(message)))
        self._counts[node] = self._counts.get(node, 0) + 1
        fault = self.fault(node, self._counts[node], message)
        if fault == "silence":
            return message_id
        if fault == "error":
            reply = Message(Error(8, "the client app died"), reply_to=message)
        else:
            reply = self._run(node, copied(message), fault)
        reply = copied(reply)
        if fault != "lost":
            self.seen.append((node, "up", copied(reply)))
            self._replies[message_id] = reply
        return message_id

    def _run(self, node: int, message: Message, fault: str | None) -> Message:
        context = pickle.loads(self.contexts[node])  # noqa: S301  # as Flower's simulation does
        TaskIdentity.node_id = node
        try:
            if fault == "raise":
                raise RuntimeError("a worker died")
            reply = self.apps[node](message, context)
        except Exception as error:
            return Message(Error(3, f"Traceback of\n {error!r}"), reply_to=message)
        finally:
            TaskIdentity.node_id = SERVER
        self.contexts[node] = pickle.dumps(context)
        return reply

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *arguments: Any, **named: Any) -> Message:
        raise NotImplementedError


def copied(message: Message) -> Message:
    """The message as it comes out of a channel."""
    made: Message = pickle.loads(pickle.dumps(message))  # noqa: S301
    return made


def app_of(mods: list[Any], *, shift: float = 0.01, loss: float = 0.5, weight: Any = 10, **changes: Any) -> ClientApp:
    """An app that adds `shift` to every floating value of the model.

    Args:
        mods: of the app.
        shift: what training adds.
        loss: the metric `loss`, in training and in evaluation.
        weight: `num-examples`; None leaves it out.
        changes: `train` or `evaluate`, functions in place of the usual ones.
    """
    app = ClientApp(mods=mods)

    def trained(message: Message, context: Context) -> Message:
        made = {}
        for name, array in message.content["arrays"].items():
            values = array.numpy()
            made[name] = Array(np.asarray(values + values.dtype.type(shift if values.dtype.kind == "f" else 1)))
        metrics = {"loss": loss} | ({} if weight is None else {"num-examples": weight})
        content = RecordDict({"arrays": ArrayRecord(made), "metrics": MetricRecord(metrics)})
        return Message(content, reply_to=message)

    def evaluated(message: Message, context: Context) -> Message:
        metrics = {"loss": loss, "accuracy": 0.25} | ({} if weight is None else {"num-examples": weight})
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    app.train()(changes.get("train", trained))
    app.evaluate()(changes.get("evaluate", evaluated))
    return app


def model(**changes: Any) -> ArrayRecord:
    """A small model with a counter of batch normalisation."""
    rng = np.random.default_rng(5)
    arrays = {
        "conv": rng.normal(size=(3, 4)).astype(np.float32),
        "counter": np.array(3, np.int64),
        "bias": rng.normal(size=7).astype(np.float32),
    }
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in (arrays | changes).items()})
