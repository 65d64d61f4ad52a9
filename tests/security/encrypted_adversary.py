"""What an adversary in a homomorphic round sees and does: eavesdropping, substitution, decryption."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from secagg.crypto import labels, polynomial, shamir
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.homomorphic import transcripts
from secagg.homomorphic.joint_key.consistency_check import AwaitingSum
from secagg.lattice.decoding import bfv_decode, ckks_decode
from secagg.lattice.keyshares import joint_key, unpack_key_share
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Profile, Scheme
from secagg.lattice.residues import pack_residues, unpack_chunk
from secagg.lattice.rlwe import SecretKey, add
from secagg.lattice.slots import bfv_values
from secagg.lattice.summation import upload_layout
from secagg.messages import (
    CoordinatorMessage,
    EncryptedInputChunk,
    Index,
    ParticipantId,
    ParticipantMessage,
    Phase,
    ShareKeys,
)
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up
from tests.encrypted_rounds import machine


def profile_of(run: Run) -> Profile:
    profile = run.coordinator.round.config.homomorphic
    assert profile is not None
    return profile


@dataclass
class Wiretap:
    """A hook that keeps what passes, and lets `change` replace it.

    Attributes:
        up: messages of participants, in order.
        down: answers, in order.
    """

    change: Hook = lambda envelope: (envelope,)
    up: list[Up] = field(default_factory=list)
    down: list[Down] = field(default_factory=list)

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        passed = list(self.change(envelope))
        for one in passed:
            if isinstance(one, Up):
                self.up.append(one)
            else:
                self.down.append(one)
        return passed

    def sent(self, name: ParticipantId, kind: type[ParticipantMessage]) -> list[ParticipantMessage]:
        """What arrived of `name`."""
        return [up.message for up in self.up if up.participant == name and isinstance(up.message, kind)]

    def inputs(self, name: ParticipantId) -> list[bytes]:
        """The chunks of an encrypted input."""
        return [m.payload for m in self.sent(name, EncryptedInputChunk) if isinstance(m, EncryptedInputChunk)]

    def key_shares(self) -> dict[ParticipantId, bytes]:
        """The packed share of each participant in a joint key."""
        return {up.participant: up.message.key_share for up in self.up if isinstance(up.message, ShareKeys)}


def answering(name: ParticipantId, phase: Phase, answer: Callable[[CoordinatorMessage], CoordinatorMessage]) -> Hook:
    """A coordinator that answers `name` in `phase` otherwise."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and (envelope.participant, envelope.phase) == (name, phase):
            return (replace(envelope, message=answer(envelope.message)),)
        return (envelope,)

    return hook


def sending(name: ParticipantId, change: Callable[[ParticipantMessage], Iterable[ParticipantMessage]]) -> Hook:
    """A participant that sends otherwise."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.participant == name:
            return [replace(envelope, message=message) for message in change(envelope.message)]
        return (envelope,)

    return hook


def key_digest(run: Run, tap: Wiretap) -> bytes:
    """What every encrypted input is bound to besides its sender: public, so an attacker has it, too."""
    dealer = min(run.participants)
    shared = next(m for m in tap.sent(dealer, ShareKeys) if isinstance(m, ShareKeys))
    if shared.commitment:
        return shared.commitment
    profile = profile_of(run)
    joint = joint_key(profile, [unpack_key_share(profile, share) for share in tap.key_shares().values()])
    return digest(labels.RESIDUES_DIGEST, pack_residues(joint, profile.prime_bits))


def bound(
    run: Run, tap: Wiretap, name: ParticipantId, chunk: EncryptedInputChunk, profile: Profile | None = None
) -> EncryptedInputChunk:
    """`chunk` with the binding that `name` would give it. One chunk only: the seed is that of the chunk itself."""
    binding = transcripts.input_binding(
        run.coordinator.round.context, name, profile or profile_of(run), key_digest(run, tap), chunk.seed
    )
    return replace(chunk, binding=transcripts.chunk_binding(binding, chunk.number, chunk.payload))


def residues_of(run: Run, chunk: bytes) -> U64:
    """The residues of a one-chunk input: uint64[blocks, polynomials, primes, N]."""
    profile = profile_of(run)
    return unpack_chunk(upload_layout(profile, run.coordinator.round.config.vector_len), 0, chunk)


def held_pieces(run: Run, name: ParticipantId) -> tuple[Secret, Mapping[Index, Secret]]:
    """What `name` knows once inputs are encrypted under a joint key: its own seed, and a piece of everyone's."""
    state = machine(run, name)._state
    assert isinstance(state, AwaitingSum)
    return state.seed, state.held


def interpolated(pieces: Mapping[int, Secret]) -> Secret:
    """The seed on the polynomial of lowest degree through the pieces: right if there are t of them."""
    points = {x: shamir.decode_share(piece.expose()) for x, piece in pieces.items()}
    weights = polynomial.lagrange_at_zero(tuple(points))
    constant = sum(a * y for a, y in zip(weights, points.values(), strict=True)) % polynomial.PRIME
    return Secret((constant % (1 << 256)).to_bytes(32, "big"))


def opened_with(run: Run, chunk: bytes, seeds: Collection[Secret]) -> U64:
    """An encrypted input under a joint key, opened with these parts of the key; right if they are all of them.

    uint64[vector_len]; no check that the values make sense.
    """
    profile, context = profile_of(run), run.coordinator.round.context
    residues = residues_of(run, chunk)
    phase, c1 = np.ascontiguousarray(residues[:, 0]), np.ascontiguousarray(residues[:, 1])
    for seed in seeds:
        phase = add(profile.primes, phase, SecretKey(profile, seed, context).times(c1))
    if profile.scheme is Scheme.BFV:
        values = bfv_values(profile, bfv_decode(profile, phase)).reshape(-1)
    else:
        slots = ckks_decode(profile, phase)
        values = np.rint(np.concatenate([slots.real, slots.imag], axis=-1)).astype(np.int64).astype(np.uint64)[0]
    return values[: run.coordinator.round.config.vector_len]


class Stopped(Exception):
    """The round stands still here."""


def until(phase: Phase) -> Hook:
    """A hook that stops the round before anyone hears of the end of `phase`."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and envelope.phase is phase:
            raise Stopped
        return (envelope,)

    return hook


def play_until(run: Run) -> None:
    """Play a run whose hook stops it."""
    try:
        run.play()
    except Stopped:
        return
    raise AssertionError("the round was not stopped")
