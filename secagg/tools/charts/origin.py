"""Where a page comes from: without its date, commit, configuration and versions a figure cannot be made again."""

import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from secagg import __version__

_HERE: Final = Path(__file__)
_PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What a page, or any other record of a run, was made with.

    Attributes:
        date: to the minute, UTC.
        commit: of the checkout, with `-dirty` where files differ from it; says so where there is no checkout.
        configuration: what was asked for, in one line.
        versions: of secagg, Python and what else took part.
    """

    date: str
    commit: str
    configuration: str
    versions: Mapping[str, str]

    @classmethod
    def now(cls, configuration: str, *packages: str) -> "Origin":
        """Args: configuration: in one line. packages: by the name they are installed under."""
        found = {"secagg": __version__, "python": platform.python_version()}
        for package in packages:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "not installed"
        return cls(datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), _commit(), configuration, found)


def _commit() -> str:
    """The commit of the checkout that this file belongs to."""
    git = shutil.which("git")
    if git is None or _git(git, "ls-files", "--error-unmatch", _HERE.name) is None:
        return f"none: not a checkout, package {__version__}"
    return _git(git, "describe", "--always", "--dirty", "--exclude=*") or "unknown"


def _git(git: str, *arguments: str) -> str | None:
    """What git prints; None if it fails."""
    try:
        made = subprocess.run(  # noqa: S603, our own arguments
            [git, "-C", str(_HERE.parent), *arguments], capture_output=True, text=True, timeout=_PATIENCE_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return made.stdout.strip()
