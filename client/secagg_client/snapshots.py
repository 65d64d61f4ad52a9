"""Copies of a model's arrays: what changed since then is a participant's update, and the mean is added to them.

Only NumPy is used here: for lists of arrays, as Keras gives them, and for coefficients of scikit-learn's estimators.
`secagg_client.torch` does the same for PyTorch modules.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import frexp
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig
from secagg.context import digest_model
from secagg.encoding.arrays import FLOATS, FloatArray, described_type
from secagg.encoding.fixedpoint import FixedPoint, WeightedMean
from secagg.encoding.schema import Schema
from secagg.errors import InputError
from secagg_client.learning.changes import change

AnyArray = np.ndarray[Any, np.dtype[Any]]
Arrays = Mapping[str, AnyArray] | Sequence[AnyArray]
"""A model's arrays by name, or in an order that is always the same; then their names are "0", "1" and so on."""

CLIP_MARGIN: Final = 1.25
_HALVES: Final = ("float16", "bfloat16")


class Snapshot(Mapping[str, FloatArray]):
    """A model's floating arrays as they were when it was taken, by name: read-only copies. So it does not matter what
    happens to the model afterwards.

    It is what `Client.participate` takes as `model`, and the FL server makes the configuration of a round of it.
    Arrays of float32 and float64 keep their dtype; those of float16 and bfloat16 are float32 here, which holds each of
    their values. Arrays of integers and booleans, and arrays without values, are in no update. They are kept aside and
    come back from `plus` as they were.

    Examples:
        >>> before = Snapshot(model.get_weights())  # Keras
        >>> model.fit(...)
        >>> update = before.delta(model.get_weights())
        >>> result = client.participate(update, weight=len(rows), task="digits", model=before)
        >>> model.set_weights(list(before.plus(result.mean).values()))
    """

    __slots__ = ("_all", "_floating")

    def __init__(self, arrays: Arrays) -> None:
        """Copy the arrays.

        Args:
            arrays: by name, or a list in an order that is always the same.

        Raises:
            InputError: something is no NumPy array, or has values that are no real numbers; names the array.
        """
        self._all: dict[str, AnyArray] = {}
        self._floating: dict[str, FloatArray] = {}
        for name, array in _named(arrays):
            self._all[name] = _read_only(array)
            if _averaged(array):
                same = array.dtype.name in FLOATS and array.dtype.isnative
                self._floating[name] = self._all[name] if same else _read_only(array, _wide(array))

    def __getitem__(self, name: str) -> FloatArray:
        return self._floating[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._floating)

    def __len__(self) -> int:
        return len(self._floating)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} arrays, {sum(array.size for array in self.values())} values)"

    def delta(self, arrays: Arrays) -> dict[str, FloatArray]:
        """How the model changed since the snapshot, for `Client.participate`: new arrays, which share no memory.

        A value that did not change gives 0, even where it is infinite, as in masks of attention. Every other value is
        after − before, rounded once to the nearest value of the array's dtype (float32 for float16 and bfloat16).

        Args:
            arrays: the model's arrays now, named or ordered as in the snapshot.

        Raises:
            InputError: arrays came, went, or have another shape or dtype than in the snapshot; or a value changed to or
                from NaN or infinity, or by more than its dtype can hold. The error names the array.
        """
        now = {name: array for name, array in _named(arrays) if _averaged(array)}
        self.check_same({name: (array.shape, _wide(array)) for name, array in now.items()})
        return {name: _difference(name, before, now[name]) for name, before in self.items()}

    def plus(self, mean: WeightedMean | Mapping[str, AnyArray] | None) -> dict[str, AnyArray]:
        """The model after a round: every array of the snapshot, moved by the mean, in its own order and dtype.

        A value whose mean is 0 stays as it was, to the bit, and so does one that is not finite. Sums are rounded to the
        nearest value, ties to even: of float16 and bfloat16 first to float32, then to their own. So `plus(delta(…))`
        gives a float32 or float64 value exactly if it changed by at most half of its new size, and otherwise to within
        2^-23 or 2^-52 of the change. It gives float16 and bfloat16 exactly, unless a value became a thousand times
        smaller.

        A value that nobody changed has a mean that is within the round's error bound of 0, and not always 0. Leave out
        arrays that never change.

        Args:
            mean: `RoundResult.mean` at a participant, `Aggregate.mean(config)` at the FL server, or arrays by name.

        Raises:
            InputError: there is no mean, because the round gave participants a receipt only; the mean has other arrays
                than the snapshot, or values that are not finite; or a value would leave the range of its dtype. The
                error names the array.
        """
        changes = dict(_named(_arrays_of(mean)))
        self.check_same({name: (array.shape, _wide(array)) for name, array in changes.items()}, whose="the mean")
        moved = {name: _moved(name, before, changes[name], self._all[name]) for name, before in self.items()}
        return {name: moved[name] if name in moved else array.copy() for name, array in self._all.items()}

    def config(
        self,
        *,
        task: str,
        clip: float,
        max_participants: int,
        max_weight: int = 1,
        value_bits: int = 16,
        ranges: Mapping[str, float] | None = None,
        **options: Any,
    ) -> RoundConfig:
        """The configuration of a round about this model, for the FL server. For an encoding with other steps, or with
        noise, take `dataclasses.replace(config, encoding=…)`.

        Args:
            task: name of the task that participants wait for.
            clip: largest change of a value; see `suggest_clip`.
            max_participants: most participants that may take part.
            max_weight: largest weight of a participant, such as its number of examples.
            value_bits: bits of a value.
            ranges: largest change by name of the array, where it is another than `clip`: running statistics of
                BatchNorm change much more than weights.
            options: any other argument of `RoundConfig`.

        Raises:
            ConfigError: it is unsafe, or there is no array to give a range to. The error says what to change.
        """
        return RoundConfig(
            task=task,
            schema=Schema.of(self, ranges),
            encoding=FixedPoint(clip=clip, value_bits=value_bits, max_weight=max_weight),
            max_participants=max_participants,
            model_digest=digest_model(self),
            **options,
        )

    def check_same(self, arrays: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]], whose: str = "the model") -> None:
        """Refuse arrays that are not those of the snapshot.

        Args:
            arrays: shape and dtype by name, with float32 for float16 and bfloat16.
            whose: what has these arrays, for the message.

        Raises:
            InputError: arrays came, went, or have another shape or dtype; names the array.
        """
        gone = [name for name in self if name not in arrays]
        new = [name for name in arrays if name not in self]
        if gone or new:
            told = [f"{word} {_listed(names)}" for word, names in (("lacks", gone), ("has also", new)) if names]
            raise InputError(
                f"{whose} has other arrays than the snapshot: it {' and '.join(told)}; "
                "take the snapshot and the update of the same arrays",
                array=(gone or new)[0],
            )
        for name, before in self.items():
            if arrays[name] != (before.shape, before.dtype):
                shape, dtype = arrays[name]
                raise InputError(
                    f"array {name!r} of {whose} is {dtype} of shape {shape}, "
                    f"in the snapshot it is {before.dtype} of shape {before.shape}",
                    array=name,
                )


