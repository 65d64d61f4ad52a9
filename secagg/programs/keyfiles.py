"""Key and certificate files: made once, private from their first byte, never overwritten."""

import os
import shlex
import stat
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
        raise _unreadable(path, error, f"chmod a+r {shlex.quote(str(path))}") from error


def read_private(path: Path) -> Secret:
    """The content of a key file.

    Raises:
        IdentityError: it cannot be read, or others on this machine can read it (see `open_to_others`).
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if os.name == "posix" and open_to_others(status, os.geteuid(), os.getegid()):  # check: key-read-by-others
                wrong = f"{path} can be read by others (mode {status.st_mode & 0o777:04o})"
                if status.st_uid != os.geteuid():
                    wrong += "; in Kubernetes, mount the Secret with defaultMode 0400, and let runAsGroup be fsGroup"
                raise IdentityError(wrong).mended_by(f"chmod 600 {shlex.quote(str(path))}")
            return Secret(file.read())
    except OSError as error:
        raise _unreadable(path, error, f"sudo chown {os.geteuid()} {shlex.quote(str(path))}") from error


def _unreadable(path: Path, error: OSError, to_allow: str) -> IdentityError:
    """Args: to_allow: the command that lets this user read the file."""
    named = IdentityError(f"{path}: {error.strerror}")
    if not isinstance(error, PermissionError):
        return named
    searchable = os.access(path.parent, os.X_OK, effective_ids=os.access in os.supports_effective_ids)
    if not searchable:  # a folder that was sent with mode 0700, or mounted into a container
        to_allow = f"sudo chown -R {os.geteuid()} {shlex.quote(str(path.parent))}"
    return named.mended_by(to_allow)


def open_to_others(status: os.stat_result, user: int, group: int) -> bool:
    """Whether the mode of a file lets anybody have it but its owner (POSIX; elsewhere the mode says nothing of that).

    In one case the file's group may read it too: the file is root's, the process is not, and the group is the primary
    group of the process. Kubernetes mounts a Secret like this: the files stay root's, and the group of the pod
    (`fsGroup`) may read them (mode 0440). If root alone could read the file, the process could not.

    Args:
        status: of the file.
        user: effective user id of this process.
        group: effective group id of this process. A supplementary group does not count: services share those.
    """
    allowed = 0o740 if status.st_uid == 0 and user != 0 and status.st_gid == group else 0o700
    return bool(stat.S_IMODE(status.st_mode) & 0o777 & ~allowed)


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
