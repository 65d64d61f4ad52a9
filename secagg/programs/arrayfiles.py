"""Named arrays in .npz files, and one array in a .npy file: mapped into memory, and written value after value."""

import os
import struct
import zipfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, Self
from zipfile import BadZipFile

import numpy as np

from secagg.encoding.arrays import AnyArray
from secagg.errors import InputError
from secagg.programs.folders import flush_folder

LONE: Final = "values"
"""The name of the one array of a .npy file, as of an array that is handed in alone."""

_UNREADABLE: Final = (
    ValueError, EOFError, BadZipFile, zlib.error, RuntimeError, MemoryError, OverflowError, struct.error,
)  # fmt: skip
"""What numpy and zipfile raise. RuntimeError: encrypted or unknown members; the next two: arrays beyond all memory."""

_LOCAL_HEADER: Final = struct.Struct("<4s22sHH")
"""Of a member of a zip file: signature, what stands in the directory too, and how long the name and the rest are."""

_PIECE: Final = 1 << 20


def read_arrays(path: Path) -> dict[str, AnyArray]:
    """The arrays of an .npz or .npy file, by name. Nothing in it is executed.

    Arrays that are stored as they are (`numpy.save`, `numpy.savez`) are mapped and take no memory of their own; those
    of `numpy.savez_compressed` are read. A mapped file must stay as it is while its arrays are in use.

    Raises:
        InputError: not such a file.
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                return {LONE: np.load(path, mmap_mode="r", allow_pickle=False)}
            file.seek(0)
            with zipfile.ZipFile(file) as members:
                return {one.filename.removesuffix(".npy"): _member(path, members, one) for one in members.infolist()}
    except _UNREADABLE:  # numpy's own words advise to execute what is in it
        raise InputError(
            f"{path} is not a readable .npz or .npy file of plain arrays; write it with numpy.savez or numpy.save"
        ) from None


def _member(path: Path, members: zipfile.ZipFile, info: zipfile.ZipInfo) -> AnyArray:
    with members.open(info) as stream:
        if info.compress_type != zipfile.ZIP_STORED:
            return np.lib.format.read_array(stream, allow_pickle=False)
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"version {version} of .npy")
        shape, in_columns, dtype = getattr(np.lib.format, _HEADERS[version])(stream)
        if dtype.hasobject:
            raise ValueError("objects")
        before = stream.tell()
        while stream.read(_PIECE):  # to its end, where its checksum is compared
            pass
    count = int(np.prod(shape, dtype=np.int64))
    if before + count * dtype.itemsize != info.file_size:
        raise ValueError("cut off")
    if count == 0:
        return np.empty(shape, dtype)
    with path.open("rb") as file:
        file.seek(info.header_offset)
        *_, name_size, extra_size = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    offset = info.header_offset + _LOCAL_HEADER.size + name_size + extra_size + before
    return np.memmap(path, dtype, "r", offset, shape, "F" if in_columns else "C")


_HEADERS: Final = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


def write_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> None:
    """Write an .npz or .npy file, in place of an older one."""
    with ArrayFile(path) as file:
        for name, array in arrays.items():
            values: AnyArray = np.asarray(array)
            file.begin(name, values.shape, values.dtype)
            file.write(values.reshape(-1))
        file.end()


class ArrayFile:
    """Arrays on their way into an .npz file, or one into a .npy file, each value after the other. A `Sink`.

    The file of that name, or that a link of that name leads to, is exchanged when all is written and safe. Until then,
    and after an error, it is what it was.
    """

    def __init__(self, path: Path) -> None:
        """Begin.

        Raises:
            OSError: the file cannot be made.
        """
        self._path = path = path.resolve()  # an exchange must not replace a link
        self._new = path.with_name(f".{path.name}.{os.getpid()}.new")
        self._file = self._new.open("wb")
        if path.exists():
            self._new.chmod(path.stat().st_mode & 0o777)
        self._zip = None if path.suffix == ".npy" else zipfile.ZipFile(self._file, "w")
        self._member: IO[bytes] = self._file
        self._dtype: Any = None
        self._names: list[str] = []

    def begin(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """The next array."""
        if self._zip is not None:  # numpy.savez has arguments whose names an array may have, too
            self._close_member()
            self._member = self._zip.open(f"{name}.npy", "w", force_zip64=True)
        self._dtype = dtype
        self._names.append(name)
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._member, header)

    def write(self, values: AnyArray) -> None:
        """Its next values, cast to its dtype."""
        self._member.write(values.astype(self._dtype, copy=False).tobytes())

    def end(self) -> dict[str, AnyArray]:
        """Exchange the file; safe on return. Gives its arrays, mapped."""
        self._close_member()
        if self._zip is not None:
            self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._new.replace(self._path)
        flush_folder(self._path.parent)
        arrays = read_arrays(self._path)
        return arrays if self._zip is not None else dict.fromkeys(self._names, arrays[LONE])

    def _close_member(self) -> None:
        if self._member is not self._file:
            self._member.close()
            self._member = self._file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what is not whole."""
        with suppress(OSError, ValueError):  # the disk may be full
            self._close_member()
        if self._zip is not None:
            with suppress(OSError, ValueError):
                self._zip.close()
        with suppress(OSError):
            self._file.close()
        self._new.unlink(missing_ok=True)
