"""Encrypted inputs (both custodies). Adversary: a participant, or the network, that sends what is no input of its own.

It is refused by name before anything is added, and the work of the others is kept.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import AbortReason, AuthenticationError, DecodeError, ProtocolViolation, RemoteError
from secagg.homomorphic import encrypted_input
from secagg.lattice.decoding import bfv_decode
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.residues import pack_residues
from secagg.lattice.rlwe import sub
from secagg.lattice.streams import SEED_SIZE
from secagg.messages import EncryptedInputChunk, ParticipantMessage
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Run, Up
from tests.encrypted_rounds import BFV, CASES, DEALT, JOINT, encrypted_config, prepare
from tests.rounds import true_sum, truth
from tests.security.encrypted_adversary import Wiretap, bound, profile_of, residues_of, sending

NAMES = participant_names(5)
ATTACKER, VICTIM = NAMES[4], NAMES[1]
HONEST = NAMES[:4]

Change = Callable[[Run, Wiretap, EncryptedInputChunk], EncryptedInputChunk]
"""What the attacker sends instead of its only chunk."""


def attacked(scheme: Scheme, custody: Custody, change: Change, *, then_honest: bool = False) -> Run:
    """A round in which the attacker sends something else, and perhaps its own input after it."""
    tap = Wiretap()

    def instead(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
        if not isinstance(message, EncryptedInputChunk):
            return (message,)
        altered = change(run, tap, message)
        assert altered != message
        return (altered, message) if then_honest else (altered,)

    tap.change = sending(ATTACKER, instead)
    run = prepare(encrypted_config(scheme, custody), hook=tap)
    run.play()
    return run


def refused(run: Run) -> RemoteError:
    """The only refusal of this round."""
    [(up, error)] = run.refused[:1]
    assert up.participant == ATTACKER
    assert isinstance(error, RemoteError)
    assert error.culprit == ATTACKER
    return error


def payload(change: Callable[[bytes], bytes]) -> Change:
    """The attacker computes the binding of what it made up."""
    return lambda run, tap, chunk: bound(run, tap, ATTACKER, replace(chunk, payload=change(chunk.payload)))


def unreduced(run: Run, tap: Wiretap, chunk: EncryptedInputChunk) -> EncryptedInputChunk:
    residues, profile = residues_of(run, chunk.payload).copy(), profile_of(run)
    residues[0, 0, 0, 7] = profile.primes[0]
    return bound(run, tap, ATTACKER, replace(chunk, payload=pack_residues(residues, profile.prime_bits)))


def of_another_round(run: Run, _tap: Wiretap, chunk: EncryptedInputChunk) -> EncryptedInputChunk:
    """Our own input to the same task in another round."""
    tap = Wiretap()
    prepare(run.coordinator.round.config, hook=tap, round_id=RoundId(bytes(16))).play()
    [other] = tap.sent(ATTACKER, EncryptedInputChunk)
    assert isinstance(other, EncryptedInputChunk)
    return other


def of_another_profile(run: Run, tap: Wiretap, chunk: EncryptedInputChunk) -> EncryptedInputChunk:
    return bound(run, tap, ATTACKER, chunk, replace(profile_of(run), ring_degree=32768))


def of_another_sender(run: Run, tap: Wiretap, chunk: EncryptedInputChunk) -> EncryptedInputChunk:
    [other] = tap.sent(VICTIM, EncryptedInputChunk)
    assert isinstance(other, EncryptedInputChunk)
    # In custody `participants` the seed alone would give it away.
    return replace(other, seed=chunk.seed)


def flipped(_run: Run, _tap: Wiretap, chunk: EncryptedInputChunk) -> EncryptedInputChunk:
    return replace(chunk, payload=flip(chunk.payload))


def flip(data: bytes) -> bytes:
    return data[:20] + bytes([data[20] ^ 4]) + data[21:]


BAD: dict[str, tuple[Change, type[RemoteError], str]] = {
    "another round": (of_another_round, AuthenticationError, "is of another round"),
    "another profile": (of_another_profile, AuthenticationError, "profile"),
    "another sender": (of_another_sender, AuthenticationError, "sender"),
    "a flipped bit": (flipped, AuthenticationError, "altered"),
    "a flipped binding": (lambda _r, _t, c: replace(c, binding=flip(c.binding)), AuthenticationError, "altered"),
    "truncated": (payload(lambda data: data[:-1]), DecodeError, "bytes, not"),
    "empty": (payload(lambda _: b""), DecodeError, "bytes, not"),
    "over-long": (payload(lambda data: data + b"\0"), DecodeError, "bytes, not"),
    "one block more": (payload(lambda data: data * 2), DecodeError, "bytes, not"),
    "an unreduced residue": (unreduced, DecodeError, "not below"),
    "all ones": (payload(lambda data: b"\xff" * len(data)), DecodeError, "not below"),
    "a later chunk first": (lambda r, t, c: bound(r, t, ATTACKER, replace(c, number=1)), RemoteError, "chunk|seed"),
    "a long seed": (lambda _r, _t, c: replace(c, seed=bytes(17)), DecodeError, "seed"),
}


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("kind", BAD)
def test_bad_inputs_are_refused_by_name_and_the_rest_is_kept(scheme: Scheme, custody: Custody, kind: str) -> None:
    change, error, message = BAD[kind]
    run = attacked(scheme, custody, change)
    found = refused(run)
    assert isinstance(found, error)
    assert any(word in str(found) for word in message.split("|"))
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    assert aggregate.survivors == tuple(HONEST)
    assert np.array_equal(aggregate.sums, true_sum(run, HONEST))


@pytest.mark.parametrize("custody", Custody)
@pytest.mark.parametrize("kind", BAD)
def test_what_was_refused_leaves_no_trace(custody: Custody, kind: str) -> None:
    """The sender may still send its own input: nothing of the bad one was added."""
    run = attacked(BFV, custody, BAD[kind][0], then_honest=True)
    refused(run)
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    assert np.array_equal(aggregate.sums, true_sum(run, NAMES))


@pytest.mark.parametrize(("scheme", "custody"), CASES)
@pytest.mark.parametrize("change", [of_another_round, flipped])
def test_without_bindings_one_bad_input_would_cost_everyone_the_round(
    monkeypatch: pytest.MonkeyPatch, scheme: Scheme, custody: Custody, change: Change
) -> None:
    without_check(monkeypatch, encrypted_input, "check_chunk", "C76")
    run = attacked(scheme, custody, change)
    assert run.refused == [] or custody is DEALT
    assert run.coordinator.aggregate is None
    assert run.coordinator.failure is not None
    reasons = {DEALT: AbortReason.BELOW_THRESHOLD, JOINT: AbortReason.MALFORMED_SUM}
    assert run.coordinator.failure.reason is reasons[custody]


# -- Equal seeds (custody `participants`). Adversary: the coordinator, which subtracts two ciphertexts.


class RepeatingRng(SeededRng):
    """Gives the first two participants the same stream seed."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self.seeds = 0

    def token(self, size: int) -> bytes:
        self.seeds += size == SEED_SIZE
        return bytes(SEED_SIZE) if size == SEED_SIZE and self.seeds <= 2 else super().token(size)


