"""`secagg quarantine`: participants whose fault was proven, and how one is let in again."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from secagg.cli.options import SOCKET, AsJson, Control

HELP = """Show whose fault was proven in rounds, and let participants in again.

A round in which a participant is proven to have broken the protocol is one [bold]strike[/bold]. With as many strikes \
as the coordinator's setting quarantine_after says, the participant is kept out of all rounds until somebody who may \
use the control plane releases it.
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")


@app.command("list")
def listed(control: Control = SOCKET, as_json: AsJson = False) -> None:
    """List participants with strikes: who is kept out, and what was proven in which round.

    Example: secagg quarantine list
    """
    from secagg_client import ControlClient

    with ControlClient(control) as client:
        records = client.strikes()
    if as_json:
        told = [
            {
                "participant": record.participant,
                "quarantined": record.quarantined,
                "strikes": [
                    {"round": each.round_id.hex(), "time_s": each.time_s, "why": each.why} for each in record.strikes
                ],
            }
            for record in records
        ]
        typer.echo(json.dumps(told, indent=2))
        return
    if not records:
        typer.echo("no participant has a strike")
    for record in records:
        state = "kept out of rounds" if record.quarantined else "may take part"
        typer.echo(f"{record.participant}: {len(record.strikes)} strikes, {state}")
        for each in record.strikes:
            when = f"{datetime.fromtimestamp(each.time_s, UTC):%Y-%m-%d %H:%M} UTC"
            typer.echo(f"  {when}  round {each.round_id.hex()}  {each.why}")


@app.command()
def release(
    participant_id: Annotated[str, typer.Argument(metavar="ID", help="The participant's id.")],
    control: Control = SOCKET,
    as_json: AsJson = False,
) -> None:
    """Forgive a participant all of its strikes: it may take part again.

    Example: secagg quarantine release clinic-7
    """
    from secagg_client import ControlClient

    with ControlClient(control) as client:
        forgiven = client.forgive(participant_id)
    if as_json:
        typer.echo(json.dumps({"participant": participant_id, "forgiven": forgiven}))
    else:
        typer.echo(f"{participant_id} may take part again; {forgiven} strikes are forgiven")
