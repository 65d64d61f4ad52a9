"""`secagg bench scale` and `draw` at toy sizes: what they say, what they refuse, and what a page shows."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secagg.config import ThreatModel
from secagg.errors import ConfigError, LocalError
from secagg.tools.bench import busy, limits, lines
from secagg.tools.bench.busy import Account
from secagg.tools.bench.drawing import render, threat_models
from secagg.tools.bench.growth import exponent, grown
from secagg.tools.bench.lines import Beside, Busy, Growth, Line, Number, Point, Run, read, written
from secagg.tools.bench.report import Figure, Report, Section, at_most
from secagg.tools.bench.scale import curves, rounds
from secagg.tools.bench.scale.bare import Calls
from secagg.tools.bench.scale.curves import ScaleSetting, measure
from secagg.tools.bench.scale.graphs import Cohort, GraphKind
from secagg.tools.bench.scale.rounds import Heard, RoundsSetting, Took, play
from secagg.tools.bench.scale.simulated import SimulatedSetting, simulate
from secagg.tools.bench.sink import SIZE_BYTES, Meeting
from secagg.tools.commands.bench import app
from secagg.transport.tls import VARIABLE

POINT = Point(
    way="memory",
    participants=10,
    values=100,
    threat_model="active",
    graph="complete",
    neighbours=9,
    exact=True,
    errors={},
    participant_cpu_s=0.01,
    coordinator_cpu_s=0.2,
    peak_mib=60.0,
)
RUN = Run(bench="scale", command="secagg bench scale", machine={"cpu": "none"})
BESIDE = Beside(
    work="masked input",
    size="m = 100",
    peer="Flower 1.42.0",
    ours="AES",
    ours_cpu_s=0.01,
    peer_cpu_s=0.1,
    ratio=10.0,
    at_least=8.0,
)
QUIET = Busy(elapsed_s=1.0, load_before=0.1, load_after=0.9, others_share=0.01, stolen_share=0.0)


@pytest.mark.parametrize("durable", [True, False])
def test_rounds_at_once_all_end_with_their_sum(durable: bool) -> None:
    shares: list[float] = []
    setting = RoundsSetting(participants=3, values=8, rounds=2, in_flight=2, workers=1, durable=durable)
    point = play(setting, shares.append)
    assert point.exact
    assert (point.rounds, point.in_flight, point.durable, point.errors) == (4, 2, durable, {})
    assert point.participant_cpu_s > 0
    assert point.coordinator_cpu_s > 0
    assert point.rest_mib is not None
    assert point.peak_mib >= point.rest_mib > 0
    assert point.bare_cpu_s is not None
    assert 0 < point.bare_cpu_s < point.coordinator_cpu_s
    assert point.bare_mib is not None
    assert 0 < point.bare_mib < point.peak_mib
    assert point.round_s is not None
    assert point.phase_s is not None
    assert set(point.phase_s) == {"advertise_keys", "share_keys", "masked_input", "consistency_check", "unmask"}
    assert point.bytes_up is not None
    assert point.expansion == pytest.approx(point.bytes_up / 16)  # 8 values of 16 bits
    assert shares == [0.25, 0.5, 0.75, 1.0]


async def test_calls_of_bare_grpc_wait_for_each_other_and_get_as_many_bytes_as_a_round() -> None:
    async def messages(*sizes: int) -> AsyncIterator[bytes]:
        for size in sizes:
            yield size.to_bytes(SIZE_BYTES, "big") + bytes(10)

    async def ask(*sizes: int) -> list[int]:
        return [len(answer) async for answer in meeting.answer(messages(*sizes), None)]

    meeting = Meeting(3)
    first, second = asyncio.create_task(ask(7, 9)), asyncio.create_task(ask(5))
    for _ in range(9):
        await asyncio.sleep(0)
    assert not first.done()
    assert not second.done()
    assert [*await asyncio.gather(first, second, ask(3))] == [[7], [5], [3]]
    assert [*await asyncio.gather(ask(1), ask(2), ask(3))] == [[1], [2], [3]]  # the next call of each


def test_bare_grpc_has_the_calls_and_bytes_of_one_round() -> None:
    heard = Heard(phases={"share_keys": [1.0, 1.0], "masked_input": [1.0, 1.0]})
    assert rounds._calls(heard, {"bytes_up": 200, "bytes_down": 50}, 2) == Calls(count=3, bytes_up=100, bytes_down=25)


@pytest.mark.parametrize("module", ["scale.curves", "round_participant"])
def test_a_benchmark_chooses_tls_before_it_imports_grpc(module: str) -> None:
    """In a process whose environment does not say it."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, "-c", f"import secagg.tools.bench.{module}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_one_client_has_a_process_of_its_own() -> None:
    identities: Any = type("Made", (), {"participants": {f"p{i}": Path(f"/p{i}") for i in range(5)}})()
    sidecar: Any = type("Running", (), {"data_plane": "127.0.0.1:1"})()
    commands = rounds.commands_of(RoundsSetting(participants=5, workers=2), identities, sidecar)
    dealt = {name: [word for word in command if word.startswith("/p")] for name, command in commands.items()}
    assert dealt == {"client": ["/p0"], "worker-0": ["/p1", "/p3"], "worker-1": ["/p2", "/p4"]}


