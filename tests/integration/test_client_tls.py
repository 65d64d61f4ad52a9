"""The client speaks TLS 1.3 alone: shown with `openssl s_server`."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.serving import NAMES, PATIENCE_S, site

CALL = """
import sys
{first}
from secagg_client import Client, RetryPolicy
from secagg.errors import SecAggError
folder, port = sys.argv[1:]
with Client.from_files(
    f"127.0.0.1:{{port}}", certificate=f"{{folder}}/cert.pem", key=f"{{folder}}/key.pem", ca=f"{{folder}}/ca.pem",
    retry=RetryPolicy(attempts=1),
) as client:
    try:
        client.find_round(task="digits", timeout_s=2)
    except SecAggError as error:
        print(type(error).__name__, error)
"""


def write_files(folder: Path) -> None:
    made = site().people[NAMES[0]]
    for name, content in (
        ("cert.pem", made.certificate_pem),
        ("key.pem", made.key_pem.expose()),
        ("ca.pem", site().ca_pem),
        ("server.pem", site().server.certificate_pem),
        ("server.key", site().server.key_pem.expose()),
    ):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)


@contextmanager
def openssl_server(folder: Path, version: str) -> Iterator[tuple[str, Path]]:
    """Port and log of a TLS server that speaks one version."""
    log = folder / "log"
    with log.open("wb") as sink:
        server = subprocess.Popen(
            [
                *("openssl", "s_server", "-accept", "127.0.0.1:0", version, "-alpn", "h2", "-naccept", "1"),
                *("-cert", folder / "server.pem", "-key", folder / "server.key"),
                *("-CAfile", folder / "ca.pem", "-Verify", "1"),
            ],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        end = time.monotonic() + PATIENCE_S
        while "ACCEPT" not in log.read_text(errors="replace") and time.monotonic() < end:
            time.sleep(0.02)
        (line,) = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("ACCEPT")]
        yield line.rsplit(":", 1)[1], log
    finally:
        server.kill()
        server.communicate()


def handshake(folder: Path, version: str, first: str = "") -> str:
    """What `openssl s_server` says of the client's handshake."""
    write_files(folder)
    clean = {key: value for key, value in os.environ.items() if key != "GRPC_SSL_CIPHER_SUITES"}
    with openssl_server(folder, version) as (port, log):
        done = subprocess.run(
            [sys.executable, "-c", CALL.format(first=first), folder, port],
            env=clean,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "Error" in done.stdout  # no secagg server answers here in any case
        return log.read_text(errors="replace")


def test_tls_1_2_finds_no_cipher(tmp_path: Path) -> None:
    assert "no shared cipher" in handshake(tmp_path, "-tls1_2")


def test_tls_1_3_is_spoken(tmp_path: Path) -> None:
    log = handshake(tmp_path, "-tls1_3")
    assert "CIPHER is TLS_" in log
    assert "BEGIN CERTIFICATE" in log  # ours was shown


@pytest.mark.parametrize("first", ["import os; os.environ['GRPC_SSL_CIPHER_SUITES'] = 'HIGH'", "import grpc"])
def test_without_the_setting_tls_1_2_would_be_spoken(tmp_path: Path, first: str) -> None:
    """The server refuses it all the same: see the tests of the server."""
    assert "CIPHER is ECDHE-ECDSA" in handshake(tmp_path, "-tls1_2", first)
