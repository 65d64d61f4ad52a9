"""A vector as JSON: what every file has, and values as text."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from secagg.encoding.schema import Schema

Document = dict[str, Any]
"""A JSON object."""

Contents = dict[str, tuple[str, str, Callable[[], Document | Iterator[Document]]]]
"""Vectors of a module, by name: title, section of proto/PROTOCOL.md, and what makes the rest, or the cases alone."""

FORMAT: Final = 1
"""Of the files; grows when a reader has to change."""

LARGEST_NUMBER: Final = 2**53 - 1
"""A larger whole number, or one below its negative, is a text of decimal digits: many readers of JSON make a float64 of
every number.
"""

LARGE: Final = frozenset(
    {
        "coefficients",
        "elements",
        "encoded",
        "first",
        "flood",
        "prime",
        "primes",
        "special_prime",
        "sums",
        "values",
        "words",
    }
)
"""Fields that may have such numbers."""

_DIGITS: Final = re.compile(r"-?[1-9][0-9]{15,19}")

MADE_HERE: Final = "made by secagg.tools.conformance.generate"


def document(kind: str, title: str, section: str, *, provenance: str = MADE_HERE, **content: Any) -> Document:
    """A vector file's object.

    Args:
        kind: which reader understands it.
        title: what it shows.
        section: heading of proto/PROTOCOL.md that it belongs to.
        provenance: where the values come from.
        content: the rest; bytes become hex.
    """
    head = {"format": FORMAT, "kind": kind, "title": title, "section": section, "provenance": provenance}
    return head | {name: plain(value) for name, value in content.items()}


def vectors_of(contents: Contents) -> Iterator[tuple[str, Document]]:
    """File name and content of each. The name is the kind too, unless the content states another."""
    for name, (title, section, make) in contents.items():
        made = make()
        content = made if isinstance(made, dict) else {"cases": made}
        yield name, document(**{"kind": name, "title": title, "section": section} | content)


def plain(value: Any) -> Any:
    """`value` with bytes as hex and arrays as lists, as JSON can hold it.

    Raises:
        TypeError: of a type that no vector holds.
    """
    match value:
        case bytes():
            return value.hex()
        case None | bool() | int() | float() | str():
            return value
        case np.ndarray():
            return value.tolist()
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case Iterable():
            return [plain(item) for item in value]
    raise TypeError(f"a vector holds no {type(value).__name__}")


def dumps(vector: Document) -> str:
    """The file's text: keys sorted, one value a line, a newline at the end. The same for the same vector.

    Raises:
        TypeError: a field that is not in `LARGE` has a number beyond `LARGEST_NUMBER`.
    """
    return json.dumps(_written(vector), indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def loads(text: str) -> Any:
    """What a file holds, with every whole number as an int."""
    return _read(json.loads(text))


def _written(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _written(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_written(item, field) for item in value]
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        if field not in LARGE:
            raise TypeError(f"{field} holds {value}, and is none of the fields with large numbers")
        return str(value)
    return value


def _read(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _read(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_read(item, field) for item in value]
    if field in LARGE and isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    return value


def hexes(values: np.ndarray[Any, Any]) -> list[str]:
    """Floats in C99 hex, which states them exactly."""
    return [float(v).hex() for v in values.reshape(-1)]


def named_hexes(arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, list[str]]:
    """The same, by name of the array."""
    return {name: hexes(array) for name, array in arrays.items()}


def little_endian(array: np.ndarray[Any, Any]) -> bytes:
    """The bytes of an array, the same on every machine."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def described(schema: Schema) -> list[Document]:
    """The arrays of a schema."""
    return [{"name": spec.name, "shape": spec.shape, "dtype": spec.dtype} for spec in schema.arrays]
