"""Custody `threshold` (experimental). Adversaries: a participant with a rogue key, a coalition below the threshold, and
a coordinator that departs from the protocol where the participants can notice.

It may still choose what is decrypted, if it shows everyone the same: this custody is for one that does not.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, AuthenticationError, ProtocolViolation
from secagg.events import WrongShares
from secagg.homomorphic.joint_key import scheme as joint_key_scheme
from secagg.homomorphic.joint_key.consistency_check import ConsistencyCheckPhase
from secagg.homomorphic.joint_key.partial_decryption import PartialDecryptionPhase
from secagg.homomorphic.joint_key.recover_seeds import AwaitingRecoveryProof, RecoverSeedsPhase
from secagg.homomorphic.joint_key.recovery_check import AwaitingFallen, RecoveryCheckPhase
from secagg.homomorphic.joint_key.share_keys import ShareKeysPhase
from secagg.homomorphic.vectors import OnceVector
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import I64, U64
from secagg.lattice.parameters import Scheme
from secagg.lattice.residues import pack_residues, unpack_chunk
from secagg.lattice.rlwe import add, sub, ternary
from secagg.messages import (
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedSum,
    FallenSet,
    Index,
    PartialChunk,
    ParticipantId,
    ParticipantMessage,
    Phase,
    RecoverSeeds,
    RecoveryCheck,
    Roster,
    SurvivorSet,
)
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster
from secagg.schemes import coordinate
from secagg.tools.redteam.attacks.protocol.encrypted_messages import cancelling_shares
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Envelope, Run, Up
from tests.encrypted_rounds import BFV, JOINT, Dropout, dropping, encrypted_config, machine, prepare
from tests.rounds import NOW, deployment, true_sum, truth
from tests.security.encrypted_adversary import (
    Wiretap,
    answering,
    held_pieces,
    interpolated,
    opened_with,
    play_until,
    profile_of,
    sending,
    until,
)

NAMES = participant_names(5)
ATTACKER, VICTIM = NAMES[4], NAMES[1]
OTHERS = [name for name in NAMES if name != VICTIM]


def check_sum(run: Run, names: Iterable[ParticipantId]) -> None:
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    assert list(aggregate.survivors) == list(names)
    assert np.array_equal(aggregate.sums, true_sum(run, names))


# -- A rogue key. Adversary: a participant that speaks last, and cancels everyone else's share of the key. What it would
# win is a game of the red team.


def rogue(scheme: Scheme = BFV) -> tuple[Run, Wiretap]:
    tap = Wiretap()
    run = prepare(encrypted_config(scheme, JOINT), hook=tap)
    tap.change = cancelling_shares(run)
    return run, tap


@pytest.mark.parametrize("scheme", Scheme)
def test_a_key_share_that_was_not_committed_to(scheme: Scheme) -> None:
    run, _ = rogue(scheme)
    run.play()
    [(up, error)] = run.refused[:1]
    assert up.participant == ATTACKER
    assert isinstance(error, AuthenticationError)
    assert (error.culprit, "does not fit its commitment" in str(error)) == (ATTACKER, True)
    check_sum(run, NAMES[:4])


def test_participants_check_key_shares_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator that lets it pass, or makes up a share itself, gains nothing: nobody encrypts."""
    without_check(monkeypatch, ShareKeysPhase, "check", "C71")
    run, tap = rogue()
    run.play()
    for name in NAMES[:4]:
        error = run.errors[name]
        assert isinstance(error, AuthenticationError)
        assert error.culprit == COORDINATOR  # an honest one turns it away at the door
        assert tap.inputs(name) == []


# -- Coalitions. Adversary: the coordinator with some participants, who pool what they know and guess nothing.


