"""The two files of the client that exist twice: they have the same names, and tell the same of calls that end."""

import asyncio
import inspect
from typing import Any

import grpc
import pytest
from grpc import aio as grpc_aio
from secagg_client.transport import aio, sync
from secagg_client.transport.channels import CallFailed, Failure


def interface(module: Any) -> dict[str, list[str]]:
    """The names that are defined in a transport module, with their parameters or methods."""
    told = {}
    for name, value in vars(module).items():
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            told[name] = list(inspect.signature(value).parameters)
        elif inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            told[name] = sorted(method for method in vars(value) if not method.startswith("_"))
    return told


def test_both_have_the_same_names() -> None:
    assert interface(aio) == interface(sync)
    assert {"Channel", "RunningCall", "compute", "usable_after", "wait"} == set(interface(aio))
    for module in (aio, sync):
        assert {"Event", "Interceptor"} < set(vars(module))


class Refused:
    """A call as grpc.aio has it: it ends with the server's status, which a write that fails then overwrites."""

    def __init__(self) -> None:
        self._status: tuple[grpc.StatusCode, str, Any] = (
            grpc.StatusCode.FAILED_PRECONDITION,
            "refused",
            (("key", b"value"),),
        )

    def add_done_callback(self, callback: Any) -> None:
        self.callback = callback

    def cancelled(self) -> bool:
        return False

    async def code(self) -> grpc.StatusCode:
        return self._status[0]

    async def details(self) -> str:
        return self._status[1]

    async def trailing_metadata(self) -> Any:
        return self._status[2]

    async def read(self) -> bytes:
        self.callback(self)
        self._status = (grpc.StatusCode.INTERNAL, "Internal error from Core", ())
        empty = grpc_aio.Metadata()
        raise grpc_aio.AioRpcError(self._status[0], empty, empty, self._status[1])


async def failure() -> Failure:
    with pytest.raises(CallFailed) as caught:
        await aio.RunningCall(Refused()).read()  # type: ignore[arg-type]
    return caught.value.failure


async def test_what_the_server_said_first_counts() -> None:
    told = await failure()
    assert (told.code(), told.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "refused")
    assert list(told.trailing_metadata() or ()) == [("key", b"value")]


async def test_without_a_note_it_would_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aio.RunningCall, "_note", lambda *_: None)
    assert (await failure()).code() is grpc.StatusCode.INTERNAL


async def test_arithmetic_of_one_task_does_not_stop_the_others() -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(number: int) -> int:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(60)
        loop.call_soon_threadsafe(reached.set)
        return number + 1

    assert await aio.compute(work, 2) == 3
    assert reached.is_set()
    assert sync.compute(lambda number: number + 1, 2) == 3
