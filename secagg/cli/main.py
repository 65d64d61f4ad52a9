"""The entry point of `secagg`: finds the command, and turns errors into one line.

A command is one line in `COMMANDS`, or in `secagg.tools.commands` if it belongs to the tools: where to find a
`typer.Typer` (a group of commands) or a function (one command).
Only the module of the command that runs is imported; `secagg --help` imports them all, so a command module imports
grpc, numpy and the like inside its functions.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import typer

from secagg.programs.program import application, run

COMMANDS: Final = {
    "audit": "secagg.cli.audit:app",
    "ca": "secagg.cli.ca:app",
    "doctor": "secagg.cli.doctor.command:doctor",
    "ledger": "secagg.cli.ledger:app",
    "participate": "secagg.cli.participate:participate",
    "quarantine": "secagg.cli.quarantine:app",
    "round": "secagg.cli.round:app",
}

TOOLS: Final = "secagg.tools.commands"
"""Has the commands that show something about the product. The service image leaves the whole of `secagg.tools` out, so
it is loaded by its name, and only if it is there.
"""

HELP: Final = """Secure aggregation for federated learning: only the sum over a cohort ever comes out.

Begin with [bold]secagg COMMAND --help[/bold]: every command explains itself with examples.
Errors are one line on stderr, with --json as JSON; the exit code is 1 for an error and 2 for a wrong command line.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (default: this process's) and exit."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    # 1 says what was found: of the red team, that something leaked; of conformance, that a case failed. An error proves
    # neither.
    judges = arguments[:1] in (["redteam"], ["conformance"])
    run(build(arguments), "secagg", arguments, failure=2 if judges else 1)


def commands() -> dict[str, str]:
    """Where each command is found, by its name: `module:attribute`."""
    tools = import_module(TOOLS).COMMANDS if find_spec("secagg.tools") else {}
    return dict(sorted((COMMANDS | tools).items()))


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application with the command that `arguments` begin with, or with every command when they name none."""
    app = application("secagg", HELP)
    known = commands()
    named = [name for name in known if name in arguments[:1]]
    for name in named or known:
        module, attribute = known[name].split(":")
        command = getattr(import_module(module), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app
