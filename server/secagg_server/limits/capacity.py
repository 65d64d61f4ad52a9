"""Whether a round fits into what this machine has free: asked when it is opened, before anybody sends a vector.

The system hands out more memory than there is, and a file may grow until the disk is full. So a sum that cannot fit
would not fail when its round is opened, but when all participants have sent their vectors.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Final

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.encoding.packing import packed_size
from secagg.errors import LimitError
from secagg.lattice.layout import layout_of
from secagg.lattice.parameters import Custody
from secagg.lattice.summation import upload_layout

RESIDUE_BYTES: Final = 8

_GROUPS: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a round needs at most, in bytes.

    Attributes:
        memory: of sums while they are added up and opened, whatever the number of participants. An incomplete vector
            takes none.
        disk: of the vectors of as many participants as the round admits, and of the finished sums.
    """

    memory: int
    disk: int

    @classmethod
    def of(cls, config: RoundConfig, *, doors: bool = False) -> "Demand":
        """The demand of a round with `config`, in groups of all groups together.

        Args:
            config: of the round.
            doors: whether masked inputs may be added up at other doors, too. One partial sum after the other then
                stands beside the sum.
        """
        packed = packed_size(config.vector_len, config.ring_bits)
        memory, vector = config.vector_len * config.ring_dtype.itemsize, packed
        if config.homomorphic is not None:
            upload = upload_layout(config.homomorphic, config.vector_len)
            half = layout_of(config.homomorphic, config.vector_len, 1)
            residues = half.blocks * half.block_residues * RESIDUE_BYTES
            if config.homomorphic.custody is Custody.PARTICIPANTS:
                memory += 2 * residues + 2 * half.total_bytes  # c0 and c1 in words, and packed for the participants
                vector = upload.total_bytes + packed  # one member after the other hands in the decrypted sum
            else:
                memory += 7 * residues + half.total_bytes  # c0, c1, partial decryptions, and what opening them takes
                vector = upload.total_bytes + half.total_bytes
        elif doors:
            memory *= 2
        cohorts = 1 if config.groups is None else config.groups.count
        return cls(memory * cohorts, (vector * config.max_participants + packed) * cohorts)


class Capacity:
    """What this machine has free for rounds, and what of it open ones have reserved. Called from several threads."""

    def __init__(
        self, free_memory: Callable[[], int], free_disk: Callable[[], int], folder: str, spared_bytes: int = 0
    ) -> None:
        """Args:
        free_memory: bytes that this process could still take.
        free_disk: bytes that are free where vectors wait.
        folder: names that place, for errors.
        spared_bytes: of the vectors of each round that need no disk.
        """
        self._free_memory = free_memory
        self._free_disk = free_disk
        self._folder = folder
        self._spared = spared_bytes
        self._reserved: dict[RoundId, Demand] = {}
        self._lock = Lock()

    def reserve(self, round_id: RoundId, demand: Demand) -> None:
        """Set aside what the round needs, until `release`. What others have reserved counts as not yet used.

        Raises:
            LimitError: it is not free.
        """
        disk = 0 if demand.disk <= self._spared else demand.disk
        with self._lock:
            memory_left = self._free_memory() - sum(one.memory for one in self._reserved.values())
            if demand.memory > memory_left:  # check: memory-for-sum
                raise LimitError(
                    f"the sum of this round takes {demand.memory} bytes of memory and {max(0, memory_left)} are left; "
                    "send fewer values in a round, wait for other rounds to end, or give the coordinator more memory"
                )
            if disk:
                disk_left = self._free_disk() - sum(one.disk for one in self._reserved.values())
                if disk > disk_left:  # check: disk-for-vectors
                    raise LimitError(
                        f"the vectors of all participants of this round take {disk} bytes of the disk and "
                        f"{max(0, disk_left)} are left in {self._folder}; lower max_participants, send fewer values in "
                        "a round, or make more room there"
                    )
            self._reserved[round_id] = Demand(demand.memory, disk)

    def hold(self, round_id: RoundId, demand: Demand) -> None:
        """Set aside what a round needs that an earlier process had room for."""
        with self._lock:
            self._reserved[round_id] = demand

    def release(self, round_id: RoundId) -> None:
        """The round is over, or was never opened."""
        with self._lock:
            self._reserved.pop(round_id, None)


def free_memory() -> int:
    """Bytes that this process could still take: what the machine has available, within the limits of its container."""
    found = [_available(), *_within_groups()]
    return min(found)


def _available() -> int:
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:  # hidden from this process, or no Linux
        text = ""
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    if available is not None:
        return int(available[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _within_groups() -> list[int]:
    """What each control group (version 2) that this process is in leaves of its limit; caches can be taken back."""
    try:
        own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text("utf-8"), re.MULTILINE)
    except OSError:
        return []
    group = _GROUPS / own[1] if own else _GROUPS
    left = []
    for folder in (group, *group.parents):
        if folder != _GROUPS and _GROUPS not in folder.parents:
            break
        try:
            limit, used = (int((folder / name).read_text("ascii")) for name in ("memory.max", "memory.current"))
            cached = re.search(r"^inactive_file (\d+)$", (folder / "memory.stat").read_text("ascii"), re.MULTILINE)
        except (OSError, ValueError):  # no limit says "max"; the root has no such files
            continue
        left.append(max(0, limit - used + (int(cached[1]) if cached else 0)))
    return left


def free_disk(folder: Path) -> Callable[[], int]:
    """Gives the bytes that are free for this user in the file system of `folder`; 0 if there is no such folder."""

    def free() -> int:
        try:
            found = os.statvfs(folder)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    return free
