"""The vectors against the code, against a second reading of the specification, and against the generator."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secagg.conformance import generate, vectors
from secagg.errors import DecodeError, SecAggError
from tests.conformance import against_code, against_specification

SPECIFICATION = (Path(__file__).parents[2] / "proto" / "PROTOCOL.md").read_text()
MAX_BYTES = 3_000_000


@pytest.mark.parametrize("name", vectors.names())
def test_the_code_does_what_the_vector_says(name: str) -> None:
    vector = vectors.load(name)
    against_code.READERS[vector["kind"]](vector)


@pytest.mark.parametrize(
    "name", [name for name in vectors.names() if vectors.load(name)["kind"] in against_specification.READERS]
)
def test_the_specification_says_what_the_vector_says(name: str) -> None:
    vector = vectors.load(name)
    against_specification.READERS[vector["kind"]](vector)


def test_every_kind_has_a_reader() -> None:
    assert against_code.READERS.keys() == vectors.KINDS.keys()
    assert {vectors.load(name)["kind"] for name in vectors.names()} == vectors.KINDS.keys()


def test_generating_anew_gives_the_same_bytes() -> None:
    assert generate.differences() == []


def test_a_stale_missing_or_stray_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in vectors.names():
        (tmp_path / f"{name}.json").write_text((vectors.DIRECTORY / f"{name}.json").read_text())
    monkeypatch.setattr(generate, "DIRECTORY", tmp_path)
    assert generate.differences() == []
    (tmp_path / "framing.json").write_text("{}\n")
    (tmp_path / "context.json").unlink()
    (tmp_path / "stray.json").write_text("{}\n")
    assert generate.differences() == ["context.json", "framing.json", "stray.json"]
    assert generate.write() == len(vectors.names())
    assert generate.differences() == []


def test_the_files_are_small_and_end_in_a_newline() -> None:
    texts = [path.read_text() for path in vectors.DIRECTORY.iterdir()]
    assert sum(map(len, texts)) < MAX_BYTES
    assert all(text.endswith("}\n") for text in texts)
    assert not any("PRIVATE KEY" in text for text in texts)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every text and number."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    elif not isinstance(value, bool) and value is not None:
        yield path


SPOILABLE = {
    "context": ["round_id", "config", "model_digest", "context"],
    "commitment": ["context", "participant_id", "self_mask_seed", "commitment"],
    "sealing": ["round_id", "context"],
    "mask-keys": ["round_id", "context"],
    "mask-stream": ["key"],
    "published-ecdsa-p256": ["private_scalar", "public_x"],
    "published-x25519": ["agreement"],
    "published-hkdf-sha256": ["derivations"],
    "published-aes-128-ctr": ["encryptions"],
    "published-aes-128-gcm": ["encryptions"],
    "framing": ["cases"],
    "packing": ["cases"],
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in SPOILABLE.items() for field in fields])
def test_a_spoiled_value_is_noticed(name: str, field: str) -> None:
    """Readers that accepted anything would pass every test above."""
    vector = vectors.load(name)
    spoiled = copy.deepcopy(vector)
    path = next(p for p in leaves(spoiled) if p[0] == field and len(str(at(spoiled, p))) > 1)
    *way, last = path
    holder = at(spoiled, tuple(way))
    holder[last] = ("1" if holder[last][0] != "1" else "2") + holder[last][1:]
    with pytest.raises((AssertionError, ValueError, SecAggError)):
        against_code.READERS[vector["kind"]](spoiled)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("name", ["round-semi-honest", "round-active"])
@pytest.mark.parametrize("reader", [against_code.whole_round, against_specification.whole_round])
def test_a_spoiled_round_is_noticed(name: str, reader: Any) -> None:
    vector = vectors.load(name)
    seed = vector["participants"]["dahlia"]["random"]["self_mask_seed"]
    vector["participants"]["dahlia"]["random"]["self_mask_seed"] = seed[::-1]
    with pytest.raises(AssertionError):
        reader(vector)


def checks_in_specification() -> set[str]:
    """The numbers in the first column of the tables of checks."""
    return set(re.findall(r"^\| (C\d+) \|", SPECIFICATION, re.MULTILINE))


def test_every_check_of_the_specification_has_a_failure_vector() -> None:
    covered = {vector["check"] for vector in map(vectors.load, vectors.names()) if "check" in vector}
    assert covered == checks_in_specification()
    assert covered == {f"C{i}" for i in range(1, len(covered) + 1)}


def test_every_error_class_is_the_one_that_the_specification_gives() -> None:
    rows = re.findall(r"^\| (C\d+) \|.*\| ([^|]+) \|$", SPECIFICATION, re.MULTILINE)
    stated = {number: set(re.findall(r"`(\w+)`", classes)) for number, classes in rows}
    for name in vectors.names():
        vector = vectors.load(name)
        if vector["kind"] in {"failure", "offer", "aggregate"}:
            expect = vector["steps"][-1]["expect"] if "steps" in vector else vector["expect"]
            told = {event["event"] for event in expect.get("events", [])}
            outcome = expect.get("error") or ("RoundAborted" if "RoundFailed" in told else "WrongShares")
            assert outcome in stated[vector["check"]], name


def test_every_section_that_a_vector_names_is_in_the_specification() -> None:
    headings = {re.sub(r"^[\d.]+ ", "", h) for h in re.findall(r"^#+ (.+)$", SPECIFICATION, re.MULTILINE)}
    assert {vectors.load(name)["section"] for name in vectors.names()} <= headings


@pytest.mark.parametrize(
    "vector",
    [
        [],
        {},
        {"format": 2, "kind": "framing", "title": "", "section": "", "provenance": "", "cases": []},
        {"format": 1, "kind": "unheard-of", "title": "", "section": "", "provenance": ""},
        {"format": 1, "kind": "framing", "title": "", "section": "", "provenance": ""},
        {"format": 1, "kind": "framing", "title": "", "section": "", "provenance": "", "cases": "none"},
    ],
)
def test_a_file_that_is_no_vector_is_refused(vector: Any) -> None:
    with pytest.raises(DecodeError):
        vectors.check(vector, "planted")


@pytest.mark.parametrize("phase", ["ADVERTISE_KEYS", "SHARE_KEYS", "MASKED_INPUT", "CONSISTENCY_CHECK", "UNMASK"])
def test_somebody_drops_in_every_phase(phase: str) -> None:
    for name in ("round-active", "round-semi-honest"):
        vector = vectors.load(name)
        events = [event for step in vector["steps"] for event in step["expect"].get("events", [])]
        dropped = {(e["phase"], e["participant"]) for e in events if e["event"] == "ParticipantDropped"}
        assert dropped == set(vector["drops"].items())
        assert phase in vector["drops"] or (phase, name) == ("CONSISTENCY_CHECK", "round-semi-honest")
