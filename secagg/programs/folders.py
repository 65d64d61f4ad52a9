"""Whether files can be written to a folder, and making their names durable: a new file is safe after a power cut only
once its folder is flushed too.
"""

import os
from pathlib import Path
from tempfile import TemporaryFile

from secagg.errors import ConfigError


def flush_folder(folder: Path) -> None:
    """Make new, exchanged and removed names of `folder` survive a power cut, where folders can be opened.

    Raises:
        OSError: the folder cannot be opened, or the disk refuses.
    """
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(*paths: Path | None) -> None:
    """Make sure that files can be written there, before something is done that their content depends on.

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
            with TemporaryFile(dir=path.resolve().parent):
                pass
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}; make its folder first") from None