def coalition(size: int) -> tuple[Run, bytes, list[Secret]]:
    """The victim's input, and the key seeds that the coalition arrives at: right if it is large enough."""
    tap = Wiretap(until(Phase.ENCRYPTED_INPUT))
    run = prepare(encrypted_config(BFV, JOINT, threshold=3), hook=tap)
    play_until(run)
    colluders = OTHERS[:size]
    known = {name: held_pieces(run, name) for name in colluders}
    seeds = []
    for index, name in enumerate(NAMES, start=1):
        pieces = {NAMES.index(n) + 1: held[Index(index)] for n, (_, held) in known.items()}
        seeds.append(known[name][0] if name in known else interpolated(pieces))
    return run, tap.inputs(VICTIM)[0], seeds


def test_a_coalition_below_the_threshold_cannot_decrypt() -> None:
    run, chunk, seeds = coalition(2)
    opened = opened_with(run, chunk, seeds)
    assert (opened == truth(run, VICTIM)).mean() < 0.05


def test_a_coalition_of_the_threshold_could() -> None:
    """The twin: t of them hold the key, as t of them do in the masked mode."""
    run, chunk, seeds = coalition(3)
    assert np.array_equal(opened_with(run, chunk, seeds), truth(run, VICTIM))


# -- What is decrypted. Adversary: a coordinator that shows one participant something else.


def other_survivors(message: CoordinatorMessage) -> CoordinatorMessage:
    assert isinstance(message, EncryptedSum)
    return replace(message, sets=SurvivorSet(message.sets.survivors[:-1], message.sets.survivors[-1:]))


def other_c1(run: Callable[[], Run]) -> Callable[[CoordinatorMessage], CoordinatorMessage]:
    """A ciphertext of the coordinator's choice: its c1 shifted by a constant that stands out of any flood."""

    def change(message: CoordinatorMessage) -> CoordinatorMessage:
        assert isinstance(message, EncryptedSum)
        return replace(message, c1=(shifted(run(), message.c1[0]),))

    return change


SHIFT = 1 << 80


def shifted(run: Run, chunk: bytes) -> bytes:
    profile = profile_of(run)
    layout = layout_of(profile, run.coordinator.round.config.vector_len, 1)
    shift = np.zeros((1, 1, len(profile.primes), profile.ring_degree), np.uint64)
    shift[0, 0, :, 0] = [SHIFT % prime for prime in profile.primes]
    return pack_residues(add(profile.primes, unpack_chunk(layout, 0, chunk), shift), profile.prime_bits)


def shown_to_one(kind: str) -> tuple[Run, Wiretap]:
    change = other_survivors if kind == "survivors" else other_c1(lambda: run)
    tap = Wiretap(answering(VICTIM, Phase.ENCRYPTED_INPUT, change))
    run = prepare(encrypted_config(BFV, JOINT), hook=tap)
    run.play()
    return run, tap


@pytest.mark.parametrize("kind", ["survivors", "c1"])
def test_another_view_is_not_signed_by_the_others(kind: str) -> None:
    run, tap = shown_to_one(kind)
    # An honest coordinator turns the signature away: it is not on what it had sent.
    [(up, error)] = run.refused[:1]
    assert (up.participant, type(error)) == (VICTIM, AuthenticationError)
    assert tap.sent(VICTIM, PartialChunk) == []
    check_sum(run, NAMES)


