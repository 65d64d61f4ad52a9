"""A vector as JSON: what every file has, and values as text."""

import json
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
    """The file's text: keys sorted, one value a line, a newline at the end. The same for the same vector."""
    return json.dumps(vector, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


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
