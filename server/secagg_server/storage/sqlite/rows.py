"""The checksum of a row: a disk that changes bits is found out, in each row by itself."""

import struct
from collections.abc import Sequence
from typing import Final

from secagg.crypto import labels
from secagg.crypto.transcript import digest

SqlValue = int | float | str | bytes | None
"""What a column holds."""

CHECKSUM_SIZE: Final = 16


def checksum(table: str, values: Sequence[SqlValue]) -> bytes:
    """16 bytes that fix the name of the table and all other columns of a row, in the order of the table."""
    return digest(labels.STORE_ROW, table.encode(), *map(_encoded, values))[:CHECKSUM_SIZE]


def _encoded(value: SqlValue) -> bytes:
    match value:
        case None:
            return b"-"
        case int():
            return b"i%d" % value
        case float():
            return b"f" + struct.pack(">d", value)
        case str():
            return b"t" + value.encode()
        case bytes():
            return b"b" + value
