"""`secagg round`: what an FL server does with its sidecar, by hand."""

import json
import sys
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from secagg.cli.configfiles import read_config
from secagg.cli.names import Custody, CustodyName, GraphName, Scheme, SchemeName, ThreatModelOfScheme, parse_round_id
from secagg.cli.options import SOCKET, AsJson, Control
from secagg.cli.precision import precision
from secagg.cli.receipts import compare
from secagg.errors import ConfigError
from secagg.programs.folders import check_writable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secagg_client import ControlClient

    from secagg.config import RoundConfig
    from secagg.encoding.arrays import NumberArray
    from secagg.encoding.fixedpoint import FixedPoint
    from secagg.encoding.integers import Integers
    from secagg.encoding.pipeline import Pipeline
    from secagg.encoding.schema import Schema

app = typer.Typer(
    help="Open rounds at a coordinator, watch them, fetch their sums, and compare receipts.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

RoundId = Annotated[str, typer.Argument(metavar="ROUND", help="The id of the round: 32 hexadecimal digits.")]

app.command()(compare)


@app.command("open")
def open_round(
    task: Annotated[
        str, typer.Option(help="The name of the task. Participants wait for rounds of a task by its name.")
    ],
    model: Annotated[Path, typer.Option(help="The model that the updates belong to, as an .npz file.")],
    participants: Annotated[
        int, typer.Option("--participants", "-n", min=3, help="The largest number of participants that may take part.")
    ],
    *,
    clip: Annotated[
        float | None,
        typer.Option(
            help="Each value of an update is clipped to the range from minus this number to plus this number.",
            show_default=False,
        ),
    ] = None,
    value_bits: Annotated[int, typer.Option(help="The number of bits of each encoded value.")] = 16,
    max_weight: Annotated[
        int,
        typer.Option(min=1, help="The largest weight of a participant. A number below 2^value-bits costs no bytes."),
    ] = 1,
    pipeline: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A pipeline of defences in place of --clip, --value-bits and --max-weight; secagg plan prints one.",
        ),
    ] = None,
    integers: Annotated[
        str | None,
        typer.Option(
            metavar="MAX",
            help="Exact sums of integers in the place of a mean: integers from 0 to MAX, or from MIN to MAX (MIN:MAX).",
        ),
    ] = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="ARRAY=CLIP",
            help="A range of its own for one array (for integers MIN:MAX). May be repeated.",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="An update from which names, shapes and types of the arrays are taken. Default: the model."),
    ] = None,
    scheme: Scheme = SchemeName.MASKED,
    custody: Custody = CustodyName.PARTICIPANTS,
    threshold: Annotated[
        int, typer.Option(help="The fewest participants in a released sum; 0 takes the default of the threat model.")
    ] = 0,
    threat_model: ThreatModelOfScheme = None,
    colluding: Annotated[
        int,
        typer.Option(
            help="Participants that may collude with the coordinator; -1 stands for just under a third. With "
            "--graph auto, a smaller number makes a ring cheaper."
        ),
    ] = -1,
    graph: Annotated[
        GraphName,
        typer.Option(
            help="Who shares masks with whom. complete: everyone with everyone. auto: in a large cohort, participants "
            "on a ring share with their neighbours alone, where that halves how many each has to verify."
        ),
    ] = GraphName.COMPLETE,
    groups: Annotated[
        int,
        typer.Option(
            help="Split the round into this many groups. The numbers -n and --threshold then hold for each group."
        ),
    ] = 0,
    combine: Annotated[
        str, typer.Option(help="How the sums of the groups become one result: median, trimmed:K or mean.")
    ] = "median",
    purpose: Annotated[
        str,
        typer.Option(
            help="What participants compute for the model: train, evaluate and so on. Participants must name the same."
        ),
    ] = "train",
    receipt_only: Annotated[
        bool, typer.Option("--receipt-only", help="Do not give the aggregate to participants.")
    ] = False,
    certify: Annotated[
        bool,
        typer.Option(
            "--certify",
            help="Let the surviving participants sign the result, so that everybody sees that there is only one.",
        ),
    ] = False,
    give_sum: Annotated[
        bool,
        typer.Option(
            "--give-sum", help="With custody participants: the participants also give the sum to the FL server."
        ),
    ] = False,
    deadline: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="The longest time that a phase stays open, in seconds. Default: 60, 300 for the updates, and 0.2 more "
            "for each participant beyond 500.",
        ),
    ] = None,
    join: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long to wait for the first participant, where they train before they come; the first phase "
            "begins with it. 0: it begins at once.",
        ),
    ] = 0.0,
    save_config: Annotated[
        Path | None, typer.Option(help="Write the configuration to this file; secagg round fetch reads it.")
    ] = None,
    control: Control = SOCKET,
    as_json: AsJson = False,
) -> None:
    """Open a round and print its id.

    Example: secagg round open --task digits --model m.npz -n 10 --clip 0.5 --max-weight 200 --save-config r.config
    """
    from secagg.config import Deadlines, Graph, RoundConfig, ThreatModel
    from secagg.context import digest_model
    from secagg.programs.arrayfiles import read_arrays
    from secagg.robust.grouping import Groups
    from secagg.variants import Variant
    from secagg.wire.configuration import encode_config

    arrays, variant = read_arrays(model), Variant.named(scheme, custody)
    believed = variant.threat_model(ThreatModel.ACTIVE) if threat_model is None else threat_model.threat_model()
    masked = RoundConfig(
        task=task,
        schema=_schema(arrays if like is None else read_arrays(like), ranges or []),
        encoding=_encoding(clip, value_bits, max_weight, pipeline, integers),
        max_participants=participants,
        threshold=threshold or variant.default_threshold(participants, believed),
        max_colluding=colluding,
        graph="auto" if graph is GraphName.AUTO and variant.scheme is None else Graph.COMPLETE,
        model_digest=digest_model(arrays),
        threat_model=believed,
        release_to_participants=not receipt_only,
        purpose=purpose,
        groups=Groups.parse(groups, combine) if groups else None,
        deadlines=(
            Deadlines.for_cohort(participants, join)
            if deadline is None
            else Deadlines(deadline, deadline, deadline, deadline, deadline, join)
        ),
    )
    config = replace(variant.encrypting(masked, give_sum=give_sum), certify=certify)
    check_writable(save_config)
    with _client(control) as client:
        round_id = client.open_round(config)
    if save_config is not None:
        save_config.write_bytes(encode_config(config))
    typer.echo(json.dumps({"round": round_id.hex(), **_facts(config)}, indent=2) if as_json else round_id.hex())


