"""Simulated programs: what runs where, which clock it sees, and its end at any instant.

Everything that the event loop runs belongs to the process in whose context it was scheduled. Once a process is dead
nothing of it runs any more, not even a `finally`: that is what a power failure does, too.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

EPOCH: Final = 1_700_000_000.0
"""What wall clocks show at the beginning of a history, in seconds since 1970."""


class Dead(BaseException):
    """Raised where a process does something after its end, and where it ends amid of its own code."""


@dataclass(slots=True, eq=False)
class Machine:
    """A computer, whose wall clock somebody may set.

    Attributes:
        name: for the history.
        offset_s: how far its wall clock is ahead of the true time, in seconds.
    """

    name: str
    offset_s: float = 0.0


@dataclass(slots=True, eq=False)
class Process:
    """A program on a machine, from its start to its end.

    Attributes:
        machine: where it runs.
        monotonic: seconds since the beginning of the history.
        number: which of the history's processes it is.
        rng: what it draws where the product draws from the operating system by itself.
        alive: until it has ended or was killed.
        stopped: whether it gets no time for now, as after SIGSTOP.
        held: what is due once it goes on.
        steps: how often the loop ran something of it.
        tasks: its tasks that are not done.
        trap: called instead of the step `trap_at`; the step comes later if it is still alive then.
        trap_at: 0 for never.
        on_death: called once when it is killed.
    """

    machine: Machine
    monotonic: Callable[[], float]
    number: int
    rng: Random
    alive: bool = True
    stopped: bool = False
    held: list[Any] = field(default_factory=list)
    steps: int = 0
    tasks: dict["asyncio.Task[Any]", None] = field(default_factory=dict)
    trap: Callable[[], None] | None = None
    trap_at: int = 0
    on_death: list[Callable[[], None]] = field(default_factory=list)

    def wall(self) -> float:
        """Seconds since 1970 on the clock of its machine."""
        return EPOCH + self.monotonic() + self.machine.offset_s

    def kill(self) -> None:
        """End it now. Has no effect on one that is dead."""
        if self.alive:
            self.alive = False
            for tell in self.on_death:
                tell()

    def check(self) -> None:
        """Raise `Dead` if it is."""
        if not self.alive:
            raise Dead

    def context(self) -> Context:
        """A new context that belongs to it."""
        made = Context()
        made.run(RUNNING.set, self)
        return made

    def bury(self) -> None:
        """Give back what its unfinished tasks hold. Nothing that they do on the way has an effect."""
        for task in list(self.tasks):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine: Any = task.get_coro()
            try:
                self.context().run(coroutine.close)
            except (Dead, RuntimeError):
                continue  # it wanted to do something at its end
        self.tasks.clear()
        self.held.clear()


RUNNING: ContextVar[Process] = ContextVar("process")
"""Whose code runs."""


def current() -> Process:
    """The process whose code runs, which must be alive."""
    process = RUNNING.get()
    process.check()
    return process
