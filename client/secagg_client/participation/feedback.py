"""What rounds lost of our updates, carried to the next round of the same task (`feedback` in a pipeline).

A round takes what is carried, adds it to the update, and puts back what it lost itself, once it is certain that our
input is in the sum. If it is certain that it is not, everything stays as it was. Where neither is known (we handed in
all of it and never heard of the end), nothing is put back: what may be in a sum already is not sent a second time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

import numpy as np

from secagg.encoding.arrays import FloatArray, NumberArray
from secagg.encoding.schema import Schema, Update
from secagg.errors import InputError, LocalError
from secagg.messages import Phase
from secagg.schemes import Chunk, Upload
from secagg_client.participation.uploads import PassedOn

INPUTS: Final = frozenset({Phase.MASKED_INPUT, Phase.ENCRYPTED_INPUT})
"""The phases in which an update leaves the machine, encoded."""

_Shapes = dict[str, tuple[int, ...]]


class Feedback:
    """What rounds lost of our updates to rounding and sampling, by task, until a later round sends it. It is kept in
    memory and is as private as the updates: it stays on this machine.

    Safe to use from several threads, and by several clients of one participant. Rounds of one task that overlap never
    send the same thing twice: the first takes what there is, the others find nothing, and what each loses is added up.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, _Account] = {}
        self._lock = Lock()

    def arrays(self, task: str) -> dict[str, FloatArray]:
        """Copies of what is carried for a task, float32 arrays by name, to be saved with `np.savez`. Empty if there is
        nothing, or if a round under way has taken it.
        """
        with self._lock:
            account = self._tasks.get(task)
            return {} if account is None else account.arrays()

    def restore(self, task: str, arrays: Update) -> None:
        """Carry what `arrays` gave earlier, in another process for example.

        Raises:
            InputError: an array is not float32, or holds NaN or infinity.
            LocalError: something is carried already, or a round has taken it; `forget` it first.
        """
        if not arrays:
            return
        flat = [_checked(name, array) for name, array in arrays.items()]
        account = _Account({name: array.shape for name, array in arrays.items()}, np.concatenate(flat))
        with self._lock:
            if task in self._tasks:
                raise LocalError(f"task {task!r} carries something already; forget it first")
            self._tasks[task] = account

    def forget(self, task: str) -> None:
        """Carry nothing more for a task. A round under way puts nothing back either."""
        with self._lock:
            self._tasks.pop(task, None)

    def take(self, task: str, schema: Schema) -> "Residual":
        """What one participation sends on top of its update, and is to give back.

        Raises:
            InputError: what is carried has other arrays than `schema`.
        """
        shapes = {spec.name: spec.shape for spec in schema.arrays}
        with self._lock:
            account = self._tasks.setdefault(task, _Account(shapes))
            account.check(task, shapes)
            return Residual(self._lock, account, account.take(list(shapes)))

    def resume(self, task: str, schema: Schema, carried: FloatArray | None) -> "Residual":
        """What a participation took in another process and handed in; it is to be settled here.

        Args:
            task: name of the task.
            schema: of the round.
            carried: what was taken, float32[schema.size].

        Raises:
            InputError: what is carried by now has other arrays than `schema`.
        """
        shapes = {spec.name: spec.shape for spec in schema.arrays}
        with self._lock:
            account = self._tasks.setdefault(task, _Account(shapes))
            account.check(task, shapes)
            return Residual(self._lock, account, carried, handed_in=True)


@dataclass(slots=True)
class _Account:
    """Of one task. `flat`: float32, the arrays one after the other; None if nothing is carried or all is taken."""

    shapes: _Shapes
    flat: FloatArray | None = None

    def arrays(self) -> dict[str, FloatArray]:
        return {name: part.reshape(self.shapes[name]).copy() for name, part in self._parts()}

    def take(self, order: list[str]) -> FloatArray | None:
        """All of it, its arrays in this order."""
        if self.flat is None:
            return None
        parts = dict(self._parts())
        self.shapes = {name: self.shapes[name] for name in order}
        taken, self.flat = np.concatenate([parts[name] for name in order]), None
        return taken

    def add(self, lost: FloatArray) -> None:
        """Add up what overlapping rounds lost. A sum beyond float32 is cut off, as `EncodedUpdate.lost` is."""
        if self.flat is None:
            self.flat = lost
            return
        most = np.finfo(np.float32).max
        self.flat = np.clip(self.flat.astype(np.float64) + lost, -most, most).astype(np.float32)

    def check(self, task: str, shapes: _Shapes) -> None:
        for name in (*shapes, *self.shapes):
            mine, wanted = self.shapes.get(name), shapes.get(name)
            if mine != wanted:
                raise InputError(
                    f"what task {task!r} carries has array {name!r} of shape {mine}, the round has {wanted}; "
                    f"if the task has changed, start anew with feedback.forget({task!r})",
                    array=name,
                )

    def _parts(self) -> Iterator[tuple[str, FloatArray]]:
        if self.flat is not None:
            sizes = [int(np.prod(shape, dtype=np.int64)) for shape in self.shapes.values()]
            yield from zip(self.shapes, np.split(self.flat, np.cumsum(sizes)[:-1]), strict=True)


@dataclass(slots=True)
class Residual:
    """What one participation took; settled once, as `into_sum`, `not_in_sum` or not at all.

    Attributes:
        carried: float32[schema.size]; None for nothing.
        handed_in: whether all of our input was asked for, so that it may be in a sum.
    """

    _lock: Lock
    _account: _Account
    carried: FloatArray | None
    handed_in: bool = False
    _settled: bool = field(default=False, init=False)

    def into_sum(self, lost: FloatArray) -> None:
        """Our input is in a released sum, and this is what it lost."""
        self._settle(lost)

    def not_in_sum(self) -> None:
        """Nothing of it is in a sum: all is as before. Has no effect after `into_sum`."""
        self._settle(self.carried)

    def end(self) -> None:
        """The participation is over, settled or not."""
        if not self.handed_in:
            self.not_in_sum()

    def noting(self, upload: Upload) -> Upload:
        """The same upload; its last chunk is noticed when it is asked for."""
        return _NotedUpload(upload, self) if upload.phase in INPUTS else upload

    def _settle(self, back: FloatArray | None) -> None:
        with self._lock:
            if not self._settled and back is not None:
                self._account.add(back)
            self._settled = True


@dataclass(frozen=True, slots=True)
class _NotedUpload(PassedOn):
    upload: Upload
    residual: Residual

    def chunk(self, number: int) -> Chunk:
        if number == self.chunks - 1:
            self.residual.handed_in = True
        return self.upload.chunk(number)


def _checked(name: str, array: NumberArray) -> FloatArray:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or not np.isfinite(array).all():
        raise InputError(f"array {name!r} is not finite float32, as what is carried always is", array=name)
    return array.reshape(-1).astype(np.float32, copy=False)