@app.command()
def watch(round_id: RoundId, *, control: Control = SOCKET, as_json: AsJson = False) -> None:
    """Show what happened and what happens, until the round is over. Exit code 1 if it ends without a sum.

    In a terminal this is a table that follows the round: phases, how many have delivered, who is missing, and the
    deadline. Elsewhere each event is a line of text, and with --json a line of JSON.

    Example: secagg round watch 3ea1ec2623643f993a2e6456c4117470
    """
    from rich.console import Console

    from secagg.cli.watching import show_json, show_lines, show_table

    with _client(control) as client, closing(client.watch(parse_round_id(round_id))) as events:
        console = Console(highlight=False)
        if as_json:
            show_json(events)
        elif sys.stdout.isatty() and not console.is_dumb_terminal:
            show_table(events, console)
        else:
            show_lines(events)


@app.command()
def fetch(
    round_id: RoundId,
    *,
    config: Annotated[Path, typer.Option(help="The file that secagg round open --save-config wrote.")],
    out: Annotated[
        Path,
        typer.Option(help="Write the mean, or the integer sums, to this .npz file (.npy for one array)."),
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the round is over.")] = False,
    control: Control = SOCKET,
    as_json: AsJson = False,
) -> None:
    """Fetch the sum of a round that is over, as the weighted mean or as exact integers.

    Example: secagg round fetch 3ea1ec2623643f993a2e6456c4117470 --config r.config --out mean.npz
    """
    from secagg.encoding.integers import IntegerSums

    known = read_config(config)
    check_writable(out)
    with _client(control) as client:
        fetched = (client.result_into if wait else client.fetch_into)(out, parse_round_id(round_id), known)
    survivors, found = fetched.survivors, fetched.found
    if isinstance(found, IntegerSums):
        report = {"survivors": list(survivors), "summands": found.summands, "totals": str(out)}
        typer.echo(json.dumps(report, indent=2) if as_json else f"{found.summands} updates, their exact sums in {out}")
        return
    if as_json:
        typer.echo(json.dumps({"survivors": list(survivors), **precision(found), "mean": str(out)}, indent=2))
        return
    typer.echo(f"{len(survivors)} updates of total weight {found.weight}, weighted mean in {out}")
    if isfinite(found.error_bound):
        typer.echo(f"  within {found.error_bound:.3g} of the exact one")


@app.command()
def abort(
    round_id: RoundId,
    *,
    reason: Annotated[str, typer.Option(help="The reason, which participants see.")] = "",
    control: Control = SOCKET,
    as_json: AsJson = False,
) -> None:
    """End a round without a sum.

    Example: secagg round abort 3ea1ec2623643f993a2e6456c4117470 --reason "wrong model"
    """
    with _client(control) as client:
        client.abort(parse_round_id(round_id), reason)
    if as_json:
        typer.echo(json.dumps({"round": round_id, "aborted": True}))


Participants = Annotated[
    list[str], typer.Argument(metavar="PARTICIPANT...", help="Ids of participants, as their certificates say them.")
]


@app.command()
def expect(
    round_id: RoundId, participants: Participants, *, control: Control = SOCKET, as_json: AsJson = False
) -> None:
    """Say who will come: keys are advertised until all of them have, and not longer. Said again, it replaces the list.

    Example: secagg round expect 3ea1ec2623643f993a2e6456c4117470 clinic-1 clinic-2 clinic-3 clinic-4
    """
    with _client(control) as client:
        client.expect(parse_round_id(round_id), participants)
    told = {"round": round_id, "expected": sorted(set(participants))}
    typer.echo(json.dumps(told) if as_json else f"round {round_id} waits for {len(told['expected'])} participants")


@app.command()
def exclude(
    round_id: RoundId, participants: Participants, *, control: Control = SOCKET, as_json: AsJson = False
) -> None:
    """Say who is gone: nobody waits for them any more.

    Example: secagg round exclude 3ea1ec2623643f993a2e6456c4117470 clinic-4
    """
    with _client(control) as client:
        client.exclude(parse_round_id(round_id), participants)
    told = {"round": round_id, "excluded": sorted(set(participants))}
    typer.echo(json.dumps(told) if as_json else f"round {round_id} waits no more for {', '.join(told['excluded'])}")


@app.command("list")
def list_rounds(
    *,
    task: Annotated[str | None, typer.Option(help="Only rounds of this task.")] = None,
    control: Control = SOCKET,
    as_json: AsJson = False,
) -> None:
    """List the rounds that the sidecar knows, newest first.

    Example: secagg round list --task digits
    """
    with _client(control) as client:
        rounds = client.list_rounds(task)
    if as_json:
        lines = [
            {
                "round": r.round_id.hex(),
                "task": r.task,
                "state": r.state.name.lower(),
                "phase": str(r.phase) if r.phase else None,
                "opened": datetime.fromtimestamp(r.opened, UTC).isoformat(),
            }
            for r in rounds
        ]
        typer.echo(json.dumps(lines, indent=2))
        return
    from secagg.cli.watching import clock

    for r in rounds:
        state = str(r.phase) if r.phase else r.state.name.lower()
        typer.echo(f"{r.round_id.hex()}  {clock(r.opened)}  {state:20}  {r.task}")


def _encoding(
    clip: float | None, value_bits: int, max_weight: int, pipeline: str | None, integers: str | None
) -> "FixedPoint | Pipeline | Integers":
    from secagg.encoding.fixedpoint import FixedPoint
    from secagg.encoding.integers import Integers
    from secagg.encoding.pipeline import Pipeline

    if sum(given is not None for given in (clip, pipeline, integers)) != 1:
        raise ConfigError("give one of --clip (with --value-bits and --max-weight), --pipeline and --integers")
    if integers is not None:
        low, high = _bounds(integers if ":" in integers else f"0:{integers}", "--integers")
        return Integers(max=high, min=low)
    return FixedPoint(clip, value_bits, max_weight) if clip is not None else Pipeline.parse(pipeline or "")


def _schema(example: "Mapping[str, NumberArray]", ranges: list[str]) -> "Schema":
    """The schema of an example update with the ranges that `--range` gave, each ARRAY=CLIP or ARRAY=MIN:MAX."""
    from secagg.encoding.schema import Schema

    clips: dict[str, float] = {}
    bounds: dict[str, tuple[int, int]] = {}
    for text in ranges:
        name, _, value = text.rpartition("=")
        if ":" in value:
            bounds[name] = _bounds(value, "--range")
            continue
        try:
            clips[name] = float(value)
        except ValueError:
            raise ConfigError(f"--range is ARRAY=CLIP, or ARRAY=MIN:MAX for integers, not {text!r}") from None
    return Schema.of(example, ranges=clips, bounds=bounds)


def _bounds(text: str, option: str) -> tuple[int, int]:
    low, _, high = text.partition(":")
    try:
        return int(low), int(high)
    except ValueError:
        raise ConfigError(f"{option} takes whole numbers, MIN:MAX, not {text!r}") from None


def _client(control: str) -> "ControlClient":
    from secagg_client import ControlClient

    return ControlClient(control)


def _facts(config: "RoundConfig") -> dict[str, Any]:
    return {
        "scheme": config.scheme,
        "threshold": config.threshold,
        "max_colluding": config.max_colluding,
        "graph": "complete" if config.ring is None else "ring",
        **({} if config.ring is None else asdict(config.ring)),
        "vector_len": config.vector_len,
        "ring_bits": config.ring_bits,
        "model_digest": config.model_digest.hex(),
    }
