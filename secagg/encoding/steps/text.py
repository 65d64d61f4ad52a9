"""The parameters of a step as text: `key=value, key=value`."""

import re
from collections.abc import Mapping
from typing import Final

from secagg.errors import ConfigError

_ARGUMENT: Final = re.compile(r"([a-z0-9]+)=([a-z0-9.+-]+)")

Arguments = Mapping[str, str]
"""Parameters of one step by their names, as they were written."""


def arguments(step: str, text: str | None, known: frozenset[str]) -> Arguments:
    """What stands between the parentheses of a step, each name once.

    Raises:
        ConfigError: it is not written as it should be, or names something that the step does not have.
    """
    found: dict[str, str] = {}
    for part in text.split(", ") if text is not None else ():
        match = _ARGUMENT.fullmatch(part)
        if match is None or match[1] not in known or match[1] in found:
            allowed = ", ".join(sorted(known)) or "nothing"
            raise ConfigError(f"{step} takes {allowed}, not {part[:40]!r}")
        found[match[1]] = match[2]
    return found


def real(given: Arguments, name: str) -> float:
    """A parameter that is a number; refused with `ConfigError` if it is missing or none."""
    try:
        return float(given[name])
    except KeyError:
        raise ConfigError(f"{name}=… is missing") from None
    except ValueError:
        raise ConfigError(f"{name} is a number, not {given[name]!r}") from None


def whole(given: Arguments, name: str) -> int:
    """A parameter that is a whole number; refused with `ConfigError` if it is missing or none."""
    text = given.get(name, "")
    if not text.isdecimal() or len(text) > 10:
        raise ConfigError(f"{name} is a whole number, not {text[:40]!r}")
    return int(text)
