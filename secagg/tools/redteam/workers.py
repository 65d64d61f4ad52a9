"""Several processes for work that comes in independent pieces. What comes out does not depend on how many they are."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType
from typing import Self, TypeVar

from secagg.errors import MissingExtraError, WorkerError

Result = TypeVar("Result")


class Workers:
    """Runs pieces in `jobs` processes, or in this one, when their results are asked for, if `jobs` is 1."""

    def __init__(self, jobs: int) -> None:
        """Args: jobs: 1 or more."""
        # Spawned: a fork would copy whatever state this process's libraries are in.
        self._pool = ProcessPoolExecutor(jobs, get_context("spawn"), single_threaded) if jobs > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def begin(self, piece: Callable[[], Result]) -> Callable[[], Result]:
        """Begin with a piece; it must pickle, and what it returns too.

        Returns:
            What waits for the result.

        Raises:
            WorkerError: (what waits) a process was killed or ran out of memory.
        """
        if self._pool is None:
            return piece
        future = self._pool.submit(piece)

        def result() -> Result:
            try:
                return future.result()
            except BrokenProcessPool:
                raise WorkerError("a process of the red team ended before its work was done") from None

        return result


def single_threaded() -> None:
    """Arrays here are small: more threads only wait for each other. Sums must not depend on their number either."""
    try:
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with the extra

        from secagg.tools.redteam.extra import torch  # noqa: PLC0415 - an extra
    except (ImportError, MissingExtraError):
        return
    threadpool_limits(1)
    torch.set_num_threads(1)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
