"""Writes the conformance vectors: `python -m secagg.tools.conformance.generate [--check]`.

The same code gives the same bytes: keys, certificates and randomness come from labelled hashes. With `--check` nothing
is written; the exit status says whether the files are what this code makes.
"""

import argparse
import json
import sys
from collections.abc import Iterator

from secagg.errors import LocalError
from secagg.tools.conformance.document import Document, dumps, vectors_of
from secagg.tools.conformance.encodings import (
    audit,
    bounds,
    fixedpoint,
    groups,
    integers,
    ledger,
    noise,
    pipelines,
    releases,
)
from secagg.tools.conformance.failures import (
    endings,
    homomorphic_coordinator,
    homomorphic_participant,
    malformed,
    masked_coordinator,
    masked_participant,
    offers,
    variations,
)
from secagg.tools.conformance.failures import hybrid as hybrid_suite
from secagg.tools.conformance.failures import sparse as on_a_ring
from secagg.tools.conformance.failures.script import ACTIVE, Failure, Script
from secagg.tools.conformance.needs import tagged
from secagg.tools.conformance.primitives import (
    bindings,
    chains,
    derivations,
    hybrid,
    lattice,
    published,
    rings,
    signatures,
    sparse,
)
from secagg.tools.conformance.replay import archive, encapsulations
from secagg.tools.conformance.rounds import encrypted, masked
from secagg.tools.conformance.schemas import schemas
from secagg.tools.conformance.vectors import directory, read

WITHOUT_ROUND = (
    (published, derivations, hybrid, signatures, chains, sparse, rings, lattice, bindings),
    (fixedpoint, bounds, integers, groups, pipelines, noise, ledger, audit, releases),
)
FAILURES = (
    offers,
    malformed,
    masked_participant,
    masked_coordinator,
    variations,
    on_a_ring,
    hybrid_suite,
    homomorphic_participant,
    homomorphic_coordinator,
    endings,
)


def generate() -> Iterator[tuple[str, str]]:
    """File name and text of every vector, and of the schema of every kind."""
    written: list[Document] = []
    for name, vector in tagged(_vectors()):
        text = dumps(vector)
        written.append(json.loads(text))
        yield f"{name}.json", text
    for kind, schema in schemas(written):
        yield f"schema/{kind}.json", dumps(schema)


def _vectors() -> Iterator[tuple[str, Document]]:
    for folder in WITHOUT_ROUND:
        for module in folder:
            yield from vectors_of(module.VECTORS)
    yield from _rounds()


def _rounds() -> Iterator[tuple[str, Document]]:
    """Every round, and what departs from it."""
    played, hidden = dict(masked.vectors()), dict(encrypted.vectors())
    for name, vector in played.items():
        yield name, archive.without_long_fields(archive.shortened(vector)) if name == masked.HYBRID else vector
    yield encapsulations.FILE, read(encapsulations.FILE)
    for name, vector in hidden.items():
        yield name, archive.shortened(vector, frozenset({"encrypted-sum"}))
    for name in sorted(encrypted.recordings()):
        yield name, read(name)
    scripts = {name: Script(name, vector) for name, vector in (played | hidden).items()}
    yield from endings.vectors(scripts[ACTIVE])
    for module in FAILURES:
        for table in module.TABLES:
            yield from (Failure(*row).vector(scripts[name]) for name, rows in table.items() for row in rows)


def differences() -> list[str]:
    """Files that are not what this code makes, missing and stray ones among them."""
    folder = directory()
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.json")}
    made = dict(generate())
    return sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))


def write() -> int:
    """Write every vector and remove stray ones. How many there are."""
    folder, made = directory(), dict(generate())
    for path in folder.rglob("*.json"):
        if str(path.relative_to(folder)) not in made:
            path.unlink()
    (folder / "schema").mkdir(exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text)
    return len(made)


def main() -> int:
    """What `make vectors` runs. The exit status is 1 if `--check` found a file that is not up to date."""
    parser = argparse.ArgumentParser(description="Write the conformance vectors.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    given = parser.parse_args()
    try:
        folder = directory()
    except LocalError as error:
        parser.error(str(error))
    if not given.check:
        sys.stdout.write(f"{write()} files in {folder}\n")
        return 0
    stale = differences()
    for name in stale:
        sys.stdout.write(f"not up to date: {name}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
