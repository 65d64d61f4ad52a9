"""Wrong participants: `participant_reference` with one check, bound or derivation changed, and the vector that notices.

    python -m tests.conformance.participant_mutants            # read every mutant's vector: it must notice
    python -m tests.conformance.participant_mutants --write    # look for each mutant's first vector anew

Mutants are made from the syntax tree, so that a check that is written tomorrow has its mutants tomorrow. The table is
`participant_mutants.json`: under `noticed` the vector of each mutant, under `equivalent` the mutants that do what the
page says all the same, by the reason, and under `open` those for which a vector is missing.
"""

import ast
import copy
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

from secagg.tools.conformance import vectors
from tests.conformance import against_specification, participant_play, participant_reference, reference
from tests.conformance.edits import Edit, Said, edits_of, numbered

HERE = Path(__file__).parent
TABLE = HERE / "participant_mutants.json"
MODULES: dict[str, ModuleType] = {"participant_reference": participant_reference, "reference": reference}
NOT_OURS = {
    *("demand", "Refused", "_tail", "public_key", "agree", "_varint"),
    *("key_size", "public_key_of", "pair_secret", "pair_seal", "pair_secret_digest"),
}
"""Functions of which mutants say nothing about this participant; the last ones are of a suite that it does not have."""
KINDS = {
    "framing", "model-digest", "context", "input-context", "roster-digest", "sparse-roster", "sparse-graph",
    "sparse-parameters", "signed-bytes", "endings", "commitment", "sealing", "mask-keys", "mask-stream",
    "secret-sharing", "encoding", "decoding", "ranges", "integers", "packing", "chunks", "masked-chunks",
    "configuration",
}  # fmt: skip
"""Vectors of derivations, which `against_specification` holds to `reference`."""


# --- making mutants -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A function, a method or a constant of a file, of which there are mutants."""

    file: str
    owner: str
    """The class, if it is a method."""
    name: str
    node: ast.stmt

    def edits(self, node: ast.stmt, said: Said) -> list[tuple[str, Edit]]:
        """What can be changed in it, in the same order each time."""
        return [edit for each in ast.walk(node) for edit in edits_of(each, said)]


@cache
def members() -> tuple[Member, ...]:
    """All of them, in the order of the files."""
    found = []
    for file in MODULES:
        for top in ast.parse((HERE / f"{file}.py").read_text()).body:
            name = getattr(top, "name", "constants")
            if name in NOT_OURS or isinstance(top, ast.Import | ast.ImportFrom):
                continue
            if isinstance(top, ast.ClassDef):
                found += [Member(file, name, getattr(each, "name", "fields"), each) for each in top.body]
            else:
                found.append(Member(file, "", name, top))
    return tuple(found)


@dataclass(frozen=True)
class Mutant:
    """One edit of one member."""

    member: int
    number: int
    name: str

    @property
    def at(self) -> Member:
        """What is changed."""
        return members()[self.member]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """In its place, and gone afterwards."""
        member, node = self.at, copy.deepcopy(self.at.node)
        member.edits(node, lambda _: "")[self.number][1]()
        code = compile(ast.fix_missing_locations(ast.Module([node], [])), "<a wrong participant>", "exec")
        namespace, made = vars(MODULES[member.file]), dict[str, Any]()
        exec(code, namespace, made)  # noqa: S102, our own source with one edit
        owner = namespace[member.owner] if member.owner else MODULES[member.file]
        before = {name: vars(owner)[name] for name in made}
        for name, value in made.items():
            setattr(owner, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(owner, name, value)


@cache
def mutants() -> tuple[Mutant, ...]:
    """All of them; the same edit at a second place has a number behind it."""
    places, named = [], []
    for at, member in enumerate(members()):
        for number, (name, _) in enumerate(member.edits(member.node, ast.unparse)):
            places.append((at, number))
            named.append(f"{member.file}: {member.name}: {name}")
    return tuple(Mutant(*place, name) for place, name in zip(places, numbered(named), strict=True))


# --- what notices them ----------------------------------------------------------------------------------------------


@cache
def load(name: str) -> Any:
    return vectors.load(name)


@cache
def candidates() -> tuple[str, ...]:
    """Vectors that say something about a participant of masked rounds."""
    return tuple(
        name for name in vectors.names() if load(name)["kind"] in KINDS or participant_play.concerns(name, load(name))
    )


def read(name: str) -> None:
    """Hold the participant, and what it derives, to a vector."""
    vector = load(name)
    kind = vector["kind"]
    if kind in KINDS:
        against_specification.READERS[kind](vector)
    if kind in participant_play.READERS and participant_play.concerns(name, vector):
        participant_play.READERS[kind](participant_reference, vector)


@cache
def reached(name: str) -> dict[str, int]:
    """By function that a vector makes it call: how many calls came after the last of it."""
    files, called = {f"{file}.py" for file in MODULES}, list[str]()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and Path(frame.f_code.co_filename).name in files:
            called.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        read(name)
    finally:
        sys.setprofile(None)
    return {function: len(called) - at for at, function in enumerate(called)}


@cache
def in_order(function: str) -> tuple[str, ...]:
    """Vectors that can notice a mutant of a function: those come first that are over soon after it was called."""
    if function == "constants":
        return candidates()
    found = (name for name in candidates() if function in reached(name))
    return tuple(sorted(found, key=lambda name: reached(name)[function]))


def passes(name: str) -> bool:
    """Whether a vector takes the participant of now for a right one."""
    try:
        read(name)
    except (Exception, pytest.fail.Exception):  # a mutant may fail in any way, or not fail where it must
        return False
    return True


def first_noticing(mutant: Mutant, hint: str | None = None) -> str | None:
    """The first vector that notices a mutant; `hint` is tried before."""
    if hint in candidates():
        with mutant.planted():
            if not passes(str(hint)):
                return hint
    listed = in_order(mutant.at.name)
    with mutant.planted():
        return next((name for name in listed if not passes(name)), None)


def table() -> dict[str, Any]:
    """The committed one."""
    known: dict[str, Any] = json.loads(TABLE.read_text())
    return known


def equivalent() -> list[str]:
    """Mutants that are no wrong participants."""
    return [name for listed in table()["equivalent"].values() for name in listed]


def _look(mutant: Mutant) -> str | None:
    return first_noticing(mutant, table()["noticed"].get(mutant.name))


def main(arguments: list[str]) -> int:
    """Write or hold the table; what no vector notices is printed."""
    known, none_wrong = table(), frozenset(equivalent())
    asked = [mutant for mutant in mutants() if mutant.name not in none_wrong]
    with ProcessPoolExecutor(2) as workers:
        found = dict(zip((mutant.name for mutant in asked), workers.map(_look, asked, chunksize=8), strict=True))
    noticed = {name: vector for name, vector in found.items() if vector is not None}
    unnoticed = [name for name, vector in found.items() if vector is None]
    if "--write" in arguments:
        told = {"noticed": noticed, "equivalent": known["equivalent"], "open": unnoticed}
        TABLE.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    lines = [f"not noticed: {name}" for name in unnoticed]
    lines.append(f"{len(noticed)} of {len(asked)} wrong participants are noticed")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if set(unnoticed) <= set(known["open"]) or "--write" in arguments else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
