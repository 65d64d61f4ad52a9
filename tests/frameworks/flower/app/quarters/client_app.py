"""A client that adds a quarter to each value."""

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from secagg_client.flower import SecAggMod

app = ClientApp(mods=[SecAggMod()])


@app.train()
def train(message: Message, context: Context) -> Message:
    model = message.content["arrays"].to_numpy_ndarrays()
    arrays = ArrayRecord([array + 0.25 for array in model])
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 10})}), reply_to=message)