@pytest.mark.parametrize("kind", ["survivors", "c1"])
def test_a_coordinator_that_passes_it_on_is_named(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The list, or the ciphertext, is another than the others signed: nothing is decrypted by anyone."""
    monkeypatch.setattr(ConsistencyCheckPhase, "check", lambda *_: None)
    run, tap = shown_to_one(kind)
    for name in NAMES:
        error = run.errors[name]
        assert isinstance(error, AuthenticationError | ProtocolViolation)
        assert error.culprit == COORDINATOR
        assert tap.sent(name, PartialChunk) == []
    assert run.coordinator.aggregate is None


def test_without_the_signatures_the_victim_would_decrypt_what_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConsistencyCheckPhase, "check", lambda *_: None)
    monkeypatch.setattr(CheckedRoster, "check_signatures", lambda *_: None)
    run, tap = shown_to_one("c1")
    assert len(tap.sent(VICTIM, PartialChunk)) == 1
    assert run.coordinator.failure is not None
    assert run.coordinator.failure.reason is AbortReason.MALFORMED_SUM


@pytest.mark.parametrize("kind", ["too few", "a stranger", "swapped", "of another message"])
def test_proofs_that_do_not_add_up(kind: str) -> None:
    def other(message: CoordinatorMessage) -> CoordinatorMessage:
        assert isinstance(message, ConsistencyProof)
        signatures = dict(message.signatures)
        match kind:
            case "too few":
                return ConsistencyProof({i: signatures[i] for i in list(signatures)[:2]})
            case "a stranger":
                return ConsistencyProof({**signatures, Index(9): signatures[Index(1)]})
            case "swapped":
                return ConsistencyProof({**signatures, Index(1): signatures[Index(3)]})
        roster = run.coordinator.answer(VICTIM, Phase.ADVERTISE_KEYS)
        assert isinstance(roster, Roster)
        return ConsistencyProof({**signatures, Index(1): roster.members[0].keys.signature})

    tap = Wiretap(answering(VICTIM, Phase.CONSISTENCY_CHECK, other))
    run = prepare(encrypted_config(BFV, JOINT), hook=tap)
    run.play()
    error = run.errors[VICTIM]
    assert isinstance(error, ProtocolViolation | AuthenticationError)
    assert error.culprit == COORDINATOR
    assert tap.sent(VICTIM, PartialChunk) == []
    check_sum(run, NAMES)  # its seed was recovered: it had shared keys and sent its input


# -- A second partial. Adversary: a coordinator that asks one participant twice.


def upload_of(run: Run, message: EncryptedSum) -> list[bytes]:
    """The victim's partial decryption of `message`'s c1, which everyone has signed; asked for twice."""
    proof = {}
    for i, name in enumerate(NAMES, start=1):
        reply = machine(run, name).receive(message, run.now)
        assert isinstance(reply, ConsistencyCheck)
        proof[Index(i)] = reply.signature
    upload = machine(run, VICTIM).receive(ConsistencyProof(proof), run.now)
    assert isinstance(upload, OnceVector)
    return [chunk.payload for chunk in (*upload, *upload)]


def partial_of(run: Run, message: EncryptedSum) -> U64:
    """The same: uint64[1, primes, N]."""
    layout = layout_of(profile_of(run), run.coordinator.round.config.vector_len, 1)
    return unpack_chunk(layout, 0, upload_of(run, message)[0])[:, 0]


def before_decryption() -> tuple[Run, EncryptedSum]:
    tap = Wiretap(until(Phase.ENCRYPTED_INPUT))
    run = prepare(encrypted_config(BFV, JOINT), hook=tap)
    play_until(run)
    message = run.coordinator.answer(VICTIM, Phase.ENCRYPTED_INPUT)
    assert isinstance(message, EncryptedSum)
    return run, message


def test_a_second_partial_is_refused() -> None:
    run, message = before_decryption()
    partial_of(run, message)
    assert isinstance(machine(run, VICTIM)._state, AwaitingFallen)
    other = replace(message, c1=(shifted(run, message.c1[0]),))
    for again in (message, other, ConsistencyProof({})):
        with pytest.raises(ProtocolViolation, match=r"not expected now|nothing is answered twice") as caught:
            machine(run, VICTIM).receive(again, run.now)
        assert caught.value.culprit == COORDINATOR


def test_a_partial_that_is_sent_again_is_the_same() -> None:
    """A lost connection is no second partial: two floods of one c1 would average out."""
    run, message = before_decryption()
    first, again = upload_of(run, message)
    assert first == again


def test_two_partials_would_give_the_key_share_away() -> None:
    """The twin: the participant keeps its old state. Two c1 that differ by a constant show its key, coefficient by
    coefficient: the difference of the partials is SHIFT * s_u and two floods of 63 bits.
    """
    run, message = before_decryption()
    kept = {name: machine(run, name)._state for name in NAMES}
    seed, _ = held_pieces(run, VICTIM)
    first = partial_of(run, message)
    for name, state in kept.items():
        machine(run, name)._state = state
    second = partial_of(run, replace(message, c1=(shifted(run, message.c1[0]),)))
    profile = profile_of(run)
    difference = sub(profile.primes, second, first)[0]
    assert (key_from(difference, profile.primes) == ternary(seed, run.coordinator.round.context, 8192)).all()


def key_from(difference: U64, primes: tuple[int, ...]) -> I64:
    """round(difference / SHIFT), the difference put together from its residues and centred."""
    modulus = primes[0] * primes[1]
    factors = [modulus // q * pow(modulus // q, -1, q) for q in primes]
    whole = sum(difference[j].astype(object) * factors[j] for j in range(2)) % modulus
    centred = np.where(whole > modulus // 2, whole - modulus, whole)
    return np.array([(int(x) + SHIFT // 2) // SHIFT for x in centred], np.int64)


# -- Fallen decryptors. Adversary: a coordinator that names others than fell.


def with_fallen(answer: Callable[[CoordinatorMessage], CoordinatorMessage], victim: ParticipantId = VICTIM) -> Run:
    """Two of seven fall before they decrypt; `victim` is told otherwise."""
    config = encrypted_config(BFV, JOINT, 7)
    names = participant_names(7)
    gone = {names[5]: Dropout(Phase.CONSISTENCY_CHECK, "silent"), names[6]: Dropout(Phase.PARTIAL_DECRYPTION, "silent")}
    tap = Wiretap(chain(dropping(config, gone), answering(victim, Phase.PARTIAL_DECRYPTION, answer)))
    run = prepare(config, hook=tap)
    run.play()
    assert tap.sent(victim, RecoverSeeds) == []
    return run


FALLEN = {
    "more than n - t": ((1, 5, 6, 7), "below|fewer decryptors"),
    "ourselves": ((2, 6), "we are called fallen"),
    "one that did not sign is left out": ((7,), "did not sign"),
    "a stranger": ((6, 7, 9), "never shared"),
}


@pytest.mark.parametrize("kind", FALLEN)
def test_a_list_of_fallen_that_cannot_be(kind: str) -> None:
    fallen, message = FALLEN[kind]
    run = with_fallen(lambda _: FallenSet(tuple(map(Index, fallen))))
    error = run.errors[VICTIM]
    assert isinstance(error, ProtocolViolation)
    assert error.culprit == COORDINATOR
    assert any(word in str(error) for word in message.split("|"))
    check_sum(run, participant_names(7)[:5] + [participant_names(7)[i] for i in (5, 6)])


def test_another_list_than_the_others_signed() -> None:
    """A live decryptor is called fallen, to one participant: an honest coordinator refuses its signature."""
    run = with_fallen(lambda _: FallenSet((Index(1), Index(6), Index(7))))
    [(up, error)] = run.refused[:1]
    assert (up.participant, type(up.message), type(error)) == (VICTIM, RecoveryCheck, AuthenticationError)


def test_nobody_fell() -> None:
    run = with_fallen(lambda _: FallenSet(()))
    assert machine(run, VICTIM).awaits is None


TWO_LISTS = {
    # Participants 1, 2 and the colluder 3 hear that 4 and 5 fell; 4 and 5 hear that 1 and 2 did.
    NAMES[0]: (4, 5),
    NAMES[1]: (4, 5),
    NAMES[2]: (4, 5),
    NAMES[3]: (1, 2),
    NAMES[4]: (1, 2),
}
COLLUDER = NAMES[2]


class TwoFacedAtTheFallen(PartialDecryptionPhase):
    """Tells two lists of fallen decryptors when nobody fell."""

    ends_the_round = False

    def answer(self, index: Index) -> FallenSet:
        return FallenSet(tuple(map(Index, TWO_LISTS[self.state.members.name(index)])))


class TwoFacedAtTheCheck(RecoveryCheckPhase):
    """Shows each the signatures that fit its list."""

    def check(self, index: Index, message: RecoveryCheck, name: ParticipantId) -> None:
        return

    def answer(self, index: Index) -> CoordinatorMessage:
        fallen = TWO_LISTS[self.state.members.name(index)]
        alike = [i for i in self.accepted if TWO_LISTS[self.state.members.name(i)] == fallen]
        return ConsistencyProof({i: self.accepted[i].signature for i in alike})


class AnySeeds(RecoverSeedsPhase):
    """Takes whatever is revealed."""

    def check(self, index: Index, message: RecoverSeeds, name: ParticipantId) -> None:
        return


def two_lists() -> tuple[Run, Wiretap, dict[ParticipantId, tuple[Secret, Mapping[Index, Secret]]]]:
    """The round, and what everyone knew once inputs were encrypted."""
    known: dict[ParticipantId, tuple[Secret, Mapping[Index, Secret]]] = {}

    def note(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.phase is Phase.ENCRYPTED_INPUT:
            known[envelope.participant] = held_pieces(run, envelope.participant)
        return (envelope,)

    tap = Wiretap(note)
    run = prepare(encrypted_config(BFV, JOINT), hook=tap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joint_key_scheme, "PartialDecryptionPhase", TwoFacedAtTheFallen)
        patch.setattr(joint_key_scheme, "RecoveryCheckPhase", TwoFacedAtTheCheck)
        patch.setattr(joint_key_scheme, "RecoverSeedsPhase", AnySeeds)
        run.coordinator = coordinate(run.coordinator.round, now=NOW, trust=deployment().trust)
    run.play()
    return run, tap, known


def test_of_two_lists_only_one_is_signed_by_the_threshold() -> None:
    run, tap, _ = two_lists()
    assert [name for name in NAMES if tap.sent(name, RecoverSeeds)] == NAMES[:3]
    for name in NAMES[3:]:
        error = run.errors[name]
        assert isinstance(error, ProtocolViolation)
        assert (error.culprit, "2 signatures are below threshold" in str(error)) == (COORDINATOR, True)


def test_without_the_signatures_two_lists_would_give_the_whole_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: four seeds from two lists, the fifth is the colluder's own; the victim's update lies open."""
    without_check(monkeypatch, AwaitingRecoveryProof, "receive", "C67")
    run, tap, known = two_lists()
    pieces: dict[int, dict[int, Secret]] = {owner: {3: known[COLLUDER][1][Index(owner)]} for owner in (1, 2, 4, 5)}
    for holder, name in enumerate(NAMES, start=1):
        [message] = tap.sent(name, RecoverSeeds)
        assert isinstance(message, RecoverSeeds)
        for owner, piece in message.shares.items():
            pieces[owner][holder] = piece
    seeds = [known[COLLUDER][0], *map(interpolated, pieces.values())]
    assert np.array_equal(opened_with(run, tap.inputs(VICTIM)[0], seeds), truth(run, VICTIM))


def test_a_garbled_partial_ends_the_round_by_name() -> None:
    """Nothing proves a partial right. A wrong one costs the round; it does not hang, and no sum comes out."""

    def garble(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
        return (
            (replace(message, payload=bytes(len(message.payload))),)
            if isinstance(message, PartialChunk)
            else (message,)
        )

    for scheme in Scheme:
        run = prepare(encrypted_config(scheme, JOINT), hook=sending(ATTACKER, garble))
        run.play()
        assert run.coordinator.failure is not None
        assert run.coordinator.failure.reason is AbortReason.MALFORMED_SUM


def test_a_wrong_piece_of_a_seed_is_corrected_and_its_holder_named() -> None:
    config = encrypted_config(BFV, JOINT, 9)
    names = participant_names(9)
    liar = names[0]

    def lie(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
        if isinstance(message, RecoverSeeds):
            return (RecoverSeeds({owner: Secret(bytes(33)) for owner in message.shares}),)
        return (message,)

    run = prepare(
        config,
        hook=chain(dropping(config, {names[8]: Dropout(Phase.PARTIAL_DECRYPTION, "silent")}), sending(liar, lie)),
    )
    run.play()
    check_sum(run, names)
    assert [event.culprit for event in run.events if isinstance(event, WrongShares)] == [liar]