def suggest_clip(deltas: Iterable[Mapping[str, AnyArray]]) -> float:
    """A `clip` under which none of these updates is cut off: the power of two from 1.25 to 2.5 times the largest change
    of any value.

    It looks at what it is given and nothing else: the updates of one participant, or those of a model that the FL
    server trained on public data. The clip stands in the configuration, which everybody in the round sees. It is a
    power of two, so it tells no more than the order of magnitude of the largest change. Where even that is too much,
    agree on a number without looking at data.

    Args:
        deltas: updates, each from `delta`; of a few rounds, because changes get smaller.

    Raises:
        InputError: there is no update in it, nothing changed in any, or a value is NaN or infinite; names the array.
    """
    if isinstance(deltas, Mapping) or not isinstance(deltas, Iterable):
        raise InputError("pass a list of updates, as in suggest_clip([update])")
    most = 0.0
    for update in deltas:
        for name, array in _named(update):
            _check_finite(name, array, "changed by")
            most = max(most, float(np.abs(array).max(initial=0.0)))
    if most == 0:
        raise InputError("nothing changed in these updates; take them from after some training")
    fraction, exponent = frexp(CLIP_MARGIN * most)
    return 2.0 ** (exponent - (fraction == 0.5))


def _named(arrays: Arrays) -> Iterator[tuple[str, AnyArray]]:
    """Every array with its name; numbers count as arrays without sides, as an intercept may be one."""
    if isinstance(arrays, np.ndarray | str) or not isinstance(arrays, Mapping | Sequence):
        raise InputError(f"pass arrays by name, or a list of arrays; this is {described_type(arrays)}")
    pairs = arrays.items() if isinstance(arrays, Mapping) else ((str(at), a) for at, a in enumerate(arrays))
    for name, value in pairs:
        array = np.asarray(value) if isinstance(value, float | np.generic) else value
        if not isinstance(array, np.ndarray):
            raise InputError(f"array {name!r} is {described_type(array)}", array=name)
        if isinstance(array, np.ma.MaskedArray):
            raise InputError(f"array {name!r} has masked values; fill them in", array=name)
        if array.dtype.kind not in "iub" and array.dtype.name not in (*FLOATS, *_HALVES):
            raise InputError(f"array {name!r} is {array.dtype}, which cannot be averaged; leave it out", array=name)
        yield name, array


def _averaged(array: AnyArray) -> bool:
    return array.dtype.kind not in "iub" and array.size > 0


def _wide(array: AnyArray) -> np.dtype[Any]:
    """The dtype in which an array is averaged."""
    return np.dtype(np.float32 if array.dtype.name in _HALVES else array.dtype.newbyteorder("="))


def _read_only(array: AnyArray, dtype: np.dtype[Any] | None = None) -> AnyArray:
    copy = np.array(array, dtype, order="C")
    copy.flags.writeable = False
    return copy


def _difference(name: str, before: FloatArray, after: AnyArray) -> FloatArray:
    changed: FloatArray = change(before, after.astype(before.dtype, copy=False))
    _check_finite(name, changed, "changed by")
    return changed


def _moved(name: str, before: FloatArray, mean: AnyArray, original: AnyArray) -> AnyArray:
    _check_finite(name, mean, "has a mean of")
    stays = (mean == 0) | ~np.isfinite(before)
    with np.errstate(over="ignore", invalid="ignore"):  # checked below
        after = (before + mean).astype(original.dtype)
    _check_finite(name, np.where(stays, 0, after), f"leaves the range of {original.dtype}: it would be")
    moved: AnyArray = np.where(stays, original, after)
    return moved


def _check_finite(name: str, values: AnyArray, what: str) -> None:
    finite = np.isfinite(values)
    if not finite.all():
        index = tuple(int(i) for i in np.unravel_index(int(np.argmin(finite)), finite.shape))
        raise InputError(f"array {name!r} {what} {values[index]} at index {index}", array=name, index=index)


def _arrays_of(mean: WeightedMean | Mapping[str, AnyArray] | None) -> Mapping[str, AnyArray]:
    if mean is None:
        raise InputError("there is no mean to add: the round gives participants a receipt only")
    return mean.arrays if isinstance(mean, WeightedMean) else mean


def _listed(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
