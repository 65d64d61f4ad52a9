"""What a coordinator says of itself to whoever asks: its versions and its time. A doctor compares them with its own."""

import re
from dataclasses import dataclass
from typing import Final

from secagg.errors import DecodeError
from secagg.roster import COORDINATOR
from secagg.wire.v1 import data_plane_pb2 as pb

PROTOCOLS: Final = (1,)
"""The versions of the protocol that this release speaks. The labels of PROTOCOL.md and the packages of the .proto files
name it.
"""

MAX_PROTOCOLS: Final = 16
MAX_TIME_MS: Final = 253_402_300_799_999  # the end of the year 9999, behind which Python has no dates

_VERSION: Final = re.compile(r"[A-Za-z0-9.+_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Description:
    """A coordinator's versions and time.

    Attributes:
        version: its release of secagg.
        protocols: the versions of the protocol that it speaks, ascending.
        time_ms: its clock, in milliseconds since 1970.
    """

    version: str
    protocols: tuple[int, ...]
    time_ms: int


def encode_description(description: Description) -> pb.Description:
    """The description, which is never split."""
    return pb.Description(version=description.version, protocols=description.protocols, time_ms=description.time_ms)


def decode_description(message: pb.Description) -> Description:
    """Raise `DecodeError` for a version that may not reach a terminal, for too many of them, or for no time."""
    if not _VERSION.fullmatch(message.version):
        raise DecodeError("the coordinator's version is not 1 to 64 of A-Z a-z 0-9 . + - _", culprit=COORDINATOR)
    protocols = tuple(message.protocols)
    ascending = all(before < after for before, after in zip((0, *protocols), protocols, strict=False))
    if not 0 < len(protocols) <= MAX_PROTOCOLS or not ascending:
        raise DecodeError(f"protocols are not 1 to {MAX_PROTOCOLS} ascending versions", culprit=COORDINATOR)
    if message.time_ms > MAX_TIME_MS:
        raise DecodeError(f"time_ms is above {MAX_TIME_MS}", culprit=COORDINATOR)
    return Description(message.version, protocols, message.time_ms)
