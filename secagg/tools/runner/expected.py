"""The list of cases that are known to fail: one number on a line, and behind it the reason."""

from collections.abc import Collection
from pathlib import Path

from secagg.errors import ConfigError


def read(path: Path, numbers: Collection[str]) -> dict[str, str]:
    """The reasons by the number of the case. Empty lines, and those that begin with `#`, say nothing.

    Args:
        path: of the list, UTF-8.
        numbers: of all cases that there are.

    Raises:
        ConfigError: it cannot be read, or a line names no case, one that was named before, or no reason.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the list of expected failures {path} cannot be read: {error}") from error
    reasons: dict[str, str] = {}
    for at, line in enumerate(lines, 1):
        number, _, reason = line.strip().partition(" ")
        if not number or number.startswith("#"):
            continue
        if number not in numbers:
            raise ConfigError(f"{path}, line {at}: there is no case {number}; take it off the list")
        if number in reasons:
            raise ConfigError(f"{path}, line {at}: {number} is on the list twice; take one off")
        if not reason.strip():
            raise ConfigError(f"{path}, line {at}: say behind {number} why it fails")
        reasons[number] = reason.strip()
    return reasons
