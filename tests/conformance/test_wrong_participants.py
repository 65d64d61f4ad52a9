"""The second participant does what every vector says, and wrong ones do not."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest

from tests.conformance import participant_mutants, reference


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
