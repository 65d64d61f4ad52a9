"""The table of planted flaws is whole: each piece of source stands where it says, once, and each test exists."""

from tests.mutants import MUTANTS, ROOT


def test_every_flaw_can_be_planted_and_names_a_test() -> None:
    assert len(MUTANTS) >= 40
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        source = (ROOT / mutant.path).read_text(encoding="utf-8")
        assert source.count(mutant.old) == 1, mutant.name
        assert mutant.new not in {mutant.old, ""} or mutant.old.endswith("\n"), mutant.name
        assert (ROOT / mutant.test.partition("::")[0]).exists(), mutant.name
