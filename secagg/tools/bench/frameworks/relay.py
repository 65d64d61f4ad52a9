"""A port that passes everything on to another and counts the bytes, TLS included."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_PIECE: Final = 1 << 16
_BACKLOG: Final = 128


class Relay:
    """Listens on a free port of this machine while the `with` block lasts.

    Attributes:
        address: "127.0.0.1:port".
        up_bytes: what went to the target so far.
        down_bytes: what came back.
    """

    def __init__(self, target: str) -> None:
        """Args: target: "host:port" on this machine."""
        host, _, port = target.rpartition(":")
        self.up_bytes = 0
        self.down_bytes = 0
        self._target = (host, int(port))
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def counted(self) -> tuple[int, int]:
        """Bytes up and down since the last call."""
        with self._lock:
            passed = self.up_bytes, self.down_bytes
            self.up_bytes = self.down_bytes = 0
        return passed

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._join, args=(near, far), daemon=True).start()

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            down = threading.Thread(target=self._pass_on, args=(far, near, False), daemon=True)
            down.start()
            self._pass_on(near, far, True)
            down.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, up: bool) -> None:
        with suppress(OSError):  # one end closed its connection
            while piece := source.recv(_PIECE):
                with self._lock:
                    if up:
                        self.up_bytes += len(piece)
                    else:
                        self.down_bytes += len(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
