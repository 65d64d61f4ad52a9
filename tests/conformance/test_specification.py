"""Tables of proto/PROTOCOL.md against the code that they describe."""

import math
import re
import runpy
from dataclasses import fields
from pathlib import Path

import pytest

from secagg.config import Deadlines, ThreatModel
from secagg.crypto import labels
from secagg.errors import AbortReason, DecodeError, PolicyViolation
from secagg.lattice.parameters import (
    FLOOD_BITS,
    MAX_MODULUS_BITS,
    SMUDGING_BITS,
    Custody,
    Scheme,
    find_profile,
)
from secagg.messages import DEALT_KEY_PHASES, JOINT_KEY_PHASES, MASKED_PHASES, SENT_IN, Unmask
from secagg.phases import time_limit_s
from secagg.policy import Policy
from secagg.tools.conformance import vectors
from secagg.tools.conformance.replay.round import read_policy
from secagg.wire.configuration import decode_config
from secagg.wire.masked import decode_unmask
from secagg.wire.parsing import parse
from secagg.wire.v1 import config_pb2, data_plane_pb2, errors_pb2
from tests.pages import Code

TEXT = (Path(__file__).parents[2] / "proto" / "PROTOCOL.md").read_text()
MODELS = {ThreatModel.SEMI_HONEST: "semi-honest", ThreatModel.ACTIVE: "active"}


def section(heading: str) -> str:
    """The text under a heading, up to the next of the same or a higher level."""
    found = re.search(rf"^(#+) (?:\d+\. )?{re.escape(heading)}$", TEXT, re.MULTILINE)
    assert found is not None, heading
    rest = TEXT[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """The cells of every table row below a head."""
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in cells if not set("".join(row)) <= set("-|")]


@pytest.mark.parametrize("model", list(ThreatModel))
def test_the_phase_table_is_the_one_of_the_code(model: ThreatModel) -> None:
    _, *table = rows(section("Phases"))
    stated = [row[1].strip("`") for row in table if MODELS[model] in row[2].split(", ")]
    assert stated == [phase.name for phase in MASKED_PHASES[model]]
    assert [int(row[0]) for row in table] == [phase.value for phase in MASKED_PHASES[ThreatModel.ACTIVE]]


def test_the_table_of_labels_is_the_one_of_the_code() -> None:
    _, *table = rows(section("Labels"))
    stated = [row[0].strip("`").encode() for row in table]
    known = {value for name, value in vars(labels).items() if name.isupper()}
    assert len(stated) == len(set(stated))
    assert set(stated) == known


