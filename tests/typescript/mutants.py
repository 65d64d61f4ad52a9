"""Flaws in the participant in TypeScript, one for each of its checks: `python -m tests.typescript.mutants [FILE …]`.

Each takes a check away from a copy of what `make typescript` builds. The tests on the vectors must notice.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / "client/typescript"
FILES: Final = {
    "participant": "failure|variation",
    "results": "receipt|certified|aggregate|decoding|sums of integers|the end of a round",
    "certificates": "chains|certificate",
    "config": "unsafe|policy|config|bounds|policies|purpose|unknown|mismatch|offer",
}
"""The tests that must notice, by file."""

_THROWN: Final = re.compile(r"^(\s*)if \((.*)\)$")
_DEMANDED: Final = re.compile(r"^(\s*(?:wellFormed|demand|refuse))\((.*), (\"[^\"]*\"|`[^`]*`)\);$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One flaw.

    Attributes:
        file: of the built participant, without its ending.
        line: number of the line that loses its check.
        text: the line with the flaw.
        was: the line without it.
    """

    file: str
    line: int
    text: str
    was: str


def mutants() -> Iterator[Mutant]:
    """One for each check that stands on a line of its own."""
    for file in FILES:
        lines = (HOME / "build/src" / f"{file}.js").read_text().splitlines()
        for at, line in enumerate(lines):
            follows = lines[at + 1] if at + 1 < len(lines) else ""
            if (found := _THROWN.match(line)) and re.match(r"\s*(throw|return refuse|refuse|impossible)\b", follows):
                yield Mutant(file, at, f"{found[1]}if (false)", line)
            elif found := _DEMANDED.match(line):
                never = "false" if found[1].strip() == "refuse" else "true"
                yield Mutant(file, at, f"{found[1]}({never}, {found[3]});", line)


def noticed(mutant: Mutant) -> bool:
    """Whether the tests fail on a copy with the flaw."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "client/typescript"
        shutil.copytree(HOME / "build", home / "build")
        shutil.copy(HOME / "package.json", home)
        (home / "node_modules").symlink_to(HOME / "node_modules")
        (Path(folder) / "proto").symlink_to(ROOT / "proto")
        path = home / "build/src" / f"{mutant.file}.js"
        lines = path.read_text().splitlines()
        lines[mutant.line] = mutant.text
        path.write_text("\n".join(lines))
        tests = [home / "build/test/derivations.test.js", home / "build/test/rounds.test.js"]
        command = [
            "node",
            "--test",
            "--test-concurrency=1",
            f"--test-name-pattern={FILES[mutant.file]}",
            *map(str, tests),
        ]
        return subprocess.run(command, cwd=home, capture_output=True, check=False).returncode != 0


def main() -> int:
    """Print each flaw that nobody notices; the exit code says whether there is one."""
    survived = planted = 0
    chosen = sys.argv[1:] or list(FILES)
    for mutant in mutants():
        if mutant.file not in chosen:
            continue
        planted += 1
        if not noticed(mutant):
            survived += 1
            sys.stdout.write(f"nobody notices: {mutant.file}.js, line {mutant.line + 1}: {mutant.was.strip()}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{planted - survived} of {planted} flaws noticed\n")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
