"""The law of rounds on a framework's channel: the exact sum of the survivors or a named end, whatever is lost.

A message may be lost on its way down, so that the participant knows nothing, or on its way up: then the participant has
gone on, and the coordinator counts it as gone. Nobody ever answers the same question twice.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_client.carried.steps import OPEN, Step
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.inputs import Input

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.vector import EncodedUpdate
from secagg.errors import RoundAborted
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import Phase
from tests.carrying import MODEL, PROCESSES, Answering, Channel, carried, contribute_as, participants, small_round
from tests.encrypted_rounds import encrypted_config
from tests.rounds import ACTIVE, SEMI_HONEST

KINDS = (OPEN, *map(str, Phase))
FAULTS = st.dictionaries(st.integers(1, 7), st.tuples(st.sampled_from(KINDS), st.sampled_from(["down", "up"])))
"""By the number of a peer: at which step of the coordinator a message is lost, and which way."""

Live = Callable[[CarriedTerms], Answering]

Faults = dict[int, tuple[str, str]]


@st.composite
def masked_rounds(draw: st.DrawFn) -> RoundConfig:
    n = draw(st.integers(3, 7))
    threat_model = draw(st.sampled_from([ACTIVE, SEMI_HONEST]))
    lowest = n // 2 + 1 if threat_model is ACTIVE else 3
    return small_round(n, threat_model, threshold=draw(st.integers(max(lowest, 3), n)), max_colluding=0)


def played(config: RoundConfig, faults: Faults, tell: bool, live: Live) -> tuple[Channel, dict[str, EncodedUpdate]]:
    """A round with faults, and what each participant handed in."""
    peers = participants(config.max_participants, live=live)
    asked: dict[str, str] = {}  # the kind of the step that each peer is answering

    def lost(way: str) -> Any:
        def lose(peer: str, step: Step) -> bool:
            if way == "down":
                asked[peer] = step.kind
            return faults.get(int(peer[-1])) == (asked[peer], way)

        return lose

    channel = Channel(carried(config, peers), peers, lost("down"), lost("up"), tell)
    inputs: dict[str, EncodedUpdate] = {}
    make = Input.of

    def recording(*args: Any) -> Input:
        mine = make(*args)
        inputs[channel.sent[-1][0]] = mine.encoded
        return mine

    with patch.object(Input, "of", recording):
        channel.play()
    return channel, inputs


def check_law(config: RoundConfig, faults: Faults, tell: bool, live: Live) -> None:
    channel, inputs = played(config, faults, tell, live)
    outcome = channel.round.outcome
    struck = {f"participant-{number:05}" for number in faults if number <= config.max_participants}
    assert set(channel.round.dropped) <= struck
    if isinstance(outcome, Aggregate):
        assert len(outcome.survivors) >= config.threshold
        expected = np.zeros(config.vector_len, np.uint64)
        for name in outcome.survivors:
            expected += inputs[name].read(0, config.vector_len, np.dtype(np.uint64))
        assert np.array_equal(expected % 2**config.ring_bits, outcome.sums.astype(np.uint64))
    else:
        assert isinstance(outcome, RoundAborted)
        assert str(outcome)
        assert config.max_participants - len(struck) < config.threshold
    answers = Counter((peer, step.kind) for peer, step in channel.sent if step.kind != OPEN and peer in channel.peers)
    assert max(answers.values()) <= 2  # a step of the coordinator, and an answer of that name


@given(masked_rounds(), FAULTS, st.booleans(), st.sampled_from(PROCESSES))
@settings(max_examples=60)
def test_a_masked_round_has_an_exact_sum_or_a_named_end(
    config: RoundConfig, faults: Faults, tell: bool, live: Live
) -> None:
    check_law(config, faults, tell, live)


@pytest.mark.parametrize("custody", list(Custody))
@pytest.mark.parametrize("scheme", list(Scheme))
@given(faults=FAULTS, tell=st.booleans(), live=st.sampled_from(PROCESSES))
@settings(max_examples=4)
def test_so_has_a_homomorphic_one(scheme: Scheme, custody: Custody, faults: Faults, tell: bool, live: Live) -> None:
    check_law(encrypted_config(scheme, custody, release_to_coordinator=True, model_digest=MODEL), faults, tell, live)


# --- hostile steps ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spoiling:
    """What is done to a step. It is drawn before there is one, for no two runs have the same bytes."""

    kind: str | None
    arrangement: Callable[[tuple[bytes, ...]], tuple[bytes, ...]]
    part: float
    flips: Mapping[float, int]

    def __call__(self, step: Step) -> Step:
        parts = list(self.arrangement(step.parts))
        if parts and self.flips:
            number = int(self.part * len(parts))
            part = bytearray(parts[number])
            for at, change in self.flips.items():
                if part:
                    part[int(at * len(part))] ^= change
            parts[number] = bytes(part)
        return Step(step.round_id, self.kind or step.kind, tuple(parts))


def _instead(parts: list[bytes]) -> Callable[[tuple[bytes, ...]], tuple[bytes, ...]]:
    return lambda _: tuple(parts)


WHERE = st.floats(0, 1, exclude_max=True)
SPOILINGS = st.builds(
    Spoiling,
    st.none() | st.sampled_from([*KINDS, "leave", "over", "", "\x00"]),
    st.sampled_from([lambda parts: parts, lambda parts: parts[::-1], lambda parts: parts * 2, lambda parts: parts[1:]])
    | st.lists(st.binary(max_size=40), max_size=4).map(_instead),
    WHERE,
    st.dictionaries(WHERE, st.integers(1, 255), max_size=3),
)


@given(SPOILINGS, SPOILINGS, st.integers(0, 3), st.sampled_from(PROCESSES), st.sampled_from([SEMI_HONEST, ACTIVE]))
@settings(max_examples=80)
def test_whatever_a_peer_sends_costs_one_round_at_most(
    told: Spoiling, answered: Spoiling, exchanges: int, live: Live, threat_model: ThreatModel
) -> None:
    """Neither side ever raises; the others have their sum, or a round ends by name."""
    config = small_round(4, threat_model, threshold=3, max_colluding=0)
    peers = participants(4, live=live)
    made = carried(config, peers)
    channel = Channel(made, peers)
    for _ in range(exchanges):
        channel.exchange()
    victim, liar = "participant-00001", "participant-00002"
    down = made.steps()
    for name, step in down.items():
        given_step = told(step) if name == victim else step
        for reply in peers[name].answer([given_step], contribute_as(name)):
            made.take(name, answered(reply) if name == liar else reply)
    made.close()
    channel.play()
    assert made.outcome is not None
    others = set(made.dropped) - {victim, liar}  # whoever got a spoilt share of the liar refuses it, and names it
    assert all(made.dropped[name].startswith("refused") for name in others)
    assert not others or exchanges == 1
    assert all(reason.isprintable() and len(reason) <= 300 for reason in made.dropped.values())
    if isinstance(made.outcome, Aggregate):
        assert {"participant-00003", "participant-00004"} - others <= set(made.outcome.survivors)
