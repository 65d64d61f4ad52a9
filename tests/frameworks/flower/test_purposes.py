"""What the app computed goes into rounds of the purposes that it was computed for, whatever the server names."""

from typing import Any

import pytest
from flwr.app import Context, Message, MetricRecord, RecordDict
from secagg_client.flower.mod import _Task
from secagg_client.learning.metrics import Metrics
from secagg_client.participation.results import Offer

from secagg.context import RoundId
from tests.carrying import small_round
from tests.frameworks.flower.memory_grid import MemoryGrid, model
from tests.rounds import SEMI_HONEST

REPORTED = Metrics({"loss": (0.0, 10.0)}, 100)


def offer(purpose: str) -> Offer:
    config = small_round(5, SEMI_HONEST, purpose=purpose, schema=REPORTED.schema, encoding=REPORTED.encoding)
    return Offer(RoundId(purpose.encode().ljust(16)), config, b"")


@pytest.mark.parametrize(("kind", "answered"), [("train", "metrics"), ("evaluate", "evaluate")])
def test_metrics_go_into_one_purpose(kind: str, answered: str) -> None:
    """Else a server that asks for both, of cohorts that differ by one node, has that node's metrics."""

    def call(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"loss": 0.5, "num-examples": 10})
        return Message(RecordDict({"arrays": model(), "metrics": metrics}), reply_to=message)

    MemoryGrid({})  # says who sends, which a message asks for
    message = Message(RecordDict({"arrays": model()}), dst_node_id=2, message_type=kind)
    message.metadata.__dict__["_message_id"] = "1"
    context: Any = None
    task = _Task(message, context, call, "num-examples")
    made = task.contribute([offer("metrics"), offer("evaluate")])
    assert list(made) == [offer(answered).round_id]
    assert task.contribute([offer("made-up")]) == {}
