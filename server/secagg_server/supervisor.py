"""What systemd is told of a service with `Type=notify`: when it is ready, and when it stops. See sd_notify(3)."""

import os
import socket
from contextlib import suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def tell_supervisor(state: str) -> None:
    """Send the state to the socket in `NOTIFY_SOCKET`; nothing happens where there is none.

    If the message does not arrive, systemd itself ends the start after its time, and says so.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path  # a name without a file
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(address)
        sender.send(state.encode())