def test_errors_make_a_point_inexact_and_memory_grows_between_quarters() -> None:
    heard = Heard(errors=Counter({"RoundAborted: no": 2}), memory=[1 << 20, 1 << 20, 3 << 20, 5 << 20])
    told = {"cpu_s": 1.0, "bytes_up": 8, "bytes_down": 8}
    setting = RoundsSetting(participants=3, values=8, rounds=2, in_flight=2)
    point = rounds._point(setting, heard, told, Took(4.0, 1 << 20, 2 << 20))
    assert not point.exact
    assert (point.rounds, point.participant_cpu_s, point.coordinator_cpu_s, point.bytes_up) == (4, 0.25, 1.0, 2.0)
    assert (point.rest_mib, point.peak_mib) == (1.0, 2.0)
    assert point.errors == {"RoundAborted: no": 2}
    assert point.growth_mib == 4.0
    assert rounds._point(RoundsSetting(), Heard(), told, Took(1.0, 0, 0)).growth_mib is None


@pytest.mark.parametrize("threat_model", list(ThreatModel))
def test_a_round_in_memory_with_dropouts(threat_model: ThreatModel) -> None:
    shares: list[float] = []
    setting = SimulatedSetting(participants=6, values=30, dropped=1, threat_model=threat_model)
    point = simulate(setting, shares.append)
    assert point.exact
    assert (point.way, point.dropped, point.errors) == ("memory", 1, {})
    assert point.unmask_cpu_s is not None
    assert 0 < point.unmask_cpu_s < point.coordinator_cpu_s
    assert point.peak_mib > 10
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1


def test_a_round_in_memory_that_ends_without_a_sum_is_not_exact() -> None:
    point = simulate(SimulatedSetting(participants=6, values=30, dropped=4))
    assert not point.exact
    assert len(point.errors) == 1


def test_curves_cross_in_the_first_size_of_each() -> None:
    setting = ScaleSetting(
        participants=(5, 9),
        values=(10, 20),
        in_flight=(1, 3),
        simulated=(7, 8),
        simulated_values=(4,),
        dropped=0.25,
        threat_models=(ThreatModel.ACTIVE,),
        graphs=(GraphKind.COMPLETE,),
    )
    found = [
        (each.participants, each.values, getattr(each, "in_flight", 0), getattr(each, "dropped", 0))
        for each in setting.settings()
    ]
    assert found == [(5, 10, 1, 0), (9, 10, 1, 0), (5, 20, 1, 0), (5, 10, 3, 0), (7, 4, 0, 2), (8, 4, 0, 2)]


