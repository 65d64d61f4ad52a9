"""The coordinator as a process of its own, as an FL server starts it beside itself."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from secagg.errors import LocalError, MissingExtraError

START_S: Final = 60.0
"""Longest time for a process to start on a busy machine."""

_STOP_S: Final = 10.0
_REQUESTS_PER_S: Final = 1_000_000
_SERVER_PACKAGES: Final = ("grpc_health", "grpc_reflection", "pydantic_settings", "structlog")
SIDECAR: Final = "from secagg_server.cli import main; main()"
"""Python that runs a coordinator."""


class ProcessError(LocalError):
    """A process of the deployment did not do what it was started for. The message holds the end of its log."""


class Sidecar:
    """The running process: ends with the `with` block that it is opened in.

    Attributes:
        log: file that it writes to.
    """

    def __init__(
        self,
        identity: Path,
        folder: Path,
        *,
        status: bool = False,
        state: Path | None = None,
        program: str = SIDECAR,
        link: bool = False,
        token_keys: Path | None = None,
    ) -> None:
        """Start it.

        Args:
            identity: folder with cert.pem, key.pem and ca.pem.
            folder: for its log and its control socket.
            status: whether it has a status port, on loopback.
            state: folder of what survives a restart; without one it keeps everything in memory.
            program: Python that runs it.
            link: whether ingress workers can join it, on loopback.
            token_keys: keys of tokens for its gateway, on loopback, which takes requests without a limit that matters;
                without them it has none.

        Raises:
            MissingExtraError: the server's packages are not installed.
            ProcessError: it does not get ready.
        """
        if any(find_spec(package) is None for package in _SERVER_PACKAGES):
            raise MissingExtraError("the demo's sidecar", "demo")
        self.log = folder / "sidecar.log"
        arguments = {
            "--listen": "127.0.0.1:0",
            "--control": f"unix:{folder / 'control.sock'}",
            "--certificate": identity / "cert.pem",
            "--key": identity / "key.pem",
            "--participant-ca": identity / "ca.pem",
            "--log-format": "json",
            **({"--status": "127.0.0.1:0"} if status else {}),
            **({} if state is None else {"--state-dir": state}),
            **({"--link": "127.0.0.1:0"} if link else {}),
            **({} if token_keys is None else {"--gateway": "127.0.0.1:0", "--gateway-token-key": token_keys}),
            **({} if token_keys is None else {"--gateway-requests-per-s": _REQUESTS_PER_S}),
        }
        flags = [str(word) for pair in arguments.items() for word in pair]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603, our own interpreter
                [sys.executable, "-c", program, "serve", *flags], stdout=log, stderr=subprocess.STDOUT
            )
        ready = self._wait_until_ready()
        self.pid = self._process.pid
        self.data_plane: str = ready["data_plane"]
        self.control_plane: str = ready["control_plane"]
        self.status: str | None = ready["status"]
        self.link: str | None = ready["link"]
        self.gateway: str | None = ready["gateway"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, as SIGTERM does."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self) -> dict[str, Any]:
        end = monotonic() + START_S
        while monotonic() < end:
            for line in self.log.read_text(encoding="utf-8").splitlines():
                if '"event": "ready"' in line:
                    return dict(json.loads(line))
            try:
                self._process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            break
        self._process.kill()
        raise ProcessError(f"the sidecar did not start: {self.log.read_text(encoding='utf-8')[-500:]}")
