"""What the server sees of one node: noise, keys, sealed shares and shares. Each test has a twin that turns red."""

import re
import struct
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg
from secagg_client.flower import SecAgg, SecAggMod
from secagg_client.flower.mod import SecAggMod as Mod
from secagg_client.flower.records import RECORD, VECTORS, take

from secagg.masked.masked_input import AwaitingShares
from secagg.messages import Phase
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.parsing import parse
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, copied, model
from tests.security.uniformity import SIGMAS, chi_square_sigmas

LOSS = 0.43210987654
WEIGHT = 4321
SIZE = 60_000


def job(mods: list[Any], rounds: int = 2) -> MemoryGrid:
    """A job of five nodes; node 2 has the loss and the number of examples that are looked for."""
    apps = {node: app_of(mods, shift=0.001, weight=100) for node in (1, 3, 4, 5)}
    apps[2] = app_of(mods, shift=0.0321, loss=LOSS, weight=WEIGHT)
    grid, arrays = MemoryGrid(apps), model(bias=np.zeros(SIZE, np.float32))
    if not mods:
        FedAvg().start(grid=grid, initial_arrays=arrays, num_rounds=rounds)
        return grid
    SecAgg(FedAvg(), clip=0.05, max_weight=5000, metrics={"loss": (0, 1), "accuracy": (0, 1)}).start(
        grid=grid, initial_arrays=arrays, num_rounds=rounds
    )
    return grid


def seen_of(grid: MemoryGrid, node: int) -> list[Message]:
    return [copied(message) for who, way, message in grid.seen if (who, way) == (node, "up")]


def serialised(message: Message) -> bytes:
    """All bytes of a message's content, whatever record they are in."""
    found = b""
    for record in message.content.values():
        for value in record.values():
            values = value if isinstance(value, list) else [value]
            for one in values:
                if isinstance(one, bytes):
                    found += one
                elif isinstance(one, float):
                    found += struct.pack("<d", one)
                elif hasattr(one, "data"):
                    found += one.data
                else:
                    found += str(one).encode()
    return found


def vector_bytes(grid: MemoryGrid, node: int) -> bytes:
    """The long masked vectors of a node, one after the other."""
    payloads = b""
    for message in seen_of(grid, node):
        packet = take(message.content)
        assert packet is not None
        for step in packet.steps:
            if step.kind == str(Phase.MASKED_INPUT) and sum(map(len, step.parts)) > SIZE:
                payloads += b"".join(parse(pb.MaskedInputChunk, part).payload for part in step.parts)
    return payloads


def sigmas(data: bytes) -> float:
    return chi_square_sigmas(np.bincount(np.frombuffer(data, np.uint8), minlength=256))


def test_a_node_sends_records_of_ours_alone() -> None:
    grid = job([SecAggMod()])
    for node in grid.apps:
        for message in seen_of(grid, node):
            assert not message.has_error()
            assert set(message.content) <= {RECORD, VECTORS}
            assert message.content[RECORD]["notes"] == []


def test_its_loss_and_its_number_of_examples_are_nowhere_in_them() -> None:
    looked_for = [struct.pack("<d", LOSS), str(WEIGHT).encode(), struct.pack("<I", WEIGHT)]
    own = b"|".join(map(serialised, seen_of(job([SecAggMod()]), 2)))
    assert not any(pattern in own for pattern in looked_for[:2])
    plain = b"|".join(map(serialised, seen_of(job([]), 2)))
    assert all(pattern in plain for pattern in looked_for[:2])  # the twin: in plain they are there


def test_its_masked_update_is_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    data = vector_bytes(job([SecAggMod()]), 2)
    assert len(data) > 2 * 2 * SIZE
    assert sigmas(data) < SIGMAS
    assert bytes(data[: len(data) // 2]) != bytes(data[len(data) // 2 :])
    monkeypatch.setattr(AwaitingShares, "_masks", lambda self, delivery: ())  # the twin
    assert sigmas(vector_bytes(job([SecAggMod()], rounds=1), 2)) > 100 * SIGMAS


def test_the_same_update_twice_looks_different_each_time() -> None:
    grid = job([SecAggMod()])
    data = vector_bytes(grid, 2)
    one, other = (np.frombuffer(half, np.uint8) for half in (data[: len(data) // 2], data[len(data) // 2 :]))
    assert abs((one == other).mean() - 1 / 256) < 6 * (1 / 256 / len(one)) ** 0.5


def test_a_plain_training_message_gets_no_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server app leaves SecAgg out, by mistake or on purpose."""

    def replies() -> list[Message]:
        grid = MemoryGrid({node: app_of([SecAggMod()]) for node in (1, 2, 3)})
        FedAvg().start(grid=grid, initial_arrays=model(), num_rounds=1)
        return [message for _, way, message in grid.seen if way == "up"]

    assert all(message.has_error() for message in replies())
    without_check(monkeypatch, Mod, "_plain", "nothing-in-plain")  # the twin
    assert not any(message.has_error() for message in replies())


def test_no_words_of_an_app_travel() -> None:
    def train(message: Message, context: Any) -> Message:
        raise RuntimeError("the row of Jane Doe is bad")

    apps = {node: app_of([SecAggMod()]) for node in (1, 2, 3, 4)} | {5: app_of([SecAggMod()], train=train)}
    grid = MemoryGrid(apps)
    SecAgg(FedAvg(), clip=0.05).start(grid=grid, initial_arrays=model(), num_rounds=1)
    assert not any(re.search(b"Jane|row|bad", serialised(message)) for message in seen_of(grid, 5))
    plain = MemoryGrid({5: app_of([], train=train)})
    plain.push_messages([Message(seen_of(grid, 5)[0].content, 5, "train")])
    assert "Jane" in str(plain.seen[-1][2].error.reason)  # the twin: Flower sends what an app raises
