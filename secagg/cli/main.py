"""The entry point of `secagg`: finds the command, and turns errors into one line.

A command is one line in `COMMANDS`: where to find a `typer.Typer` (a group of commands) or a function (one command).
Only the module of the command that runs is imported; `secagg --help` imports them all, so a command module imports
grpc, numpy and the like inside its functions.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from secagg import __version__
from secagg.errors import SecAggError

COMMANDS: Final = {
    "bench": "secagg.cli.bench:app",
    "ca": "secagg.cli.ca:app",
    "demo": "secagg.cli.demo:demo",
    "ledger": "secagg.cli.ledger:app",
    "participate": "secagg.cli.participate:participate",
    "round": "secagg.cli.round:app",
    "plan": "secagg.cli.plan:plan",
    "redteam": "secagg.cli.redteam:app",
    "simulate": "secagg.cli.simulate:simulate",
}

HELP: Final = """Secure aggregation for federated learning: only the sum over a cohort ever comes out.

Begin with [bold]secagg COMMAND --help[/bold]: every command explains itself with examples.
Errors are one line on stderr; the exit code is 1 for an error and 2 for a wrong command line.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (default: this process's) and exit."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        build(arguments)(args=arguments, prog_name="secagg")
    except SecAggError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application with the command that `arguments` begin with, or with every command when they name none."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    named = [name for name in COMMANDS if name in arguments[:1]]
    for name in named or COMMANDS:
        module, attribute = COMMANDS[name].split(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secagg {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of `secagg` itself. Without a callback of its own, typer would hide a lone command's name."""


def _fail(message: str) -> None:
    """One line whatever the message holds, then exit code 1."""
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(1)
