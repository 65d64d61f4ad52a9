"""Phases, threat models, schemes, rounds and digests as people write them.

Imported with every command, so it imports nothing heavy itself.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from secagg.errors import ConfigError

if TYPE_CHECKING:
    from secagg.config import ThreatModel
    from secagg.context import RoundId
    from secagg.messages import Phase


class ThreatModelName(StrEnum):
    """A threat model on the command line."""

    ACTIVE = "active"
    SEMI_HONEST = "semi-honest"

    def threat_model(self) -> "ThreatModel":
        """The threat model that a round's configuration has for this name."""
        from secagg.config import ThreatModel

        return ThreatModel[self.name]


class SchemeName(StrEnum):
    """A scheme on the command line."""

    MASKED = "masked"
    CKKS = "ckks"
    BFV = "bfv"


class CustodyName(StrEnum):
    """Who holds a homomorphic key, on the command line."""

    PARTICIPANTS = "participants"
    THRESHOLD = "threshold"


class GraphName(StrEnum):
    """Who shares masks with whom, on the command line."""

    COMPLETE = "complete"
    AUTO = "auto"


class EngineName(StrEnum):
    """Where the work of a round is done, on the command line."""

    LOCAL = "local"
    RAY = "ray"


Scheme = Annotated[SchemeName, typer.Option(help="How updates are protected.")]
Custody = Annotated[
    CustodyName,
    typer.Option(
        help="Who holds the key of ckks and bfv. Custody threshold is EXPERIMENTAL, and participants must allow it."
    ),
]
ThreatModelOfScheme = Annotated[
    ThreatModelName | None,
    typer.Option(
        help="What the coordinator may do. Default: active, where the scheme protects against it.", show_default=False
    ),
]


def parse_phase(text: str) -> "Phase":
    """`MaskedInput`, `masked-input` and `MASKED_INPUT` alike.

    Raises:
        ConfigError: no phase of that name.
    """
    from secagg.messages import Phase

    wanted = text.lower().replace("-", "").replace("_", "")
    for phase in Phase:
        if str(phase).lower() == wanted:
            return phase
    raise ConfigError(f"{text!r} is no phase; one of: {', '.join(map(str, Phase))}")


def parse_round_id(text: str) -> "RoundId":
    """32 hexadecimal digits; `ConfigError` for anything else."""
    from secagg.context import ROUND_ID_SIZE, RoundId

    return RoundId(_parse_hex(text, ROUND_ID_SIZE, "a round id"))


def parse_digest(text: str) -> bytes:
    """64 hexadecimal digits; `ConfigError` for anything else."""
    from secagg.config import DIGEST_SIZE

    return _parse_hex(text, DIGEST_SIZE, "a digest")


def _parse_hex(text: str, size: int, what: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size:
        raise ConfigError(f"{what} is {2 * size} hexadecimal digits, not {text[:80]!r}")
    return data
