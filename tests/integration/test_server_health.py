"""`secagg-server health`: what a container engine runs to know whether the sidecar serves."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from secagg_server import __main__ as program
from secagg_server import health
from secagg_server.app import running_server
from secagg_server.settings import Settings

from secagg.wire.calls import CONTROL_PLANE
from tests.serving import PATIENCE_S, make_settings


async def ask(*flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "secagg_server", "health", *flags],
        env={name: value for name, value in os.environ.items() if not name.startswith("SECAGG_")} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


async def test_the_address_comes_from_flag_environment_or_file_as_for_serve(tmp_path: Path) -> None:
    file, elsewhere, broken = tmp_path / "settings.toml", tmp_path / "elsewhere.toml", tmp_path / "broken.toml"
    settings = make_settings(tmp_path)
    file.write_text(f'control = "{settings.control}"\n')
    elsewhere.write_text(f'control = "unix:{tmp_path}/nobody.sock"\n')
    broken.write_text("control = [1]\n")
    async with running_server(settings):
        asked = [
            await ask("--control", settings.control, "--config", str(elsewhere)),
            await ask("--config", str(elsewhere), SECAGG_SERVER_CONTROL=settings.control),
            await ask(SECAGG_SERVER_CONFIG=str(file)),
        ]
        assert [(result.returncode, result.stdout, result.stderr) for result in asked] == [(0, "SERVING\n", "")] * 3
        elsewhere_asked = await ask("--control", f"unix:{tmp_path}/nobody.sock", SECAGG_SERVER_CONFIG=str(file))
        assert elsewhere_asked.returncode == 1
        assert elsewhere_asked.stderr == f"error: no coordinator answers at unix:{tmp_path}/nobody.sock: UNAVAILABLE\n"
        bad = await ask("--config", str(broken))
        assert (bad.returncode, bad.stderr) == (
            1,
            f"error: setting control in {broken} is [1]; write unix:PATH or HOST:PORT in quotes\n",
        )
    over = await ask("--control", settings.control)
    assert over.returncode == 1


def test_without_any_of_them_the_address_is_that_of_the_setting() -> None:
    assert Settings.model_fields["control"].default == health.CONTROL
    assert health.CONTROL_PLANE == CONTROL_PLANE


@asynccontextmanager
async def answering(code: int, address: str) -> AsyncIterator[None]:
    """Something that answers health checks with one status."""

    class Stub(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
        async def Check(self, request: object, context: object) -> health_pb2.HealthCheckResponse:  # noqa: N802
            return health_pb2.HealthCheckResponse(status=code)

    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(Stub(), server)
    server.add_insecure_port(address)
    await server.start()
    try:
        yield
    finally:
        await server.stop(0)


async def test_a_coordinator_that_shuts_down_is_not_healthy(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/control.sock"
    async with answering(health_pb2.HealthCheckResponse.NOT_SERVING, address):
        result = await ask("--control", address)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"error: the coordinator at {address} is shutting down\n"


async def test_whoever_listens_without_answering_is_not_healthy(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()
        result = await ask("--control", f"unix:{tmp_path}/control.sock", "--timeout-s", "0.5")
    assert result.returncode == 1
    assert "no coordinator answers at" in result.stderr


async def test_the_question_stays_on_this_machine() -> None:
    result = await ask("--control", "192.0.2.1:7443")
    assert result.returncode == 1
    assert "on a unix socket or on loopback only" in result.stderr


def test_the_command_loads_neither_the_coordinator_nor_numpy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['secagg-server', 'health', '--control', sys.argv[1]]\n"
        "from secagg_server.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numpy', 'cryptography', 'secagg_server.app') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, f"unix:{tmp_path}/nobody.sock"], capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


@pytest.mark.parametrize(("number", "handled"), [(1, True), (4242, False)])
def test_the_first_process_of_a_container_can_be_stopped_before_it_is_ready(
    number: int, handled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: dict[int, object] = {}
    monkeypatch.setattr(os, "getpid", lambda: number)
    monkeypatch.setattr(signal, "signal", chosen.__setitem__)
    monkeypatch.setattr(sys, "argv", ["secagg-server", "--version"])
    with pytest.raises(SystemExit):
        program.main()
    assert (signal.SIGTERM in chosen) is handled
    if handled:
        stop = chosen[signal.SIGTERM]
        assert callable(stop)
        codes: list[int] = []
        monkeypatch.setattr(os, "_exit", codes.append)
        stop(signal.SIGTERM, None)
        assert codes == [0]
