"""Reads the vectors and refuses a file that is not one."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from secagg.errors import DecodeError, LocalError
from secagg.tools.conformance.document import FORMAT, Document, loads

DIRECTORY: Final = Path(__file__).parents[3] / "proto" / "vectors"
"""In a checkout; see `directory`."""

TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
"""The types of JSON Schema."""


def directory() -> Path:
    """The folder of the vectors. The wheel holds none: they belong to the specification, beside which they stand.

    Raises:
        LocalError: this is no checkout.
    """
    if not DIRECTORY.is_dir():
        raise LocalError(
            f"there are no vectors in {DIRECTORY}: an installed secagg comes without them. They stand in the folder "
            "proto/vectors of the source; get a checkout and run this from there"
        )
    return DIRECTORY


def names() -> list[str]:
    """Every vector, without the ending.

    Raises:
        LocalError: there are none here.
    """
    return sorted(path.stem for path in directory().glob("*.json"))


def load(name: str) -> Document:
    """One vector.

    Raises:
        LocalError: it is not here.
        DecodeError: the file is no vector that this version can read.
    """
    return check(read(name), name)


def read(name: str) -> Document:
    """One vector or recorded input as its file has it, whatever the schemas say: the generator makes them, and reads
    what it cannot compute again (`recorded-…`) before.

    Raises:
        LocalError: it is not here.
    """
    path = directory() / f"{name}.json"
    if not path.is_file():
        raise LocalError(f"there is no vector {name} in {DIRECTORY}")
    found: Document = loads(path.read_text())
    return found


def load_kind(kind: str) -> Iterator[tuple[str, Document]]:
    """Names and vectors of one kind."""
    for name in names():
        vector = load(name)
        if vector["kind"] == kind:
            yield name, vector


def check(vector: Any, name: str) -> Document:
    """`vector` if it has the fields that the schema of its kind demands.

    Raises:
        DecodeError: it has not.
    """
    if not isinstance(vector, dict):
        raise DecodeError(f"vector {name}: not an object")
    if vector.get("format") != FORMAT:
        raise DecodeError(f"vector {name}: format {vector.get('format')}, this version reads {FORMAT}")
    schema = schemas().get(str(vector.get("kind")))
    if schema is None:
        raise DecodeError(f"vector {name}: unknown kind {vector.get('kind')!r}")
    for field in schema["required"]:
        kind = schema["properties"][field].get("type")
        if field not in vector or not isinstance(vector[field], TYPES.get(kind, object)):
            raise DecodeError(f"vector {name}: {field} is missing or no {kind}")
    return vector


def schemas() -> dict[str, Document]:
    """The JSON schema of each kind."""
    return _schemas(directory() / "schema")


@lru_cache(maxsize=4)
def _schemas(folder: Path) -> dict[str, Document]:
    return {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
