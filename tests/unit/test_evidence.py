"""Pages for people who decide: what they name exists."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.markers import markers
from tests.security.test_markers import MARKED as MARKED_FILES

ROOT = Path(__file__).parents[2]


def test_every_statement_about_others_has_its_source() -> None:
    text, _, sources = (ROOT / "docs/comparison.md").read_text().partition("## Where it can be checked")
    named = set(re.findall(r"\[([A-Z]\d)\]", text))
    assert len(named) > 10
    assert named == set(re.findall(r"^\| ([A-Z]\d) \|", sources, re.MULTILINE))


def test_the_comparison_names_the_versions_that_the_tests_install() -> None:
    text = (ROOT / "docs/comparison.md").read_text()
    locked = (ROOT / "requirements-frameworks.lock").read_text()
    [flwr] = re.findall(r"^flwr==([\d.]+)", locked, re.MULTILINE)
    [nvflare] = re.findall(r"^nvflare==([\d.]+)", locked, re.MULTILINE)
    assert f"Flower {flwr}, NVIDIA FLARE {nvflare}," in text


@dataclass(frozen=True)
class Section:
    """What the page for reviewers names for one threat."""

    title: str
    named: dict[str, list[str]]

    @classmethod
    def of(cls, text: str) -> "Section":
        title, _, rest = text.partition("\n")
        items = re.findall(r"^- (\w+): (.*(?:\n  .*)*)", rest, re.MULTILINE)
        return cls(title, {kind: re.findall(r"`([^`]+)`", names) for kind, names in items})


PROTOCOL = (ROOT / "proto/PROTOCOL.md").read_text()
THREATS = dict(re.findall(r"^\| (T\d+) \| ([^|]+) \|", PROTOCOL, re.MULTILINE))
HOLDS = dict(re.findall(r"^\| (T\d+) \| [^|]+ \| ([^|]+) \|", PROTOCOL, re.MULTILINE))
PARTS = re.split(r"^### (T\d+)\. ", (ROOT / "docs/reviewers.md").read_text(), flags=re.MULTILINE)
SECTIONS = {name: Section.of(text) for name, text in zip(PARTS[1::2], PARTS[2::2], strict=True)}
MARKED = {name for text in MARKED_FILES.values() for _, name in markers(text)}


def test_every_threat_of_the_specification_has_its_section() -> None:
    assert len(THREATS) == 27
    assert {name: section.title for name, section in SECTIONS.items()} == THREATS


@pytest.mark.parametrize("name", THREATS)
def test_a_threat_has_an_answer_a_test_and_what_is_open(name: str) -> None:
    named = SECTIONS[name].named
    assert list(named) == [kind for kind in ("Checks", "Games", "Tests", "Vectors", "Open") if kind in named]
    assert named["Tests"]
    assert {"Checks", "Vectors", "Open"} <= set(named)


@pytest.mark.parametrize("name", THREATS)
def test_checks_games_and_vectors_that_are_named_exist(name: str) -> None:
    named = SECTIONS[name].named
    assert [check for check in named["Checks"] if not is_marked(check)] == []
    assert set(named.get("Games", ())) <= set(GAMES)
    assert [vector for vector in named["Vectors"] if not (ROOT / "proto/vectors" / vector).is_file()] == []


def is_marked(check: str) -> bool:
    return any(name == check or name.startswith(check + "-") for name in MARKED)


@pytest.mark.parametrize("name", THREATS)
def test_a_check_that_answers_a_threat_is_named(name: str) -> None:
    """The checks that the specification names for a threat, where they are lines of the code."""
    wanted = {check for low, high in re.findall(r"C(\d+)(?: to C(\d+))?", HOLDS[name]) for check in numbers(low, high)}
    assert {check for check in wanted if is_marked(check)} <= set(SECTIONS[name].named["Checks"])


def numbers(low: str, high: str) -> list[str]:
    return [f"C{number}" for number in range(int(low), int(high or low) + 1)]


REGULATION = (ROOT / "docs/regulation.md").read_text()
CLAIMS = [line.strip("|").split(" | ") for line in REGULATION.splitlines() if line.startswith("| ")]
EVIDENCE = [cells[2] for cells in CLAIMS if cells[2].strip() != "Evidence"]
PAGE_TESTS = {f"tests/{name}" for cell in EVIDENCE for name in re.findall(r"`([\w/]+\.py::\w+)`", cell)}


def test_every_claim_on_regulation_names_evidence_that_exists() -> None:
    assert {len(cells) for cells in CLAIMS} == {4}
    assert len(EVIDENCE) > 40
    for cell in EVIDENCE:
        named, pages = re.findall(r"`([^`]+)`", cell), re.findall(r"\]\(([^)]+)\)", cell)
        assert named or pages, cell
        vectors = {name for name in named if f"tests/{name}" not in PAGE_TESTS}
        assert [vector for vector in vectors if not (ROOT / "proto/vectors" / vector).is_file()] == [], cell


def test_every_test_that_is_named_is_collected() -> None:
    wanted = {test for section in SECTIONS.values() for test in section.named["Tests"]} | PAGE_TESTS
    files = sorted({test.partition("::")[0] for test in wanted})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = {re.sub(r"\[.*", "", line) for line in collected.stdout.splitlines()}
    assert wanted - found == set(), collected.stdout[-2000:]
