"""How kubelet puts a Secret or a projected volume on the disk, as far as a program inside the pod sees it.

The names are links into a hidden folder, which is exchanged as a whole: a new folder with the new files, a link to it,
and a rename of the link (Kubernetes, `pkg/volume/util/atomic_writer.go`). The files are root's. With `fsGroup` they are
given to that group, which may read them (`pkg/volume/volume_linux.go`).
"""

import os
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path

DATA = "..data"


class Volume:
    """A volume in a folder that kubelet writes."""

    def __init__(self, folder: Path, mode: int, group: int | None = None) -> None:
        """Args:
        folder: is made.
        mode: `defaultMode`.
        group: `fsGroup`; None leaves files as they are.
        """
        self.folder = folder
        self._mode = mode
        self._group = group
        self._versions = count(1)
        folder.mkdir(0o755)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Exchange all files at once."""
        version = self.folder / f"..2026_11_28_00_00_{next(self._versions):02}.000000001"
        version.mkdir(0o755)
        version.chmod(0o755)
        for name, content in files.items():
            self._file(version / name, content)
        before = (self.folder / DATA).resolve() if (self.folder / DATA).exists() else None
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version.name)
        fresh.rename(self.folder / DATA)
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"{DATA}/{name}")
        if before is not None:
            shutil.rmtree(before)

    def _file(self, path: Path, content: bytes) -> None:
        path.touch()
        path.write_bytes(content)
        mode = self._mode
        if self._group is not None:
            os.chown(path, -1, self._group)
            mode |= 0o440
        path.chmod(mode)
