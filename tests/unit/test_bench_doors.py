"""The benchmark of ingress workers: what it counts, and what it sets beside the figure."""

import json

import pytest
from typer.testing import CliRunner

from secagg.tools.bench.doors import rounds
from secagg.tools.bench.doors.rounds import DoorsFigures, calls_of_participants
from secagg.tools.commands.bench import app


def test_the_second_hop_alone_stands_beside_what_workers_cost_more() -> None:
    found = DoorsFigures(2.0, 1.0, 2.0, calls=500, call_cpu_s=0.001, exact=True, errors={})
    assert found.overhead == pytest.approx(0.5)
    assert found.floor == pytest.approx(0.25)


def test_calls_of_the_fl_server_do_not_count() -> None:
    metrics = b"""# TYPE secagg_calls counter
secagg_calls_total{plane="data",method="SendInput",outcome="OK"} 4.0
secagg_calls_total{plane="data",method="Hold",outcome="OK"} 3.0 # {trace_id="1"} 1.0
secagg_calls_total{plane="control",method="OpenRound",outcome="OK"} 1.0
secagg_calls_under_way{plane="data"} 9.0
"""
    assert calls_of_participants(metrics) == 7.0


def test_small_rounds_are_played_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "CALLS", 20)
    monkeypatch.setattr(rounds, "REPEATS", 1)
    done = CliRunner().invoke(app, ["doors", "-n", "3", "-m", "8", "--rounds", "1", "--workers", "1", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["exact"]
    assert said["calls"] >= 3 * 6  # three participants, in five phases, of which that of inputs takes two calls
    assert min(said[name] for name in ("alone_cpu_s", "head_cpu_s", "doors_cpu_s", "call_cpu_s", "floor")) > 0
