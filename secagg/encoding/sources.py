"""Where the values of an update come from, read block by block and always the same.

An update is read several times: values are checked, then a norm may be taken, then each chunk is made, and once more if
a connection breaks. Nothing of it is copied whole, so its owner could change it in between. Then two chunks would be of
two updates, or one mask would cover two inputs. So the first pass takes a digest of every block, and every later read
of a block is held against it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

import numpy as np

from secagg.crypto.checksum import checksum
from secagg.encoding.arrays import FLOATS, INTEGERS, NumberArray, check_array, described_type, instead
from secagg.errors import InputError

BLOCK: Final = 1 << 16
"""Values that are read, copied and digested together: at most 512 KiB."""


class Pieces:
    """An array of an update that is never whole in memory: its values come piece by piece, in C order.

    Examples:
        >>> layer = Pieces(lambda: (read(part) for part in parts))
        >>> client.participate({"layer": layer}, task="digits", model=model)
    """

    __slots__ = ("_begin",)

    def __init__(self, begin: Callable[[], Iterable[NumberArray]]) -> None:
        """Args:
        begin: called for each pass over the values; gives NumPy arrays of one dtype, of any shapes and sizes, which
            together are the array. Every pass must give the same values.

        Raises:
            InputError: it cannot be called, as an iterator cannot; that could be read only once.
        """
        if not callable(begin):
            raise InputError(
                f"Pieces takes a function that begins a new pass over the values, not {type(begin).__name__}: an "
                "update is read several times"
            )
        self._begin = begin

    def __iter__(self) -> Iterator[NumberArray]:
        """One pass, from the first value on."""
        return iter(self._begin())


class Blocks(Protocol):
    """The values of one array, in C order, in blocks of `BLOCK`; the last may be shorter."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        ...

    def block(self, number: int) -> NumberArray:
        """A fresh copy of block `number`; empty behind the last."""
        ...


class _ArrayBlocks:
    """Of an array in memory or in a mapped file."""

    __slots__ = ("_flat", "dtype")

    def __init__(self, array: NumberArray) -> None:
        self.dtype = array.dtype
        plain = np.asarray(array)  # a subclass such as np.matrix would not become flat
        # An array in another order than C cannot be flat without a copy of the whole; its flatiter copies ranges.
        self._flat: Any = plain.reshape(-1) if plain.flags.c_contiguous else plain.flat

    def block(self, number: int) -> NumberArray:
        return np.array(self._flat[number * BLOCK : (number + 1) * BLOCK], self.dtype)


