"""What the benchmark of frameworks is made of, as far as no framework is needed: `tests/frameworks` runs the rest."""

import socket
import sys
import threading
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from secagg.errors import LocalError, MissingExtraError
from secagg.tools.bench.frameworks import measure
from secagg.tools.bench.frameworks.digits import HIDDEN, accuracy, flat, initial, records_of, shaped, train
from secagg.tools.bench.frameworks.measure import Ran
from secagg.tools.bench.frameworks.relay import Relay
from secagg.tools.bench.frameworks.setting import WAYS, Setting, Way
from secagg.tools.commands.bench import app

SETTING = Setting(way="plain", rounds=3)


def test_clients_share_no_record_and_their_mean_learns() -> None:
    sizes = [len(records_of(client, 5).inputs) for client in range(5)]
    assert sum(sizes) == 1797 - 1797 // 5
    assert max(sizes) - min(sizes) <= 1
    model = initial(HIDDEN["digits"])
    assert sum(array.size for array in model.values()) == 2410
    before = accuracy(model, 5)
    for _ in range(5):
        trained = [train(model, records_of(client, 5))[0] for client in range(5)]
        model = {name: np.mean([one[name] for one in trained], axis=0) for name in model}
    assert accuracy(model, 5) > before + 0.5


def test_the_large_model_has_a_million_parameters() -> None:
    assert sum(array.size for array in initial(HIDDEN["million"]).values()) == pytest.approx(1e6, rel=1e-3)


def test_a_setting_travels_to_another_process() -> None:
    setting = replace(SETTING, way="sidecar", dying=((4, 3), (1, 2)), cpus=0.5, control="unix:/x", training_s=1.5)
    assert Setting.of(setting.text()) == setting
    assert [replace(setting, way=way).secured for way in WAYS] == [False, False, True, True]


def test_a_relay_passes_bytes_on_and_counts_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data * 3)

        threading.Thread(target=answer, daemon=True).start()
        with Relay(f"127.0.0.1:{server.getsockname()[1]}") as relay:
            host, _, port = relay.address.rpartition(":")
            with socket.create_connection((host, int(port))) as near:
                near.sendall(b"abc")
                got = b""
                while len(got) < 9:
                    got += near.recv(100)
                assert got == b"abcabcabc"
                assert relay.counted() == (3, 9)
                assert relay.counted() == (0, 0)


def rounds_of(seconds: float, count: int = 2) -> tuple[dict[str, Any], ...]:
    one = {
        "s": seconds,
        "accuracy": 0.9,
        "messages_per_client": 1.0,
        "up_bytes_per_client": 100.0,
        "down_bytes_per_client": 200.0,
    }
    return (one,) * count


def ran(setting: Setting) -> Ran:
    """A run that nobody ran: under secagg it takes three times as long, and its upload is all zeros in plain."""
    last: dict[str, Any] = {"server_peak_bytes": 1 << 28, "view": {"records": [], "in_clear": {"metrics/loss": 0.5}}}
    upload = np.zeros(100 if setting.way == "plain" else 0, np.uint8)
    model = {"w": np.array([1.0, -2.0], np.float32) + np.float32(0.5 if setting.secured else 0)}
    return Ran(setting, rounds_of(3.0 if setting.secured else 1.0), last, model, upload)


def test_ratios_are_to_plain_and_have_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[Way] = []

    def noted(setting: Setting) -> Ran:
        turns.append(setting.way)
        return ran(setting)

    monkeypatch.setattr(measure, "_run", noted)
    monkeypatch.setattr(measure, "version", lambda name: "1")
    monkeypatch.setattr(measure, "find_spec", lambda name: name)
    report = measure.measure(SETTING, ("plain", "flower"), 2, judge=lambda residues, bits: (len(residues), bits))
    assert turns == ["plain", "flower", "plain", "flower"]
    assert report.exact
    document = report.as_json()
    plain, ours = document["figures"]["plain"], document["figures"]["flower"]
    assert (plain["plain_round_s"], plain["plain_alarms"], ours["flower_alarms"]) == (1.0, 8, 0)
    assert ours["flower_round_ratio"] == 3.0
    assert ours["flower_minute_ratio"] == pytest.approx(63 / 61, rel=1e-3)
    assert ours["flower_distance_ratio"] == 0.25
    assert document["targets"]["flower_round_ratio"] == {"at_most": 1.5, "met": False}
    assert document["targets"]["flower_minute_ratio"]["met"]
    assert "in clear: loss" in document["notes"]["flower_alarms"]
    assert document["machine"]["flwr"] == "1"


def test_a_way_that_lost_a_round_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_run", lambda setting: replace(ran(setting), rounds=rounds_of(1.0, count=1)))
    monkeypatch.setattr(measure, "version", lambda name: "1")
    monkeypatch.setattr(measure, "find_spec", lambda name: name)
    assert not measure.measure(SETTING, ("plain",), judge=lambda residues, bits: (1, 0)).exact


def test_a_run_that_fails_shows_the_end_of_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LocalError, match="Flower, in plain failed"):
        measure._run(SETTING)


@pytest.mark.skipif(find_spec("nvflare") is not None, reason="FLARE is installed")
def test_without_flare_the_extra_is_named() -> None:
    result = CliRunner().invoke(app, ["flare"])
    assert isinstance(result.exception, MissingExtraError)
    assert "nvflare" in str(result.exception)


def test_a_model_as_one_vector_is_the_model() -> None:
    model = initial(HIDDEN["digits"], seed=3)
    back = shaped(flat(model), HIDDEN["digits"])
    assert list(back) == list(model)
    assert all(np.array_equal(back[name], array) for name, array in model.items())


@pytest.mark.skipif(find_spec("flwr") is not None, reason="Flower is installed")
def test_without_flower_the_extra_is_named() -> None:
    result = CliRunner().invoke(app, ["frameworks"])
    assert isinstance(result.exception, MissingExtraError)
    assert "flower" in str(result.exception)
    wrong = CliRunner().invoke(app, ["frameworks", "--dying", "4"])
    assert "CLIENT:MESSAGES" in str(wrong.exception)
