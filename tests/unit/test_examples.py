"""Pages show the examples as they are, and the plug-ins cost as few lines as they say."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

from tests.pages import Code

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
spec = importlib.util.spec_from_file_location("diffs", ROOT / "docs/diffs.py")
assert spec is not None
assert spec.loader is not None
diffs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(diffs)

PAIRS = [
    ("flower/plain", "flower/secure"),
    ("flower/secure", "flower/noise"),
    ("nvflare/plain", "nvflare/secure"),
    ("lora/plain", "lora/secure"),
    ("histogram/plain", "histogram/secure"),
    ("beside/plain", "beside/secure"),
]


@pytest.mark.runs("docs/frameworks.md", "diff")
@pytest.mark.runs("docs/beside-an-fl-server.md", "diff")
def test_pages_show_every_pair_of_examples_as_it_is(page: Code) -> None:
    assert len(page.rest("diff")) == len(PAIRS)
    texts = "".join(path.read_text() for path in diffs.PAGES)
    shown = {(block[1], block[2]): block[3] for block in map(_groups, diffs.BLOCK.finditer(texts))}
    assert list(shown) == PAIRS
    for (plain, secure), text in shown.items():
        assert text == diffs.difference(plain, secure), "run: python docs/diffs.py"
        assert text


def _groups(match: re.Match[str]) -> tuple[str, ...]:
    return ("", match[2], match[3], match[4])


def test_every_example_is_on_a_page() -> None:
    folders = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*") if path.is_dir()}
    assert folders == {folder for pair in PAIRS for folder in pair}


@pytest.mark.parametrize(
    ("pair", "file", "most"),
    [
        (PAIRS[0], "client_app.py", 2),
        (PAIRS[0], "server_app.py", 3),
        (PAIRS[2], "client.py", 2),
        (PAIRS[2], "job.py", 3),
    ],
)
def test_a_plug_in_costs_two_lines_at_the_client_and_three_at_the_server(
    pair: tuple[str, str], file: str, most: int
) -> None:
    """Lines that are new or other than before, imports included."""
    parts = re.split(r"^--- ", diffs.difference(*pair), flags=re.MULTILINE)
    changed = [part for part in parts if part.split("\n")[0].endswith(file)]
    lines = [line for part in changed for line in part.splitlines() if line.startswith("+") and line[:3] != "+++"]
    assert len(lines) <= most


@pytest.mark.parametrize("folder", sorted({plain for plain, _ in PAIRS if plain.endswith("plain")}))
def test_a_plain_version_knows_nothing_of_secagg(folder: str) -> None:
    for path in (EXAMPLES / folder).rglob("*.py"):
        assert "secagg" not in path.read_text()


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_examples_use_what_the_packages_offer(path: Path) -> None:
    """And no internal module, which may change in any release."""
    offered = {"secagg", "secagg_client", "secagg_client.flower", "secagg_client.nvflare", "secagg_client.torch"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("secagg"):
            assert node.module in offered
