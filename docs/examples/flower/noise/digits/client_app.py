"""A client: trains on its own images, and evaluates the model on some that it has put aside."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from secagg_client.flower import SecAggMod

from digits.task import Net, evaluate, fit, images

app = ClientApp(mods=[SecAggMod()])


@app.train()
def train(message: Message, context: Context) -> Message:
    net, (x, y) = received(message), images(ours(context, slice(0, 1200)))
    loss = fit(net, x, y)
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(y)})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)


@app.evaluate()
def test(message: Message, context: Context) -> Message:
    net, (x, y) = received(message), images(ours(context, slice(1200, 1500)))
    metrics = MetricRecord({**evaluate(net, x, y), "num-examples": len(y)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def received(message: Message) -> Net:
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    return net


def ours(context: Context, part: slice) -> slice:
    """Every n-th image of a part belongs to this one of n clients."""
    return slice(part.start + context.node_config["partition-id"], part.stop, context.node_config["num-partitions"])
