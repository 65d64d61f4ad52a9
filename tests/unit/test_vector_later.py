"""A participant without a vector until its input is due: the vector comes with the message that asks for it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from secagg.config import RoundConfig
from secagg.context import Round
from secagg.errors import LocalError, ModelMismatch, ProtocolViolation
from secagg.lattice.jobs import Desk
from secagg.lattice.parameters import Scheme
from secagg.messages import ParticipantId, Phase, SurvivorSet
from secagg.phases import input_phase, phases
from secagg.schemes import take_part
from secagg.tools.redteam.self_test.patches import Patch, without_check
from secagg.tools.simulation.network import Down, Envelope, Run
from tests.encrypted_rounds import DEALT, JOINT, TOLERANT, encrypted_config, prepare
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, true_sum

MASKED = (make_config(5), make_config(5, SEMI_HONEST))
"""Rounds of both threat models."""
POLICY = replace(TOLERANT, threat_models=frozenset({ACTIVE, SEMI_HONEST}))


def rounds() -> list[RoundConfig]:
    return [*MASKED, *(encrypted_config(Scheme.BFV, custody, 5, vector_len=3) for custody in (DEALT, JOINT))]


@dataclass
class Later:
    """A hook under which everyone hands in its vector just before the message that it is needed for."""

    runs: list[Run] = field(default_factory=list)
    asked_in: set[Phase] = field(default_factory=set)

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        run, name = self.runs[0], envelope.participant
        if isinstance(envelope, Down) and run.participants[name].needs_vector:
            self.asked_in.add(envelope.phase)
            with pytest.raises(LocalError, match=r"hand in the vector with provide\(\)"):
                run.participants[name].receive(envelope.message, run.now)
            run.participants[name].provide(run.vectors[name], run.coordinator.round.config.model_digest)
            assert not run.participants[name].needs_vector
        return (envelope,)


def without_vectors(config: RoundConfig, hook: Later) -> Run:
    run = prepare(config, hook=hook, policy=POLICY)
    for name, participant in run.participants.items():
        run.participants[name] = take_part(participant.membership, None, Desk)
    hook.runs.append(run)
    return run


@pytest.mark.parametrize("number", range(4), ids=["active", "semi-honest", "dealt-key", "joint-key"])
def test_a_vector_that_comes_with_the_message_that_needs_it_is_in_the_sum(number: int) -> None:
    config, hook = rounds()[number], Later()
    run = without_vectors(config, hook)
    made = run.play().aggregate
    assert made is not None
    assert np.array_equal(made.sums, true_sum(run, [ParticipantId(name) for name in made.survivors]))
    order = phases(config)
    assert hook.asked_in == {order[order.index(input_phase(config)) - 1]}
    assert run.errors == {}


def test_a_session_takes_one_vector() -> None:
    run = prepare(MASKED[0], policy=POLICY)
    name, participant = next(iter(run.participants.items()))
    with pytest.raises(LocalError, match="a vector was handed in before"):
        participant.provide(run.vectors[name], MASKED[0].model_digest)


def test_a_message_of_another_kind_ends_the_round_though_no_vector_was_handed_in() -> None:
    run = without_vectors(MASKED[0], Later())
    participant = next(iter(run.participants.values()))
    with pytest.raises(ProtocolViolation, match="SurvivorSet was not expected now"):
        participant.receive(SurvivorSet((), ()), run.now)
    assert participant.awaits is None


def hand_in_for_another_model() -> None:
    run = without_vectors(MASKED[0], Later())
    name, participant = next(iter(run.participants.items()))
    participant.provide(run.vectors[name], b"\1" * 32)


def test_a_vector_of_another_model_is_refused() -> None:
    with pytest.raises(ModelMismatch, match="the round is about model 00000000") as refused:
        hand_in_for_another_model()
    assert refused.value.culprit == "coordinator"


def test_without_the_comparison_a_vector_of_another_model_is_taken() -> None:
    with Patch() as patch:
        without_check(patch, Round, "about", "C4")
        hand_in_for_another_model()
