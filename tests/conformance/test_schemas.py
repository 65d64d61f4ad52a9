"""Each vector fits the schema of its kind, and no longer does once a field of it is lost or has another name."""

import json
import re
from typing import Any

import pytest

from secagg.tools.conformance import vectors

FOLDER = vectors.DIRECTORY / "schema"


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is as the schema says: the words of JSON Schema that these schemas use."""
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    if "oneOf" in schema:
        return [fits(value, each) for each in schema["oneOf"]].count(True) == 1
    return bool(value == schema["const"]) if "const" in schema else fits_type(value, schema)


def fits_type(value: Any, schema: dict[str, Any]) -> bool:
    """The same, of a schema that names a type."""
    kind = schema["type"]
    if not isinstance(value, vectors.TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    held: Any = value  # of the type that the schema names
    match kind:
        case "object":
            known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
            inside = all(
                fits(item, known[name])
                if name in known
                else others is not False and (others is True or fits(item, others))
                for name, item in held.items()
            )
            return inside and set(schema.get("required", [])) <= held.keys()
        case "array":
            return "items" not in schema or all(fits(item, schema["items"]) for item in held)
        case "string":
            return "pattern" not in schema or re.search(schema["pattern"], held) is not None
    return True


def read(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A vector as its file has it, and its schema."""
    vector = json.loads((vectors.DIRECTORY / f"{name}.json").read_text())
    return vector, json.loads((FOLDER / f"{vector['kind']}.json").read_text())


@pytest.mark.parametrize("name", vectors.names())
def test_a_vector_fits_its_schema_and_not_without_one_of_its_fields(name: str) -> None:
    vector, schema = read(name)
    assert fits(vector, schema)
    for field in schema["required"]:
        without = {key: value for key, value in vector.items() if key != field}
        assert not fits(without, schema), field
        assert not fits(without | {f"{field}_": vector[field]}, schema), field
    assert not fits(vector | {"another": 1}, schema)


def test_there_is_a_schema_for_each_kind_and_no_other() -> None:
    assert vectors.schemas().keys() == {vectors.load(name)["kind"] for name in vectors.names()}


def test_a_field_of_a_step_that_is_lost_or_renamed_is_noticed() -> None:
    vector, schema = read("failure-seal-altered")
    step = vector["steps"][-1]
    for field in step:
        spoiled = {key: value for key, value in step.items() if key != field}
        assert not fits(vector | {"steps": [spoiled]}, schema), field
        assert not fits(vector | {"steps": [spoiled | {f"{field}s": step[field]}]}, schema), field
    assert not fits(vector | {"after": "83"}, schema)
