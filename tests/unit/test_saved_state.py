"""Participants whose state outlives them: every state of every scheme, between any two messages."""

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.errors import ConfigError, IdentityError, LocalError, PolicyViolation, ProtocolViolation, SavedStateError
from secagg.homomorphic.dealt_key.scheme import STATES as DEALT_KEY_STATES
from secagg.homomorphic.joint_key.scheme import STATES as JOINT_KEY_STATES
from secagg.lattice.parameters import Custody, Scheme
from secagg.masked.scheme import STATES as MASKED_STATES
from secagg.messages import ParticipantId, Phase, Roster
from secagg.phases import input_phase, phases
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.saved_state import VERSION, MemoryStateKeys, StateKeys
from secagg.schemes import Participant, restore, save, saved_as
from secagg.tools.simulation.cohort import Deployment
from secagg.tools.simulation.network import Down, Envelope, Run
from tests.encrypted_rounds import CASES, Dropout, dropping, encrypted_config, prepare, short_chunks
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, make_config, start, true_sum
from tests.saving import Rebirths, brought_back, join_all, memory_keys, recording

MODELS = [SEMI_HONEST, ACTIVE]
ENCRYPTED = [encrypted_config(scheme, custody) for scheme, custody in CASES]
EVERY = [*(make_config(5, model) for model in MODELS), *ENCRYPTED]


def named(config: RoundConfig) -> str:
    return f"{config.scheme}-{config.threat_model.name}-{'joint' if config.joint else 'dealt' if config.dealt else ''}"


every_scheme = pytest.mark.parametrize("config", EVERY, ids=named)


def run_of(config: RoundConfig, **changes: Any) -> Run:
    return prepare(config, **changes) if config.homomorphic else start(config, **changes)


def right_sum(run: Run) -> None:
    """The sum that came out is the exact one of its survivors."""
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    names = [ParticipantId(name) for name in aggregate.survivors]
    modulus = np.uint64(2**run.coordinator.round.config.ring_bits)
    assert np.array_equal(aggregate.sums, true_sum(run, names) % modulus)


# --- every state ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threat_model", MODELS)
def test_a_masked_round_sends_the_same_bytes_when_everybody_is_saved_and_restored(threat_model: ThreatModel) -> None:
    config = make_config(5, threat_model, encoding=FixedPoint(1.0, 16, 100))
    plain, saved = start(config), start(config)
    rebirths = Rebirths(saved)
    with recording(plain) as before, recording(saved) as after:
        plain.play()
        saved.play()
    assert after == before
    assert {len(sealed) for sealed in rebirths.sealed.values()} == {len(phases(config)) - 1}
    right_sum(saved)


@pytest.mark.parametrize("config", ENCRYPTED, ids=named)
def test_a_homomorphic_round_gives_the_exact_sum_when_everybody_is_saved_and_restored(
    config: RoundConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    short_chunks(monkeypatch)
    run = run_of(config)
    rebirths = Rebirths(run)
    run.play()
    assert not run.errors
    right_sum(run)
    assert {len(sealed) for sealed in rebirths.sealed.values()} == {
        len([state for state in saved_as(config) if state.state.__name__ not in UNUSED])
    }
    if config.dealt:
        digests = {p.aggregate.sums.tobytes() for p in run.participants.values() if p.aggregate}
        assert len(digests) == 1


UNUSED = {"AwaitingRecoveryProof"}  # when nobody falls


@every_scheme
def test_dropouts_in_each_phase_leave_the_exact_sum_of_the_others(config: RoundConfig) -> None:
    for phase in phases(config)[1:]:
        config_ = replace(config, max_participants=5, threshold=4 if config.active_majority else 3)
        run = run_of(config_, hook=dropping(config_, {ParticipantId("participant-00002"): Dropout(phase, "silent")}))
        Rebirths(run)
        run.play()
        assert not run.errors, phase
        right_sum(run)
