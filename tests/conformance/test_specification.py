"""Tables of proto/PROTOCOL.md against the code that they describe."""

import re
from pathlib import Path

import pytest

from secagg.config import ThreatModel
from secagg.crypto import labels
from secagg.errors import AbortReason
from secagg.phases import MASKED_PHASES
from secagg.wire.v1 import data_plane_pb2, errors_pb2

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
    assert set(stated) <= known
    masked = (Path(labels.__file__).read_text().split("# Homomorphic")[0]).count('b"secagg/v1/')
    assert len(stated) >= masked


def test_every_kind_of_error_is_explained() -> None:
    stated = {row[0].strip("`") for row in rows(section("Data plane"))}
    kinds = {name.removeprefix("ERROR_KIND_") for name in errors_pb2.ErrorKind.DESCRIPTOR.values_by_name} - {
        "UNSPECIFIED"
    }
    assert kinds <= stated
    assert {AbortReason.BELOW_THRESHOLD.name, AbortReason.WRONG_SHARES.name} <= set(re.findall(r"`(\w+)`", TEXT))


def test_every_call_of_a_masked_round_exists() -> None:
    methods = {method.name for method in data_plane_pb2.DESCRIPTOR.services_by_name["DataPlane"].methods}
    table = rows(section("Data plane"))
    calls = {re.findall(r"`(\w+)`", row[0])[0] for row in table if len(row) == 3 and row[0].startswith("`")}
    assert {"FindRound", "Advertise", "Share", "SendInput", "Check", "Reveal", "FetchAggregate"} <= calls <= methods


def test_every_vector_that_is_named_exists() -> None:
    directory = Path(__file__).parents[2] / "secagg" / "conformance" / "vectors"
    named = set(re.findall(r"`([a-z0-9*-]+\.json)`", TEXT))
    assert len(named) > 15
    assert [name for name in sorted(named) if not list(directory.glob(name))] == []
