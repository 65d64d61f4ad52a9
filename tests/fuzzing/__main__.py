"""`python -m tests.fuzzing [TARGET …] --seconds N`: fuzz targets one after the other, in a process for each.

It begins with the corpus that is committed, and what reaches something new besides goes into `build/fuzz-corpus`.
`--keep` writes the committed corpus anew, as small as all that is reached allows. An input that ends with an error
without a name is left in `build/fuzz-faults`, and the command ends with 1.
"""

import argparse
import json
import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fuzzing.corpus import CORPUS, kept
from tests.fuzzing.targets import targets

ROOT = Path(__file__).parents[2]
GROWN = ROOT / "build" / "fuzz-corpus"
FAULTS = ROOT / "build" / "fuzz-faults"
MAX_BYTES = 4096
_DONE = re.compile(r"#(\d+)\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)")


def fuzz(name: str, seconds: int) -> dict[str, int | str]:
    """Fuzz one target; inputs tried, branches reached, inputs that are kept, and whether it found a fault."""
    grown = GROWN / name
    for folder in (grown, FAULTS):
        folder.mkdir(parents=True, exist_ok=True)
    for data in [*targets()[name].seeds(), *kept(name)]:
        (grown / sha256(data).hexdigest()).write_bytes(data)
    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", "-rss_limit_mb=2048"]
    done = _one(name, *limits, f"-artifact_prefix={FAULTS / name}-", str(grown))
    text = done.stderr.decode(errors="replace")
    last = _DONE.findall(text)
    tried, branches, _, inputs = map(int, last[-1]) if last else (0, 0, 0, 0)
    if done.returncode:
        print(text[-6000:], file=sys.stderr)
    return {"target": name, "tried": tried, "branches": branches, "inputs": inputs, "faults": int(done.returncode != 0)}


def keep(name: str) -> None:
    """Write the committed corpus: the fewest inputs that reach what the grown one reaches."""
    with TemporaryDirectory() as fewest:
        done = _one(name, "-merge=1", f"-max_len={MAX_BYTES}", fewest, str(GROWN / name))
        if done.returncode:
            raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
        found = sorted((path.read_bytes() for path in Path(fewest).iterdir()), key=lambda data: (len(data), data))
    (CORPUS / f"{name}.txt").write_text("".join(f"{data.hex()}\n" for data in found))


def _one(name: str, *libfuzzer: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tests.fuzzing.one", name, *libfuzzer]
    return subprocess.run(command, cwd=ROOT, check=False, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)


def main() -> int:
    """The command."""
    known = targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all if none is named: {', '.join(known)}")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (10)")
    parser.add_argument("--keep", action="store_true", help="keep what reached something new in the committed corpus")
    chosen = parser.parse_args()
    unknown = set(chosen.targets) - set(known)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    rows = []
    for name in chosen.targets or known:
        rows.append(fuzz(name, chosen.seconds))
        print(json.dumps(rows[-1]), flush=True)
        if chosen.keep:
            keep(name)
    tried, faults = (sum(int(row[column]) for row in rows) for column in ("tried", "faults"))
    print(f"{tried:,} inputs tried on {len(rows)} targets; targets with an error without a name: {faults}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
