"""`secagg bench`: figures, their targets and the limits they are up against, on this machine."""

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secagg.cli.names import Custody, CustodyName, Scheme, SchemeName, ThreatModelName
from secagg.programs.folders import check_writable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from secagg.tools.bench.accuracy_results import AccuracyResult
    from secagg.tools.bench.comparison import Comparison
    from secagg.tools.bench.lines import Line, See
    from secagg.tools.bench.report import Report
    from secagg.tools.redteam.statistics import Residues

HELP = """Measure the real code on real sizes, on this machine.

Every figure has its unit in its name. Limits are measured in the same run:
what AES, numpy or plain gRPC can do here. Rates are in 10^9 bytes a second.

Figures of one core are CPU time, so other work on the machine hardly matters;
those of several threads or processes are wall-clock time: keep it idle.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")


class ModelName(StrEnum):
    """What is trained."""

    DIGITS = "digits"
    MILLION = "million"


class WayName(StrEnum):
    """How updates are aggregated."""

    PLAIN = "plain"
    SECAGGPLUS = "secaggplus"
    FLOWER = "flower"
    SIDECAR = "sidecar"


class GraphName(StrEnum):
    """The graph of a measured round."""

    COMPLETE = "complete"
    SPARSE = "sparse"


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
AsLines = Annotated[bool, typer.Option("--json", help="Print a JSON object a line, each when it is known.")]
Drawn = Annotated[Path | None, typer.Option(help="Draw an HTML page of what was found in this file.")]
Processes = Annotated[
    int, typer.Option("--participants", "-n", min=3, help="The number of participants, each a process.")
]
Values = Annotated[int, typer.Option("--values", "-m", min=1, help="The number of values of each update.")]
FloatValues = Annotated[int, typer.Option("--values", "-m", min=1, help="The number of float32 values of each update.")]
Durable = Annotated[bool, typer.Option(help="Keep the coordinator's state in a folder, or in memory.")]


@app.command()
def core(
    quick: Annotated[
        bool, typer.Option("--quick", help="Repeat less often: takes seconds instead of a minute.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The arithmetic of a round: mask streams, encoding, shares, signatures, masked input, unmasking.

    Example: secagg bench core --quick
    """
    from secagg.tools.bench.core import QUICK, Sizes, measure

    _print(measure(QUICK if quick else Sizes(), _say), as_json)


