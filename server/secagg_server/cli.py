"""The command line of the coordinator. Every setting is a flag, so that neither list can fall behind the other."""

import asyncio
import inspect
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import structlog
import typer
from pydantic.fields import FieldInfo

from secagg import __version__
from secagg.programs.program import application, run
from secagg.transport.addresses import parse_control, parse_tcp
from secagg_server.app import check_accounting, running_server
from secagg_server.certificates.files import load
from secagg_server.gateway.command import token
from secagg_server.health import health
from secagg_server.limits.memory import settle_allocator, settle_collector
from secagg_server.observability.grpc_log import GrpcLog
from secagg_server.observability.logs import announce, configure_logs
from secagg_server.observability.python_log import python_told
from secagg_server.observability.standard_error import standard_error_to
from secagg_server.observability.traces import traces
from secagg_server.placing import joined, placed
from secagg_server.settings import ENV_PREFIX, Settings, load_settings
from secagg_server.state_commands import backup, migrate_state, restore_backup
from secagg_server.supervisor import READY, STOPPING, tell_supervisor

HELP: Final = """The secagg coordinator: relays, sums, and never sees a single update.

Errors are one line on stderr, with --json as JSON; the exit code is 1 for an error and 2 for a wrong command line.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (default: this process's) and exit."""
    run(build(), "secagg-server", sys.argv[1:] if arguments is None else arguments)


def build() -> typer.Typer:
    """Make the command-line application, with one option for each setting."""
    app = application("secagg-server", HELP)
    app.command("serve")(_with_settings(serve))
    app.command("check-config")(_with_settings(check_config, *_SWITCHES))
    app.command("health")(health)
    app.command("token")(token)
    app.command("backup")(backup)
    app.command("restore")(restore_backup)
    app.command("migrate")(migrate_state)
    return app


def serve(settings: Settings) -> None:
    """Coordinate rounds until SIGTERM or Ctrl-C.

    When ready, one log line says where: event "ready", data_plane, control_plane and status. On a signal, open rounds
    are aborted by name, whoever waits is told, and the process ends. A second signal ends it at once. Certificate, key
    and CA are read again when their files change, and on SIGHUP.

    Example: secagg-server serve --certificate cert.pem --key key.pem --participant-ca ca.pem --listen 0.0.0.0:7443
    """
    settle_allocator()
    settle_collector()
    configure_logs(settings)
    grpc_log = GrpcLog()
    if settings.engine == "local":
        with python_told(), standard_error_to(grpc_log.take):
            asyncio.run(_serve(settings, grpc_log))
        return
    settings = settings.model_copy(update={"link": settings.link or "127.0.0.1:0"})
    with joined(settings) as ray, python_told(), standard_error_to(grpc_log.take):
        asyncio.run(_serve(settings, grpc_log, partial(placed, ray, settings)))


def check_config(settings: Settings, *, files_only: bool, as_json: bool) -> None:
    """Start as `serve` would and stop at once; then print the settings in force, as a settings file.

    It goes on with no round that a sidecar left, and serves nobody. Whatever would keep `serve` from starting is found:
    a file that is missing or does not fit, a taken address, a folder that may not be written, an extra that an open
    round of the state folder needs. Beside a sidecar that runs with the same settings, say --files-only: its addresses,
    its state folder and its ledgers are taken, and are not looked at.

    Example: secagg-server check-config --config secagg-server.toml
    """
    if files_only:
        parse_tcp(settings.listen)
        parse_control(settings.control)
        if settings.status is not None:
            parse_tcp(settings.status)
        if settings.gateway is not None:
            parse_tcp(settings.gateway)
        load(settings, time.time())
        check_accounting(settings)
        with traces():
            pass
    else:
        configure_logs(settings.model_copy(update={"log_level": "error"}), sys.stderr)
        asyncio.run(_start_and_stop(settings))
    in_force = {name: value for name, value in settings.model_dump(mode="json").items() if value is not None}
    if as_json:
        typer.echo(json.dumps(in_force, indent=2))
        return
    for name, value in in_force.items():
        typer.echo(f"{name} = {_toml(value)}")


Place = Callable[[str], AbstractAsyncContextManager[object]]
"""Keeps ingress workers running for the coordinator whose link has that address."""


def _nowhere(link: str) -> AbstractAsyncContextManager[object]:
    """There are no workers, or somebody else starts them."""
    del link
    return nullcontext()


async def _start_and_stop(settings: Settings) -> None:
    async with running_server(settings, trial=True):
        return


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


async def _serve(settings: Settings, grpc_log: GrpcLog, place: Place = _nowhere) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
        structlog.get_logger().info("stopping", signal=number.name)
        tell_supervisor(STOPPING)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    async with running_server(settings) as server, place(server.link_address or ""):
        loop.add_signal_handler(signal.SIGHUP, server.renewal.wake)
        grpc_log.connections = server.proxy
        announce(
            "ready",
            data_plane=server.data_address,
            control_plane=server.control_address,
            status=server.status_address,
            link=server.link_address,
            gateway=None if server.gateway is None else str(server.gateway.listens),
            connections=server.connections,
            version=__version__,
        )
        tell_supervisor(READY)
        if settings.state_dir is None:
            structlog.get_logger().warning("state_in_memory")
        await stop.wait()


_SWITCHES: Final[Mapping[str, object]] = {
    "files_only": Annotated[
        bool, typer.Option("--files-only", help="Start nothing; look at settings and files alone.")
    ],
    "as_json": Annotated[bool, typer.Option("--json", help="Print JSON for programs.")],
}


def _with_settings(run: Callable[..., None], *switches: str) -> Callable[..., None]:
    """A command with a flag for every setting, `--config` for a file of them, and some of `_SWITCHES`."""

    def command(config: Path | None, **flags: Any) -> None:
        on = {name: flags.pop(name) for name in switches}
        run(load_settings(config, flags), **on)

    file = typer.Option(help="Settings file, TOML. Flags and environment go before it.", envvar=f"{ENV_PREFIX}CONFIG")
    kinds: dict[str, object] = {"config": Annotated[Path | None, file]}
    for name, field in Settings.model_fields.items():
        kinds[name] = Annotated[str | None, typer.Option(help=_described(name, field), metavar="VALUE")]
    defaults: dict[str, object] = dict.fromkeys(kinds)
    for name in switches:
        kinds[name], defaults[name] = _SWITCHES[name], False
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, kind in kinds.items()
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = kinds
    command.__doc__ = run.__doc__
    return command


def _described(name: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"default {field.default}"
    return f"{field.description} ({default}; {ENV_PREFIX}{name.upper()})"
