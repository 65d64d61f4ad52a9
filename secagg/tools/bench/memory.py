"""Memory of a process, from the kernel's own account of it (Linux)."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from secagg.errors import LocalError


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in bytes.

    Attributes:
        now_bytes: at this moment.
        peak_bytes: the most since the process began (not what getrusage says, which a child takes over from who
            started it).
    """

    now_bytes: int
    peak_bytes: int


def forget_peak(pid: int) -> None:
    """Let the peak of process `pid`, which is ours, begin again at what it has now.

    Raises:
        LocalError: the process is gone, or this is no Linux.
    """
    peaks = Path(f"/proc/{pid}/clear_refs")
    try:
        peaks.write_text("5", encoding="ascii")
    except OSError as error:
        raise LocalError(f"{peaks} does not let the peak memory of the process be forgotten: {error}") from error


def memory_of(pid: int | None = None) -> Memory:
    """The memory of process `pid`, or of this process if it is None.

    Raises:
        LocalError: the process is gone, or this is no Linux.
    """
    status = Path(f"/proc/{pid or os.getpid()}/status")
    try:
        found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status.read_text(encoding="ascii"), re.MULTILINE))
        return Memory(int(found["VmRSS"]) * 1024, int(found["VmHWM"]) * 1024)
    except (OSError, KeyError) as error:
        raise LocalError(f"{status} does not tell the memory of the process: {error}") from error
