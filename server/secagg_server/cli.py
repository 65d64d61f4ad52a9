"""The command line of the coordinator. Every setting is a flag, so that neither list can fall behind the other."""

import asyncio
import inspect
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer
from pydantic.fields import FieldInfo

from secagg import __version__
from secagg.errors import SecAggError
from secagg_server.addresses import parse_control, parse_tcp
from secagg_server.app import check_accounting, running_server
from secagg_server.logs import announce, configure_logs
from secagg_server.settings import ENV_PREFIX, Settings, load_settings
from secagg_server.tls import load_credentials, load_trust

HELP: Final = """The secagg coordinator: relays, sums, and never sees a single update.

Errors are one line on stderr; the exit code is 1 for an error and 2 for a wrong command line.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (default: this process's) and exit."""
    try:
        build()(args=arguments, prog_name="secagg-server")
    except SecAggError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))


def build() -> typer.Typer:
    """The application."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    app.command("serve")(_with_settings(serve))
    app.command("check-config")(_with_settings(check_config))
    return app


def serve(settings: Settings) -> None:
    """Coordinate rounds until SIGTERM or Ctrl-C.

    When ready, one log line says where: event "ready", data_plane and control_plane. On a signal, open rounds are
    aborted by name, whoever waits is told, and the process ends. A second signal ends it at once.

    Example: secagg-server serve --certificate cert.pem --key key.pem --participant-ca ca.pem --listen 0.0.0.0:7443
    """
    configure_logs(settings)
    asyncio.run(_serve(settings))


def check_config(settings: Settings) -> None:
    """Check settings, certificate, key and CA without serving; print the settings in force, as a settings file."""
    parse_tcp(settings.listen)
    parse_control(settings.control)
    load_credentials(settings, load_trust(settings), time.time())
    check_accounting(settings)
    for name, value in settings.model_dump(mode="json").items():
        if value is not None:
            typer.echo(f"{name} = {_toml(value)}")


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
        structlog.get_logger().info("stopping", signal=number.name)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    async with running_server(settings) as server:
        announce("ready", data_plane=server.data_address, control_plane=server.control_address, version=__version__)
        await stop.wait()


def _with_settings(run: Callable[[Settings], None]) -> Callable[..., None]:
    """A command with a flag for every setting, and `--config` for a file of them."""

    def command(config: Path | None, **flags: str | None) -> None:
        run(load_settings(config, flags))

    file = typer.Option(help="Settings file, TOML. Flags and environment go before it.", envvar=f"{ENV_PREFIX}CONFIG")
    kinds: dict[str, object] = {"config": Annotated[Path | None, file]}
    for name, field in Settings.model_fields.items():
        kinds[name] = Annotated[str | None, typer.Option(help=_described(name, field), metavar="VALUE")]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in kinds.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = kinds
    command.__doc__ = run.__doc__
    return command


def _described(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"default {field.default}"
    return f"{field.description} ({default}; {ENV_PREFIX}{name.upper()})"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secagg-server {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Options of `secagg-server` itself."""


def _fail(message: str) -> None:
    """One line whatever the message holds, then exit code 1."""
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(1)
