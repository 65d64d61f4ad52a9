"""What a process has used of processors, from the kernel's own account of it (Linux)."""

import time

from secagg.errors import LocalError


def cpu_seconds(pid: int) -> float:
    """Seconds on processors of all threads of process `pid` since it began.

    Raises:
        LocalError: the process is gone, or this is no Linux.
    """
    clock = (~pid << 3) | 2  # CPUCLOCK_SCHED of the process, as clock_getcpuclockid(3) makes it
    try:
        return time.clock_gettime(clock)
    except (OSError, AttributeError) as error:
        raise LocalError(f"the system does not tell the processor time of process {pid}: {error}") from error
