"""What the package says of itself: its version, and how it can be installed."""

import re
import subprocess
import tomllib
from importlib.metadata import entry_points, metadata, version
from pathlib import Path

import pytest

import secagg

ROOT = Path(__file__).parents[2]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()

INSTALLS_A_NAME = re.compile(
    r"""\b(?:pip3?|uv|pipx)\s(?:[\w-]+\s)*(?:install|add|download)\s[^\n#]*?(?<![\w./@-])['"]?secagg(?:\[[\w,]*\])?(?:[=<>~!]=?[\w.]+)?['"]?(?=[\s'"`.,;)]|$)
      |\bdocker\s(?:pull|run)\s(?:-\S+\s)*(?:[\w.-]+/)+secagg""",
    re.VERBOSE,
)
"""Commands that take secagg from an index or a registry, where it is not."""


def tracked() -> list[Path]:
    """The text files of the repository."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.split("\0")[:-1] or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.md")]
    kinds = {".md", ".py", ".pyi", ".toml", ".yml", ".yaml", ".txt", ".html", ".json", ".service", ""}
    return [path for path in map(ROOT.joinpath, names) if path.suffix in kinds and path.is_file()]


def test_the_version_is_written_once_and_is_the_one_that_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "secagg/__init__.py"}
    assert version("secagg") == secagg.__version__, "run make: the checkout has another version than .venv"


def test_the_version_says_whether_this_is_a_release() -> None:
    """Between releases it ends with .devN, and what changed is Unreleased. A release has its section, with a date."""
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG, re.MULTILINE)
    coming = re.search(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", CHANGELOG, re.MULTILINE | re.DOTALL)
    number, dev = re.fullmatch(r"(\d+\.\d+\.\d+)(\.dev\d+)?", secagg.__version__).groups()  # type: ignore[union-attr]
    if dev:
        assert number not in released
        assert coming
        assert coming[1].strip()
    else:
        assert released[0] == number
        assert not coming or not coming[1].strip()


def test_the_package_says_what_is_needed_to_judge_it() -> None:
    told = metadata("secagg")
    assert told["License-Expression"] == "Apache-2.0"
    assert told["Requires-Python"] == ">=3.11"
    assert told["Description-Content-Type"] == "text/markdown"
    programs = {each.name for each in entry_points(group="console_scripts") if each.dist and each.dist.name == "secagg"}
    assert programs == {"secagg", "secagg-server"}


def test_no_text_installs_secagg_from_where_it_is_not() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if path != Path(__file__)
        for match in INSTALLS_A_NAME.finditer(path.read_text())
    ]
    assert not found, found


@pytest.mark.parametrize(
    "text",
    [
        "pip install secagg",
        "pip install 'secagg[server]'",
        "install it with: pip install --upgrade secagg==0.1.0",
        "run `uv add secagg`, then",
        "docker pull registry.example.org/team/secagg:1",
        "python -m pip install numpy secagg",
    ],
)
def test_such_a_text_is_found(text: str) -> None:
    assert INSTALLS_A_NAME.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install '.[server]'",
        "pip install dist/secagg-*.whl",
        "pip install numpy  # secagg needs it",
        "docker run secagg-server",
    ],
)
def test_other_texts_are_not(text: str) -> None:
    assert not INSTALLS_A_NAME.search(text)
