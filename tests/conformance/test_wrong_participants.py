"""The second participant does what every vector says, and wrong ones do not."""

import pytest

from tests.conformance import participant_mutants

SAMPLED = 16
"""Of so many mutants one is tried here."""


@pytest.mark.parametrize("name", participant_mutants.candidates())
def test_a_participant_from_the_page_alone_does_what_the_vector_says(name: str) -> None:
    participant_mutants.read(name)


def test_every_wrong_participant_is_in_the_table() -> None:
    made, told = [mutant.name for mutant in participant_mutants.mutants()], participant_mutants.table()
    listed = [*told["noticed"], *participant_mutants.equivalent(), *told["open"]]
    assert sorted(listed) == sorted(made)
    assert len(told["noticed"]) >= 600


def test_the_vector_of_the_table_notices() -> None:
    """A sample of them. `python -m tests.conformance.participant_mutants` tries all."""
    noticed = participant_mutants.table()["noticed"]
    for mutant in [each for each in participant_mutants.mutants() if each.name in noticed][::SAMPLED]:
        assert participant_mutants.passes(noticed[mutant.name])
        with mutant.planted():
            assert not participant_mutants.passes(noticed[mutant.name]), mutant.name


def test_a_participant_is_put_back_after_a_mutant() -> None:
    before = dict(vars(participant_mutants.MODULES["participant_reference"]))
    with participant_mutants.mutants()[-1].planted():
        pass
    assert vars(participant_mutants.MODULES["participant_reference"]) == before
