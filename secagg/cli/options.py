"""Options that several commands have. Imported with every command, so it imports nothing heavy itself."""

from typing import Annotated, Final

import typer

Control = Annotated[
    str,
    typer.Option(help="The coordinator's control plane: unix:PATH, or a loopback HOST:PORT.", envvar="SECAGG_CONTROL"),
]
SOCKET: Final = "unix:secagg-control.sock"
"""Where a coordinator has its control plane by default."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
