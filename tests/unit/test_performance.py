"""The page on performance: what the benchmarks printed, and nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from docs import performance
from docs.performance import AIMS, DATA, PAGE, RUNS, Aim, main, measure, text
from secagg.tools.bench.lines import Beside, Busy, Growth, Line, Number, Point, Run, read, written
from secagg.tools.commands.bench import app

POINT = Point(
    way="grpc",
    participants=1000,
    values=10_000,
    threat_model="active",
    graph="sparse",
    neighbours=166,
    exact=True,
    errors={},
    participant_cpu_s=0.07,
    coordinator_cpu_s=7.5,
    peak_mib=300.0,
    bare_cpu_s=2.5,
    bare_mib=100.0,
)
MASKED = Beside(
    work="masked input",
    size="m = 1,000,000",
    peer="Flower 1.42.0",
    ours="AES",
    ours_cpu_s=0.1,
    peer_cpu_s=0.7,
    ratio=7.0,
    note="a note",
)


def row(lines: Sequence[Line], begins: str) -> tuple[str, str, str, str]:
    return next(aim.row(lines) for aim in AIMS if aim.work.startswith(begins))


def test_the_page_is_what_the_lines_say() -> None:
    assert PAGE.read_text() == text(read(DATA.read_text(), DATA.name))


def test_an_aim_is_reached_or_not_or_was_not_measured() -> None:
    assert row([POINT], "CPU time of the coordinator")[1:] == ("7.5 s (bare gRPC: 2.5 s)", "≤ 8 s", "reached")
    assert row([POINT], "its memory")[1:] == ("315 MB (bare gRPC: 105 MB)", "≤ 350 MB", "reached")
    assert row([MASKED], "Masked input, AES,")[1:] == ("7×", "≥ 8×", "not reached")
    assert row([], "Share keys")[1:] == ("not measured", "≥ 100×", "not measured")
    assert Aim("a", 1.0, False, lambda _: 2.0, str, "it is hard").row([])[3] == "not reached: it is hard"


def test_a_round_that_failed_reaches_nothing() -> None:
    wrong = Point(**{name: getattr(POINT, name) for name in POINT.__slots__} | {"exact": False})
    assert row([wrong], "CPU time of the coordinator")[1] == "not measured"


def test_every_kind_of_line_is_on_the_page() -> None:
    lines: list[Line] = [
        Run(bench="scale", command="secagg bench scale -n 1000", machine={"cpu": "a CPU", "cores": 2}, commit="abc"),
        Number(section="limit", name="aes_ctr_gb_per_s", value=11.5, note="one core"),
        Number(section="transport", name="server_to_plain_ratio", value=1.5),
        POINT,
        Point(**{name: getattr(POINT, name) for name in POINT.__slots__} | {"threat_model": "semi_honest"}),
        MASKED,
        Growth(
            curve="grpc, active, sparse",
            figure="peak_mib",
            over="participants",
            exponent=0.9,
            last_exponent=1.1,
            sizes=(10, 1000),
        ),
        Busy(elapsed_s=1, load_before=3, load_after=3, others_share=0.4, stolen_share=0, warnings=("It was busy.",)),
    ]
    page = text(lines)
    for part in (
        "used up to 40% of its",
        "| masked input: m = 1,000,000 (AES), against Flower 1.42.0 | 700 ms | 100 ms | 7× |",
        "- masked input (AES): a note.",
        "| n = 1,000, m = 10,000, k = 166, active, sparse | 70 ms | 7.5 s | 2.5 s | 300 |",
        "| n = 1,000, m = 10,000, k = 166, active, sparse, grpc | 1× | 1× | 1× |",
        "| grpc, active, sparse | peak mib | participants, 10 – 1,000 | 0.90 | 1.10 |",
        "| `aes_ctr_gb_per_s` | 11.5 | one core |",
        "## Other figures: transport",
        "```text\nsecagg bench scale -n 1000\n```",
        "- a CPU, 2 cores, Python 3, commit abc",
    ):
        assert part in page


def test_files_take_the_place_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(performance, "DATA", tmp_path / "kept.jsonl")
    monkeypatch.setattr(performance, "PAGE", tmp_path / "page.md")
    given = tmp_path / "run.jsonl"
    given.write_text(written(POINT) + "\n")
    main([str(given)])
    assert read(performance.DATA.read_text(), "kept") == [POINT]
    assert performance.PAGE.read_text() == text([POINT])
    performance.PAGE.unlink()
    main([])
    assert performance.PAGE.read_text() == text([POINT])


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def run(command: list[str], *, stdout: Any, check: bool) -> None:
        asked.append(command)
        stdout.write(written(POINT))

    measure(tmp_path, "a-python", run)
    assert {path.stem for path in tmp_path.iterdir()} == set(RUNS)
    assert read((tmp_path / "thousand.json").read_text(), "it") == [POINT]
    by_peers = [command for command in asked if command[0] == "a-python"]
    assert by_peers == [["a-python", "-m", "secagg", "bench", "peers", "--json"]]
    (tmp_path / "large.json").unlink()
    asked.clear()
    measure(tmp_path, "a-python", run)
    assert [command[4] for command in asked] == ["large"]


@pytest.mark.parametrize("arguments", RUNS.values())
def test_every_run_is_a_command_that_exists(arguments: str) -> None:
    name, *rest = arguments.split()
    command = typer.main.get_command(app)
    found = command.commands[name]  # type: ignore[attr-defined]
    found.make_context(name, [*rest, "--json"])


def test_an_exponent_is_that_of_the_largest_sizes() -> None:
    lines = [
        Growth(
            curve="memory, active, sparse",
            figure="coordinator_cpu_s",
            over="participants",
            exponent=1.0,
            last_exponent=last,
            sizes=(10, size),
        )
        for size, last in ((10_000, 1.1), (300, 2.0))
    ]
    assert row(lines, "Exponent of the coordinator")[1] == "1.1"


def test_the_threat_models_are_compared_in_the_largest_round_over_grpc() -> None:
    def pair(participants: int, ratio: float, way: str = "grpc") -> list[Line]:
        known = {name: getattr(POINT, name) for name in POINT.__slots__}
        known |= {"participants": participants, "way": way, "participant_cpu_s": 0.01}
        cost = 0.01 * participants
        other = Point(**known | {"threat_model": "semi_honest", "coordinator_cpu_s": cost})
        return [other, Point(**known | {"coordinator_cpu_s": (2 * ratio - 1) * cost})]

    lines = [*pair(10, 3.0), *pair(300, 1.25), *pair(1000, 4.0, "memory")]
    assert row(lines, "CPU time of the largest round")[1:] == ("1.25×", "≤ 1.5×", "reached")
