"""JSON schemas of the vectors, one for each kind (JSON Schema 2020-12), as all vectors of the kind have their fields.

They say which fields there are, which of them are always there, and what is in them. They are made from the vectors, so
they fit them; what they are for is readers in other languages, and to notice a field that is renamed or lost.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from secagg.tools.conformance.document import Document

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
HEAD: Final = ("format", "kind")
"""Fields that have one value in all vectors of a kind."""

NAMED: Final = frozenset(
    {
        *("advertise_keys_signed", "arrays", "at", "ciphertexts", "digests", "drops", "encoded", "error_bounds"),
        *("fields", "inputs", "key_shares", "mask_keys", "mean", "means", "messages", "model", "neighbours"),
        *("pairwise_keys", "pairwise_masks", "participants", "recovered", "rounds", "seals", "seed_shares"),
        *("self_mask_seeds", "shares", "totals", "update", "values", "weights"),
    }
)
"""Fields whose objects have names for keys: of participants, arrays, messages or numbers."""

TOLD_BY: Final = ("do", "event", "of", "taken")
"""What says which fields an object of a list has."""

_HEX: Final = re.compile("([0-9a-f]{2})+")
_FLOAT: Final = re.compile(r"-?0x[01]\.[0-9a-f]+p[+-][0-9]+|-?(inf|nan)")


def schemas(vectors: Iterable[Document]) -> Iterator[tuple[str, Document]]:
    """Kind and schema, for every kind among these vectors as their files have them."""
    ordered = sorted(vectors, key=lambda vector: str(vector["kind"]))
    for kind, some in groupby(ordered, key=lambda vector: str(vector["kind"])):
        yield kind, {"$schema": DIALECT, "title": f"A vector of kind {kind}"} | _shape(list(some), "")


def _shape(values: Sequence[Any], field: str) -> Document:
    """What all of these have in common; they stand in the field of that name."""
    if field in HEAD and len(set(values)) == 1:
        return {"const": values[0]}
    by_type = [list(some) for _, some in groupby(sorted(values, key=_type), key=_type)]
    shapes = [_of_one_type(some, field) for some in by_type]
    if {shape.get("type") for shape in shapes} == {"integer", "number"}:
        return {"type": "number"}
    return shapes[0] if len(shapes) == 1 else {"anyOf": shapes}


def _of_one_type(values: Sequence[Any], field: str) -> Document:
    match values[0]:
        case dict():
            return _object(values, field)
        case list():
            items = [item for value in values for item in value]
            return {"type": "array"} | ({"items": _shape(items, field)} if items else {})
        case str():
            return _text(values)
        case _:
            return {"type": _type(values[0])}


def _object(values: Sequence[Mapping[str, Any]], field: str) -> Document:
    if field in NAMED:
        inner = [item for value in values for item in value.values()]
        return {"type": "object"} | ({"additionalProperties": _shape(inner, "")} if inner else {})
    for told in TOLD_BY:
        if all(told in value for value in values):
            groups = sorted({value[told] for value in values})
            each = [_plain([value for value in values if value[told] == one], told) for one in groups]
            return {"oneOf": each} if len(each) > 1 else each[0]
    return _plain(values, "")


def _plain(values: Sequence[Mapping[str, Any]], told: str) -> Document:
    names = sorted({name for value in values for name in value})
    properties = {name: _shape([value[name] for value in values if name in value], name) for name in names}
    if told:
        properties[told] = {"const": values[0][told]}
    always = [name for name in names if all(name in value for value in values)]
    return {"type": "object", "properties": properties, "required": always, "additionalProperties": False}


def _text(values: Sequence[str]) -> Document:
    filled = [value for value in values if value]
    for pattern, anchored in ((_HEX, "^([0-9a-f]{2})*$"), (_FLOAT, f"^({_FLOAT.pattern})$")):
        if (
            filled
            and all(pattern.fullmatch(value) for value in filled)
            and (pattern is _HEX or len(filled) == len(values))
        ):
            return {"type": "string", "pattern": anchored}
    return {"type": "string"}


def _type(value: Any) -> str:
    """What JSON Schema calls it."""
    names: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "null")
