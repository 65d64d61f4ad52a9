"""`secagg-server health`: asks the coordinator of this machine whether it serves.

A container engine runs it every few seconds. So it loads neither the coordinator nor numpy, which would
take several times as long as the question.
"""

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from secagg.errors import ConfigError, TransportError
from secagg.programs.program import application, run
from secagg.transport.addresses import checked_local_target

CONTROL: Final = "unix:secagg-control.sock"
CONTROL_PLANE: Final = "secagg.wire.v1.ControlPlane"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run this command alone, without loading the others, and exit."""
    app = application("secagg-server", "")
    app.command()(health)
    run(app, "secagg-server", sys.argv[1:] if arguments is None else arguments)


def health(
    *,
    control: Annotated[
        str | None,
        typer.Option(
            help=f"The coordinator's control plane: unix:PATH, or a loopback HOST:PORT (default {CONTROL}).",
            envvar="SECAGG_SERVER_CONTROL",
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="The coordinator's settings file.", envvar="SECAGG_SERVER_CONFIG")
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to wait for the answer.")] = 3.0,
) -> None:
    """Ask the coordinator of this machine whether it serves: exit code 0 if it does, and 1 if not.

    The question is gRPC's standard health check, on the control plane. The address is the one that `serve` takes from
    the same flag, environment and settings file.

    Example: secagg-server health --control unix:/run/secagg/control.sock
    """
    target = checked_local_target(control or _from_file(config) or CONTROL)
    if not _serves(target, timeout_s):
        raise TransportError(f"the coordinator at {target} is shutting down")
    typer.echo("SERVING")


def _from_file(config: Path | None) -> str | None:
    """The control plane in a settings file. `serve` has checked everything else in it.

    Raises:
        ConfigError: the file is not TOML, or its `control` is no text.
    """
    if config is None:
        return None
    try:
        control = tomllib.loads(config.read_text("utf-8")).get("control")
    except ValueError as error:
        raise ConfigError(f"settings file {config}: {error}") from None
    if not isinstance(control, str | None):
        raise ConfigError(f"setting control in {config} is {control!r}; write unix:PATH or HOST:PORT in quotes")
    return control


def _serves(target: str, timeout_s: float) -> bool:
    """Whether the control plane says that it serves.

    Raises:
        TransportError: nobody answers in time, or it is no coordinator that does.
    """
    import grpc  # noqa: PLC0415
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=CONTROL_PLANE)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise TransportError(f"no coordinator answers at {target}: {error.code().name}") from None
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
