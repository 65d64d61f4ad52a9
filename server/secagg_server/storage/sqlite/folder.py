"""The folder of everything durable: which files it has, who may see it, and that one coordinator has it.

    lock            held by the coordinator that runs
    state.sqlite    rounds, their journals, ends and receipts, sums that are remembered, identities that were seen
    commits         how many commits that database has had
    spool/          a file for each open round: the chunks of vectors
    sums/           a file for each finished round: its sum, until it is forgotten
    keys/           a file for each open round: the key that seals its journal; destroyed at its end
    ledgers/        privacy ledgers, unless `ledger_dir` names another place
    audit/          the audit log

Keys have files of their own, in a folder of their own. A row that is deleted stays in a database for long, in free
pages and in the log of writes, and a copy of the database would hold the keys beside what they seal. So a copy of
`state.sqlite` alone shows no secret, a backup leaves `keys/` out, and once a key's file is gone no copy that was ever
made shows the secrets of that round. Who copies the whole folder while rounds are open has their secrets: that is
shares that were revealed to this coordinator, and the seeds of noise.
"""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.errors import ConfigError
from secagg.programs.disk import Disk, check_fits
from secagg.programs.ledgers.files import ENTRIES

ROOM_BYTES: Final = 1 << 20
"""What must fit on the disk when a coordinator starts."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where each file of a state folder is."""

    path: Path

    @property
    def lock(self) -> Path:
        """Held by the coordinator that runs."""
        return self.path / "lock"

    @property
    def database(self) -> Path:
        """The database; SQLite has two files beside it while it is open."""
        return self.path / "state.sqlite"

    @property
    def commits(self) -> Path:
        """How many commits the database has had."""
        return self.path / "commits"

    @property
    def spool(self) -> Path:
        """The folder of vectors."""
        return self.path / "spool"

    @property
    def sums(self) -> Path:
        """The folder of finished sums."""
        return self.path / "sums"

    @property
    def keys(self) -> Path:
        """The folder of keys."""
        return self.path / "keys"

    @property
    def audit(self) -> Path:
        """The folder of the audit log."""
        return self.path / "audit"

    @property
    def ledgers(self) -> Path:
        """The folder of privacy ledgers."""
        return self.path / "ledgers"


@contextmanager
def held(path: Path, disk: Disk) -> Iterator[StateFolder]:
    """A state folder, made if there is none, for this process alone.

    Raises:
        ConfigError: another coordinator has it, it cannot be made, or see `check_private` and `check_room`.
    """
    folder = StateFolder(path)
    with ExitStack() as lock:
        try:
            disk.make_folder(path)
            check_private(path, disk)
            check_room(path, disk)
            lock.enter_context(disk.locked(folder.lock))
        except BlockingIOError:
            raise ConfigError(f"the state folder {path} belongs to a coordinator that is running") from None
        except OSError as error:
            raise ConfigError(f"the state folder {path}: {error.strerror}") from error
        yield folder


def is_held(path: Path, disk: Disk) -> bool:
    """Whether a coordinator that is running has the folder."""
    lock = StateFolder(path).lock
    if disk.facts(lock) is None:
        return False
    try:
        with disk.locked(lock):
            return False
    except BlockingIOError:
        return True


def check_private(path: Path, disk: Disk) -> None:
    """Check that nobody but its owner can look into a state folder.

    Raises:
        ConfigError: others can.
    """
    facts = disk.facts(path)
    if facts is not None and facts.mode & 0o077:  # check: state-read-by-others
        raise ConfigError(
            f"the state folder {path} can be read or written by others (mode {facts.mode & 0o777:04o})"
        ).mended_by(f"chmod 700 {shlex.quote(str(path))}")


def check_ledgers(folder: StateFolder, ledgers: Path, disk: Disk) -> None:
    """Check that no privacy ledgers lie where nobody would look for them: what was spent would be forgotten.

    Args:
        folder: of the state, which may be missing.
        ledgers: the folder where ledgers are looked for.
        disk: where both are.

    Raises:
        ConfigError: some do.
    """
    for path in (folder.path, folder.ledgers):
        if path == ledgers or disk.facts(path) is None:
            continue
        if any(name.endswith(ENTRIES) for name in disk.names(path)):  # check: ledgers-passed-over
            raise ConfigError(
                f"{path} has privacy ledgers, and this coordinator would look for them in {ledgers}, and forget what "
                "was spent: move them there, or let ledger_dir name the folder that has them"
            )


def check_room(path: Path, disk: Disk) -> None:
    """Check that something fits: write as much as `ROOM_BYTES`, and remove it again.

    Raises:
        ConfigError: it does not, or we may not write there.
    """
    check_fits(disk, path, ROOM_BYTES, "state folder")
