"""Writes into docs/frameworks.md how a secure example differs from its plain version: `python docs/diffs.py`.

A block of the page that stands behind a line such as `<!-- diff: lora/plain lora/secure -->` is replaced by the
differences of the two folders of docs/examples. A test compares them, so that page and examples stay the same.
"""

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
EXAMPLES: Final = ROOT / "docs/examples"
PAGE: Final = ROOT / "docs/frameworks.md"
BLOCK: Final = re.compile(r"(<!-- diff: (\S+) (\S+) -->\n```diff\n)(.*?)(```\n)", re.DOTALL)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(BLOCK.sub(lambda block: block[1] + difference(block[2], block[3]) + block[5], PAGE.read_text()))


def difference(plain: str, secure: str) -> str:
    """The unified diff of all files of two folders of docs/examples, with one line of context."""
    return "".join(_lines(plain, secure))


def _lines(plain: str, secure: str) -> Iterator[str]:
    folders = [EXAMPLES / plain, EXAMPLES / secure]
    names = {path.relative_to(folder) for folder in folders for path in folder.rglob("*.*") if "__" not in str(path)}
    for name in sorted(names):
        before, after = ((folder / name).read_text().splitlines(keepends=True) for folder in folders)
        yield from unified_diff(before, after, f"{plain}/{name}", f"{secure}/{name}", n=1)


if __name__ == "__main__":
    main()
