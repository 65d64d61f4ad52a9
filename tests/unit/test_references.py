"""The pages of the reference that are written from the code have all that the code has."""

from collections.abc import Iterable

from secagg_server.observability.log_events import FIELDS, SECTIONS

from docs import references


def rows(lines: Iterable[str]) -> set[tuple[str, ...]]:
    """The cells of each row of the tables of a page; the first without marks."""
    found = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    return {(first.split("`")[1], *(cell.strip() for cell in rest)) for first, *rest in found}


def test_the_page_on_log_events_has_every_event_and_field() -> None:
    found = rows(references.log_events())
    for events in SECTIONS.values():
        for name, event in events.items():
            told = [row for row in found if row[:2] == (name, event.level)]
            assert any(event.meaning in row for row in told), name
    assert set(FIELDS.items()) <= found
