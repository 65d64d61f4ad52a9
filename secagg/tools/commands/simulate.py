"""`secagg simulate`: the protocol's state machines over an in-memory network."""

import hashlib
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import asdict
from time import process_time
from typing import TYPE_CHECKING, Annotated

import typer

from secagg.cli.names import EngineName, GraphName, ThreatModelName, parse_phase
from secagg.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import Console
    from rich.table import Table

    from secagg.config import RoundConfig
    from secagg.crypto.rng import Rng
    from secagg.messages import Phase
    from secagg.tools.simulation.network import Envelope
    from secagg.tools.simulation.scenario import Scenario, ScenarioResult
    from secagg.tools.simulation.stopwatch import Side


def simulate(
    *,
    participants: Annotated[int, typer.Option("--participants", "-n", min=3, help="The number of participants.")] = 100,
    values: Annotated[int, typer.Option("--values", "-m", min=1, help="The number of values of each update.")] = 10_000,
    threshold: Annotated[
        int, typer.Option(help="The fewest participants in a released sum; 0 takes the default of the threat model.")
    ] = 0,
    threat_model: Annotated[
        ThreatModelName, typer.Option(help="What the coordinator may do.")
    ] = ThreatModelName.ACTIVE,
    graph: Annotated[
        GraphName,
        typer.Option(help="Who shares masks with whom; auto takes a ring of neighbours where it is worth it."),
    ] = GraphName.COMPLETE,
    colluding: Annotated[
        int, typer.Option(help="How many may collude with the coordinator; -1 takes the default: just under a third.")
    ] = -1,
    value_bits: Annotated[int, typer.Option(help="The number of bits of each encoded value.")] = 16,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHASE=COUNT",
            help="How many drop out in a phase: a number (3), a fraction (0.1) or a percentage (10%). May be repeated.",
        ),
    ] = None,
    wrong_shares: Annotated[int, typer.Option(min=0, help="The number of participants that reveal wrong shares.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="The number of rounds, with the same identities.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(help="The seed of the run; the same seed repeats it. Default: a new one.", show_default=False),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(help="Where participants are: in this process, or on the nodes of a Ray cluster (extra cluster)."),
    ] = EngineName.LOCAL,
    ray_address: Annotated[
        str | None,
        typer.Option(help="The Ray cluster of --engine ray: HOST:PORT of its head node, or auto.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document. Progress goes to stderr.")] = False,
) -> None:
    """Play rounds of the real protocol in memory, with 3 to 10,000 participants, dropouts and liars.

    With the complete graph, work grows with the square of the participants: 100 take seconds, 1000 take minutes. With
    a ring (--graph auto --colluding 50) it grows almost as their number. Times are CPU time of this one process: all
    participants' work and the coordinator's, without any network. With --engine ray, participants are spread over the
    free CPUs of a Ray cluster, and the sum is the same for the same seed.
    Exit code 0 also for a round that was aborted by name; 1 if a sum was ever not exact.

    Example: secagg simulate --participants 100 --drop MaskedInput=10 --drop Unmask=5%
    """
    from rich.console import Console

    from secagg.config import Graph
    from secagg.crypto.rng import SeededRng
    from secagg.tools.simulation.scenario import Scenario

    scenario = Scenario(
        participants=participants,
        values=values,
        threshold=threshold,
        threat_model=threat_model.threat_model(),
        graph="auto" if graph is GraphName.AUTO else Graph.COMPLETE,
        max_colluding=colluding,
        value_bits=value_bits,
        dropouts=_dropouts(drop or [], participants),
        wrong_shares=wrong_shares,
    )
    scenario.config()  # refused before any work
    if (engine is EngineName.RAY) != (ray_address is not None):
        raise ConfigError("--engine ray and --ray-address go together: name the cluster, or leave both out")
    seed = int.from_bytes(os.urandom(4), "big") if seed is None else seed
    rng = SeededRng(hashlib.sha256(str(seed).encode()).digest())
    found = _play_all(scenario, rounds, rng, ray_address)
    if as_json:
        typer.echo(json.dumps(_as_json(scenario, seed, found), indent=2))
    else:
        _print(Console(), scenario, seed, found)
    if any(findings.exact is False for findings in found):
        sys.exit(1)


