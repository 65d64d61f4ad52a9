"""What the server sees of one client in one round: its replies, record by record."""

import io
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from flwr.app import Array, ConfigRecord, MetricRecord, RecordDict

_NUMPY: Final = "numpy.ndarray"
_SHOWN: Final = 16
_FEWEST_BYTES: Final = 1000
"""What is shorter is no upload of a model."""

Residues = np.ndarray[Any, np.dtype[np.unsignedinteger[Any]]]
"""unsigned words[count], of 8 or 32 bits; every value that the word has is possible."""


def described(replies: list[RecordDict]) -> dict[str, Any]:
    """The records by name and size, and all numbers in clear with their values."""
    records = [{"record": name, "bytes": len(data), "begins": data[:_SHOWN].hex()} for name, data, _ in _parts(replies)]
    clear = {
        f"{name}/{key}": value
        for content in replies
        for name, record in content.items()
        if isinstance(record, MetricRecord | ConfigRecord)
        for key, value in record.items()
        if isinstance(value, int | float)
    }
    return {"records": records, "in_clear": clear}


def upload(replies: list[RecordDict]) -> Residues:
    """The longest record as residues; empty if no record is as long as a model."""
    data, bits = max(((data, bits) for _, data, bits in _parts(replies)), key=_length, default=(b"", 8))
    return np.frombuffer(data if len(data) >= _FEWEST_BYTES else b"", np.dtype(f"<u{bits // 8}"))


def _length(part: tuple[bytes, int]) -> int:
    return len(part[0])


def _parts(replies: list[RecordDict]) -> Iterator[tuple[str, bytes, int]]:
    """Name, bytes and width in bits of the residues of each array, and of each text of bytes, in the replies.

    An array of ours is the bytes of packed residues: whole bytes are uniform, too. One of floats is shown by its bytes.
    SecAgg+ sends residues mod 2^32 as int64 in numpy's format, several arrays as one list.
    """
    for content in replies:
        for name, record in content.items():
            if isinstance(record, MetricRecord):
                continue
            if isinstance(record, ConfigRecord):
                for key, value in record.items():
                    yield from _texts(f"{name}/{key}", value)
                continue
            if record:
                yield name, b"".join(map(_values, record.values())), 8


def _values(array: Array) -> bytes:
    """Its values, without the header of numpy's format."""
    return bytes(array.data) if array.stype != _NUMPY else np.ascontiguousarray(array.numpy()).tobytes()


def _texts(name: str, value: object) -> Iterator[tuple[str, bytes, int]]:
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, bytes)]
    if texts and all(text.startswith(b"\x93NUMPY") for text in texts):
        arrays = [np.load(io.BytesIO(text), allow_pickle=False).ravel() for text in texts]
        yield name, np.concatenate(arrays).astype(np.uint32).tobytes(), 32
    elif texts:
        yield name, b"".join(texts), 8
