"""A user without rights, for tests of what the system refuses. The machine that tests may be root's."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65_534


@contextmanager
def place() -> Iterator[Path]:
    """A folder that every user can search."""
    folder = Path(tempfile.mkdtemp(prefix="secagg-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Where this process is root's, it is nobody's in the block; else it is nobody special in any case."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
