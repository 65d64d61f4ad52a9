"""What bad input gets: the node drops out by name, the job goes on, and the log says what to change."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result
from secagg_client.flower import SecAgg, SecAggMod, records

from secagg.errors import ConfigError
from secagg.policy import Policy
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, model

SECRET = 0.8125
"""Stands for a number of the node's data."""


def replying(**content: Any) -> ClientApp:
    """An app whose training returns this content, whatever it is given."""

    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict(content), reply_to=message)

    return app_of([SecAggMod()], train=train)


def trained(**arrays: Any) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(value)) for name, value in arrays.items()})


def raising(message: Message, context: Context) -> Message:
    raise ValueError(f"row {SECRET} of the data is bad")


GOOD = MetricRecord({"num-examples": 10, "loss": 0.5})
SPOILT = np.full(7, SECRET, np.float32)
SPOILT[3] = np.nan
BAD: dict[str, tuple[ClientApp, str]] = {
    "raises": (app_of([SecAggMod()], train=raising), "its app raised an exception"),
    "nothing": (app_of([SecAggMod()], train=lambda message, context: None), "or no Message"),
    "no weight": (app_of([SecAggMod()], weight=None), "has no number of examples"),
    "no examples": (app_of([SecAggMod()], weight=0), "an empty data set"),
    "too many examples": (app_of([SecAggMod()], weight=51), "from 1 to max_weight"),
    "half an example": (app_of([SecAggMod()], weight=1.5), "no whole number"),
    "list of examples": (app_of([SecAggMod()], weight=[1, 2]), "no whole number"),
    "NaN": (replying(arrays=model(bias=SPOILT), metrics=GOOD), "NaN, infinite"),
    "NaN examples": (app_of([SecAggMod()], weight=float("nan")), "no whole number"),
    "other shape": (replying(arrays=model(bias=np.full(8, SECRET, np.float32)), metrics=GOOD), "other arrays"),
    "other names": (replying(arrays=trained(other=np.full(7, SECRET, np.float32)), metrics=GOOD), "other arrays"),
    "no arrays": (replying(metrics=GOOD), "without exactly one ArrayRecord"),
    "no metrics": (replying(arrays=model()), "without exactly one ArrayRecord"),
    "unreadable": (
        replying(arrays=ArrayRecord({"bias": Array("float32", (7,), "other", b"x")}), metrics=GOOD),
        "other arrays",
    ),
}


def run(odd: ClientApp, rounds: int = 2, **options: Any) -> tuple[Result, MemoryGrid]:
    apps = {node: app_of([SecAggMod()], shift=0.01) for node in (1, 2, 3, 4)} | {5: odd}
    grid = MemoryGrid(apps)
    given: dict[str, Any] = {"clip": 0.05, "max_weight": 50, "value_bits": 24} | options
    result = SecAgg(FedAvg(fraction_evaluate=0.0), **given).start(grid=grid, initial_arrays=model(), num_rounds=rounds)
    return result, grid


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("metrics", [None, {"loss": (0, 10)}])
def test_the_node_drops_out_by_name_and_nothing_of_its_data_travels(
    name: str, metrics: Any, caplog: pytest.LogCaptureFixture
) -> None:
    odd, told = BAD[name]
    result, grid = run(odd, metrics=metrics)
    assert result.arrays["bias"].numpy() == pytest.approx(model()["bias"].numpy() + 0.02, abs=1e-6)
    assert any("SecAgg: node 5: " in line and told in line for line in caplog.messages), caplog.messages
    for node, way, message in grid.seen:
        if (node, way) == (5, "up"):
            assert not message.has_error()
            assert b"0.8125" not in bytes(message.content["secagg"]["data"])
            assert set(message.content) <= {records.RECORD, records.VECTORS}


def test_an_app_without_the_mod_is_named_and_gets_nothing_to_train_on(caplog: pytest.LogCaptureFixture) -> None:
    def train(message: Message, context: Context) -> Message:
        return Message(RecordDict({"arrays": model(bias=SPOILT), "metrics": GOOD}), reply_to=message)

    result, grid = run(app_of([], train=train))
    assert result.arrays["bias"].numpy() == pytest.approx(model()["bias"].numpy() + 0.02, abs=1e-6)
    (line,) = {line for line in caplog.messages if "node 5 dropped out" in line}
    assert line.endswith("its app answered without SecAggMod: add it to ClientApp(mods=[…]) there")
    assert all(list(message.content) == ["secagg"] for node, way, message in grid.seen if (node, way) == (5, "down"))


def test_an_app_without_the_mod_that_fails_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    run(app_of([]))
    assert "node 5 dropped out: error 3: " in caplog.text
    assert "SecAggMod" in next(line for line in caplog.messages if "node 5 dropped out" in line)


def test_another_version_of_the_plug_in_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    mod = SecAggMod()

    def older(message: Message, context: Context, call_next: Any) -> Message:
        with monkeypatch.context() as patch:
            patch.setattr(records, "FORMAT", 0)
            patch.setattr(records, "VERSION", "0.0.9")
            return mod(message, context, call_next)

    result, _ = run(app_of([older]))
    assert result.arrays["bias"].numpy() == pytest.approx(model()["bias"].numpy() + 0.02, abs=1e-6)
    assert "node 5 dropped out" in caplog.text
    assert "0.0.9" in caplog.text


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_a_server_without_secagg_gets_nothing_in_plain(kind: str) -> None:
    grid = MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)})
    content = RecordDict({"arrays": model()})
    for reply in grid.send_and_receive([Message(content, node, kind) for node in (1, 2, 3)]):
        assert reply.has_error()
        assert "sends no update and no metric in plain" in str(reply.error.reason)


