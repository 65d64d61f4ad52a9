"""The second participant does what every vector says, and wrong ones do not."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

from secagg.tools.conformance import vectors
from tests.conformance import participant_mutants, participant_play, participant_reference, reference


@pytest.mark.parametrize("name", participant_mutants.candidates())
def test_a_participant_from_the_page_alone_does_what_the_vector_says(name: str) -> None:
    participant_mutants.read(name)


def test_every_wrong_participant_is_in_the_table() -> None:
    made, told = [mutant.name for mutant in participant_mutants.mutants()], participant_mutants.table()
    listed = [*told["noticed"], *participant_mutants.equivalent(), *told["open"]]
    assert sorted(listed) == sorted(made)
    assert len(told["noticed"]) >= 600


def test_the_vector_of_the_table_notices() -> None:
    noticed = participant_mutants.table()["noticed"]
    for mutant in [each for each in participant_mutants.mutants() if each.name in noticed]:
        with mutant.planted():
            assert not participant_mutants.passes(noticed[mutant.name]), mutant.name


def test_streams_that_begin_anew_with_each_chunk_are_noticed_by_one_vector_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = reference.masked

    def restarting(suite: bytes, bits: int, values: Sequence[int], masks: Iterable[tuple[bytes, int]]) -> list[bytes]:
        each, listed = reference.chunk_values(bits), list(masks)
        return [
            part for at in range(0, len(values), each) for part in whole(suite, bits, values[at : at + each], listed)
        ]

    monkeypatch.setattr(reference, "masked", restarting)
    assert not participant_mutants.passes("masked-chunks")
    assert participant_mutants.passes("round-active")


def test_a_participant_is_put_back_after_a_mutant() -> None:
    before = dict(vars(participant_mutants.MODULES["participant_reference"]))
    with participant_mutants.mutants()[-1].planted():
        pass
    assert vars(participant_mutants.MODULES["participant_reference"]) == before


def test_where_few_collude_a_ring_that_cuts_nobody_off_opens_nobody() -> None:
    """So mutants of the inequality of *owner* are no wrong participants: that of *cut* decides wherever either is near
    its bound. The same holds for all rings of up to 45 members.
    """
    compared = 0
    for members, degree in [(n, k) for n in range(6, 17) for k in range(2, n - 1, 2)]:
        half, pairs = degree // 2, Fraction(members * (members - degree - 1), 2)
        for colluding, least in [(c, j) for c in range(1, members - 1) for j in range(1, half)]:
            owner = members * reference._tail(members - 1, colluding, degree, 2 * least + 1)
            compared += 0 < owner < Fraction(1, 8)
            if owner < Fraction(1, 8):
                assert owner <= pairs * reference._tail(members, colluding, half, least) ** 2
    assert compared > 0


OTHERWISE = [
    ("it forgets sums that it is not in", "differencing-by-a-sum-without-us",
     "singled_out(names, self.config, self.released)",
     'singled_out(names, self.config, [r for r in self.released if self.name in r["survivors"]])'),
    ("it counts whole seconds", "certificate-chains",
     "at <= certificate.not_valid_after_utc", "at.replace(microsecond=0) <= certificate.not_valid_after_utc"),
    ("it asks whether the coordinator could sign then, not now", "receipt-of-an-expired-coordinator",
     'fromtimestamp(known["now_s"], UTC)', "fromtimestamp(told.signed_ms / 1000, UTC)"),
    ("it calls a short mask key malformed", "mask-key-of-31-bytes",
     "demand(len(keys.mask_public_key) <= 1216", "demand(32 <= len(keys.mask_public_key) <= 1216"),
    ("it calls a mask key that is not there malformed", "no-mask-key",
     "demand(len(keys.mask_public_key) <= 1216", "demand(0 < len(keys.mask_public_key) <= 1216"),
    ("it calls a commitment malformed", "commitment-in-a-masked-round",
     "demand(len(keys.key_share_commitment) <= 32", "demand(len(keys.key_share_commitment) == 0"),
    ("it tries the keys of the committee", "sparse-key-that-nobody-uses",
     "for index in self.neighbours:\n            self.channels",
     "for index in self.members.keys() - {self.own}:\n            self.channels"),
    ("it wants no certificates where nobody signs", "certificates-where-nobody-signs",
     "self.organisations: dict",
     "demand(self.active or not any(m.keys.certificates for m in members), DECODE)\n        self.organisations: dict"),
    ("it wants no signatures where nobody signs", "certificates-where-nobody-signs",
     "self.organisations: dict",
     "demand(self.active or not any(m.keys.signature for m in members), DECODE)\n        self.organisations: dict"),
    ("it joins the entries of all parts", "entries-across-parts",
     "in read:\n        demand(part.peers or",
     "in [type(read[0])(peers=peers, entries=b''.join(p.entries for p in read))]:\n        demand(part.peers or"),
    ("it counts the fields of each part by itself", "roster-of-too-many-fields",
     "        left -= fields_in(part, kind.DESCRIPTOR)", "        left = 250_000 - fields_in(part, kind.DESCRIPTOR)"),
    ("it counts a list of numbers once", "survivors-of-too-many-fields",
     "                        count += size\n", "                        pass\n"),
    ("it counts no tag of a list of numbers", "survivors-of-too-many-fields",
     "                        count += size\n", "                        count += size - 1\n"),
    ("it does not count what is in a sub-message", "roster-of-too-many-fields",
     "count += fields_in(data[at : at + size], field.message_type)", "pass"),
    ("it names the coordinator for bytes that are no message", "aggregate-not-protobuf",
     "None) from None\n        read.append", "COORDINATOR) from None\n        read.append"),
]  # fmt: skip
"""What a participant may do otherwise that is no check left out: what, the vector, and what takes the place of what."""


def otherwise(old: str, new: str) -> ModuleType:
    """The second participant, with one piece of its text replaced."""
    text = Path(participant_reference.__file__).read_text()
    assert text.count(old) == 1
    module = ModuleType("a_wrong_participant")
    exec(compile(text.replace(old, new), "<a wrong participant>", "exec"), vars(module))  # noqa: S102
    return module


@pytest.mark.parametrize(("name", "old", "new"), [row[1:] for row in OTHERWISE], ids=[row[0] for row in OTHERWISE])
def test_a_participant_that_reads_the_page_otherwise_is_noticed(name: str, old: str, new: str) -> None:
    listed = {name, f"failure-{name}", f"variation-{name}"}
    vector = vectors.load(next(each for each in vectors.names() if each in listed))
    play = participant_play.READERS[vector["kind"]]
    play(participant_reference, vector)
    wrong = otherwise(old, new)
    with pytest.raises((AssertionError, wrong.Refused)):
        play(wrong, vector)
