"""Configurations of rounds in files."""

from pathlib import Path
from typing import TYPE_CHECKING

from secagg.errors import ConfigError, DecodeError, ProtocolViolation

if TYPE_CHECKING:
    from secagg.config import RoundConfig


def read_config(path: Path) -> "RoundConfig":
    """A configuration as `secagg round open --save-config` writes it; `ConfigError` if it is none."""
    from secagg.wire.configuration import decode_config

    try:
        return decode_config(path.read_bytes())
    except (DecodeError, ProtocolViolation) as error:
        raise ConfigError(f"{path}: {error}") from None
