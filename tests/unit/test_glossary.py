"""The glossary gives names that the code has."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/glossary.md").read_text().splitlines()
    if line.startswith("| ")
]
NAMED = sorted({name for row in ROWS for name in re.findall(r"`([^`]+)`", row[2])})


def names_of(source: str) -> set[str]:
    """Classes, functions and constants of a module, and `Class.name` for fields, attributes and methods of a class."""
    module = ast.parse(source)
    found = bound_in(module.body)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            own = {inner.attr for inner in ast.walk(node) if isinstance(inner, ast.Attribute) and is_own(inner)}
            found |= {f"{node.name}.{name}" for name in bound_in(node.body) | own}
    return found


def bound_in(body: list[ast.stmt]) -> set[str]:
    """The names that the statements of a module or of a class define."""
    found = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def is_own(node: ast.Attribute) -> bool:
    """Whether it is `self.name` where that is set."""
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"


@pytest.fixture(scope="module")
def known() -> set[str]:
    sources = [path for place in ("secagg", "server", "client") for path in (ROOT / place).rglob("*.py")]
    wire = "\n".join(path.read_text() for path in (ROOT / "proto").rglob("*.proto"))
    return set(re.findall(r"^message (\w+)", wire, re.MULTILINE)).union(
        *(names_of(path.read_text()) for path in sources if "_pb2" not in path.name)
    )


def is_a_place(name: str) -> bool:
    """A folder, or a module by its dotted name."""
    places = [ROOT / name, *(ROOT / part / name.replace(".", "/") for part in (".", "server", "client"))]
    return any(path.exists() or path.with_suffix(".py").exists() for path in places)


@pytest.mark.parametrize("name", NAMED)
def test_every_name_of_the_glossary_exists(name: str, known: set[str]) -> None:
    assert name in known or is_a_place(name)


def test_a_name_that_does_not_exist_is_noticed(known: set[str]) -> None:
    for name in ("CloudServer", "RoundConfig.cohort", "secagg.redteam", "proto/nothing"):
        assert name not in known
        assert not is_a_place(name)


def test_every_row_is_whole() -> None:
    assert len(NAMED) > 50
    for row in ROWS:
        assert len(row) == 4
        assert all(row)