def test_a_run_says_its_machine_its_points_their_growth_and_how_busy_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "measure", lambda _: iter([Number(section="limit", name="aes_gb_per_s", value=1.0)]))
    monkeypatch.setattr(curves, "simulate", lambda setting, _: replace(POINT, participants=setting.participants))
    seen: list[tuple[float, int, str]] = []
    setting = ScaleSetting(
        participants=(), simulated=(5, 10), threat_models=(ThreatModel.ACTIVE,), graphs=(GraphKind.COMPLETE,)
    )
    found = list(measure(setting, "secagg bench scale", lambda *told: seen.append(told)))
    kinds = [line.kind for line in found]
    assert kinds[:4] == ["run", "figure", "point", "point"]
    assert set(kinds[4:-1]) == {"growth"}
    assert kinds[-1] == "busy"
    assert [(done, total) for done, total, _ in seen] == [(0, 3), (1, 3), (2, 3)]
    assert "n = 10, m = 1,000, active, complete, in memory" in seen[-1][2]
    assert [read(written(line), "it")[0].kind for line in found] == kinds


def test_sizes_that_no_round_can_have_are_left_out_or_refused() -> None:
    refused: list[str] = []
    setting = ScaleSetting(participants=(2,), values=(10,), in_flight=(1,), simulated=(), limit_bytes=0)
    with pytest.raises(ConfigError, match="no round has these sizes"):
        list(measure(setting, "it", refuse=refused.append))
    assert len(refused) == 1
    assert refused[0].startswith("left out (and 3 more): n = 2, m = 10, active, complete, over gRPC: ")


def test_a_ring_is_made_for_all_that_come_and_for_those_that_drop_out() -> None:
    def cohort(participants: int, dropouts: float = 0.0) -> Cohort:
        kind = GraphKind.SPARSE
        return Cohort(participants=participants, threat_model=ThreatModel.ACTIVE, kind=kind, dropouts=dropouts)

    assert cohort(1000).neighbours == cohort(1000, 0.05).neighbours < cohort(1000, 0.3).neighbours
    assert (cohort(1000).max_colluding, cohort(1000).threshold) == (100, 667)
    assert replace(cohort(1000), kind=GraphKind.COMPLETE).neighbours == 999
    with pytest.raises(ConfigError, match="no ring is safe"):
        _ = cohort(4).graph


def test_a_round_on_a_ring_in_memory() -> None:
    point = simulate(SimulatedSetting(participants=40, values=20, dropped=2, graph=GraphKind.SPARSE))
    assert point.exact
    assert (point.graph, point.neighbours, point.dropped) == ("sparse", 18, 2)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.1])
def test_the_exponent_of_a_power_is_found(power: float) -> None:
    sizes = [10, 30, 100, 1000]
    assert exponent(sizes, [0.3 * size**power for size in sizes]) == pytest.approx(power, abs=1e-9)