def test_every_kind_of_error_is_explained() -> None:
    stated = {row[0].strip("`") for row in rows(section("Data plane"))}
    kinds = {name.removeprefix("ERROR_KIND_") for name in errors_pb2.ErrorKind.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert kinds <= stated
    ends = {"BELOW_THRESHOLD", "WRONG_SHARES", "DISAGREEMENT", "MALFORMED_SUM", "DIFFERENCING"}
    assert ends <= set(AbortReason.__members__) & set(re.findall(r"`(\w+)`", TEXT))


CUSTODIES = {"participants": DEALT_KEY_PHASES, "threshold": JOINT_KEY_PHASES}


@pytest.mark.parametrize("custody", CUSTODIES)
def test_the_table_of_homomorphic_phases_is_the_one_of_the_code(custody: str) -> None:
    _, *table = rows(section("Homomorphic phases"))
    mine = [row for row in table if custody in row[1].split(", ")]
    assert [row[0].strip("`") for row in mine] == [phase.name for phase in CUSTODIES[custody]]
    deadlines = Deadlines(*(float(i) for i in range(1, 6)))
    for phase, row in zip(CUSTODIES[custody], mine, strict=True):
        name = row[4].strip("`").removesuffix("_ms") + "_s"
        assert time_limit_s(phase, deadlines) == getattr(deadlines, name)
        sent = {kind.__name__ for kind, at in SENT_IN.items() if at is phase}
        assert row[2].strip("`") in sent


def test_the_table_of_security_is_the_one_of_the_code() -> None:
    _, *table = [
        row
        for row in rows(section("Homomorphic profiles"))
        if (len(row) == 2 and row[1][:1].isdigit()) or row[0] == "N"
    ]
    assert {int(row[0]): int(row[1]) for row in table} == MAX_MODULUS_BITS


def test_every_field_of_a_profile_is_explained() -> None:
    stated = {name for row in rows(section("Homomorphic profiles")) for name in re.findall(r"`(\w+)`", row[0])}
    assert stated == set(config_pb2.HomomorphicProfile.DESCRIPTOR.fields_by_name)


def test_the_table_of_homomorphic_messages_names_every_message() -> None:
    _, *table = rows(section("Homomorphic messages"))
    stated = {row[0].strip("`") for row in table}
    text = (Path(__file__).parents[2] / "proto/secagg/wire/v1/data_plane.proto").read_text()
    blocks = re.findall(r"((?://.*\n)+)message (\w+)", text)
    custody = {name for comment, name in blocks if re.search(r"Custody|Homomorphic", comment.split("\n")[0])}
    assert stated == (custody - {"SeedShare"}) | {"ShareKeysPart", "ShareDeliveryPart"}
    assert stated <= set(data_plane_pb2.DESCRIPTOR.message_types_by_name)


def test_the_flood_and_what_it_hides_are_those_of_the_code() -> None:
    text = section("Partial decryptions")
    assert f"[−2^{FLOOD_BITS}, 2^{FLOOD_BITS})" in text
    profile = find_profile(Scheme.BFV, Custody.THRESHOLD, 100, 16)
    noise = math.log2(profile.encryption_noise() + profile.summands / 2)
    blocks = profile.blocks(10**6)
    assert (f"{blocks} blocks of {profile.ring_degree}" in text, f"{noise:.1f} bits" in text) == (True, True)
    in_all = noise - FLOOD_BITS - 1 + math.log2(blocks * profile.ring_degree)
    assert f"2^−{-round(in_all)} in all" in text
    assert FLOOD_BITS - SMUDGING_BITS == 22


def test_every_call_of_the_data_plane_is_in_a_table() -> None:
    methods = {method.name for method in data_plane_pb2.DESCRIPTOR.services_by_name["DataPlane"].methods}
    table = rows(section("Data plane"))
    calls = {re.findall(r"`(\w+)`", row[0])[0] for row in table if len(row) == 3 and row[0].startswith("`")}
    assert calls | {"InputProgress"} == methods


def test_every_call_of_a_masked_round_exists() -> None:
    methods = {method.name for method in data_plane_pb2.DESCRIPTOR.services_by_name["DataPlane"].methods}
    table = rows(section("Data plane"))
    calls = {re.findall(r"`(\w+)`", row[0])[0] for row in table if len(row) == 3 and row[0].startswith("`")}
    assert {"FindRound", "Advertise", "Share", "SendInput", "Check", "Reveal", "FetchAggregate"} <= calls <= methods


def test_every_vector_that_is_named_exists() -> None:
    directory = Path(__file__).parents[2] / "proto" / "vectors"
    named = set(re.findall(r"`([a-z0-9*-]+\.json)`", TEXT))
    assert len(named) > 15
    assert [name for name in sorted(named) if not list(directory.glob(name))] == []


def test_every_field_of_a_policy_is_in_the_table_with_its_default() -> None:
    _, *table = rows(section("Policy"))
    stated = {name: row[1] for row in table for name in re.findall(r"`(\w+)`", row[0])}
    known = {field.name: field.default for field in fields(Policy)}
    assert stated.keys() == known.keys()
    assert {name for name, words in stated.items() if words == "no"} == {n for n, d in known.items() if d is False}
    assert {name for name, words in stated.items() if words == "yes"} == {n for n, d in known.items() if d is True}
    for name in ("min_cohort", "min_honest", "min_colluding_share", "min_organisations", "min_noise_multiplier"):
        assert float(stated[name].split(",")[0]) == known[name]
    assert (known["tasks"], known["max_epsilon"], known["delta"]) == (None, None, 1e-5)
    assert stated["threat_models"] == "`ACTIVE`"


@pytest.mark.parametrize(("name", "reason"), [("round-active", "fewer than 3"), ("round-semi-honest", "SEMI_HONEST")])
def test_the_default_policy_refuses_the_rounds_that_the_page_names(name: str, reason: str) -> None:
    config = decode_config(bytes.fromhex(vectors.load(name)["config"]))
    with pytest.raises(PolicyViolation, match=reason):
        Policy().check(config)
    assert f"`{name}.json`" in section("Policy")
    read_policy({}).check(config)


def named_culprits() -> dict[str, str]:
    """Who is named for each check, in the words of the table."""
    named = {}
    table = next(text for text in section("Checks").split("\n\n") if text.startswith("| Named as culprit |"))
    for who, checks in rows(table)[1:]:
        for first, last in re.findall(r"C(\d+)(?: to C(\d+))?", checks):
            for number in range(int(first), int(last or first) + 1):
                assert f"C{number}" not in named
                named[f"C{number}"] = who
    return named


def test_whom_a_vector_names_is_whom_the_table_names() -> None:
    named = named_culprits()
    assert named.keys() == set(re.findall(r"^\| (C\d+) \|", TEXT, re.MULTILINE))
    for name in vectors.names():
        vector = vectors.load(name)
        if "check" not in vector or vector["kind"] not in {"failure", "offer", "aggregate", "ending"}:
            continue
        step = vector["steps"][-1] if "steps" in vector else vector
        who, expect, sender = named[vector["check"]], step["expect"], step.get("sender")
        if "error" not in expect:
            assert who.startswith("whom the event names"), name
            continue
        culprit = expect.get("culprit")
        if who.startswith("nobody: "):
            assert culprit is None, name
        elif who == "the coordinator":
            assert culprit == "coordinator", name
        elif who == "the sender of the message":
            assert culprit == sender, name
        elif who == "nobody, where the wire format alone tells; else the sender":
            assert culprit in {None, sender}, name
        else:
            assert culprit != "coordinator", name


GUIDE = Path(__file__).parents[2] / "docs" / "vectors.md"


@pytest.mark.runs("docs/vectors.md", "python", "import hashlib")
def test_the_first_program_of_the_guide_runs_and_notices_a_wrong_frame(
    page: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = page.take("import hashlib")
    monkeypatch.chdir(GUIDE.parents[1])
    program = tmp_path / "program.py"
    program.write_text(text)
    runpy.run_path(str(program))
    program.write_text(text.replace('"big"', '"little"'))
    with pytest.raises(AssertionError, match=r"framing\.json"):
        runpy.run_path(str(program))


def test_the_vectors_that_the_guide_names_are_there() -> None:
    steps = rows(GUIDE.read_text())[1:]
    named = [name for row in steps for name in re.findall(r"`([\w-]+?)`", row[1])]
    assert len(named) > 15
    assert set(named) <= {*vectors.names(), *vectors.schemas()}


def test_the_vectors_outside_of_failures_are_those_that_the_page_names() -> None:
    found = {v["check"]: name for name in vectors.names() if "check" in (v := vectors.load(name)) and "refused" in v}
    assert found == {"C32": "decoding", "C42": "packing", "C97": "integers"}
    for check, name in found.items():
        assert re.search(rf"{check} (?:also )?in `{name}\.json`", section("Vectors"))


def shares(part: data_plane_pb2.UnmaskPart) -> Unmask:
    return decode_unmask([parse(data_plane_pb2.UnmaskPart, part.SerializeToString())])


def test_messages_are_equal_by_their_fields_in_whatever_order_and_without_those_that_are_unknown() -> None:
    (data,) = vectors.load("round-active")["messages"]["Aster/unmask"]["parts"]
    part = data_plane_pb2.UnmaskPart.FromString(bytes.fromhex(data))
    sent = shares(part)
    other = data_plane_pb2.UnmaskPart(shares=reversed(part.shares))
    assert other != part
    assert shares(other) == sent
    assert shares(data_plane_pb2.UnmaskPart.FromString(bytes.fromhex(data + "980601"))) == sent
    part.shares.append(part.shares[0])
    with pytest.raises(DecodeError, match="stands twice"):
        shares(part)
