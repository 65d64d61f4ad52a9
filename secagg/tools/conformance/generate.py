"""Writes the conformance vectors: `python -m secagg.tools.conformance.generate [--check]`.

The same code gives the same bytes: keys, certificates and randomness come from labelled hashes. With `--check` nothing
is written; the exit status says whether the files are what this code makes.
"""

import argparse
import sys
from collections.abc import Iterator

from secagg.tools.conformance import (
    archive,
    binding_vectors,
    coordinator_failures,
    dealt_coordinator_failures,
    dealt_participant_failures,
    edge_failures,
    encodings,
    encrypted_rounds,
    endings,
    group_vectors,
    integer_vectors,
    joint_coordinator_failures,
    joint_participant_failures,
    lattice_vectors,
    ledger_vectors,
    noise_vectors,
    participant_failures,
    pipeline_vectors,
    primitives,
    published,
    release_failures,
    ring_vectors,
    roster_failures,
    rounds,
    unmasking_failures,
)
from secagg.tools.conformance.document import Document, dumps
from secagg.tools.conformance.failures import Script
from secagg.tools.conformance.vectors import DIRECTORY, check, load


def generate() -> Iterator[tuple[str, str]]:
    """File name and text of every vector."""
    for name, vector in _vectors():
        yield f"{name}.json", dumps(check(vector, name))


def _vectors() -> Iterator[tuple[str, Document]]:
    yield from published.vectors()
    yield from primitives.vectors()
    yield from encodings.vectors()
    yield from integer_vectors.vectors()
    yield from group_vectors.vectors()
    yield from pipeline_vectors.vectors()
    yield from noise_vectors.vectors()
    yield from ledger_vectors.vectors()
    played = dict(rounds.vectors())
    yield from played.items()
    semi_honest, active = (Script(name, played[name]) for name in ("round-semi-honest", "round-active"))
    yield from edge_failures.vectors(active)
    yield from roster_failures.vectors(semi_honest, active)
    yield from participant_failures.vectors(active)
    yield from coordinator_failures.vectors(semi_honest, active)
    yield from unmasking_failures.vectors(semi_honest, active)
    yield from release_failures.vectors(active)
    yield from endings.vectors(active)
    yield from _homomorphic()


def _homomorphic() -> Iterator[tuple[str, Document]]:
    yield from ring_vectors.vectors()
    yield from lattice_vectors.vectors()
    yield from binding_vectors.vectors()
    played = dict(encrypted_rounds.vectors())
    for name, vector in played.items():
        yield name, archive.shortened(vector, frozenset({"encrypted-sum"}))
    for name in sorted(encrypted_rounds.recordings()):
        yield name, load(name)
    bfv, ckks, joint = (
        Script(name, played[name])
        for name in ("round-bfv-participants", "round-ckks-participants", "round-bfv-threshold")
    )
    yield from dealt_participant_failures.vectors(bfv, ckks)
    yield from dealt_coordinator_failures.vectors(bfv)
    yield from joint_participant_failures.vectors(joint)
    yield from joint_coordinator_failures.vectors(joint)
    yield from edge_failures.homomorphic_vectors(bfv, joint)


def differences() -> list[str]:
    """Files that are not what this code makes, missing and stray ones among them."""
    made = dict(generate())
    found = {path.name: path.read_text() for path in DIRECTORY.glob("*.json")}
    return sorted(name for name in made.keys() | found.keys() if made.get(name) != found.get(name))


def write() -> int:
    """Write every vector and remove stray ones. How many there are."""
    made = dict(generate())
    DIRECTORY.mkdir(exist_ok=True)
    for path in DIRECTORY.glob("*.json"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (DIRECTORY / name).write_text(text)
    return len(made)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Write the conformance vectors.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is not up to date")
    if not parser.parse_args().check:
        sys.stdout.write(f"{write()} vectors in {DIRECTORY}\n")
        return 0
    stale = differences()
    for name in stale:
        sys.stdout.write(f"not up to date: {name}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
