"""The locks of the image in deploy/image."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pins(name: str) -> set[str]:
    """What a lock pins, as NAME==VERSION with its marker."""
    return {line.rstrip(" \\") for line in (ROOT / name).read_text().splitlines() if re.match(r"[a-z0-9]", line)}


@pytest.mark.parametrize("name", ["deploy/image/server.lock", "deploy/image/server-dp.lock", "deploy/image/build.lock"])
def test_the_image_has_the_releases_that_the_tests_run_with(name: str) -> None:
    releases = {pin.split(" ;")[0] for pin in pins("requirements.lock")}
    assert {pin.split(" ;")[0] for pin in pins(name)} <= releases, "run make lock and commit what it writes"


@pytest.mark.parametrize("extra", ["server", "dp"])
def test_whatever_the_extra_asks_for_is_there(extra: str) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    asked = {
        re.split(r"[>=<\[]", name)[0] for name in project["dependencies"] + project["optional-dependencies"][extra]
    }
    name = {"server": "deploy/image/server.lock", "dp": "deploy/image/server-dp.lock"}[extra]
    assert asked <= {pin.split("==")[0] for pin in pins(name)}


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/image").glob("*.lock")), ids=lambda path: path.name)
def test_every_package_has_its_hashes(path: Path) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", path.read_text())[1:]
    assert len(entries) == len(pins(f"deploy/image/{path.name}"))
    assert all("--hash=sha256:" in entry for entry in entries)
