"""Writes into pages how a secure example differs from its plain version: `python docs/diffs.py`.

A block of a page that stands behind a line such as `<!-- diff: lora/plain lora/secure -->` is replaced by the
differences of the two folders of docs/examples. A test compares them, so that page and examples stay the same.
"""

import re
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
EXAMPLES: Final = ROOT / "docs/examples"
PAGES: Final = [ROOT / "docs/frameworks.md", ROOT / "docs/beside-an-fl-server.md"]
BLOCK: Final = re.compile(r"(<!-- diff: (\S+) (\S+) -->\n```diff\n)(.*?)(```\n)", re.DOTALL)


def main() -> None:
    """Write the pages anew."""
    for page in PAGES:
        page.write_text(BLOCK.sub(lambda block: block[1] + difference(block[2], block[3]) + block[5], page.read_text()))


def difference(plain: str, secure: str) -> str:
    """The unified diff of all files of two folders of docs/examples, with one line of context."""
    return "".join(_lines(plain, secure))


def _lines(plain: str, secure: str) -> Iterator[str]:
    folders = [EXAMPLES / plain, EXAMPLES / secure]
    files = ((path, folder) for folder in folders for path in folder.rglob("*") if path.is_file())
    for name in sorted({path.relative_to(folder) for path, folder in files if "__" not in str(path.parent)}):
        before, after = ((folder / name).read_text().splitlines(keepends=True) for folder in folders)
        yield from unified_diff(before, after, f"{plain}/{name}", f"{secure}/{name}", n=1)


if __name__ == "__main__":
    main()
