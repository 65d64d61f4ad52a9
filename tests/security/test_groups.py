"""Groups below the minimum cohort, and participants in two groups of one round: what holds, and what would happen."""

from dataclasses import replace

import numpy as np
import pytest
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, LocalError, ProtocolViolation
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.robust.grouping import Groups
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from tests.conversing import make_contribution, make_terms
from tests.rounds import NOW, SEMI_HONEST, flat_schema, make_config, random_update

PARENT = RoundId(b"a grouped round.")
IN_THREE = Groups(count=3)


def pairs() -> RoundConfig:
    """Six in three groups of two."""
    return replace(
        make_config(3, SEMI_HONEST, threshold=3),
        groups=replace(IN_THREE, parent=PARENT, number=1),
        max_participants=2,
        threshold=2,
        max_colluding=0,
    )


def test_a_group_of_two_shows_each_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversary: a participant of a small group that takes its own update out of its group's sum."""
    with pytest.raises(ConfigError, match="max_participants must be 3"):
        pairs()
    monkeypatch.setattr("secagg.config.MIN_COHORT", 2)
    config = pairs()
    names = participant_names(2)
    brought = {name: Contribution(random_update(config.schema, i)) for i, name in enumerate(names)}
    policy = Policy(min_cohort=2, min_colluding_share=0.0, threat_models=frozenset({SEMI_HONEST}))
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, policy=policy)
    run.play()
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    victim, curious = (run.vectors[ParticipantId(n)].read(0, config.vector_len, config.ring_dtype) for n in names)
    np.testing.assert_array_equal(aggregate.sums - curious, victim)


def offer(number: int) -> Offer:
    ids = GroupedRoundId(PARENT, encode_config(replace(make_config(5, schema=flat_schema(10)), groups=IN_THREE)))
    config_bytes = ids.group_config(number)
    return Offer(ids.round_id(number), decode_config(config_bytes), config_bytes)


def test_a_coordinator_that_offers_a_second_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversary: a coordinator that wants one update in two sums of a round that claims to hold each once."""
    name = participant_names(5)[1]

    def join_both() -> None:
        terms = make_terms(name)
        for number in (1, 2):
            Participation(terms, make_contribution(offer(1).config, 1), offer(number)).advance(None)

    with pytest.raises(LocalError, match="took part in round"):
        join_both()
    claim = "secagg_client.participation.terms.SeenRounds.claim"
    monkeypatch.setattr(claim, lambda *_: None)
    join_both()


def test_a_coordinator_that_lies_about_what_a_group_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversary: the same, with another parent in the configuration than the round's id is made from."""
    name = participant_names(5)[1]
    lie = replace(offer(1), round_id=RoundId(bytes(16)))
    with pytest.raises(ProtocolViolation, match="is not group 1"):
        Participation(make_terms(name), make_contribution(lie.config, 1), lie).advance(None)
    monkeypatch.setattr("secagg_client.participation.session.GroupedRoundId.of", lambda *_: GroupedRoundId(PARENT, b""))
    assert Participation(make_terms(name), make_contribution(lie.config, 1), lie).advance(None) is not None
