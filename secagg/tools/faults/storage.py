"""Where programs keep what must outlive them: virtual disks that fail as their plans say."""

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.sqlite.folder import StateFolder, held
from secagg_server.storage.sqlite.store import SqliteStore
from secagg_server.storage.store import Store

from secagg.crypto.rng import Rng
from secagg.programs.audit.log import AuditLog
from secagg.programs.audit.reading import is_segment
from secagg.programs.ledgers.files import locked
from secagg.tools.faults.deployment import deployment
from secagg.tools.faults.disk import Kind, VirtualDisk
from secagg.tools.faults.history import Fault
from secagg.tools.faults.scenario import DiskAccident, DiskPlan

STATE: Final = Path("/state")
"""The state folder of a coordinator or of a participant, each on its own disk."""

_FAILS: Final = frozenset({Kind.WRITE, Kind.FLUSH, Kind.FLUSH_FOLDER})


class Trouble:
    """The mischief of a plan.

    Attributes:
        over: whether the disk works from now on.
    """

    def __init__(
        self, plan: DiskPlan, rng: Random, befell: Callable[[DiskAccident], None], lied: Callable[[], None]
    ) -> None:
        """Args:
        plan: what befalls the disk.
        rng: decides which flush lies.
        befell: lets an accident happen; a `DISK_ERROR` has no more to it than that.
        lied: told of the first flush that lies.
        """
        self.over = False
        self._due = list(plan.accidents)
        self._lies = plan.lies
        self._rng = rng
        self._befell = befell
        self._lied = lied
        self._has_lied = False

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        """Let happen what is due by this operation."""
        while not self.over and self._due and number >= self._due[0].change:
            fails = self._due[0].fault is Fault.DISK_ERROR
            if fails and kind not in _FAILS:
                return  # the next one that can
            self._befell(self._due.pop(0))
            if fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        """Whether this flush makes nothing safe."""
        if self.over or not self._lies or self._rng.random() >= self._lies:
            return False
        if not self._has_lied:
            self._has_lied = True
            self._lied()
        return True


@dataclass(frozen=True, slots=True)
class Kept:
    """What a coordinator's process has of a storage.

    Attributes:
        store: of rounds and ledgers.
        audit: the audit log; None where nothing outlives the process.
        close: lets go of everything, as a process does that stops in order.
    """

    store: Store
    audit: AuditLog | None
    close: Callable[[], None]


class FailingDisk:
    """The disk of a machine, which fails as its plan says.

    Attributes:
        disk: what programs mount.
    """

    def __init__(
        self,
        plan: DiskPlan,
        rng: Random,
        clock: Callable[[], float],
        *,
        befell: Callable[[DiskAccident], None],
        injected: Callable[[Fault], None],
    ) -> None:
        """Args:
        plan: how it fails.
        rng: decides what is not in the plan.
        clock: of the machine, seconds since 1970.
        befell: lets an accident happen.
        injected: told of the other faults.
        """
        self.disk = VirtualDisk(rng, clock)
        self._trouble = self.disk.mischief = Trouble(plan, rng, befell, lambda: injected(Fault.FLUSH_LIED))
        self._rots, self._rots_in = plan.rots, plan.rots_in
        self._injected = injected

    def kill(self, *, power: bool) -> None:
        """The program has ended; with `power`, what was not flushed is lost, in part or whole."""
        if power:
            self.disk.cut_power()
        else:
            self.disk.kill()
        if self._rots and not self._trouble.over:
            self._rots = False
            if self.disk.rot(lambda path: path.name.endswith(self._rots_in)) is not None:
                self._injected(Fault.BIT_ROT)

    def unplug(self) -> None:
        """The history is over: no process has the disk any more, and nothing of it is kept for SQLite."""
        self.disk.kill()

    def fill(self) -> None:
        """Leave no room."""
        self.disk.room = sum(len(content) for content in self.disk.files().values())

    def make_room(self) -> None:
        """Let there be room again."""
        self.disk.room = None

    def heal(self) -> None:
        """Work from now on."""
        self._trouble.over = True
        self.make_room()


def open_memory() -> Kept:
    """What a coordinator has that has no disk."""
    return Kept(MemoryStore(), None, lambda: None)


def open_folder(disk: VirtualDisk, clock: Callable[[], float], rng: Rng) -> Kept:
    """What a coordinator has of the state folder on its disk; it ends with the process.

    Args:
        disk: of its machine.
        clock: of the process, seconds since 1970.
        rng: keys of rounds come from it.

    Raises:
        SecAggError: it cannot be used.
    """
    mount = disk.mount()
    with ExitStack() as opening:
        folder = opening.enter_context(held(STATE, mount))
        ledgers = opening.enter_context(locked(folder.ledgers, clock, mount))
        store = opening.enter_context(closing(SqliteStore(folder, mount, rng, ledgers=ledgers)))
        audit = AuditLog.open(folder.audit, lambda: deployment().coordinator, clock, mount)
        return Kept(store, audit, opening.pop_all().close)


def audit_log(disk: VirtualDisk) -> bytes:
    """The files of the audit log, one behind the other."""
    files = {path.name: content for path, content in disk.files().items() if path.parent == StateFolder(STATE).audit}
    return b"".join(files[name] for name in sorted(files) if is_segment(name))
