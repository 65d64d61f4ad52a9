"""A proxy on loopback between participants and coordinator. It sees TLS alone, so what it spoils breaks connections."""

import contextlib
import socket
import threading
from typing import Final

_PIECE: Final = 4096


class Wire:
    """Forwards connections to `target` from its making until `close`.

    Attributes:
        address: where clients connect, 127.0.0.1:PORT.
    """

    def __init__(self, target: str) -> None:
        """Args: target: HOST:PORT."""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._ends: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._wait_s = 0.0
        self._spoil = ""
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Break every connection at once."""
        with self._lock:
            ends = list(self._ends)
        for end in ends:
            _break(end)

    def delay(self, seconds: float) -> None:
        """Hold back what is forwarded for so long; 0 ends it."""
        self._wait_s = seconds

    def spoil(self, how: str) -> None:
        """Repeat or reorder the next piece that comes along: `repeat` or `reorder`."""
        self._spoil = how

    def close(self) -> None:
        """Forward nothing any more."""
        self._closed.set()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:  # the coordinator is away
                near.close()
                continue
            with self._lock:
                self._ends |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_PIECE):
                if self._wait_s:
                    self._closed.wait(self._wait_s)
                how, self._spoil = self._spoil, ""
                if how == "repeat":
                    data += data[len(data) // 2 :]
                elif how == "reorder":
                    data = data[len(data) // 2 :] + data[: len(data) // 2]
                sink.sendall(data)
        for end in (source, sink):
            _break(end)
        with self._lock:
            self._ends -= {source, sink}
        source.close()


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
