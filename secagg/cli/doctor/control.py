"""The control plane, from the FL server beside the sidecar."""

import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from time import time

from secagg.cli.doctor.findings import Finding, Level, fine, refused
from secagg.cli.doctor.participant import answers
from secagg.errors import SecAggError
from secagg.transport.addresses import UnixAddress, checked_local_target, parse_control


def examine(target: str, timeout_s: float) -> Iterator[Finding]:
    """Look at the socket, and ask the sidecar behind it.

    Args:
        target: unix:PATH, or a loopback HOST:PORT.
        timeout_s: longest wait for each answer.
    """
    from secagg_client import ControlClient, RetryPolicy

    try:
        checked_local_target(target)
        place = parse_control(target)
    except SecAggError as error:
        yield refused("address", error)
        return
    if isinstance(place, UnixAddress):
        found = socket_file(place.path)
        yield found
        if found.level is Level.ERROR:
            return
    with ControlClient(target, retry=RetryPolicy(attempts=1)) as client:
        yield from answers(client, timeout_s, time, who="sidecar")


def socket_file(path: Path) -> Finding:
    """Whether this user can use the socket. Its mode is the only key to the control plane."""
    import os

    quoted = shlex.quote(str(path))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        text = f"{path} does not exist: is the sidecar running, and is this its setting control?"
        return Finding("socket", Level.ERROR, text, "secagg-server check-config --files-only | grep control")
    except OSError as error:
        return Finding("socket", Level.ERROR, f"{path}: {error.strerror}", f"namei -l {quoted}")
    if not stat.S_ISSOCK(mode):
        return Finding("socket", Level.ERROR, f"{path} is no socket", f"ls -l {quoted}")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        text = (
            f"this user may not use {path} (mode {stat.S_IMODE(mode):04o}): run as the sidecar's user, or in its group"
        )
        return Finding(
            "socket", Level.ERROR, text, f"sudo -u $(stat -c %U {quoted}) secagg doctor --control unix:{quoted}"
        )
    return fine("socket", f"{path} is there, and this user may use it")