def _dropouts(drops: list[str], participants: int) -> "dict[Phase, int]":
    counts: dict[Phase, int] = {}
    for text in drops:
        name, equals, amount = text.partition("=")
        if not equals:
            raise ConfigError(
                f"--drop {text}: write PHASE=COUNT, as in MaskedInput=3, MaskedInput=0.1 or MaskedInput=10%"
            )
        phase = parse_phase(name)
        counts[phase] = counts.get(phase, 0) + _count(amount, participants)
    return counts


def _count(text: str, participants: int) -> int:
    try:
        if text.endswith("%"):
            count = round(float(text[:-1]) / 100 * participants)
        else:
            count = round(float(text) * participants) if "." in text else int(text)
    except (ValueError, OverflowError):
        raise ConfigError(f"{text!r} is neither a count (3) nor a fraction (0.1) nor a percentage (10%)") from None
    if not 0 <= count <= participants:
        raise ConfigError(f"{text} of {participants} participants cannot drop out")
    return count


def _play_all(scenario: "Scenario", rounds: int, rng: "Rng", ray_address: str | None) -> "list[ScenarioResult]":
    from secagg.phases import phases
    from secagg.tools.simulation.cohort import START, Deployment, participant_names
    from secagg.tools.simulation.scenario import play

    names, signed = participant_names(scenario.participants), scenario.config().signed
    found = []
    with ExitStack() as stack:
        deployment = spread = None
        if ray_address is not None:
            from secagg.tools.cluster import joined

            spread = stack.enter_context(joined(ray_address)).spread(names, process_time, signed=signed)
        elif signed:
            deployment = Deployment.create(names, START)
        for number in range(1, rounds + 1):
            title = f"round {number} of {rounds}" if rounds > 1 else "round"
            with _Watch(title, phases(scenario.config()), scenario.participants) as watch:
                found.append(
                    play(
                        scenario,
                        rng=rng,
                        deployment=deployment,
                        clock=process_time,
                        observe=watch.see,
                        spread=spread,
                    )
                )
    return found


