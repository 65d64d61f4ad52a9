"""The plug-in that the package's docstring shows, and what PROTOCOL says of other channels."""

import inspect
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import secagg_client.carried
from secagg_client.carried import steps
from secagg_client.carried.participant import MAX_ROUNDS, MAX_STEPS

from secagg.config import RoundConfig
from secagg.context import digest_model
from secagg.errors import RoundAborted
from secagg.policy import Policy
from tests.carrying import ANYTHING, small_round
from tests.rounds import SEMI_HONEST

CHANNELS = (
    (Path(__file__).parents[3] / "proto/PROTOCOL.md").read_text().split("### Other channels")[1].split("\n## ")[0]
)
MODEL = {"values": np.arange(64, dtype=np.float32)}


def shown() -> dict[str, Any]:
    """The functions of the docstring."""
    text = inspect.getdoc(secagg_client.carried) or ""
    start, stop = text.index("    def secure_mean"), text.index("The plug-in writes")
    made: dict[str, Any] = {"time": time, "digest_model": digest_model, "RoundAborted": RoundAborted}
    made |= {name: getattr(secagg_client.carried, name) for name in secagg_client.carried.__all__}
    exec(textwrap.dedent(text[start:stop]), made)  # noqa: S102, our own docstring
    return made


@dataclass
class Context:
    """What a framework gives to the code of a client."""

    name: str
    policy: Policy = ANYTHING
    states: dict[str, bytes] = field(default_factory=dict)
    trained: int = 0

    def train(self, model: dict[str, np.ndarray[Any, Any]]) -> tuple[dict[str, np.ndarray[Any, Any]], int]:
        self.trained += 1
        return {"values": np.full_like(model["values"], int(self.name) / 10)}, int(self.name)


@dataclass
class Reply:
    steps: list[steps.Step]
    error: str = ""


class Framework:
    """A framework whose clients answer at once; some crash instead."""

    def __init__(self, answer: Any, crash: tuple[str, ...] = ()) -> None:
        self.clients = [str(number) for number in range(1, 6)]
        self.contexts = {name: Context(name) for name in self.clients}
        self._answer = answer
        self._crash = crash
        self._inbox: list[tuple[str, Reply]] = []

    def send(self, client: str, message: Any) -> None:
        crashed = client in self._crash
        reply = Reply([], "it crashed") if crashed else Reply(self._answer(message, self.contexts[client]))
        self._inbox.append((client, reply))

    def replies(self) -> Iterator[tuple[str, Reply]]:
        while self._inbox:
            yield self._inbox.pop(0)


def config() -> RoundConfig:
    return small_round(5, SEMI_HONEST, threshold=3, model_digest=digest_model(MODEL))


@pytest.mark.parametrize("crash", [(), ("5",)])
def test_the_plug_in_of_the_docstring_trains(crash: tuple[str, ...]) -> None:
    made = shown()
    framework = Framework(made["answer"], crash)
    mean = made["secure_mean"](framework, config(), MODEL)
    there = [int(name) for name in framework.clients if name not in crash]
    expected = sum(number * number / 10 for number in there) / sum(there)
    assert mean["values"] == pytest.approx(np.full(64, expected), abs=1e-3)
    assert [context.trained for context in framework.contexts.values()] == [int(name not in crash) for name in "12345"]


def test_its_round_ends_by_name_without_a_sum() -> None:
    made = shown()
    with pytest.raises(RoundAborted, match="2 of 5 participants came"):
        made["secure_mean"](Framework(made["answer"], ("1", "2", "3")), config(), MODEL)


def test_protocol_states_the_bounds_and_the_kinds_of_steps() -> None:
    assert f"first {MAX_STEPS} steps" in CHANNELS
    assert f"{MAX_ROUNDS} rounds" in CHANNELS
    assert f"{steps.MAX_FAILURE_BYTES >> 10} KiB" in CHANNELS
    for kind in (steps.OPEN, steps.LEAVE, steps.OVER):
        assert f"| `{kind}` |" in CHANNELS