@app.command("round")
def round_(
    *,
    participants: Processes = 10,
    values: FloatValues = 1_000_000,
    dropouts: Annotated[
        int, typer.Option(min=0, help="The number of participants that leave in the middle of their upload.")
    ] = 2,
    scheme: Scheme = SchemeName.MASKED,
    custody: Custody = CustodyName.PARTICIPANTS,
    every: Annotated[
        bool, typer.Option("--all", help="Measure every scheme and custody on the same inputs, and compare the sums.")
    ] = False,
    threat_model: Annotated[
        ThreatModelName, typer.Option(help="What the coordinator may do. Rounds of ckks and bfv are semi-honest.")
    ] = ThreatModelName.ACTIVE,
    rounds: Annotated[int, typer.Option(min=1, help="The number of rounds. The median is reported.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Play one round only.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rounds over real gRPC and TLS 1.3 on loopback: seconds, bytes, memory, exactness.

    The coordinator and every participant are processes of their own, and encrypt in a process of their own.
    Exit code 1 if a sum was not exact, or not the same in every scheme.

    Example: secagg bench round --participants 10 --values 1000000 --dropouts 2

    Example: secagg bench round --all --json
    """
    from secagg.tools.bench.round import RoundSetting, compare, measure
    from secagg.variants import Variant

    setting = RoundSetting(
        participants=participants,
        values=values,
        dropouts=dropouts,
        variant=Variant.named(scheme, custody),
        threat_model=threat_model.threat_model(),
        rounds=1 if quick else rounds,
    )
    _print(compare(setting, progress=_say) if every else measure(setting, _say), as_json)


@app.command()
def size(
    *,
    participants: Processes = 10,
    values: FloatValues = 1_000_000,
    durable: Durable = True,
    folder: Annotated[
        Path | None, typer.Option(help="Where updates, means and state go: 12 bytes of the disk for each value.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One round of long updates: seconds, processor time and memory of each side, beside plain gRPC.

    Updates are read from files that participants map into memory. Exit code 1 if the sum was not exact.

    Example: secagg bench size --values 100000000 --folder /var/tmp --json
    """
    from secagg.tools.bench.size import SizeSetting, measure

    setting = SizeSetting(participants=participants, values=values, durable=durable, folder=folder)
    _print(measure(setting, _say), as_json)


@app.command()
def upload(
    *,
    values: FloatValues = 10_000_000,
    participants: Processes = 3,
    durable: Durable = False,
    repeats: Annotated[int, typer.Option(min=1, help="The number of turns of the plain stream.")] = 3,
    folder: Annotated[
        Path | None, typer.Option(help="Where updates, means and state go: 12 bytes of the disk for each value.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What sending and taking updates costs in processor time, beside a plain gRPC stream over the same TLS.

    A round is played by real processes. Exit code 1 if the sum was not exact.

    Example: secagg bench upload --values 100000000 --folder /var/tmp --json
    """
    from secagg.tools.bench.upload import UploadSetting, measure

    setting = UploadSetting(values=values, participants=participants, durable=durable, repeats=repeats, folder=folder)
    _print(measure(setting, _say), as_json)


@app.command()
def scale(
    *,
    participants: Annotated[
        list[int] | None, typer.Option("--participants", "-n", min=3, max=10_000, help="A size of rounds over gRPC.")
    ] = None,
    values: Annotated[
        list[int] | None, typer.Option("--values", "-m", min=1, max=100_000_000, help="A length of their updates.")
    ] = None,
    in_flight: Annotated[
        list[int] | None, typer.Option(min=1, max=1000, help="A number of rounds over gRPC at once.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds over gRPC one after the other, of each size.")] = 2,
    durable: Durable = True,
    phase_limit_s: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds of each phase over gRPC. Default: those of a task.", show_default=False),
    ] = None,
    simulated: Annotated[list[int] | None, typer.Option(min=3, max=10_000, help="A size of rounds in memory.")] = None,
    simulated_values: Annotated[
        list[int] | None, typer.Option(min=1, max=10_000_000, help="A length of their updates.")
    ] = None,
    dropped: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of participants that drop out of rounds in memory.")
    ] = 0.05,
    threat_model: Annotated[
        list[ThreatModelName] | None, typer.Option(help="What the coordinator may do; both without.")
    ] = None,
    graph: Annotated[
        list[GraphName] | None, typer.Option(help="Who shares masks with whom; both without, where a ring is safe.")
    ] = None,
    limits: Annotated[bool, typer.Option(help="Measure what the machine can do at best, too.")] = True,
    report: Drawn = None,
    as_json: AsLines = False,
) -> None:
    """What a round costs as participants, values and rounds at once grow: processor time, memory, exponents.

    Over real gRPC and TLS on loopback, the coordinator and one client in processes of their own, so that each has its
    processor time; and in memory, where up to 10,000 participants fit into one process. Options with sizes may be
    repeated: each makes a curve, and the curves cross in the first size of each. With --simulated alone nothing is
    played over gRPC, and with -n alone nothing in memory. Without any, all of it takes about two minutes.
    Exit code 1 if a sum was not exact or anybody reported an error.

    Example: secagg bench scale --report scale.html

    Example: secagg bench scale -n 100 -n 500 -n 1000 -m 10000 --threat-model active --json

    Example: secagg bench scale --simulated 1000 --simulated 10000 --threat-model active --json
    """
    from secagg.tools.bench.scale.curves import ScaleSetting, measure
    from secagg.tools.bench.scale.graphs import GraphKind

    over_grpc = any((participants, values, in_flight))
    default = ScaleSetting()
    setting = ScaleSetting(
        participants=_given(participants, default.participants[: 1 if over_grpc else None], not simulated or over_grpc),
        values=_given(values, default.values[: 1 if over_grpc else None]),
        in_flight=_given(in_flight, default.in_flight[: 1 if over_grpc else None]),
        rounds=rounds,
        durable=durable,
        limit_s=phase_limit_s,
        simulated=_given(simulated, default.simulated, not over_grpc),
        simulated_values=_given(simulated_values, default.simulated_values),
        dropped=dropped,
        threat_models=tuple(name.threat_model() for name in threat_model or ThreatModelName),
        graphs=tuple(GraphKind(name.value) for name in graph or GraphName),
        limit_bytes=default.limit_bytes if limits else 0,
    )
    check_writable(report)
    _tell_lines(lambda see: measure(setting, _command("scale"), see, _warn), report, as_json)


def _given(sizes: list[int] | None, default: tuple[int, ...], used: bool = True) -> tuple[int, ...]:
    """What was asked for, in its order; else the default, where anything is played at all."""
    return tuple(dict.fromkeys(sizes)) if sizes else default if used else ()


@app.command()
def doors(
    participants: Annotated[int, typer.Option("--participants", "-n", min=3, help="Of each round.")] = 20,
    values: Annotated[int, typer.Option("--values", "-m", min=1, help="Length of each update.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Played each way.")] = 3,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Ingress workers.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Compare a coordinator that has ingress workers with one that does all of it.

    Processor seconds a round, of all processes of the coordinator. Inputs are taken and added up by the workers; small
    messages pass two processes, so they cost more: short updates show that most. What plain gRPC takes for as many
    calls from one process to another is measured in the same run.

    Example: secagg bench doors -n 20 -m 1000000 --workers 4
    """
    from dataclasses import asdict

    from secagg.tools.bench.doors.rounds import DoorsSetting, play

    found = play(DoorsSetting(participants=participants, values=values, rounds=rounds, doors=workers))
    if as_json:
        typer.echo(json.dumps({**asdict(found), "overhead": found.overhead, "floor": found.floor}))
    else:
        typer.echo(f"one process            {found.alone_cpu_s:8.3f} CPU s a round")
        typer.echo(f"head                   {found.head_cpu_s:8.3f} CPU s a round")
        typer.echo(f"{workers} workers together     {found.doors_cpu_s:8.3f} CPU s a round")
        typer.echo(f"more with workers      {found.overhead:8.1%}")
        typer.echo(f"{found.calls:.0f} calls of plain gRPC  {found.floor:8.1%}")
    if not found.exact:
        raise typer.Exit(1)


@app.command()
def gateway(
    *,
    participants: Processes = 5,
    values: Values = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each way that are counted.")] = 3,
    calls: Annotated[int, typer.Option(min=1, help="Small calls of each way.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """What rounds and small calls over the gateway for browsers take of the coordinator's processor, beside gRPC.

    Exit code 1 if a sum was not exact.

    Example: secagg bench gateway --json
    """
    from secagg.tools.bench.gateway import GatewaySetting, measure

    setting = GatewaySetting(participants=participants, values=values, rounds=rounds, calls=calls)
    _print(measure(setting, _say), as_json)


@app.command()
def draw(
    files: Annotated[
        list[Path],
        typer.Argument(exists=True, dir_okay=False, readable=True, help="What scale and peers printed with --json."),
    ],
    report: Annotated[Path, typer.Option(help="The HTML page.")] = Path("secagg-bench.html"),
    as_json: Annotated[bool, typer.Option("--json", help="Say in one JSON document where the page is.")] = False,
) -> None:
    """Draw one page of what several runs found: limits of the machine, ratios to others, curves, and how busy it was.

    Example: secagg bench draw scale.jsonl peers.jsonl --report bench.html
    """
    from secagg.tools.bench.drawing import render
    from secagg.tools.bench.lines import read

    check_writable(report)
    lines = [line for path in files for line in read(path.read_text(encoding="utf-8", errors="replace"), path.name)]
    report.write_text(render(lines), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps({"report": str(report)}))
    else:
        typer.echo(f"drawn: {report}", err=True)


@app.command()
def status(
    *,
    participants: Processes = 5,
    values: Values = 100_000,
    turns: Annotated[int, typer.Option(min=2, help="Turns of each coordinator, of five rounds each.")] = 30,
    quick: Annotated[bool, typer.Option("--quick", help="Play two turns only.")] = False,
    as_json: AsJson = False,
) -> None:
    """What it costs a coordinator to count what happens and to be scraped every second.

    Two coordinators play the same rounds in turns, one of them without a status port. What is compared is the time that
    each spends on processors. Exit code 1 if a sum was not exact.

    Example: secagg bench status --json
    """
    from secagg.tools.bench.status import StatusSetting, measure

    setting = StatusSetting(participants=participants, values=values, turns=2 if quick else turns)
    _print(measure(setting, _say), as_json)


@app.command()
def large(
    *,
    participants: Annotated[int, typer.Option("--participants", "-n", min=20, help="The size of the cohort.")] = 1000,
    values: Values = 100_000,
    dropped: Annotated[int, typer.Option(min=0, help="How many drop out after their shares.")] = 300,
    expected: Annotated[int, typer.Option(min=0, help="Dropouts that the participant's ring is found for.")] = 50,
    colluding: Annotated[int, typer.Option(min=0, help="How many may collude. Rings are found for them.")] = 50,
    threads: Annotated[int, typer.Option(min=1, help="The number of threads that unmask.")] = 2,
    repeat: Annotated[int, typer.Option(min=1, help="The number of repeats. The fastest one counts.")] = 3,
    as_json: AsJson = False,
) -> None:
    """One participant of a large cohort, and the coordinator's unmasking: complete graph and ring, no network.

    With the default sizes it takes some minutes, and figures have targets.

    Example: secagg bench large -n 1000
    """
    from secagg.tools.bench.large import LargeSetting, measure

    _print(measure(LargeSetting(participants, values, dropped, expected, colluding, threads, repeat), _say), as_json)


@app.command()
def homomorphic(
    *,
    values: Values = 1_000_000,
    repeat: Annotated[int, typer.Option(min=1, help="The number of repeats. The best time is reported.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Measure once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Homomorphic sums in every scheme and custody, beside TenSEAL used as its tutorials do. Needs the extra ckks.

    Targets are for the usual million values on one core. Threshold custody is experimental.

    Example: taskset -c 1 secagg bench homomorphic
    """
    from secagg.tools.bench.homomorphic_report import measure

    _print(measure(values, 1 if quick else repeat, _say), as_json)


@app.command()
def privacy(
    *,
    values: Annotated[
        int, typer.Option("--values", "-m", min=1, help="The number of values of the update.")
    ] = 1_000_000,
    repeat: Annotated[
        int,
        typer.Option(
            min=1,
            help="Repeats, of which the median is reported. With --accuracy: trainings of each kind.",
        ),
    ] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Measure once; with --accuracy, train twice.")] = False,
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Train models, and report what privacy and compression cost in accuracy.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="With --accuracy: also write an HTML page to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Distributed noise: rotation, rounding, samplers, masking, and the error against continuous Gaussian noise.

    With --accuracy small models are trained on two public data sets, through the code of every pipeline: by ε and bits,
    by the number of clients, and by compression. A few minutes on one core; needs the extras demo and dp.

    Example: taskset -c 1 secagg bench privacy --quick

    Example: secagg bench privacy --accuracy --report privacy.html
    """
    if accuracy:
        _accuracy(2 if quick else repeat, report, as_json)
        return
    from secagg.errors import ConfigError

    if report is not None:
        raise ConfigError("a report is drawn of accuracies; add --accuracy")
    from secagg.tools.bench.privacy import measure

    _print(measure(values, 1 if quick else repeat, _say), as_json)


@app.command()
def frameworks(
    *,
    clients: Annotated[int, typer.Option(min=3, help="The number of simulated clients, each with one processor.")] = 5,
    model: Annotated[ModelName, typer.Option(help="The net: 2,410 or a million parameters.")] = ModelName.DIGITS,
    way: Annotated[
        list[WayName] | None, typer.Option(help="What to compare; all of them without. Ratios are to plain.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Warm rounds of each run. The median is reported.")] = 7,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each, in turn.")] = 1,
    training_s: Annotated[float, typer.Option(min=0, help="Seconds that each client sleeps, for a long training.")] = 0,
    dying: Annotated[
        list[str] | None, typer.Option(help="CLIENT:MESSAGES, a client that dies after so many messages.")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0.01, help="Processors of each client; fractions let more run.")] = 1.0,
    supernodes: Annotated[
        bool, typer.Option("--supernodes", help="Run a SuperLink and SuperNodes instead of a simulation.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The same Flower app in plain, with Flower's own SecAgg+ and with secagg over both of its transports, simulated.

    Seconds and bytes of a round, memory, accuracy, and what the server sees of one client. Needs flwr[simulation] and
    the extras demo and redteam's scipy. Each run takes half a minute.

    Example: secagg bench frameworks --clients 5 --model digits

    Example: secagg bench frameworks --clients 20 --model million --way plain --way sidecar --json
    """
    from secagg.errors import ConfigError
    from secagg.tools.bench.frameworks.measure import measure
    from secagg.tools.bench.frameworks.setting import WAYS, Setting, Way

    try:
        dead = tuple((int(c), int(n)) for c, _, n in (text.partition(":") for text in dying or ()))
    except ValueError:
        raise ConfigError("--dying takes CLIENT:MESSAGES, such as 4:3") from None
    chosen: tuple[Way, ...] = tuple(each.value for each in way or ()) or WAYS
    setting = Setting(
        way="plain",
        clients=clients,
        model=model.value,
        rounds=rounds + 1,
        training_s=training_s,
        dying=dead,
        cpus=cpus,
        supernodes=supernodes,
    )
    _print(measure(setting, chosen, repeat, judge=_judged, progress=_say), as_json)


@app.command()
def flare(
    *,
    sites: Annotated[int, typer.Option(min=3, help="The number of simulated sites.")] = 5,
    model: Annotated[ModelName, typer.Option(help="The net: 2,410 or a million parameters.")] = ModelName.DIGITS,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds of each run. The first is not counted.")] = 8,
    repeat: Annotated[int, typer.Option(min=1, help="Runs of each, in turn.")] = 1,
    training_s: Annotated[float, typer.Option(min=0, help="Seconds that each site sleeps, for a long training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The same job of NVIDIA FLARE in plain and with secagg over both of its transports, simulated.

    Seconds and bytes of a round, memory, accuracy, and what the server sees of one site. Needs the extras nvflare,
    server and demo, and redteam's scipy. Each run takes half a minute.

    Example: secagg bench flare --sites 5 --model digits
    """
    from secagg.tools.bench.frameworks.flare import measure
    from secagg.tools.bench.frameworks.setting import FLARE_WAYS, Setting

    setting = Setting(way="plain", clients=sites, model=model.value, rounds=rounds, training_s=training_s)
    _print(measure(setting, FLARE_WAYS, repeat, judge=_judged, progress=_say), as_json)


def _judged(residues: "Residues", bits: int) -> tuple[int, int]:
    """How many of the red team's tests were made, and how many of them failed."""
    from secagg.tools.redteam.statistics import Battery, ring_tests

    battery = Battery()
    battery.add("upload", ring_tests(residues, bits))
    return len(battery.tests), len(battery.alarms)


class PeerName(StrEnum):
    """Whose functions are called."""

    FLOWER = "flower"
    NVFLARE = "nvflare"


@app.command()
def peers(
    *,
    peer: Annotated[
        list[PeerName] | None, typer.Option(help="Whose functions are called; of all that are installed without.")
    ] = None,
    neighbours: Annotated[
        int, typer.Option("--neighbours", "-k", min=2, max=1000, help="The neighbours of a participant.")
    ] = 100,
    values: Annotated[int, typer.Option("--values", "-m", min=1, max=10_000_000, help="The length of an update.")] = (
        1_000_000
    ),
    unmasked: Annotated[
        int, typer.Option(min=4, max=500, help="Participants of the round that is unmasked; a tenth drops out.")
    ] = 33,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Turns of each. The median is reported.")] = 5,
    report: Drawn = None,
    as_json: AsLines = False,
) -> None:
    """Flower's SecAgg+ and NVIDIA FLARE's homomorphic encryption beside secagg: the same work, in turns, in one run.

    Their packages are called as they are installed: Flower's for sharing keys, masked input and unmasking, FLARE's for
    encrypting and adding. `make frameworks` makes an environment that has both. Times are CPU seconds of one process.

    Example: secagg bench peers --peer flower --json
    """
    from secagg.tools.bench.peers.measure import PeersSetting, measure

    setting = PeersSetting(
        peers=tuple(name.value for name in peer or ()),
        neighbours=neighbours,
        values=values,
        unmasked=unmasked,
        repeats=repeat,
    )
    check_writable(report)
    _tell_lines(lambda see: measure(setting, _command("peers"), see, _warn), report, as_json)


def _command(name: str) -> str:
    """The command line that makes the lines again; files are not named in it."""
    rest, kept = iter(sys.argv[1:]), list[str]()
    for word in rest:
        if word == "--report":
            next(rest, None)
        elif not word.startswith("--report=") and word != "--json":
            kept.append(word)
    return shlex.join(["secagg", *kept]) if kept[:2] == ["bench", name] else f"secagg bench {name}"


def _tell_lines(make: "Callable[[See], Iterator[Line]]", report: Path | None, as_json: bool) -> None:
    """Print lines as they come, or tables at the end; exit code 1 if a round was not exact."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from secagg.tools.bench.lines import Busy, Point, of_kind, written

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    lines = []
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("")

        def see(done: float, total: int, words: str) -> None:
            progress.update(bar, completed=done, total=total, description=words)

        for line in make(see):
            lines.append(line)
            if as_json:
                typer.echo(written(line))
    if not as_json:
        from secagg.tools.bench.tables import show

        show(lines, _console())
    for warning in (words for busy in of_kind(Busy, lines) for words in busy.warnings):
        _warn(f"{warning} Figures of a busy machine mean less.")
    if report is not None:
        from secagg.tools.bench.drawing import render

        report.write_text(render(lines), encoding="utf-8")
        typer.echo(f"drawn: {report}", err=True)
    if not all(point.exact for point in of_kind(Point, lines)):
        raise typer.Exit(1)


def _warn(words: str) -> None:
    typer.echo(words, err=True)


def _accuracy(seeds: int, report: Path | None, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from secagg.tools.bench import accuracy
    from secagg.tools.bench.accuracy_page import render

    check_writable(report)
    columns = (TextColumn("{task.description:<20}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("")

        def see(done: int, total: int, words: str) -> None:
            progress.update(bar, completed=done, total=total, description=words)

        findings = accuracy.measure(accuracy.SETTINGS, seeds, see)
    if report is not None:
        command = f"secagg bench privacy --accuracy --repeat {seeds} --report {report.name}"
        report.write_text(render(findings, command), encoding="utf-8")
        typer.echo(f"drawn: {report}", err=True)
    _print(findings, as_json)


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _say(matter: str) -> None:
    """Progress, out of the way of the results."""
    typer.echo(f"measuring {matter} …", err=True)


def _print(report: "Report | Comparison | AccuracyResult", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2, ensure_ascii=False))
    else:
        report.show(_console())
    if not report.exact:
        raise typer.Exit(1)
