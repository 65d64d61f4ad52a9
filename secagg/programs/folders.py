"""Making the names in a folder durable: a new file is safe after a power cut only once its folder is flushed too."""

import os
from pathlib import Path


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
