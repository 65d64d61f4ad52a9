"""The locks of the image in deploy/image."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = {path.stem: f"deploy/image/{path.name}" for path in sorted((ROOT / "deploy/image").glob("*.lock"))}
EXTRAS = sorted(name for name in LOCKS if name.startswith("server"))


def pins(name: str) -> set[str]:
    """What a lock pins, as NAME==VERSION with its marker."""
    return {line.rstrip(" \\") for line in (ROOT / name).read_text().splitlines() if re.match(r"[a-z0-9]", line)}


@pytest.mark.parametrize("name", [*EXTRAS, "build"])
def test_the_image_has_the_releases_that_the_tests_run_with(name: str) -> None:
    releases = {pin.split(" ;")[0] for pin in pins("requirements.lock")}
    assert {pin.split(" ;")[0] for pin in pins(LOCKS[name])} <= releases, "run make lock and commit what it writes"


@pytest.mark.parametrize("name", EXTRAS)
def test_whatever_the_extras_of_its_name_ask_for_is_there(name: str) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    asked = [*project["dependencies"]]
    for extra in name.split("-"):
        asked += project["optional-dependencies"][extra]
    assert {re.split(r"[>=<\[]", each)[0] for each in asked} <= {pin.split("==")[0] for pin in pins(LOCKS[name])}


def test_the_locks_are_those_that_the_pages_name() -> None:
    assert EXTRAS == ["server", "server-dp", "server-dp-otel", "server-otel"]
    page = (ROOT / "deploy/README.md").read_text()
    assert all(f"EXTRAS={name}`" in page for name in EXTRAS)


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/image").glob("*.lock")), ids=lambda path: path.name)
def test_every_package_has_its_hashes(path: Path) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", path.read_text())[1:]
    assert len(entries) == len(pins(f"deploy/image/{path.name}"))
    assert all("--hash=sha256:" in entry for entry in entries)
