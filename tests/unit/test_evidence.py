"""Pages for people who decide: what they name exists."""

import re
from pathlib import Path

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