class _PieceBlocks:
    """Of pieces, which are passed over again when an earlier block is asked for."""

    __slots__ = ("_name", "_next", "_pieces", "_rest", "_walk", "dtype")

    def __init__(self, name: str, pieces: Pieces) -> None:
        self._name = name
        self._pieces = pieces
        self._walk: Iterator[NumberArray] = iter(())
        self._begin()
        first = next((piece for piece in self._checked() if piece.size), None)
        if first is None:
            raise InputError(f"the pieces of array {name!r} hold no values; leave the array out", array=name)
        self.dtype = first.dtype
        self._begin()

    def block(self, number: int) -> NumberArray:
        if number < self._next:
            self._begin()
        while self._next < number:
            self._take()
        return self._take()

    def _begin(self) -> None:
        self._walk = iter(self._pieces)
        self._next = 0
        self._rest: NumberArray | None = None

    def _take(self) -> NumberArray:
        """The next block."""
        out = np.empty(BLOCK, self.dtype)
        filled = 0
        while filled < BLOCK:
            if self._rest is None:
                piece = next(self._checked(), None)
                if piece is None:
                    break
                if piece.dtype != self.dtype:
                    raise InputError(
                        f"the pieces of array {self._name!r} are {self.dtype} and {piece.dtype}; give one dtype",
                        array=self._name,
                    )
                self._rest = piece.reshape(-1)
            part = self._rest[: BLOCK - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
            self._rest = self._rest[len(part) :] if len(part) < len(self._rest) else None
        self._next += 1
        return out[:filled]

    def _checked(self) -> Iterator[NumberArray]:
        for piece in self._walk:
            check_array(self._name, piece)
            yield np.asarray(piece)


class SteadyArray:
    """One array of an update, of which each block is the same whenever it is read.

    Attributes:
        name: of the array.
        dtype: of its values.
        shape: of the array; of pieces, which have none, their number of values alone.
        size: number of values.
        in_pieces: whether it comes in pieces.
    """

    __slots__ = ("_blocks", "_digests", "dtype", "in_pieces", "name", "shape", "size")

    def __init__(self, name: str, array: NumberArray | Pieces) -> None:
        """Look at every value once.

        Raises:
            InputError: it is no array of floats or integers, or holds NaN or infinity; names the array and the index.
        """
        self.name = name
        self.in_pieces = isinstance(array, Pieces)
        self._blocks: Blocks
        if isinstance(array, Pieces):
            self._blocks = _PieceBlocks(name, array)
        else:
            check_array(name, array)
            self._blocks = _ArrayBlocks(array)
        self.dtype = self._blocks.dtype
        if not self.dtype.isnative:
            raise InputError(f"array {name!r} is {self.dtype}; {instead(self.dtype, self.dtype.name)}", array=name)
        self.size = 0
        self._digests: list[bytes] = []
        while len(values := self._blocks.block(len(self._digests))):
            self._check_finite(values, None if isinstance(array, Pieces) else array.shape)
            self._digests.append(_digest(values))
            self.size += len(values)
        self.shape: tuple[int, ...] = (self.size,) if isinstance(array, Pieces) else array.shape

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self._digests)

    def block(self, number: int) -> NumberArray:
        """A fresh copy of block `number`, of `BLOCK` values or what is left.

        Raises:
            InputError: its values are not those that were there at first.
        """
        values = self._blocks.block(number)
        if _digest(values) != self._digests[number]:  # check: same-update
            raise InputError(
                f"array {self.name!r} was changed while it was being sent; leave the update as it is until the round "
                "is over, or hand in a copy",
                array=self.name,
            )
        return values

    def _check_finite(self, values: NumberArray, shape: tuple[int, ...] | None) -> None:
        if self.dtype.name in INTEGERS:
            return
        finite = np.isfinite(values)
        if not finite.all():
            at = int(np.argmin(finite))
            index = index_of(self.size + at, shape)
            raise InputError(f"array {self.name!r} is {values[at]} at index {index}", array=self.name, index=index)


SteadyUpdate = Mapping[str, SteadyArray]
"""An update that was looked at once."""


def steady(update: object) -> dict[str, SteadyArray]:
    """An update whose values were all looked at, and cannot change unnoticed from here on.

    Args:
        update: arrays or `Pieces` by name, floats or integers throughout; or one of them alone, which is called
            `values`; or what this gave before.

    Raises:
        InputError: something in it is neither, or holds NaN or infinity; names the array and says what to do.
    """
    arrays = by_name(update)
    check_dtypes({name: array for name, array in arrays.items() if not isinstance(array, Pieces)})
    made = {name: a if isinstance(a, SteadyArray) else SteadyArray(name, a) for name, a in arrays.items()}
    check_dtypes(made)
    return made


def by_name(update: object) -> Mapping[str, Any]:
    """The update as a mapping: a lone array is the special case of one array called `values`.

    Raises:
        InputError: it is neither an array nor a mapping.
    """
    if isinstance(update, np.ndarray | Pieces):
        return {"values": update}
    if not isinstance(update, Mapping):
        hint = "; wrap the function that makes the iterator: Pieces(function)" if isinstance(update, Iterator) else ""
        raise InputError(
            f"an update is an array or a mapping of arrays by name; this is {described_type(update)}{hint}"
        )
    return update


def check_dtypes(arrays: Mapping[str, Any]) -> None:
    """Refuse what is not of floats; or of integers, where there are no others.

    Raises:
        InputError: as above; names the array and says what to do.
    """
    kinds = (np.ndarray, SteadyArray)
    counts = all(isinstance(array, kinds) and array.dtype.name in INTEGERS for array in arrays.values())
    for name, array in arrays.items():
        if not isinstance(array, SteadyArray):
            check_array(name, array)
        if array.dtype.name not in (INTEGERS if counts else FLOATS):
            raise InputError(f"array {name!r} is {array.dtype}; {instead(array.dtype)}", array=name)


def index_of(at: int, shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """The index of value `at` of an array in C order; of pieces, which have no shape, the value's place alone."""
    return (at,) if shape is None else tuple(int(i) for i in np.unravel_index(at, shape))


def _digest(values: NumberArray) -> bytes:
    return checksum(values.view(np.uint8).data)
