"""Named arrays in .npz files, configurations of rounds in files, and whether a file can be written at all."""

import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final
from zipfile import BadZipFile

from secagg.errors import ConfigError, DecodeError, InputError, ProtocolViolation

if TYPE_CHECKING:
    import numpy as np

    from secagg.config import RoundConfig

    Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]


_UNREADABLE: Final = (ValueError, EOFError, BadZipFile, zlib.error, RuntimeError, MemoryError)
"""What numpy and zipfile raise. RuntimeError: encrypted or unknown members; MemoryError: arrays beyond all memory."""


def read_arrays(path: Path) -> "Arrays":
    """The arrays of an .npz file, by name. Nothing in it is executed.

    Raises:
        InputError: not such a file.
        OSError: it cannot be read.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise InputError(f"{path} holds one array without a name; save it with numpy.savez")
            return {name: content[name] for name in content.files}
    except _UNREADABLE:  # numpy's own words advise to execute what is in it
        raise InputError(f"{path} is not a readable .npz file of plain arrays; write it with numpy.savez") from None


def write_arrays(path: Path, arrays: "Arrays") -> None:
    """Write an .npz file, in place of an older one."""
    import zipfile

    import numpy as np

    with zipfile.ZipFile(path, "w") as file:  # numpy.savez has arguments whose names an array may have, too
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def check_writable(*paths: Path | None) -> None:
    """Make sure that files can be written there, before a command does something that their content depends on.

    A disk that is full later is not foreseen.

    Raises:
        ConfigError: a folder is missing or may not be written, or a folder or a protected file is in the way.
    """
    for path in paths:
        if path is None:
            continue
        if path.exists() and not (path.is_file() and os.access(path, os.W_OK)):
            raise ConfigError(f"{path} cannot be written: it exists, and is a folder or protected")
        try:
            with TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}; make its folder first") from None


def read_config(path: Path) -> "RoundConfig":
    """A configuration as `secagg round open --save-config` writes it; `ConfigError` if it is none."""
    from secagg.wire.configuration import decode_config

    try:
        return decode_config(path.read_bytes())
    except (DecodeError, ProtocolViolation) as error:
        raise ConfigError(f"{path}: {error}") from None
