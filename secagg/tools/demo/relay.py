"""A TCP relay on loopback that dies, with its process, in the middle of what it forwards."""

import contextlib
import os
import signal
import socket
import threading

_PIECE = 1024  # bytes forwarded at a time once the end is near


def die() -> None:
    """End this process at once, as a power cut would: nothing is said, flushed or closed."""
    os.kill(os.getpid(), signal.SIGKILL)


class CutRelay:
    """Forwards connections to `target`. It sees TLS records only, and could not tell a message from another."""

    def __init__(self, target: str) -> None:
        """Args: target: HOST:PORT."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._left: int | None = None  # bytes that may still go up; None for no end
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, size: int) -> None:
        """Die once `size` more bytes have gone up."""
        self._left = size

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            far = socket.create_connection(self._target)
            threading.Thread(target=self._forward, args=(near, far, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(far, near, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        with contextlib.suppress(OSError):  # either end closed: so does the other
            while data := source.recv(_PIECE):
                sink.sendall(data if not up or self._left is None else data[: self._left])
                if up and self._left is not None:
                    self._left -= len(data)
                    if self._left <= 0:
                        die()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
