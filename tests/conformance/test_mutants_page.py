"""The page of wrong programs says what the tables say."""

from tests.conformance import mutants_page, participant_mutants


def test_the_page_is_what_the_tables_say() -> None:
    assert mutants_page.PAGE.read_text() == mutants_page.page()


def test_every_wrong_participant_is_noticed() -> None:
    assert participant_mutants.table()["open"] == []
