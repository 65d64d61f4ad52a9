"""How much memory this process has, giving it back to the operating system after rounds have ended, and what Python's
collector looks at.
"""

import ctypes
import gc
import os
from pathlib import Path
from typing import Final

ARENAS: Final = 2
_M_ARENA_MAX: Final = -8

KEPT_BYTES: Final = 32 << 20
"""Of freed memory that each group of threads keeps for what it allocates next, until `give_back`."""
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

GIVE_BACK_AFTER_S: Final = 1.0
"""From the end of a round: time for its participants to fetch the sum."""


def settle_allocator() -> None:
    """Let glibc keep freed memory for two groups of threads, not for eight a processor: every group keeps its own. And
    let it keep as much as a few chunks of vectors take: else each chunk is memory that the kernel has to fill with
    zeros first, which takes longer than to read, check and add the chunk.

    Call it before there are threads. Elsewhere than on glibc nothing happens.
    """
    settle = getattr(ctypes.CDLL(None), "mallopt", None)
    if settle is not None:
        settle(_M_ARENA_MAX, ARENAS)
        settle(_M_TRIM_THRESHOLD, KEPT_BYTES)
        settle(_M_MMAP_THRESHOLD, KEPT_BYTES // 4)


def settle_collector() -> None:
    """Let Python's collector of cycles pass over what was loaded for the start. It stays as long as the process, and is
    most of what there is: to look at it again takes about 40 ms, whenever rounds made enough new objects.

    Call it before rounds are recovered: a cycle that is there by then is never freed.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Hand freed memory back to the operating system.

    Vectors are freed by whichever thread folded or sent them, and glibc keeps what is freed for that thread's next
    allocation: without this a process stays about as large as its largest rounds one after the other. Elsewhere
    than on glibc nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident() -> int:
    """Bytes of memory that this process has now; 0 where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
