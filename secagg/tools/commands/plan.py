"""`secagg plan`: from a privacy budget to the parameters of a task, and what they cost."""

import json
from enum import Enum
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from secagg.errors import ConfigError
from secagg.programs.folders import check_writable

if TYPE_CHECKING:
    from secagg.privacy.finder import Plan, Task


class LawName(Enum):
    """How noise is distributed, on the command line."""

    SKELLAM = "skellam"
    GAUSSIAN = "gaussian"


def plan(
    *,
    values: Annotated[int, typer.Option("--values", "-m", min=1, help="The number of values of an update.")],
    participants: Annotated[
        int, typer.Option("--participants", "-n", min=3, help="The largest number of participants in a round.")
    ],
    threshold: Annotated[
        int, typer.Option(help="The fewest participants in a released sum; 0 stands for two thirds and one more.")
    ] = 0,
    colluding: Annotated[
        int,
        typer.Option(help="Participants that may collude; -1 stands for just under a third (threshold − 2 at most)."),
    ] = -1,
    receipt_only: Annotated[bool, typer.Option("--receipt-only", help="Do not give the sum to participants.")] = False,
    rounds: Annotated[int, typer.Option("--rounds", "-r", help="The number of released sums.")] = 1,
    epsilon: Annotated[float, typer.Option(help="The ε of all rounds together.")] = 2.5,
    delta: Annotated[float, typer.Option(help="The δ of all rounds together, below 1/n.")] = 1e-5,
    clip: Annotated[float, typer.Option(help="The largest L2 norm of an update; longer updates are shortened.")] = 1.0,
    bits: Annotated[int, typer.Option(help="The number of bits of the ring in which sums are taken.")] = 16,
    law: Annotated[LawName, typer.Option(help="The distribution of the noise.")] = LawName.SKELLAM,
    z: Annotated[
        float | None, typer.Option("--z", help="Go the other way: report the ε that this noise multiplier gives.")
    ] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Write an HTML page that shows ε against rounds and error against bits.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the least noise that keeps a privacy budget, or say what is nearest to it. Needs the extra dp.

    ε is client-level, in the eyes of whoever sees least noise: a coordinator that sees everything and may collude with
    some participants, so that only the noise of survivors that are certainly honest counts (threshold less colluding).
    With --colluding 0 it is a fellow participant, who gets the sum and knows its own noise (threshold less one), unless
    --receipt-only. Nothing is claimed for sampling participants.

    The defaults are those of a masked round. A round of ckks or bfv whose key is with the participants stands no
    colluding ones and has a lower threshold: say --colluding 0 and --threshold, n/2 rounded down and one more (3 at
    least), or the planned rounds cost more than planned.

    Example: secagg plan --values 650 --participants 100 --rounds 10

    Example: secagg plan -m 1000000 -n 100 --bits 18 --z 2.0

    Example: secagg plan -m 650 -n 700 --rounds 10 --epsilon 8 --draw plan.html
    """
    from secagg.config import MIN_HONEST, ThreatModel, default_max_colluding, default_threshold
    from secagg.encoding.calibration import Cohort
    from secagg.noise.laws import Law
    from secagg.privacy.finder import Task, describe, find

    threshold = threshold or default_threshold(participants, ThreatModel.ACTIVE)
    most = min(default_max_colluding(participants), max(0, threshold - MIN_HONEST))
    colluding = most if colluding < 0 else colluding
    if threshold - colluding < MIN_HONEST:
        raise ConfigError(f"no round has this: the threshold must be {colluding + MIN_HONEST} or more, not {threshold}")
    task = Task(
        values=values,
        cohort=Cohort(participants, threshold - colluding),
        unseen=max(0, threshold - max(colluding, int(not receipt_only))),
        rounds=rounds,
        clip=clip,
        bits=bits,
        law=Law(law.value),
        epsilon=epsilon,
        delta=delta,
    )
    check_writable(draw)
    found = find(task) if z is None else describe(task, z)
    if draw is not None:
        from secagg.tools.commands.plan_page import render

        draw.write_text(
            render(task, found, _command(task, threshold, found.z, receipt_only=receipt_only)), encoding="utf-8"
        )
    facts = _facts(task, found) | {"peers_with_auto_graph": _peers(participants, threshold, colluding)}
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    _show(facts)
    if draw is not None:
        typer.echo(f"drawn: {draw}")


def _command(task: "Task", threshold: int, z: float, *, receipt_only: bool) -> str:
    """What gives the same plan again."""
    return (
        f"secagg plan --values {task.values} --participants {task.cohort.summands} --threshold {threshold} "
        f"--colluding {threshold - task.cohort.honest} --rounds {task.rounds} --delta {task.delta:g} "
        f"--clip {task.clip:g} --bits {task.bits} --law {task.law.value} --z {z:g}"
        + (" --receipt-only" if receipt_only else "")
    )


def _facts(task: "Task", found: "Plan") -> dict[str, Any]:
    calibration = found.calibration
    return {
        "pipeline": found.pipeline.text,
        "z": found.z,
        "epsilon": found.epsilon,
        "delta": task.delta,
        "rounds": task.rounds,
        "participants": task.cohort.summands,
        "guaranteed_honest": task.cohort.honest,
        "noises_counted": task.counted,
        "view": task.view.value,
        "ring_bits": task.bits,
        "scale": calibration.scale,
        "local_sigma_on_grid": float(calibration.variance) ** 0.5,
        "error_of_a_mean": found.error,
        "error_over_continuous_gaussian": found.error / found.gaussian_error,
        "z_after_rounding": found.rounded_z,
        "central_z": _finite(found.central_z),
        "upload_bytes": found.upload_bytes,
    }


def _peers(participants: int, threshold: int, colluding: int) -> int:
    """Neighbours on a ring and its committee, or all others where the complete graph is chosen."""
    from secagg.sparse.finder import choose

    ring = choose(max_participants=participants, max_colluding=colluding, threshold=threshold, active=True)
    return participants - 1 if ring is None else ring.degree + ring.committee


_MEANING: Final = {
    "z": "noise of the certainly honest together, in units of the clip",
    "epsilon": "of all rounds together, for a whole participant",
    "delta": "of all rounds together",
    "rounds": "released sums",
    "participants": "most in a round",
    "guaranteed_honest": "threshold less colluding: whom the noise is sized for",
    "noises_counted": "of theirs, those that nobody knows who sees the sum",
    "view": "who sees the least noise: ε is about this view",
    "ring_bits": "of a value on the wire",
    "scale": "steps of the grid in one unit of the update",
    "local_sigma_on_grid": "standard deviation of one participant's noise, in steps",
    "error_of_a_mean": "standard deviation of one value, in the update's unit",
    "error_over_continuous_gaussian": "1 is what continuous noise of this z has",
    "z_after_rounding": "what the sum really has of z: for a policy's min_noise_multiplier",
    "central_z": "what the coordinator's own noise would need for this ε",
    "upload_bytes": "of one update in a masked round, without seals and signatures",
    "peers_with_auto_graph": "whom each has to verify in an active round with graph=auto, in the place of all others",
}


def _finite(value: float) -> float | None:
    """JSON knows no infinity: null."""
    return None if value == inf else value


def _shown(value: object) -> str:
    match value:
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case None:
            return "none"
    return str(value)


def _show(facts: dict[str, Any]) -> None:
    """Print a plan as a table."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.print(facts["pipeline"], style="bold", markup=False, highlight=False, soft_wrap=True)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("parameter", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what it is")
    for name, value in list(facts.items())[1:]:
        table.add_row(name, _shown(value), _MEANING[name])
    console.print(table)