def test_growth_is_of_one_curve_at_a_time_and_of_exact_rounds_alone() -> None:
    points = [replace(POINT, participants=n, dropped=n // 20, coordinator_cpu_s=0.1 * n**2) for n in (10, 20, 40)]
    points += [replace(POINT, participants=80, coordinator_cpu_s=9e9, exact=False)]
    points += [replace(POINT, values=m, coordinator_cpu_s=10.0 * m / 100) for m in (200, 400)]
    found = {(g.figure, g.over): g for g in grown(points)}
    by_n, by_m = found["coordinator_cpu_s", "participants"], found["coordinator_cpu_s", "values"]
    assert [by_n.exponent, by_n.last_exponent, by_m.exponent] == pytest.approx([2, 2, 1])
    assert (by_n.sizes, by_m.sizes) == ((10, 20, 40), (100, 200, 400))
    assert by_n.curve == "memory, active, complete"


def test_others_on_the_machine_are_told_and_so_is_the_hypervisor() -> None:
    start = Account(at=0.0, busy=0.0, stolen=0.0, own=0.0, load=3.0)
    found = start.until(Account(at=10.0, busy=15.0, stolen=1.0, own=9.0, load=2.0), processors=2)
    assert (found.elapsed_s, found.load_before, found.load_after) == (10.0, 3.0, 2.0)
    assert found.others_share == pytest.approx(0.3)
    assert found.stolen_share == pytest.approx(0.05)
    assert [re.sub(r"[\d.]+", "N", words) for words in found.warnings] == [
        "The load average was N on N processors before the run beganN",
        "Other programs used N% of the processors during the runN",
        "The hypervisor kept N% of the processors' time during the runN",
    ]
    quiet = replace(start, load=0.5).until(Account(at=10.0, busy=10.0, stolen=0.0, own=9.5, load=2.0), processors=2)
    assert quiet.warnings == ()


def test_the_kernel_tells_what_this_process_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = Account.now()
    sum(range(3_000_000))
    after = Account.now()
    assert after.own > before.own
    assert after.busy >= before.busy
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 999 7 1 2 30 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    monkeypatch.setattr(busy, "STAT", stat)
    ticks = os.sysconf("SC_CLK_TCK")
    found = Account.now()
    assert (found.busy * ticks, found.stolen * ticks) == (153, 30)
    monkeypatch.setattr(busy, "STAT", tmp_path / "none")
    assert Account.now().busy == 0


def test_lines_are_read_as_they_were_written() -> None:
    made: list[Line] = [RUN, POINT, BESIDE, QUIET, number := Number(section="limit", name="a_gb_per_s", value=1.23456)]
    found = read("\n".join(map(written, made)) + "\n\n", "it")
    assert found[:4] == made[:4]
    assert found[4] == replace(number, value=1.235)  # four digits count
    assert "unmask_cpu_s" not in json.loads(written(POINT))
    assert lines.of_kind(Point, found) == [POINT]


def test_a_report_of_another_benchmark_is_read_as_figures() -> None:
    figures = (Figure("a_gb_per_s", 2.0, note="limit"), Figure("b_s", 1.0, at_most(2.0)))
    report = Report("core", {"cpu": "none"}, {"values": 3}, (Section("limit", "Title", figures),))
    run, one, two = read(json.dumps(report.as_json(), indent=2), "core.json")
    assert run == Run(bench="core", command="secagg bench core (values 3)", machine={"cpu": "none"})
    assert one == Number(section="limit", name="a_gb_per_s", value=2.0, note="limit")
    assert two == Number(section="limit", name="b_s", value=1.0, at_most=2.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "it, line 1 is no JSON"),
        ('\n["a"]', "it, line 2 has none of the kinds"),
        ('{"kind": "other"}', "has none of the kinds"),
        ('{"kind": "run", "bench": "scale"}', "of kind run lacks command, machine"),
        (written(QUIET)[:-1] + ', "more": 1}', "of kind busy has the unknown more"),
        ('{\n"bench": "core"}', "it is not what a benchmark prints"),
    ],
)
def test_other_text_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(LocalError, match=words):
        read(text, "it")


def test_a_page_shows_curves_ratios_limits_and_warnings() -> None:
    points = [
        replace(POINT, participants=n, threat_model=model, coordinator_cpu_s=0.1 * n * k)
        for n in (10, 20)
        for model, k in (("active", 3), ("semi_honest", 2))
    ]
    limit = Number(section="limit", name="aes_ctr_gb_per_s", value=11.5)
    cost = Number(section="limit", name="plain_grpc_receiver_cpu_s", value=1.0)
    growth = Growth(
        curve="memory, active", figure="peak_mib", over="participants", exponent=1.5, last_exponent=1.9, sizes=(10, 20)
    )
    warned = replace(QUIET, warnings=("Other programs used 40% of the processors during the run.",))
    html = render([replace(RUN, command="secagg <b>"), limit, cost, *points, BESIDE, growth, warned])
    for part in ("The machine was busy", "used 40%", "10.0×", "11.5 GB/s", "complete, semi-honest", "1.50", "1.90"):
        assert part in html
    assert "secagg &lt;b&gt;" in html
    assert html.count("<svg") == 6  # two of limits, one of ratios, three curves over n
    ratios = {point.participants: others for point, *others in threat_models(points)}
    assert set(ratios) == {10, 20}
    assert ratios[20] == pytest.approx([6.2 / 4.2, 1.0, 1.5])  # of all, of a participant, of the coordinator
    assert "The machine was quiet" in render([RUN, POINT, QUIET])
    assert "Not exact" in render([RUN, replace(POINT, exact=False, errors={"RoundAborted": 1}), QUIET])


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(LocalError, match="nothing to draw"):
        render([RUN, QUIET])


