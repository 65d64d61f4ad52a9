"""Where the aggregate of a round goes, if its caller says so: into arrays of its own, or into a file.

Nothing is written before the sum was held against its digest. It waits in a temporary file until then.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np

from secagg.config import RoundConfig
from secagg.encoding.arrays import AnyArray, described_type
from secagg.encoding.fixedpoint import WeightedMean
from secagg.encoding.integers import Integers, IntegerSums
from secagg.encoding.schema import Sink
from secagg.errors import ConfigError, LocalError
from secagg.programs.arrayfiles import LONE, ArrayFile
from secagg.programs.folders import check_writable

Out = Mapping[str, np.ndarray[Any, Any]] | np.ndarray[Any, Any] | str | Path
"""Arrays by name to be filled, one alone (called `values`), or the path of an .npz or .npy file to be written."""


class Output(Protocol):
    """Where an aggregate goes."""

    def check(self, config: RoundConfig) -> None:
        """Raise `ConfigError` if the aggregate of a round with `config` has no place there."""
        ...

    def sink(self) -> AbstractContextManager[Sink]:
        """Takes the arrays; whole only if `end` was called inside."""
        ...


def output_of(out: Out) -> Output:
    """What `out` stands for.

    Raises:
        ConfigError: it is none of what it may be, or a file cannot be written there.
    """
    if isinstance(out, str | Path):
        return FileOutput(Path(out))
    return ArrayOutput({LONE: out} if isinstance(out, np.ndarray) else out)


def described(config: RoundConfig) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of each array of an aggregate by its name: integers are added up as int64."""
    whole = isinstance(config.encoding, Integers)
    return {spec.name: (spec.shape, np.dtype(np.int64 if whole else spec.dtype)) for spec in config.schema.arrays}


class ArrayOutput:
    """Arrays of the caller's, in memory or mapped."""

    def __init__(self, arrays: Mapping[str, AnyArray]) -> None:
        if not isinstance(arrays, Mapping):
            raise ConfigError(
                f"out is arrays by name, one array, or the path of a file; this is {described_type(arrays)}"
            )
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ConfigError(f"out: array {name!r} is {described_type(array)}")
            if not array.flags.writeable:
                raise ConfigError(f"out: array {name!r} is read-only; map its file with mode 'r+'")
        self._arrays = dict(arrays)

    def check(self, config: RoundConfig) -> None:
        """Every array of the round must be there, in its shape and dtype, and no other."""
        wanted = described(config)
        for strange in sorted(wanted.keys() ^ self._arrays.keys()):
            have = "lacks" if strange in wanted else "has also"
            raise ConfigError(f"out {have} array {strange!r}; the round's are {', '.join(wanted)[:200]}")
        for name, (shape, dtype) in wanted.items():
            array = self._arrays[name]
            if (array.shape, array.dtype) != (shape, dtype):
                raise ConfigError(
                    f"out: array {name!r} is {array.dtype} of shape {array.shape}, the aggregate {dtype} of {shape}"
                )

    @contextmanager
    def sink(self) -> Iterator[Sink]:
        """Fills them in place."""
        yield _Filled(self._arrays)


class _Filled:
    """Fills arrays that are there. They have any memory layout."""

    def __init__(self, arrays: dict[str, AnyArray]) -> None:
        self._arrays = arrays
        self._flat: Any = None
        self._at = 0

    def begin(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        del shape, dtype
        array = self._arrays[name]
        flat = array.flags.c_contiguous and not isinstance(array, np.matrix)  # which does not become flat
        self._flat, self._at = array.reshape(-1) if flat else array.flat, 0

    def write(self, values: AnyArray) -> None:
        self._flat[self._at : self._at + len(values)] = values
        self._at += len(values)

    def end(self) -> dict[str, AnyArray]:
        return self._arrays


def copied_to(out: Output, arrays: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """Arrays that are in memory already, written to `out`, and as they are there."""
    with out.sink() as sink:
        for name, array in arrays.items():
            sink.begin(name, array.shape, array.dtype)
            sink.write(array.reshape(-1))
        return sink.end()


def in_place_of(found: WeightedMean | IntegerSums, arrays: dict[str, AnyArray]) -> WeightedMean | IntegerSums:
    """The same with the same arrays elsewhere."""
    if isinstance(found, WeightedMean):
        return replace(found, arrays=arrays)
    return replace(found, arrays=arrays)


class FileOutput:
    """An .npz file; or a .npy file, if it is called so, for a round with one array."""

    def __init__(self, path: Path) -> None:
        check_writable(path)
        self._path = path

    def check(self, config: RoundConfig) -> None:
        """A .npy file has one array."""
        if self._path.suffix == ".npy" and len(config.schema.arrays) > 1:
            raise ConfigError(f"the round has {len(config.schema.arrays)} arrays, and a .npy file holds one; use .npz")

    @contextmanager
    def sink(self) -> Iterator[Sink]:
        """Exchanges the file at the end, and gives its arrays mapped."""
        try:
            with ArrayFile(self._path) as file:
                yield file
        except OSError as error:
            raise LocalError(f"{self._path} cannot be written: {error.strerror or error}") from None


class ChunkFile:
    """Chunks that wait in a temporary file, which has no name and ends with its process (`secagg.encoding.packed`)."""

    def __init__(self) -> None:
        """Begin with none.

        Raises:
            LocalError: there is no room for a file.
        """
        with _named():
            self._file = TemporaryFile()  # noqa: SIM115, closed by `close`
        self._ends = [0]

    def append(self, payload: bytes) -> None:
        """The next chunk. Raises `LocalError` if the disk is full."""
        with _named():
            self._file.write(payload)
        self._ends.append(self._ends[-1] + len(payload))

    def clear(self) -> None:
        """Forget all chunks. Raises `LocalError` as `append`."""
        with _named():
            self._file.seek(0)
            self._file.truncate()
        self._ends = [0]

    def close(self) -> None:
        """Give its room back."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int, /) -> bytes:
        if not 0 <= number < len(self):
            raise IndexError(number)
        with _named():
            self._file.seek(self._ends[number])
            return self._file.read(self._ends[number + 1] - self._ends[number])

    def __iter__(self) -> Iterator[bytes]:
        return (self[number] for number in range(len(self)))


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalError(
            f"the sum cannot be kept in a temporary file: {os.strerror(error.errno or 0)}; make room, or name another "
            "folder in the environment variable TMPDIR"
        ) from None
