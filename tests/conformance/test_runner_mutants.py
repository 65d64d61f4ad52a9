"""The runner notices every wrong participant of the table, and has nothing against the right one."""

import pytest

from secagg.tools.runner.cases import Verdict
from tests.conformance.runner_mutants import HABITS, MUTANTS, Mutant, verdict


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_the_case_notices_the_mutant(mutant: Mutant) -> None:
    assert verdict(mutant.case, mutant.spoil)[0] is Verdict.FAILED


# `secagg conformance self`, which .ci/run calls, plays all cases.
@pytest.mark.parametrize("case", sorted({mutant.case for mutant in HABITS}))
def test_the_case_has_nothing_against_our_participant(case: str) -> None:
    assert verdict(case, lambda _: None) == (Verdict.PASSED, "")


def test_the_table_has_each_mutant_once() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 80
