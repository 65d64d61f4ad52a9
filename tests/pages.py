"""The code on the pages of the documentation, and who runs it.

A test says with a mark which code of a page it runs: the language and, where it runs only some blocks of that language,
how these begin.

    @pytest.mark.runs("docs/deployment.md", "sh")
    def test_deployment(page: Code) -> None:
        machine.shell(page.take("secagg ca init"))
        for text in page.rest("sh"): ...

The fixture `page` has these blocks, and a test fails that leaves one of them. Output and pictures are fenced as `text`.
`tests/unit/test_pages.py` fails if a page has code that no test and no step of .ci/run claims.
"""

import ast
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, *(ROOT / name for name in ("deploy", "docs", "proto")))
    for path in sorted(folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
]
"""Every page of the repository."""

_FENCE: Final = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code, and where it is."""

    page: str
    line: int
    language: str
    text: str

    @classmethod
    def of(cls, page: str, source: str | None = None) -> "list[Block]":
        """All blocks of a page, those of output included."""
        source = (ROOT / page).read_text() if source is None else source
        return [
            cls(
                page,
                source.count("\n", 0, found.start()) + 1,
                found[2],
                re.sub(rf"^{found[1]}", "", found[3], flags=re.M),
            )
            for found in _FENCE.finditer(source)
        ]


@dataclass(frozen=True)
class Claim:
    """What the mark of a test says: it runs these blocks."""

    page: str
    language: str
    begins: tuple[str, ...]
    test: str = ""

    @classmethod
    def of(cls, page: str, language: str, *begins: str, test: str = "") -> "Claim":
        return cls(page, language, begins, test)

    def has(self, block: Block) -> bool:
        same = (block.page, block.language) == (self.page, self.language)
        return same and (not self.begins or block.text.startswith(self.begins))


def claims() -> Iterator[Claim]:
    """The marks of all tests, read and not imported: some tests need what is not installed everywhere."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.runs":
                        name = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                        yield Claim.of(*map(ast.literal_eval, mark.args), test=name)


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in one language, block by block: for tests that begin where that page ends."""
    return [block.text for block in Block.of(page) if block.language == language]


class Code:
    """The blocks that a test claims, in the order of the page."""

    def __init__(self, claimed: list[Claim]) -> None:
        pages = dict.fromkeys(claim.page for claim in claimed)
        found = [block for page in pages for block in Block.of(page)]
        self.left = [block for block in found if any(claim.has(block) for claim in claimed)]

    def take(self, begins: str) -> str:
        """The one block that begins so."""
        (found,) = [block for block in self.left if block.text.startswith(begins)]
        self.left.remove(found)
        return found.text

    def rest(self, language: str) -> list[str]:
        """All blocks of a language that were not taken."""
        found = [block for block in self.left if block.language == language]
        self.left = [block for block in self.left if block.language != language]
        return [block.text for block in found]


@contextmanager
def taken(claimed: list[Claim]) -> Iterator[Code]:
    """What a test claims, to be taken in the block."""
    code = Code(claimed)
    assert code.left, "the marks of this test claim nothing"
    yield code
    assert not code.left, f"{code.left} was not run"


def session(text: str) -> tuple[str, str]:
    """The command of a block of the language `console`, and what the page says that it prints."""
    command, _, output = text.removeprefix("$ ").partition("\n")
    return command, output
