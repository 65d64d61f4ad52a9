"""An event loop with a clock of its own: it never waits, and the same calls in the same order give the same run.

It has what the product uses of asyncio's loops. What the product gives to a thread is done on the loop, whole, a little
later: the lag is drawn from the seed, so that steps that were begun side by side end in any order.
"""

import asyncio
import sys
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, Final, TypeVar

from secagg.tools.faults.processes import RUNNING, Dead

T = TypeVar("T")
MAX_STEPS: Final = 100_000
"""Of one history. One that takes more goes in circles."""


class Stuck(Exception):
    """Nothing is left to do, or it never ends, and what was waited for did not come."""


class Scheduled:
    """Something to run later; what `call_later` gives."""

    __slots__ = ("arguments", "callback", "context", "when")

    def __init__(self, callback: Callable[..., object], arguments: tuple[Any, ...], context: Context) -> None:
        self.callback: Callable[..., object] | None = callback
        self.arguments = arguments
        self.context = context
        self.when = 0.0

    def cancel(self) -> None:
        """Do not run it."""
        self.callback = None
        self.arguments = ()

    def cancelled(self) -> bool:
        """Whether it will not run."""
        return self.callback is None


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs one history.

    Attributes:
        steps: how much has run.
        unexpected: errors that nobody caught; each is a bug.
    """

    def __init__(self, lag: Callable[[], float]) -> None:
        """Args: lag: seconds until the work of a thread is done."""
        self.steps = 0
        self.unexpected: list[dict[str, Any]] = []
        self._lag = lag
        self._now = 0.0
        self._ready: deque[Scheduled] = deque()
        self._timers: list[tuple[float, int, Scheduled]] = []
        self._count = 0

    # --- what asyncio asks of a loop ----------------------------------------------------------------------------------

    def time(self) -> float:
        """Seconds since the beginning of the history."""
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Run it behind what is due already."""
        scheduled = Scheduled(callback, args, copy_context() if context is None else context)
        self._ready.append(scheduled)
        return scheduled

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Run it after so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        """Run it at this time of the loop."""
        scheduled = Scheduled(callback, args, copy_context() if context is None else context)
        scheduled.when = when
        self._count += 1
        heappush(self._timers, (when, self._count, scheduled))
        return scheduled

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        """A task that belongs to the process of its context."""
        context = copy_context() if context is None else context
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        process = context.get(RUNNING)
        if process is not None:
            process.tasks[task] = None
            task.add_done_callback(lambda done: process.tasks.pop(done, None), context=Context())
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Do it on the loop, a little later."""
        if (process := RUNNING.get(None)) is not None:
            process.check()
        future = self.create_future()

        def work() -> None:
            try:
                result = func(*args)
            except Dead:
                return
            except Exception as error:
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        self.call_later(self._lag(), work)
        return future

    def get_debug(self) -> bool:
        """Never: asyncio would keep tracebacks."""
        return False

    def is_running(self) -> bool:
        """Always, for whoever can ask."""
        return True

    def is_closed(self) -> bool:
        """Never."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught."""
        self.unexpected.append(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """As `call_exception_handler`."""
        self.unexpected.append(context)

    # --- running it ---------------------------------------------------------------------------------------------------

    def run(self, work: Coroutine[Any, Any, T], until_s: float) -> T:
        """Run everything until this work is done. To be called inside `running`.

        Args:
            work: belongs to no process.
            until_s: time of the loop by which it must be.

        Raises:
            Stuck: it will not be, or not by then.
        """
        task: asyncio.Task[T] = self.create_task(work, context=Context())
        while not task.done():
            self._step(until_s)
        return task.result()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop inside."""
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._finalise)
        events._set_running_loop(self)
        try:
            yield
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def _step(self, until_s: float) -> None:
        if not self._ready:
            if not self._timers:
                raise Stuck("nothing is left to do")
            when, _, due = heappop(self._timers)
            self._now = max(self._now, when)
            if self._now > until_s:
                raise Stuck(f"it is not over after {until_s:g} seconds")
        else:
            due = self._ready.popleft()
        callback = due.callback
        if callback is None:
            return
        process = due.context.get(RUNNING)
        if process is not None:
            if not process.alive:
                return
            if process.stopped:
                process.held.append(due)
                return
            process.steps += 1
            if process.steps == process.trap_at and process.trap is not None:
                self._ready.appendleft(due)
                process.trap()
                return
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise Stuck(f"it is not over after {MAX_STEPS} steps")
        try:
            due.context.run(callback, *due.arguments)
        except Dead:
            return
        except Exception as error:
            self.unexpected.append({"message": "a callback failed", "exception": error})

    def resume(self, held: list[Any]) -> None:
        """Run what a stopped process has missed, in order."""
        self._ready.extend(held)
        held.clear()

    def _finalise(self, generator: AsyncGenerator[Any, Any]) -> None:
        process = RUNNING.get(None)
        if process is None or process.alive:
            self.create_task(generator.aclose())