def test_the_commands_print_lines_or_tables_and_draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Line] = [RUN, POINT, replace(POINT, participants=20), BESIDE, QUIET]
    monkeypatch.setattr(curves, "measure", lambda *_: iter(found))
    printed = CliRunner().invoke(app, ["scale", "--json"])
    assert printed.exit_code == 0
    assert [json.loads(row)["kind"] for row in printed.stdout.splitlines()] == [line.kind for line in found]
    page = tmp_path / "page.html"
    shown = CliRunner().invoke(app, ["scale", "--report", str(page)])
    assert "every sum is exact" in shown.stdout
    assert "n = 20" in shown.stdout
    assert page.read_text().startswith("<!doctype html>")
    kept = tmp_path / "run.jsonl"
    kept.write_text(printed.stdout)
    again = tmp_path / "again.html"
    assert CliRunner().invoke(app, ["draw", str(kept), "--report", str(again)]).exit_code == 0
    assert "masked input" in again.read_text()
    found[1] = replace(POINT, exact=False, errors={"RoundAborted: no": 1})
    found[-1] = replace(QUIET, warnings=("Other programs used 40% of the processors during the run.",))
    failed = CliRunner().invoke(app, ["scale"])
    assert failed.exit_code == 1
    assert "RoundAborted: no (1)" in failed.stdout
    assert "used 40% of the processors during the run. Figures of a busy machine mean less." in failed.stderr


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("secagg bench scale -n 10 --report page.html --json", "secagg bench scale -n 10"),
        ("secagg bench scale --report=page.html -m 5", "secagg bench scale -m 5"),
        ("pytest tests", "secagg bench scale"),
    ],
)
def test_a_run_names_its_command_without_files(typed: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", typed.split())
    asked: list[str] = []

    def remember(_: object, command: str, *__: object) -> Any:
        asked.append(command)
        return iter([RUN, POINT])

    monkeypatch.setattr(curves, "measure", remember)
    assert CliRunner().invoke(app, ["scale"]).exit_code == 0
    assert asked == [kept]


@pytest.mark.parametrize(
    ("arguments", "over_grpc", "in_memory"),
    [
        ([], (10, 20, 40), (25, 50, 100)),
        (["-n", "7", "-n", "5"], (7, 5), ()),
        (["-m", "9"], (10,), ()),
        (["--simulated", "30"], (), (30,)),
        (["--simulated", "30", "-n", "4"], (4,), (30,)),
    ],
)
def test_sizes_that_are_given_leave_the_other_way_out(
    arguments: list[str], over_grpc: tuple[int, ...], in_memory: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ScaleSetting] = []

    def remember(setting: ScaleSetting, *_: object) -> Any:
        asked.append(setting)
        return iter([RUN, POINT])

    monkeypatch.setattr(curves, "measure", remember)
    assert CliRunner().invoke(app, ["scale", *arguments]).exit_code == 0
    (setting,) = asked
    assert (setting.participants, setting.simulated) == (over_grpc, in_memory)


@pytest.mark.parametrize("arguments", [["-n", "2"], ["-n", "10001"], ["--simulated", "10001"], ["--dropped", "0.9"]])
def test_sizes_beyond_the_bounds_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, ["scale", *arguments]).exit_code == 2


def test_limits_of_the_machine_are_measured_with_few_bytes() -> None:
    found = {number.name: number.value for number in limits.measure(1 << 20, repeats=1)}
    assert {"aes_ctr_gb_per_s", "numpy_add_gb_per_s", "add_masks_to_limit_ratio"} < set(found)
    ends = {f"{way}_{end}_cpu_s" for way in ("plain_grpc", "tls_socket") for end in ("sender", "receiver")}
    assert ends < set(found)
    assert all(value > 0 for value in found.values())
