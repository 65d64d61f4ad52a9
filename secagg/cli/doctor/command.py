"""`secagg doctor`: looks at one side of a deployment, and says what is wrong and which command mends it."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from secagg.cli.doctor.findings import Finding, Level, as_json, table, worst
from secagg.errors import ConfigError

_ENVIRONMENT: Final = "SECAGG_SERVER_"
_WIDEST: Final = 100


def doctor(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            help="On the coordinator's machine: look at a sidecar with this settings file. Settings in the environment "
            "come before it, as for secagg-server."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="The address of the coordinator for participants (its data plane). From a participant's machine: look "
            "at the connection to it. With --config: the address that participants use, to compare with the "
            "certificate's names.",
        ),
    ] = None,
    certificate: Annotated[Path, typer.Option(help="The certificate of this participant (PEM).")] = Path("cert.pem"),
    key: Annotated[Path, typer.Option(help="The private key of this participant (PEM).")] = Path("key.pem"),
    ca: Annotated[Path, typer.Option(help="The certificate of the deployment's CA (PEM).")] = Path("ca.pem"),
    server_name: Annotated[
        str | None, typer.Option(help="The name in the certificate of the coordinator, where it is not HOST.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="unix:PATH",
            help="From the FL server: look at the control plane of the sidecar beside it (unix:PATH, or a loopback "
            "HOST:PORT).",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=600, help="Longest wait for each answer.")
    ] = 10.0,
    as_json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is wrong with a deployment, seen from this machine, and which command mends it.

    Run it where the trouble is: on the coordinator's machine (--config), on a participant's (--address), or where the
    FL server runs (--control). Without any of them, it looks at the sidecar whose settings are in the environment
    (SECAGG_SERVER_…), as in its container.

    Each line is one thing that was looked at: ok, WARNING or ERROR. The command behind run: mends it, or shows more.
    The exit code is 1 if there is an error, and 0 otherwise. Nothing is changed: ports and the ledger's disk are tried
    and given back at once.

    From the coordinator's machine: settings, certificate, key and CA, names, clock, socket, ports, gateway, open
    files, ledger, disk, memory, suites. Beside a running sidecar, it is asked how it is.

    From a participant's machine: its suites, its files, the name, the port, TLS 1.3 with both certificates, a
    call of its own, the versions of both ends, and how far their clocks are apart.

    Examples: secagg doctor --config /etc/secagg/secagg-server.toml --address aggregator.example.org:7443

    secagg doctor --address aggregator.example.org:7443 --certificate cert.pem --key key.pem --ca ca.pem

    secagg doctor --control unix:/run/secagg/control.sock
    """
    from secagg.cli.doctor import control as control_plane
    from secagg.cli.doctor import coordinator, participant
    from secagg.transport.addresses import checked_target, parse_tcp

    if address is not None:
        checked_target(address)
    target = None if address is None else parse_tcp(address)
    sides: list[tuple[str, str, Iterator[Finding]]] = []
    here = config is not None or (target is None and control is None and _set_by_environment())
    if here:
        named = os.environ.get(f"{_ENVIRONMENT}CONFIG")
        config = config or (Path(named) if named else None)
        source = "the environment" if config is None else str(config)
        sides.append(
            ("coordinator", f"The sidecar on this machine, settings from {source}", coordinator.examine(config, target))
        )
    if control is not None:
        sides.append(("control", f"The control plane {control}", control_plane.examine(control, timeout)))
    if target is not None and not here:
        one = participant.Participant(target, certificate, key, ca, server_name, timeout)
        sides.append(("participant", f"The connection from here to {target}", participant.examine(one)))
    if not sides:
        raise ConfigError(
            "say what to look at: --config FILE on the coordinator's machine, --address HOST:PORT on a participant's, "
            "--control unix:PATH from the FL server"
        )
    found = [(side, title, list(findings)) for side, title, findings in sides]
    every = [finding for _, _, findings in found for finding in findings]
    errors, warnings = (sum(one.level is level for one in every) for level in (Level.ERROR, Level.WARNING))
    if as_json_:
        rows = [as_json(side, finding) for side, _, findings in found for finding in findings]
        typer.echo(json.dumps({"findings": rows, "errors": errors, "warnings": warnings}, indent=2))
    else:
        width = min(shutil.get_terminal_size((80, 24)).columns, _WIDEST)
        for _, title, findings in found:
            typer.echo("\n".join(table(title, findings, width)) + "\n")
        typer.echo(_summary(errors, warnings))
    raise typer.Exit(1 if worst(every) is Level.ERROR else 0)


def _set_by_environment() -> bool:
    """Whether the environment has settings of a sidecar, as in its container."""
    return any(name.upper().startswith(_ENVIRONMENT) for name in os.environ)


def _summary(errors: int, warnings: int) -> str:
    counts = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((errors, "error"), (warnings, "warning")) if n]
    return " and ".join(counts) or "Nothing is wrong."
