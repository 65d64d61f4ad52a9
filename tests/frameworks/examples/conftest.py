"""Fixtures of the tests of examples."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _participants_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until states outlive a process."""
    from secagg_client.carried.participant import CarriedParticipant
    from secagg_client.flower import mod

    known: dict[str, CarriedParticipant] = {}

    def kept(terms: Any, states: Any) -> CarriedParticipant:
        return known.setdefault(terms.name, CarriedParticipant(terms, states))

    monkeypatch.setattr(mod, "CarriedParticipant", kept)
