"""One signature of a participant in a phase is kept: ECDSA gives its holder valid ones without end, and each that
counted anew would be an event, a line of the journal, and a change of what was signed.
"""

from collections.abc import Callable, Iterable

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from secagg import roster as rosters
from secagg.errors import ProtocolViolation
from secagg.events import MessageAccepted
from secagg.homomorphic import transcripts
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import ConsistencyCheck, ParticipantId, Phase, RecoveryCheck
from secagg.rounds.coordinator_phase import OneMessagePhase
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.network import Envelope, Hook, Run, Up
from tests.encrypted_rounds import Dropout, dropping, encrypted_config, prepare
from tests.rounds import ACTIVE, make_config, start

AGAIN = 20
Signed = ConsistencyCheck | RecoveryCheck


def signing_again(name: ParticipantId, runs: list[Run], around: Hook) -> Hook:
    """`name` signs what it is to sign over and over, with fresh nonces."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.participant == name and isinstance(envelope.message, Signed):
            kind, (run,) = type(envelope.message), runs
            key = run.participants[name].membership.required_credentials.identity._key
            for _ in range(AGAIN):
                signature = key.sign(to_sign(run, kind), ec.ECDSA(hashes.SHA256()))
                yield Up(name, kind(signature), envelope.phase)
        else:
            yield from around(envelope)

    return hook


def to_sign(run: Run, kind: type[Signed]) -> bytes:
    state = run.coordinator._state
    if not isinstance(state, JointKeyState):
        return rosters.survivors_to_sign(state.round.context, state.round.roster_digest, state.sets)
    if kind is ConsistencyCheck:
        return state.to_sign
    return transcripts.recovery(state.round.context, state.members.roster, state.fallen)


def outcome(make: Callable[[Hook], Run], around: Hook = lambda e: (e,)) -> tuple[Run, dict[Phase, int]]:
    """The round, and how often the coordinator accepted the signature of the second participant, by phase."""
    runs: list[Run] = []
    name = ParticipantId("participant-00002")
    runs.append(make(signing_again(name, runs, around)))
    runs[0].play()
    accepted = [e.phase for e in runs[0].events if isinstance(e, MessageAccepted) and e.participant == name]
    return runs[0], {phase: accepted.count(phase) for phase in accepted}


def masked(hook: Hook) -> Run:
    return start(make_config(4, ACTIVE), hook=hook)


def joint(hook: Hook) -> Run:
    return prepare(encrypted_config(Scheme.BFV, Custody.THRESHOLD), hook=hook)


def test_a_masked_round_keeps_one_signature_of_each() -> None:
    run, accepted = outcome(masked)
    assert accepted[Phase.CONSISTENCY_CHECK] == 1
    assert [type(error) for _, error in run.refused] == [ProtocolViolation] * (AGAIN - 1)
    assert run.coordinator.aggregate is not None


def test_without_the_check_a_masked_round_takes_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, OneMessagePhase, "take", "C35")
    _, accepted = outcome(masked)
    assert accepted[Phase.CONSISTENCY_CHECK] == AGAIN


FALLEN = {ParticipantId("participant-00005"): Dropout(Phase.PARTIAL_DECRYPTION, "silent")}


def test_a_round_with_a_joint_key_keeps_one_signature_of_each() -> None:
    run, accepted = outcome(joint, dropping(encrypted_config(Scheme.BFV, Custody.THRESHOLD), FALLEN))
    assert accepted[Phase.CONSISTENCY_CHECK] == accepted[Phase.RECOVERY_CHECK] == 1
    assert run.coordinator.aggregate is not None


def test_without_the_check_a_round_with_a_joint_key_takes_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, OneMessagePhase, "take", "C35")
    _, accepted = outcome(joint, dropping(encrypted_config(Scheme.BFV, Custody.THRESHOLD), FALLEN))
    assert accepted[Phase.CONSISTENCY_CHECK] == accepted[Phase.RECOVERY_CHECK] == AGAIN