def difference(run: Run, tap: Wiretap) -> U64:
    """Slots of the difference of the first two inputs, if their c1 is the same."""
    first, second = (residues_of(run, tap.inputs(name)[0])[:, 0] for name in NAMES[:2])
    slots: U64 = bfv_decode(profile_of(run), sub(profile_of(run).primes, first, second))[0]
    return slots


def expected_difference(run: Run) -> U64:
    first, second = (truth(run, name).astype(object) for name in NAMES[:2])
    slots: U64 = ((first - second) % profile_of(run).plain_modulus).astype(np.uint64)
    return slots


def test_equal_seeds_are_refused() -> None:
    tap = Wiretap()
    run = prepare(encrypted_config(BFV, DEALT), hook=tap, rng=RepeatingRng())
    run.play()
    [(up, error)] = run.refused[:1]
    assert up.participant == NAMES[1]
    assert isinstance(error, ProtocolViolation)
    assert "repeats the seed" in str(error)
    assert error.culprit == NAMES[1]
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    assert np.array_equal(aggregate.sums, true_sum(run, [NAMES[0], *NAMES[2:]]))
    # And if it had been taken: c1 depends on the sender's name as well, so nothing shows.
    assert (difference(run, tap)[:64] == expected_difference(run)).mean() < 0.1


# -- A sum that hides nothing. Adversary: all senders together. Nobody else is harmed, but the round must end.


@pytest.mark.parametrize("custody", Custody)
def test_an_encrypted_sum_of_zeros_ends_the_round(custody: Custody) -> None:
    tap = Wiretap()

    def zeros(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and isinstance(envelope.message, EncryptedInputChunk):
            chunk = replace(envelope.message, payload=bytes(len(envelope.message.payload)))
            return (replace(envelope, message=bound(run, tap, envelope.participant, chunk)),)
        return (envelope,)

    tap.change = zeros
    run = prepare(encrypted_config(BFV, custody), hook=tap)
    run.play()
    assert run.coordinator.failure is not None
    assert run.coordinator.failure.reason is AbortReason.MALFORMED_SUM
    assert "transparent" in str(run.coordinator.failure)