def test_queries_pass() -> None:
    app = app_of([SecAggMod()])

    def query(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"cpus": 4})}), reply_to=message)

    app.query()(query)

    grid = MemoryGrid({1: app})
    (reply,) = grid.send_and_receive([Message(RecordDict(), 1, "query")])
    assert reply.content["metrics"]["cpus"] == 4


def test_a_node_whose_policy_demands_more_says_so(caplog: pytest.LogCaptureFixture) -> None:
    run(app_of([SecAggMod(Policy())]))
    assert (
        "node 5 dropped out: refused: refused by local policy: threat model SEMI_HONEST is not allowed" in caplog.text
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": model(), "b": model()}, "sends 2 ArrayRecords"),
        ({}, "sends 0 ArrayRecords"),
    ],
)
def test_a_strategy_that_sends_no_one_model_is_told(content: dict[str, Any], told: str) -> None:
    class Odd(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            return [Message(RecordDict(content), node, "train") for node in grid.get_node_ids()]

    with pytest.raises(ConfigError, match=told):
        SecAgg(Odd(), clip=1.0).start(
            grid=MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)}), initial_arrays=model()
        )


@pytest.mark.parametrize("clip", ["auto", 1.0])
def test_a_model_without_floats_is_told_before_anybody_trains(clip: Any) -> None:
    grid = MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)})
    with pytest.raises(ConfigError, match="no floating array"):
        SecAgg(FedAvg(), clip=clip).start(grid=grid, initial_arrays=trained(counter=np.arange(3)))
    assert grid.seen == []


def test_a_strategy_that_asks_too_few_is_told() -> None:
    class Few(FedAvg):  # type: ignore[misc]
        def configure_train(self, *given: Any, **named: Any) -> Any:
            return list(super().configure_train(*given, **named))[:2]

    with pytest.raises(ConfigError, match="asks 2 nodes, and a secure round needs 3 at least"):
        SecAgg(Few(), clip=1.0).start(
            grid=MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)}), initial_arrays=model()
        )


def test_a_strategy_that_sends_a_node_two_messages_is_told() -> None:
    class Twice(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            return [Message(RecordDict({"arrays": arrays}), node, "train") for node in (1, 2, 3, 3)]

    with pytest.raises(ConfigError, match="one node two messages"):
        SecAgg(Twice(), clip=1.0).start(
            grid=MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)}), initial_arrays=model()
        )


def test_a_strategy_that_sends_nodes_different_models_is_told() -> None:
    class Personal(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            contents = {node: RecordDict({"arrays": model(bias=np.ones(7, np.float32) * node)}) for node in (1, 2, 3)}
            return [Message(content, node, "train") for node, content in contents.items()]

    with pytest.raises(ConfigError, match="different models"):
        SecAgg(Personal(), clip=1.0).start(
            grid=MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)}), initial_arrays=model()
        )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clip": "automatic"}, "clip is a number or"),
        ({"phase_s": 0}, "phase_s"),
        ({"transport": "sidecar"}, "transport is a Sidecar, not 'sidecar'"),
        ({"encoding": "quantise(bits=8)"}, "encoding is a FixedPoint, or Pipeline.parse"),
        ({"metrics": ["loss"]}, "metrics is a range for each name"),
        ({"trust": "ca.pem"}, "trust is TrustAnchors.from_pem"),
        ({"groups": 5}, "groups is Groups"),
        ({"homomorphic": "ckks"}, "homomorphic is a profile"),
        ({"budget": 8.0}, "budget is Budget"),
        ({"phase_s": "60"}, "phase_s must be a number"),
        ({"metrics": {"num-examples": (0, 100)}}, "'num-examples' is the weight of each node"),
        ({"metrics": {"loss": (1, 0)}}, "its range"),
    ],
)
def test_bad_parameters_are_told_at_once(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SecAgg(FedAvg(), **options)


@pytest.mark.parametrize(("kinds", "told"), [(["train"], "go through send_and_receive"), (["query"], None)])
def test_a_strategy_that_pushes_training_past_the_rounds_is_told(kinds: list[str], told: str | None) -> None:
    class Pushing(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            list(grid.push_messages([Message(RecordDict({"arrays": arrays}), 1, kind) for kind in kinds]))
            return super().configure_train(server_round, arrays, config, grid)

    secure = SecAgg(Pushing(fraction_evaluate=0.0), clip=1.0)
    grid = MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)})
    if told is None:
        assert secure.start(grid=grid, initial_arrays=model(), num_rounds=1).arrays
        return
    with pytest.raises(ConfigError, match=told):
        secure.start(grid=grid, initial_arrays=model(), num_rounds=1)


def test_messages_of_two_types_at_once_are_told() -> None:
    class Mixing(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            kinds = {1: "train", 2: "train", 3: "evaluate"}
            return [Message(RecordDict({"arrays": arrays}), node, kind) for node, kind in kinds.items()]

    with pytest.raises(ConfigError, match="several types at once"):
        SecAgg(Mixing(), clip=1.0).start(
            grid=MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)}), initial_arrays=model()
        )


def test_the_grid_is_otherwise_the_server_apps_own() -> None:
    grid = MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)})
    seen: list[Any] = []

    class Looking(FedAvg):  # type: ignore[misc]
        def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
            seen.append((isinstance(grid, Grid), list(grid.get_node_ids()), len(list(grid.get_nodes()))))
            seen.append(list(grid.send_and_receive([Message(RecordDict(), 1, "query")])))
            return super().configure_train(server_round, arrays, config, grid)

    SecAgg(Looking(fraction_evaluate=0.0), clip=1.0).start(grid=grid, initial_arrays=model(), num_rounds=1)
    assert seen[0] == (True, [1, 2, 3], 3)
    assert len(seen[1]) == 1
