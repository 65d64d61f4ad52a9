"""`secagg round` with integers and ranges, and what it says of a mean's precision. The sidecar is a stand-in."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from secagg_client.fetched import Fetched, written
from secagg_client.participation.outputs import output_of

from secagg.aggregates import Aggregate
from secagg.cli import round as commands
from secagg.cli.main import main
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import Integers
from secagg.errors import PrecisionWarning
from secagg.wire.configuration import encode_config
from secagg.wire.results import PackedAggregate

FLOATS = {"n": np.zeros(1), "w": np.zeros(3, np.float32)}
COUNTS = {"n": np.array(3), "cells": np.array([1, 2, 0], np.int32)}


class Sidecar(SimpleNamespace):
    """Opens nothing, and has the sum that it is given."""

    def __enter__(self) -> "Sidecar":
        return self

    def __exit__(self, *_: object) -> None:
        pass


Command = Callable[..., Any]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `secagg round …`; returns the configuration that was opened."""
    opened: list[RoundConfig] = []

    def run(*arguments: str, aggregate: Aggregate | None = None, code: int = 0) -> Any:
        def open_round(config: RoundConfig) -> bytes:
            opened.append(config)
            return bytes(16)

        def fetch_into(out: Path, round_id: RoundId, config: RoundConfig) -> Fetched:
            assert aggregate is not None
            return written(output_of(out), PackedAggregate.of(aggregate, config), round_id, config)

        sidecar = Sidecar(open_round=open_round, fetch_into=fetch_into)
        monkeypatch.setattr(commands, "_client", lambda _: sidecar)
        with pytest.raises(SystemExit) as caught:
            main(["round", *arguments])
        assert caught.value.code == code
        return opened[-1] if opened else None

    monkeypatch.chdir(tmp_path)
    np.savez("floats.npz", **FLOATS)  # type: ignore[arg-type]
    np.savez("counts.npz", **COUNTS)  # type: ignore[arg-type]
    return run


def test_integers_with_bounds_of_their_own(command: Command) -> None:
    of = ("open", "--task", "t", "--model", "counts.npz", "-n", "5")
    config = command(*of, "--integers", "100", "--range", "n=-5:7")
    assert config.encoding == Integers(max=100)
    assert [(spec.name, spec.bounds) for spec in config.schema.arrays] == [("n", (-5, 7)), ("cells", None)]
    assert command(*of, "--integers=-1:2").encoding == Integers(max=2, min=-1)


def test_floats_with_ranges_of_their_own(command: Command) -> None:
    config = command("open", "--task", "t", "--model", "floats.npz", "-n", "5", "--clip", "1", "--range", "n=1e6")
    assert config.encoding == FixedPoint(1.0)
    assert [(spec.name, spec.range) for spec in config.schema.arrays] == [("n", 1e6), ("w", None)]


def test_a_graph_that_is_chosen(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    of = ("open", "--task", "t", "--model", "floats.npz", "--clip", "1", "--json", "--graph", "auto")
    config = command(*of, "-n", "1000", "--colluding", "50")
    assert config.max_colluding == 50
    told = json.loads(capsys.readouterr().out)
    assert (told["graph"], told["degree"]) == ("ring", config.ring.degree)
    assert command(*of, "-n", "1000", "--colluding", "0", "--scheme", "bfv").ring is None
    capsys.readouterr()
    assert command(*of, "-n", "10").ring is None
    assert json.loads(capsys.readouterr().out)["graph"] == "complete"
    assert command(*of[:-2], "-n", "1000", "--colluding", "50").ring is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--integers", "3", "--clip", "1"], "give one of --clip"),
        ([], "give one of --clip"),
        (["--integers", "x"], "--integers takes whole numbers"),
        (["--integers", "3:"], "--integers takes whole numbers"),
        (["--clip", "1", "--range", "n"], "--range is ARRAY=CLIP"),
        (["--clip", "1", "--range", "n=1:y"], "--range takes whole numbers"),
        (["--clip", "1", "--range", "m=1"], "no array 'm'"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], words: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("open", "--task", "t", "--model", "floats.npz", "-n", "5", *options, code=1) is None
    assert words in capsys.readouterr().err


def summed(config: RoundConfig, update: dict[str, Any]) -> Aggregate:
    encoder = config.code.encode(config.schema.check(update), 1, Secret(bytes(32)))
    return Aggregate(encoder.read(0, config.vector_len, np.dtype(np.uint64)) * np.uint64(3), ("a", "b", "c"))


def test_fetching_integers(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    config = command("open", "--task", "t", "--model", "counts.npz", "-n", "5", "--integers", "9")
    Path("r.config").write_bytes(encode_config(config))
    capsys.readouterr()
    fetch = ("fetch", "00" * 16, "--config", "r.config", "--out", "sums.npz")
    command(*fetch, "--json", aggregate=summed(config, COUNTS))
    assert json.loads(capsys.readouterr().out)["summands"] == 3
    with np.load("sums.npz") as found:
        assert {name: found[name].tolist() for name in found.files} == {"n": 9, "cells": [3, 6, 0]}
    command(*fetch, aggregate=summed(config, COUNTS))
    assert "their exact sums in sums.npz" in capsys.readouterr().out


def test_a_mean_that_says_nothing_is_warned_of(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    fetch = ("fetch", "00" * 16, "--config", "r.config", "--out", "m.npz", "--json")
    of = ("open", "--task", "t", "--model", "floats.npz", "-n", "5", "--clip", "1")
    config = command(*of, "--max-weight", "1000000")
    Path("r.config").write_bytes(encode_config(config))
    capsys.readouterr()
    with pytest.warns(PrecisionWarning) as found:
        command(*fetch, aggregate=summed(config, FLOATS))
    assert json.loads(capsys.readouterr().out)["precise"] is False
    line = warnings.formatwarning(found[0].message, PrecisionWarning, __file__, 1)
    assert line.startswith("warning: the mean of task 't' may be off by 30.5 times the range")
    assert line.count("\n") == 1
    config = command(*of, "--max-weight", "10")
    Path("r.config").write_bytes(encode_config(config))
    capsys.readouterr()
    command(*fetch, aggregate=summed(config, FLOATS))
    assert json.loads(capsys.readouterr().out)["precise"] is True
