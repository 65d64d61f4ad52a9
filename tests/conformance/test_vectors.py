"""The vectors against the code, against a second reading of the specification, and against the generator."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from secagg.config import ThreatModel
from secagg.errors import DecodeError, LocalError, MissingExtraError, SecAggError
from secagg.lattice.parameters import Custody, Scheme
from secagg.phases import phases
from secagg.tools.conformance import generate, vectors
from secagg.tools.conformance.document import dumps, loads
from secagg.wire.configuration import decode_config
from tests.conformance import (
    against_code,
    against_specification,
    audit_specification,
    encrypted_specification,
    lattice_specification,
    ledger_specification,
    pipeline_specification,
)
from tests.conformance.pipeline_reference import Refused

SPECIFICATION = (Path(__file__).parents[2] / "proto" / "PROTOCOL.md").read_text()
MAX_BYTES = 8_000_000


@pytest.mark.parametrize("name", vectors.names())
def test_the_code_does_what_the_vector_says(name: str) -> None:
    vector = vectors.load(name)
    try:
        against_code.READERS[vector["kind"]](vector)
    except MissingExtraError as error:
        pytest.skip(str(error))


SPECIFICATION_READERS = (
    against_specification.READERS
    | lattice_specification.READERS
    | pipeline_specification.READERS
    | ledger_specification.READERS
    | audit_specification.READERS
)


def read_by_specification(vector: dict[str, Any]) -> None:
    """Homomorphic rounds have a reader of their own."""
    encrypted = vector["kind"] == "round" and vector["section"] == "Homomorphic rounds"
    reader = encrypted_specification.whole_round if encrypted else SPECIFICATION_READERS[vector["kind"]]
    reader(vector)


@pytest.mark.parametrize(
    "name", [name for name in vectors.names() if vectors.load(name)["kind"] in SPECIFICATION_READERS]
)
def test_the_specification_says_what_the_vector_says(name: str) -> None:
    read_by_specification(vectors.load(name))


def test_every_kind_has_a_reader() -> None:
    assert against_code.READERS.keys() == vectors.schemas().keys()


def test_generating_anew_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the recorded inputs alone, as they are where every generated file was removed."""
    committed = {
        str(path.relative_to(vectors.DIRECTORY)): path.read_text() for path in vectors.directory().rglob("*.json")
    }
    for path in vectors.DIRECTORY.glob("recorded-*.json"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(vectors, "DIRECTORY", tmp_path)
    generate.write()
    made = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*.json")}
    assert sorted(name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name)) == []


