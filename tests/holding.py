"""A coordinator in this process, held to the specification by `secagg.tools.runner.live_coordinator`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

from secagg_client import ControlClient
from secagg_server.app import running_server
from secagg_server.settings import Settings

from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_server
from secagg.tools.runner.cases import Judged, Programs, judge
from secagg.tools.runner.live_coordinator import cases
from secagg.tools.runner.live_coordinator.live import Deployment

T = TypeVar("T")
_THREADS: Final = ThreadPoolExecutor(8, "conformance")  # asyncio's own few threads are the coordinator's


@cache
def ca() -> IssuedCertificate:
    """Of the deployment."""
    return create_authority(name="conformance", now=datetime.now(UTC))


def write_files(folder: Path) -> dict[str, Path]:
    """The coordinator's files by the names of their settings. The CA's key is beside them."""
    authority = Authority.from_pem(ca().certificate_pem, ca().key_pem.expose())
    server = issue_server(authority, hosts=["localhost", "127.0.0.1"], now=datetime.now(UTC))
    files = {"certificate": folder / "cert.pem", "key": folder / "key.pem", "participant_ca": folder / "ca.pem"}
    contents = [server.certificate_pem, server.key_pem.expose(), ca().certificate_pem]
    for path, content in [*zip(files.values(), contents, strict=True), (folder / "ca.key", ca().key_pem.expose())]:
        path.touch(mode=0o600)
        path.write_bytes(content)
    return files


@asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[Deployment]:
    """A coordinator that runs, and how it is reached."""
    given: dict[str, Any] = {
        "listen": "127.0.0.1:0",
        "control": f"unix:{folder}/control.sock",
        "shutdown_grace_s": 1.0,
        "keep_finished_rounds": 200,
        **write_files(folder),
    }
    settings = Settings(**given)
    async with running_server(settings) as server:
        with ControlClient(server.control_address) as control:
            yield Deployment(server.data_address, control, ca())


async def beside(work: Callable[[], T]) -> T:
    """Do it in a thread, while the coordinator serves."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


async def hold(folder: Path, numbers: Sequence[str] = (), at_once: int = 6) -> list[Judged]:
    """The verdicts on our coordinator, several cases at once; of all cases without `numbers`."""
    async with deployed(folder) as deployment:
        chosen = [case for case in cases(deployment) if not numbers or case.number in numbers]
        turns = asyncio.Semaphore(at_once)

        async def one(number: int) -> Judged:
            async with turns:
                [judged] = await beside(lambda: list(judge([chosen[number]], Programs(()), frozenset(), {})))
                return judged

        return list(await asyncio.gather(*map(one, range(len(chosen)))))
