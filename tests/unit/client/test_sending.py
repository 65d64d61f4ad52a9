"""Many clients in one process share its threads: who has computed is sent at once, whatever others still compute."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from secagg_client.aio.connection import _Requests
from secagg_client.calls.data_plane import FindRound, UploadCall

from secagg.messages import MaskedInputChunk
from secagg.wire.calls import SEND_INPUT
from tests.conversing import ROUND_ID
from tests.rounds import SEMI_HONEST, make_config

CALL = FindRound(task="a task")


class Vector:
    """One chunk, computed when it is asked for."""

    chunks = 1

    def __init__(self) -> None:
        self.computed_in: list[int] = []

    def chunk(self, number: int) -> MaskedInputChunk:
        self.computed_in.append(threading.get_ident())
        return MaskedInputChunk(number, bytes(8))


async def sent(call: Any) -> list[bytes]:
    scope: Any = SimpleNamespace(bytes_sent=0)
    found = [data async for data in _Requests(call, scope)]
    assert scope.bytes_sent == sum(map(len, found))
    return found


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_message_does_not_wait_for_what_others_compute(monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    loop, over = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    computing = asyncio.create_task(asyncio.to_thread(over.wait, 60))  # another client of this process
    await asyncio.sleep(0)
    if not at_once:  # the twin: every request is computed in a thread
        monkeypatch.setattr("secagg_client.aio.connection.UploadCall", FindRound)
    sending = asyncio.create_task(sent(CALL))
    for _ in range(20):
        await asyncio.sleep(0)
    assert sending.done() == at_once
    over.set()
    await computing
    assert await sending == list(CALL.requests())


async def test_a_chunk_is_computed_in_a_thread() -> None:
    vector: Any = Vector()
    assert len(await sent(UploadCall(ROUND_ID, make_config(5, SEMI_HONEST), SEND_INPUT, vector))) == 1
    assert vector.computed_in != [threading.get_ident()]