class _Watch:
    """A progress bar on stderr that counts the participants' messages; a hook that changes nothing."""

    def __init__(self, title: str, order: "tuple[Phase, ...]", participants: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        self._progress = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(title, total=len(order) * participants)
        self._title = title
        self._order = order
        self._participants = participants

    def __enter__(self) -> "_Watch":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def see(self, envelope: "Envelope") -> "Iterable[Envelope]":
        """Notice what passes, and change nothing."""
        from secagg.messages import MaskedInputChunk
        from secagg.tools.simulation.network import Up

        later_chunk = isinstance(envelope.message, MaskedInputChunk) and envelope.message.number
        if isinstance(envelope, Up) and envelope.phase in self._order and not later_chunk:
            self._progress.update(self._task, advance=1, description=f"{self._title}  {envelope.phase!s:<16}")
        return (envelope,)


def _as_json(scenario: "Scenario", seed: int, found: "list[ScenarioResult]") -> dict[str, object]:
    config = scenario.config()
    return {
        "seed": seed,
        "participants": scenario.participants,
        "values": scenario.values,
        "threshold": config.threshold,
        "max_colluding": config.max_colluding,
        "graph": _graph(config),
        "threat_model": scenario.threat_model.name.lower(),
        "value_bits": scenario.value_bits,
        "ring_bits": config.ring_bits,
        "rounds": [_round_as_json(scenario, findings) for findings in found],
    }


def _graph(config: "RoundConfig") -> "dict[str, int] | str":
    return "complete" if config.ring is None else asdict(config.ring)


def _round_as_json(scenario: "Scenario", findings: "ScenarioResult") -> dict[str, object]:
    from secagg.tools.simulation.scenario import PLAIN_BYTES
    from secagg.tools.simulation.stopwatch import Side

    plain = scenario.values * PLAIN_BYTES
    aborted = findings.aborted
    return {
        "survivors": findings.survivors,
        "dropped": {str(phase): count for phase, count in findings.dropped.items()},
        "aborted": {"reason": aborted.reason.name.lower(), "message": str(aborted)} if aborted else None,
        "exact": findings.exact,
        "sum_sha256": findings.digest.hex() if findings.digest else None,
        "largest_error": findings.largest_error,
        "error_bound": findings.error_bound,
        "liars": sorted(findings.liars),
        "named": sorted(findings.named),
        "cpu_seconds": {side.value: _by_phase(findings.seconds, side) for side in Side},
        "bytes_up_per_participant": findings.bytes_up,
        "bytes_down_per_participant": findings.bytes_down,
        "plain_bytes_per_participant": plain,
        "expansion_up": findings.bytes_up / plain,
        "expansion": (findings.bytes_up + findings.bytes_down) / plain,
    }


def _by_phase(seconds: "Mapping[tuple[Side, Phase], float]", side: "Side") -> dict[str, float]:
    return {str(phase): spent for (whose, phase), spent in seconds.items() if whose is side}


def _print(console: "Console", scenario: "Scenario", seed: int, found: "list[ScenarioResult]") -> None:
    config = scenario.config()
    console.print(
        f"{scenario.participants} participants, threshold {config.threshold}, {scenario.threat_model.name.lower()} "
        f"coordinator; seed {seed}\n{_graph_line(config)}{scenario.values:,} values of {scenario.value_bits} bits, "
        f"added up in {config.ring_bits} bits",
        highlight=False,
    )
    for number, findings in enumerate(found, start=1):
        console.print(f"\n[bold]Round {number}[/bold]  {_outcome(findings)}", highlight=False)
        for label, text in _lines(scenario, findings):
            console.print(f"  {label:<10} {text}", highlight=False)
        console.print(_times(scenario, findings))


def _graph_line(config: "RoundConfig") -> str:
    ring = config.ring
    if ring is None:
        return ""
    signing = f", {ring.committee_threshold} of {ring.committee} sign for all" if ring.committee else ""
    return f"a ring of {ring.degree} neighbours each, {ring.neighbour_threshold} shares open a secret{signing}\n"


def _outcome(findings: "ScenarioResult") -> str:
    if findings.aborted is not None:
        return f"[yellow]no sum, nothing released:[/yellow] {findings.aborted}"
    if findings.exact:
        return f"[green]exact sum over {findings.survivors} participants[/green]"
    return "[red]WRONG SUM[/red]"


def _lines(scenario: "Scenario", findings: "ScenarioResult") -> "Iterable[tuple[str, str]]":
    from secagg.tools.simulation.scenario import PLAIN_BYTES

    if findings.dropped:
        yield "dropped", ", ".join(f"{count} in {phase}" for phase, count in findings.dropped.items())
    if findings.largest_error is not None:
        yield "error", f"{findings.largest_error:.2e} at most, bound {findings.error_bound:.2e}"
    if findings.liars:
        named = ", ".join(sorted(findings.named)) or "nobody"
        yield "liars", f"{len(findings.liars)} revealed wrong shares; named: {named}"
    up, down, plain = findings.bytes_up, findings.bytes_down, scenario.values * PLAIN_BYTES
    yield "bytes", f"{up:,.0f} up, {down:,.0f} down for each participant"
    yield "expansion", f"{up / plain:.2f} up, {(up + down) / plain:.2f} both ways, against a plain float32 update"


def _times(scenario: "Scenario", findings: "ScenarioResult") -> "Table":
    from rich.table import Table

    from secagg.phases import phases
    from secagg.tools.simulation.stopwatch import Side

    table = Table("CPU time by phase", box=None, pad_edge=True)
    table.add_column("each participant", justify="right")
    table.add_column("coordinator", justify="right")
    for phase in phases(scenario.config()):
        each = findings.seconds.get((Side.PARTICIPANT, phase), 0.0) / scenario.participants
        table.add_row(
            str(phase), f"{1000 * each:.1f} ms", f"{findings.seconds.get((Side.COORDINATOR, phase), 0.0):.3f} s"
        )
    return table