def test_a_stale_missing_or_stray_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above generates them; here the committed ones stand for that."""
    made = {str(path.relative_to(vectors.DIRECTORY)): path.read_text() for path in vectors.DIRECTORY.rglob("*.json")}
    monkeypatch.setattr(generate, "generate", made.items)
    monkeypatch.setattr(vectors, "DIRECTORY", tmp_path)
    assert generate.write() == len(made)
    assert generate.differences() == []
    (tmp_path / "framing.json").write_text("{}\n")
    (tmp_path / "context.json").unlink()
    (tmp_path / "stray.json").write_text("{}\n")
    assert generate.differences() == ["context.json", "framing.json", "stray.json"]
    assert generate.write() == len([*tmp_path.rglob("*.json")]) == len(made)
    assert generate.differences() == []


def test_without_a_checkout_the_error_says_where_the_vectors_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vectors, "DIRECTORY", tmp_path / "proto" / "vectors")
    for read in (vectors.names, lambda: vectors.load("framing"), generate.differences, generate.write):
        with pytest.raises(LocalError, match="proto/vectors of the source"):
            read()
    monkeypatch.setattr("sys.argv", ["generate", "--check"])
    with pytest.raises(SystemExit, match="2"):
        generate.main()
    assert "get a checkout" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_vector_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LocalError, match="no vector unheard-of"):
        vectors.load("unheard-of")


def test_the_files_are_small_and_end_in_a_newline() -> None:
    texts = [path.read_text() for path in vectors.DIRECTORY.rglob("*.json")]
    assert sum(map(len, texts)) < MAX_BYTES
    assert all(text.endswith("}\n") for text in texts)
    assert not any("PRIVATE KEY" in text for text in texts)


def test_no_number_in_a_file_needs_more_than_a_float64() -> None:
    """A reader of JSON in JavaScript has no other numbers."""
    texts = {path.name: path.read_text() for path in vectors.DIRECTORY.glob("*.json")}
    numbers: list[str] = []
    for text in texts.values():
        json.loads(text, parse_int=numbers.append)
    assert max(abs(int(number)) for number in numbers) <= 2**53 - 1
    assert [name for name, text in texts.items() if dumps(loads(text)) != text] == []


def test_a_large_number_is_a_text_in_the_file_and_a_number_in_a_reader() -> None:
    words = [2**53 - 1, 2**53, -(2**53), 2**64 - 1, 0]
    text = dumps({"words": words, "cases": [{"sums": words[1]}]})
    assert json.loads(text) == {
        "words": [2**53 - 1, "9007199254740992", "-9007199254740992", "18446744073709551615", 0],
        "cases": [{"sums": "9007199254740992"}],
    }
    assert loads(text) == {"words": words, "cases": [{"sums": words[1]}]}
    assert loads('{"key": "1234567890123456"}') == {"key": "1234567890123456"}
    with pytest.raises(TypeError, match="seed holds 9007199254740992"):
        dumps({"seed": 2**53})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every text and number."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    elif not isinstance(value, bool) and value is not None:
        yield path


SPOILABLE = {
    "context": ["round_id", "config", "model_digest", "context"],
    "input-context": ["context", "model_digest", "input_context"],
    "commitment": ["context", "participant_id", "self_mask_seed", "commitment"],
    "sealing": ["round_id", "context"],
    "mask-keys": ["round_id", "context"],
    "mask-stream": ["key"],
    "mask-stream-aegis": ["key"],
    "endings": ["round_id", "context", "task", "model_digest", "sums_digest", "survivors"],
    "published-ecdsa-p256": ["private_scalar", "public_x"],
    "published-x25519": ["agreement"],
    "published-hkdf-sha256": ["derivations"],
    "published-aes-128-ctr": ["encryptions"],
    "published-aes-128-gcm": ["encryptions"],
    "published-aegis-128x4": ["encryptions"],
    "framing": ["cases"],
    "packing": ["cases"],
    "residue-stream": ["seed", "context", "participant_id", "cases"],
    "small-polynomials": ["context", "cases"],
    "seeded-encryption": ["context", "participant_id", "fresh_seed", "cases"],
    "key-shares": ["context", "cases"],
    "partial-decryption": ["context", "c1_seed", "flood_seed"],
    "encrypted-bindings": ["context", "participant_id", "payload"],
    "homomorphic-signed-bytes": ["context", "roster_digest", "key_digest", "sums_digest", "c1_digest"],
    "ring-transform": ["key"],
    "differencing": ["cases"],
    "groups": ["parent", "opened", "model_digest", "cases", "digests", "sums_digest"],
    "clipping": ["cases"],
    "sampling": ["context", "key", "cases"],
    "rotation": ["context", "key", "cases"],
    "pipeline-encoding": ["context", "cases"],
    "noise-calibration": ["cases"],
    "noise-table": ["cases"],
    "noisy-encoding": ["context", "cases"],
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in SPOILABLE.items() for field in fields])
def test_a_spoiled_value_is_noticed(name: str, field: str) -> None:
    """Readers that accepted anything would pass every test above."""
    with pytest.raises((AssertionError, ValueError, SecAggError)):
        against_code.READERS[vectors.load(name)["kind"]](spoiled_copy(vectors.load(name), field))


@pytest.mark.parametrize("name", [name for name in SPOILABLE if name in pipeline_specification.READERS])
def test_a_spoiled_value_is_noticed_by_the_second_reading(name: str) -> None:
    with pytest.raises((AssertionError, ValueError, Refused)):
        read_by_specification(spoiled_copy(vectors.load(name), "cases"))


def spoiled_copy(vector: dict[str, Any], field: str) -> dict[str, Any]:
    """With the first character of the first text in `field` changed."""
    spoiled = copy.deepcopy(vector)
    path = next(p for p in leaves(spoiled) if p[0] == field and isinstance(at(spoiled, p), str) and at(spoiled, p))
    *way, last = path
    holder = at(spoiled, tuple(way))
    holder[last] = ("1" if holder[last][0] != "1" else "2") + holder[last][1:]
    return spoiled


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


SPOILED_DRAWS = {
    "round-semi-honest": ["self_mask_seed"],
    "round-active": ["self_mask_seed"],
    "round-active-model-later": ["self_mask_seed"],
    "round-semi-honest-model-later": ["self_mask_seed"],
    "round-noise": ["self_mask_seed"],
    "round-bfv-participants": ["key_seed", "stream_seed"],
    "round-ckks-participants": ["key_seed", "stream_seed"],
    "round-bfv-threshold": ["key_seed", "key_seed_coefficients"],
}


@pytest.mark.parametrize(("name", "draw"), [(name, draw) for name, draws in SPOILED_DRAWS.items() for draw in draws])
@pytest.mark.parametrize("reader", [against_code.whole_round, read_by_specification])
def test_a_spoiled_round_is_noticed(name: str, draw: str, reader: Any) -> None:
    vector = vectors.load(name)
    random = vector["participants"]["dahlia"]["random"]
    random[draw] = random[draw][::-1]
    with pytest.raises(AssertionError):
        reader(vector)


@pytest.mark.parametrize("name", ["round-bfv-threshold", "round-ckks-threshold"])
def test_a_spoiled_flood_is_noticed(name: str) -> None:
    vector = vectors.load(name)
    vector["participants"]["dahlia"]["random"]["flood_seed"] = "00" * 32
    with pytest.raises(AssertionError):
        against_code.whole_round(vector)


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
        if "check" in vector and vector["kind"] in {"failure", "offer", "aggregate", "ending"}:
            expect = vector["steps"][-1]["expect"] if "steps" in vector else vector["expect"]
            told = {event["event"] for event in expect.get("events", [])}
            events = {
                "RoundFailed": "RoundAborted",
                "WrongShares": "WrongShares",
                "Accused": "Accused",
                "ParticipantDropped": "ParticipantDropped",
            }
            outcome = expect.get("error") or next(name for event, name in events.items() if event in told)
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


@pytest.mark.parametrize("name", [name for name, _ in vectors.load_kind("round")])
def test_somebody_drops_in_every_phase(name: str) -> None:
    vector = vectors.load(name)
    events = [event for step in vector["steps"] for event in step["expect"].get("events", [])]
    dropped = {(e["phase"], e["participant"]) for e in events if e["event"] == "ParticipantDropped"}
    assert dropped == set(vector["drops"].items())
    assert vector["drops"].keys() == {phase.name for phase in phases(decode_config(bytes.fromhex(vector["config"])))}


def test_there_is_a_round_for_every_threat_model_scheme_and_custody() -> None:
    configs = [decode_config(bytes.fromhex(vector["config"])) for _, vector in vectors.load_kind("round")]
    assert {c.threat_model for c in configs if c.model_later} == set(ThreatModel)
    played = {(c.scheme, c.homomorphic.custody if c.homomorphic else c.threat_model) for c in configs}
    masked = {("masked", model) for model in ThreatModel}
    assert played == masked | {(scheme.value, custody) for scheme in Scheme for custody in Custody}
