"""What both programs do around their commands: output that every terminal can show, errors in one line or in JSON."""

import codecs
import io
import json
import sys
import warnings
from collections.abc import Sequence
from enum import Enum
from typing import Annotated, Any, Final, NoReturn, cast

import typer

from secagg import __version__
from secagg.errors import Exhibit, SecAggError

# The home of this class differs between the releases of typer that we accept; its children are public in all of them.
_UsageFailure: Final = cast("type[Exception]", typer.BadParameter.__mro__[2])

_PLAIN: Final = {
    "ε": "epsilon",
    "δ": "delta",
    "σ": "sigma",
    "α": "alpha",
    "μ": "mu",
    "Δ": "Delta",
    "χ": "chi",
    "Σ": "sum",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": "*",
    "…": "...",
    "²": "2",
    "√": "sqrt",
    "±": "+-",
    "→": "->",
    "∞": "infinity",
    "‖": "||",
    "█": "#",
    "▀": "#",
    "│": "|",
    "─": "-",
}
"""How signs are written where the terminal's encoding has no place for them. Any other sign becomes a question mark."""

_PLAIN_ERRORS: Final = "secagg-plain"


def application(name: str, help_text: str) -> typer.Typer:
    """A program without commands: its help, `-h`, `--version`, shell completion, and no tracebacks of its own."""
    app = typer.Typer(
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def print_version(wanted: bool) -> None:
        if wanted:
            typer.echo(f"{name} {__version__}")
            raise typer.Exit

    # A callback of its own also keeps typer from hiding the name of a lone command.
    @app.callback()
    def options(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
        ] = False,
    ) -> None: ...

    return app


def run(app: typer.Typer, name: str, arguments: Sequence[str], *, failure: int = 1) -> NoReturn:
    """Run `app` with the command line `arguments`, and exit.

    The exit code is 0, or what the command says; `failure` for an error and 2 for a wrong command line. An error is one
    line on stderr. Where the command line says `--json`, that line is a JSON object with the keys `error` (the class),
    `message`, and what else the error knows: `mend` (a command), `culprit`, `culprits`, `accused`, `exhibit`, `reason`,
    `array`, `index`.
    """
    show_on_every_terminal()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {_line(str(message))}\n"
    as_json = "--json" in arguments
    command = typer.main.get_command(app)
    _let_help_flow(command)
    try:
        code = command(args=list(arguments), prog_name=name, standalone_mode=not as_json)
    except typer.Abort:
        _fail_as_json({"error": "Abort", "message": "cancelled at the terminal"}, 1)
    except _UsageFailure as error:  # only with --json: otherwise typer draws it
        message = cast("typer.BadParameter", error).format_message()
        _fail_as_json({"error": "UsageError", "message": _line(message)}, 2)
    except SecAggError as error:
        _fail(error, str(error), failure, as_json=as_json)
    except OSError as error:
        _fail(error, f"{error.filename}: {error.strerror}" if error.filename else str(error), failure, as_json=as_json)
    sys.exit(code if isinstance(code, int) else 0)


def _let_help_flow(command: Any) -> None:
    """Let paragraphs of a help text be as wide as the terminal: typer keeps the line breaks of the source otherwise. A
    paragraph with an indented line keeps its own.
    """
    paragraphs = (command.help or "").split("\n\n")
    flowing = [text if "\n " in f"\n{text}" else " ".join(text.splitlines()) for text in paragraphs]
    command.help = "\n\n".join(flowing)
    for inner in getattr(command, "commands", {}).values():
        _let_help_flow(inner)


def show_on_every_terminal() -> None:
    """Let output replace signs that the terminal's encoding lacks, instead of ending the program."""
    codecs.register_error(_PLAIN_ERRORS, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAIN_ERRORS)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = "".join(_PLAIN.get(sign, "?") for sign in error.object[error.start : error.end])
    return plain, error.end


def _fail(error: Exception, message: str, code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        known = {name: _plain(value) for name, value in vars(error).items() if not name.startswith("_") and value}
        _fail_as_json({"error": type(error).__name__, "message": _line(message), **known}, code)
    typer.echo("error: " + _line(message), err=True)
    sys.exit(code)


def _fail_as_json(told: dict[str, object], code: int) -> NoReturn:
    typer.echo(json.dumps(told), err=True)
    sys.exit(code)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Exhibit):
        return {"sender": value.sender, "digest": value.digest.hex()}
    return value if isinstance(value, str | int | float | tuple | list) else str(value)


def _line(message: str) -> str:
    """One line, whatever the message holds."""
    return " ".join(message.split())
