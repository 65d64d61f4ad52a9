"""Whatever steps a hostile coordinator sends, in whatever order: each message of a round is answered once at most."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.steps import LEAVE, OVER, Step, over_step
from secagg_client.carried.terms import CarriedTerms

from secagg.context import RoundId
from secagg.messages import Phase
from tests.carrying import MODEL, PROCESSES, Answering, carried, contribute_as, participants, small_round
from tests.rounds import ACTIVE, SEMI_HONEST

Live = Callable[[CarriedTerms], Answering]
CONFIGS = [
    small_round(3, model, threshold=3, max_colluding=0, **named)
    for model in (ACTIVE, SEMI_HONEST)
    for named in ({}, {"model_digest": bytes(32), "model_later": True})
]
KINDS = [*map(str, Phase), OVER, LEAVE, "open", "", "?"]
VICTIM = "participant-00002"


def spoilt(rng: np.random.Generator, step: Step, rounds: list[RoundId]) -> Step:
    """A step with something of it changed; often nothing."""
    match rng.integers(8):
        case 0:
            return replace(step, round_id=rounds[rng.integers(len(rounds))])
        case 1:
            return replace(step, kind=KINDS[rng.integers(len(KINDS))])
        case 2 if step.parts and step.parts[0]:
            part = bytearray(step.parts[0])
            part[rng.integers(len(part))] ^= 1 << int(rng.integers(8))
            return replace(step, parts=(bytes(part), *step.parts[1:]))
        case 3:
            return replace(step, parts=step.parts * 2)
    return step


@pytest.mark.parametrize("live", PROCESSES)
@settings(max_examples=max(40, settings().max_examples // 3), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_each_message_of_a_round_is_answered_once_at_most(live: Live, seed: int) -> None:
    """Steps of two rounds, those of others among them, are repeated, exchanged, changed and sent in any order."""
    rng, peers = np.random.default_rng(seed), participants(3, live=live)
    rounds = [carried(CONFIGS[rng.integers(len(CONFIGS))], peers) for _ in range(2)]
    ids = [one.round_id for one in rounds]
    pool: list[Step] = [over_step(ids[0], None)]
    answered: Counter[tuple[RoundId, str]] = Counter()
    for _ in range(14):
        batch: list[Step] = []
        for one in rounds:
            assert isinstance(one, CarriedRound)
            if one.awaits_model:
                one.name_model(MODEL)
            for peer, step in one.steps().items():
                pool += [step] * (6 if peer == VICTIM else 1)  # its own are those that it might answer again
                if peer == VICTIM:
                    if rng.integers(8):
                        batch.append(step)
                    continue
                for reply in peers[peer].answer([step], contribute_as(peer)):
                    one.take(peer, reply)
        batch += [spoilt(rng, pool[rng.integers(len(pool))], ids) for _ in range(max(0, int(rng.integers(-2, 3))))]
        order = [batch[i] for i in rng.permutation(len(batch))]
        replies = peers[VICTIM].answer(order, contribute_as(VICTIM))
        for reply in replies:
            answered[reply.round_id, reply.kind] += reply.kind != LEAVE
            for one in rounds:
                if one.round_id == reply.round_id:
                    one.take(VICTIM, reply)
        for one in rounds:
            one.close()
    assert max(answered.values(), default=0) <= 1, answered
