"""Flaws in the participant in TypeScript, one for each of its checks, and the test that notices each.

    python -m tests.typescript.mutants                # plant every flaw of the table: its test must fail
    python -m tests.typescript.mutants config results # the flaws of these files alone
    python -m tests.typescript.mutants --write [FILE…] # look for each flaw's first test anew

Each flaw takes a check away from a copy of what `make typescript` builds. The table is `mutants.json`: under `noticed`
the first test that fails with the flaw, and under `equivalent` the flaws that change nothing, with the reason. For a
flaw that has no row, every test of its file is tried.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
HOME: Final = ROOT / "client/typescript"
TABLE: Final = Path(__file__).with_name("mutants.json")
FILES: Final = {
    "certificates": ("derivations: chains", "certificates: certificate|private key", "rounds: certificate|receipt"),
    "config": (
        "derivations: bounds|policies|configuration|rings",
        "rounds: unsafe|policy|config|purpose|unknown|mismatch|offer",
    ),
    "participant": ("rounds: failure|variation|roster|active round", "derivations: key|seal|dealing"),
    "results": ("rounds: receipt|certified|aggregate|the end", "derivations: decoding|sums of integers"),
    "kept": ("client: state", "saved: ."),
    "node": ("saved: .", "client: ."),
    "saved": ("saved: .",),
    "memory": ("client: sums|memory|cohort", "derivations: sums of the same"),
}
"""The tests that may notice a flaw, by the file that has it."""

_THROWN: Final = re.compile(r"^(\s*)if \((.*)\)$")
_DEMANDED: Final = re.compile(r"^(\s*(?:wellFormed|demand|refuse|refuseOther))\((.*), (\"[^\"]*\"|`[^`]*`)\);$")
_FAILED: Final = re.compile(r"^not ok \d+ - (.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One flaw.

    Attributes:
        name: the file and the line that loses its check, numbered where a file has several like it.
        file: of the built participant, without its ending.
        line: number of the line, from 0.
        text: the line with the flaw.
    """

    name: str
    file: str
    line: int
    text: str


def mutants() -> Iterator[Mutant]:
    """One for each check that stands on a line of its own."""
    for file in FILES:
        seen = Counter[str]()
        lines = (HOME / "build/src" / f"{file}.js").read_text().splitlines()
        for at, line in enumerate(lines):
            follows = lines[at + 1] if at + 1 < len(lines) else ""
            if (found := _THROWN.match(line)) and re.match(r"\s*(throw|return refuse|refuse|impossible)\b", follows):
                text = f"{found[1]}if (false)"
            elif found := _DEMANDED.match(line):
                never = "false" if found[1].strip().startswith("refuse") else "true"
                text = f"{found[1]}({never}, {found[3]});"
            else:
                continue
            seen[line.strip()] += 1
            number = f" ({seen[line.strip()]})" if seen[line.strip()] > 1 else ""
            yield Mutant(f"{file}: {line.strip()}{number}", file, at, text)


def noticed(mutant: Mutant, only: str | None = None) -> str | None:
    """The first test that fails on a copy with the flaw, or None; of `only` this one where it is given."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "client/typescript"
        shutil.copytree(HOME / "build", home / "build", ignore=shutil.ignore_patterns("*.d.ts", "*.map"))
        shutil.copy(HOME / "package.json", home)
        (home / "node_modules").symlink_to(HOME / "node_modules")
        (Path(folder) / "proto").symlink_to(ROOT / "proto")
        path = home / "build/src" / f"{mutant.file}.js"
        lines = path.read_text().splitlines()
        lines[mutant.line] = mutant.text
        path.write_text("\n".join(lines))
        for tests in FILES[mutant.file] if only is None else (only,):
            each, _, names = tests.partition(": ")
            pattern = names if only is None else f"^{re.escape(names)}$"
            if failed := first_failure(home, each, pattern):
                return f"{each}: {failed}"
    return None


def first_failure(home: Path, file: str, pattern: str) -> str | None:
    """The first test that fails, among those of a file whose names have the pattern; or None."""
    command = ["node", "--test-reporter=tap", f"--test-name-pattern={pattern}", f"build/test/{file}.test.js"]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if found := _FAILED.match(line):
                running.kill()
                return found[1]
    return None if running.returncode == 0 else "it does not load"


def table() -> dict[str, dict[str, str]]:
    """What `mutants.json` says."""
    told: dict[str, dict[str, str]] = json.loads(TABLE.read_text())
    return told


def write(chosen: Sequence[Mutant]) -> int:
    """Look for the tests of the chosen flaws; the exit code says whether a flaw is left that nobody notices."""
    before = table() if TABLE.exists() else {"noticed": {}, "equivalent": {}}
    names = {mutant.name for mutant in mutants()}
    found: dict[str, Any] = {kind: {k: v for k, v in rows.items() if k in names} for kind, rows in before.items()}
    missing = 0
    for mutant in chosen:
        if mutant.name in found["equivalent"]:
            continue
        test = noticed(mutant)
        found["noticed"].pop(mutant.name, None)
        if test is None:
            missing += 1
            sys.stdout.write(f"nobody notices: {mutant.name}\n")
            sys.stdout.flush()
        else:
            found["noticed"][mutant.name] = test
        TABLE.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return 1 if missing else 0


def verify(chosen: Sequence[Mutant]) -> int:
    """Plant the chosen flaws of the table; the exit code says whether a test did not notice its flaw."""
    rows = table()
    planted = [mutant for mutant in chosen if mutant.name not in rows["equivalent"]]
    survived = [mutant.name for mutant in planted if noticed(mutant, rows["noticed"].get(mutant.name)) is None]
    for name in survived:
        sys.stdout.write(f"nobody notices: {name}\n")
    sys.stdout.write(f"{len(planted) - len(survived)} of {len(planted)} flaws noticed\n")
    return 1 if survived else 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", choices=[[], *FILES], default=[])
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    chosen = [mutant for mutant in mutants() if not asked.files or mutant.file in asked.files]
    return write(chosen) if asked.write else verify(chosen)


if __name__ == "__main__":
    sys.exit(main())
