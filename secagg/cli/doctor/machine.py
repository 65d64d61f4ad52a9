"""What the machine says of itself: who has a port, how much memory is left, what its processor has. Linux; elsewhere
nothing is known.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTENS: Final = "0A"  # the state TCP_LISTEN in /proc/net/tcp


def listener(port: int) -> str:
    """Who listens on a TCP port: name and process id, or an empty text if that is not known to this user."""
    inodes = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(file.readlink()) in inodes for file in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()}, process {process.name}"
        except OSError:  # another user's, or gone
            continue
    return ""


def _inodes(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def free_memory() -> int | None:
    """Bytes that a new program can have, within the limit of a container; None if that is not known."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        if limit != "max":
            found.append(int(limit) - int(used))
    except OSError:
        pass  # no cgroup, or one of the first version
    return min(found, default=None)


def has_vaes() -> bool | None:
    """Whether the processor encrypts several blocks of AES with one instruction (VAES); None if that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    flags = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return all("vaes" in each for each in flags) if flags else None


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
