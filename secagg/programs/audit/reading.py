"""The files of an audit log, read line by line: a log may be larger than the memory.

A folder holds segments, files of whole lines that are called after the number of their first entry, and the head: the
number and the digest of the last checkpoint. An exported log is one file. Nothing is verified here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.audit.entries import MAX_LINE_BYTES
from secagg.errors import AuditError, ConfigError
from secagg.privacy.ledger import Head

SUFFIX: Final = ".jsonl"
HEAD: Final = "head"
_NAME: Final = re.compile(r"\d{15}" + re.escape(SUFFIX))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log.

    Attributes:
        text: without its end.
        where: name of the file, and the number of the line in it from 1 on.
        first: number of the entry after which its file is called; None in an exported log.
        whole: whether it has a line end.
    """

    text: bytes
    where: str
    first: int | None
    whole: bool


def segment_name(first: int) -> str:
    """Name of the file that begins with entry `first`."""
    return f"{first:015d}{SUFFIX}"


def first_of(name: str) -> int:
    """The number of the entry that a segment of this name begins with."""
    return int(name.removesuffix(SUFFIX))


def is_segment(name: str) -> bool:
    """Whether a file of this name is a segment."""
    return _NAME.fullmatch(name) is not None


def segments(where: Path) -> list[Path]:
    """The segments in a folder, in order; of an exported log, its one file.

    Raises:
        ConfigError: there is no such file or folder, or no log in it.
    """
    if where.is_file():
        return [where]
    found = sorted(path for path in where.iterdir() if is_segment(path.name)) if where.is_dir() else []
    if not found:
        raise ConfigError(
            f"{where} holds no audit log: name the folder audit of a coordinator's state_dir, or a file that "
            "secagg audit export wrote"
        )
    return found


def head_of(where: Path) -> Head | None:
    """The head that lies in a folder; None if there is none, as beside an exported log.

    Raises:
        AuditError: the file holds no head.
    """
    beside = where / HEAD
    if not beside.is_file():
        return None
    try:
        return Head.parse(beside.read_text("ascii").removesuffix("\n"))
    except (ConfigError, ValueError):
        raise AuditError(f"the file {HEAD} holds no head of an audit log") from None


def lines(where: Path) -> Iterator[Line]:
    """Every line of a log. A line that is longer than an entry can be comes in pieces.

    Raises:
        ConfigError: as of `segments`.
        OSError: cannot be read.
    """
    for path in segments(where):
        first = first_of(path.name) if is_segment(path.name) else None
        with path.open("rb") as file:
            number = 0
            while text := file.readline(MAX_LINE_BYTES + 2):
                number += 1
                yield Line(text.removesuffix(b"\n"), f"{path.name}, line {number}", first, text.endswith(b"\n"))
