"""Arrays as PNG pictures (ISO/IEC 15948): eight bits a channel, no filter, one zlib stream."""

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

Rgb = np.ndarray[Any, np.dtype[np.uint8]]
"""uint8[height, width, 3]."""

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TRUE_COLOUR: Final = 2
_GAP: Final = 1  # pixels between the pictures of a sheet
_BELOW, _MIDDLE, _ABOVE = (np.array(c, np.float64) for c in ((29, 78, 216), (248, 250, 252), (190, 24, 60)))


def png(pixels: Rgb) -> bytes:
    """The picture as a file."""
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _TRUE_COLOUR, 0, 0, 0)
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = pixels.reshape(height, 3 * width)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(name, data) for name, data in chunks)


def data_uri(pixels: Rgb) -> str:
    """The picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()


def sheet(pictures: Sequence[np.ndarray[Any, Any]], columns: int) -> Rgb:
    """Pictures of one size side by side, blue below the middle of their common range and red above it."""
    low, high = min(p.min() for p in pictures), max(p.max() for p in pictures)
    if low < 0 < high:  # signed: zero is the middle
        high = max(-low, high)
        low = -high
    scaled = [2 * (p - low) / max(high - low, 1e-300) - 1 for p in pictures]
    height, width = pictures[0].shape
    rows = -(-len(pictures) // columns)
    out = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for number, picture in enumerate(scaled):
        row, column = divmod(number, columns)
        top, left = row * (height + _GAP), column * (width + _GAP)
        out[top : top + height, left : left + width] = _coloured(picture)
    return out


def _coloured(picture: np.ndarray[Any, Any]) -> Rgb:
    """Values from −1 (blue) over 0 (white) to 1 (red)."""
    strength = np.sqrt(np.abs(picture))[..., None]  # small values stay visible
    end = np.where(picture[..., None] < 0, _BELOW, _ABOVE)
    colours: Rgb = np.round(_MIDDLE + (end - _MIDDLE) * strength).astype(np.uint8)
    return colours


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
