"""Key and certificate files: made once, private from their first byte, never overwritten."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secagg.crypto.secret import Secret
from secagg.errors import IdentityError
from secagg.programs.folders import flush_folder


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to make: a `Secret` gets mode 0600, anything else 0644."""

    path: Path
    content: bytes | Secret


def write_new(files: Sequence[NewFile]) -> None:
    """Make all the files or none, durably. Raise `IdentityError` when one of them exists.

    Raises:
        OSError: the disk is full, the folder is not ours.
    """
    for file in files:
        if os.path.lexists(file.path):
            raise IdentityError(f"{file.path} exists and is not overwritten; move it away or choose another folder")
    made: list[Path] = []
    try:
        for file in files:
            file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(file, made)
        for folder in {file.path.parent for file in files}:
            flush_folder(folder)
    except OSError:
        for path in made:
            path.unlink(missing_ok=True)
        raise


def read_public(path: Path) -> bytes:
    """The content of a certificate file; `IdentityError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from error


def read_private(path: Path) -> Secret:
    """The content of a key file; `IdentityError` when it cannot be read, or others on this machine can read it."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == "posix" and mode & 0o077:  # elsewhere the mode says nothing about who may read
                raise IdentityError(f"{path} can be read by others (mode {mode & 0o777:04o}); run: chmod 600 {path}")
            return Secret(file.read())
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from error


def _create(file: NewFile, made: list[Path]) -> None:
    secret = isinstance(file.content, Secret)
    # O_EXCL: neither an existing file nor a symbolic link planted in its place is written through.
    descriptor = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    made.append(file.path)
    with os.fdopen(descriptor, "wb") as stream:
        if os.name == "posix":
            os.fchmod(descriptor, 0o600 if secret else 0o644)  # whatever the umask
        stream.write(file.content.expose() if isinstance(file.content, Secret) else file.content)
        stream.flush()
        os.fsync(descriptor)
