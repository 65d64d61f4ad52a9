"""Custody `participants`: one participant deals a key to the others, all encrypt under it, and all decrypt the sum.

One frozen class per state. Everyone seals a fresh key to everyone in ShareKeys; the one that counts is that of the
first who delivered, so a dealer that drops is replaced by the next without another round trip.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.encoding.packing import chunk_values, pack
from secagg.encoding.vector import IntegerVector
from secagg.errors import DecodeError, ProtocolViolation
from secagg.homomorphic import transcripts
from secagg.homomorphic.vectors import Backend, OnceVector, encrypted_input
from secagg.lattice.jobs import Decrypt, OpenDecryption, OpenSymmetric, values_of
from secagg.lattice.keyshares import dealt_key_digest
from secagg.lattice.layout import Layout, layout_of
from secagg.lattice.parameters import Profile
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.rlwe import KEY_SEED_SIZE
from secagg.lattice.streams import SEED_SIZE
from secagg.lattice.uploads import value_range
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyProof,
    EncryptedInputChunk,
    EncryptedSum,
    Index,
    KeyConfirmation,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
    SurvivorSet,
)
from secagg.phases import Phase
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.membership import Membership
from secagg.wire.results import sums_digest


def join(membership: Membership) -> tuple["AwaitingRoster", AdvertiseKeys]:
    """Round 0: a fresh channel key, signed.

    Raises:
        PolicyViolation: the round is below our policy.
    """
    membership.policy.check(membership.round.config)  # check: C3
    channel = KeyPair.generate(membership.rng)
    keys = membership.signed_keys(AdvertiseKeys(channel.public, b""))
    return AwaitingRoster(membership, channel, keys), keys


@dataclass(frozen=True, slots=True)
class AwaitingRoster:
    """Keys are advertised; next comes the roster. Holds secrets."""

    membership: Membership
    channel: KeyPair
    keys: AdvertiseKeys

    def on_roster(self, roster: Roster, now: float) -> tuple["AwaitingKey", ShareKeys]:
        """Check the roster; seal a fresh key to everyone, in case we are the dealer."""
        membership = self.membership
        checked = CheckedRoster.check(membership, roster, self.keys, now, signed=True)
        seed = Secret(membership.rng.token(KEY_SEED_SIZE))
        digest = dealt_key_digest(membership.round.context, seed)
        sealed = {
            i: dealing.seal(
                membership.round,
                dealing.DEALT_KEY,
                self.channel,
                sender=membership.participant_id,
                receiver=member,
                content=seed.expose(),
                digests=digest,
            )
            for i, member in checked.members.items()
            if i != checked.own_index
        }
        return AwaitingKey(checked, self.channel, seed), ShareKeys(digest, dealing.sign(checked, sealed))


@dataclass(frozen=True, slots=True)
class AwaitingKey:
    """Our key is out; next comes the dealer's, or nothing if we are the dealer. Holds secrets."""

    checked: CheckedRoster
    channel: KeyPair
    own_seed: Secret

    def on_delivery(self, delivery: ShareDelivery) -> tuple["AwaitingConfirmations", KeyConfirmation]:
        """Open the dealt key and say, signed, which key it is."""
        checked, membership = self.checked, self.checked.membership
        if len(delivery.sealed) > 1 or set(delivery.sealed) - (
            set(checked.members) - {checked.own_index}
        ):  # check: C49
            raise ProtocolViolation("there is one dealer, on the roster", culprit=COORDINATOR)
        dealer = next(iter(delivery.sealed), checked.own_index)
        seed = self.own_seed if dealer == checked.own_index else self._open(dealer, delivery.sealed[dealer])
        digest = dealt_key_digest(membership.round.context, seed)
        message = transcripts.key_confirmation(membership.round.context, checked.roster, dealer, digest)
        state = AwaitingConfirmations(checked, dealer, seed, message)
        return state, KeyConfirmation(digest, membership.sign(message))

    def _open(self, dealer: Index, sealed: bytes) -> Secret:
        checked = self.checked

        def read(content: bytes) -> tuple[Secret, bytes]:
            seed = Secret(content)
            return seed, dealt_key_digest(checked.membership.round.context, seed)

        opened = partial(
            dealing.unseal,
            checked.membership.round,
            dealing.DEALT_KEY,
            self.channel,
            sender=checked.members[dealer],
            receiver=checked.membership.participant_id,
            entry=sealed,
            read=read,
        )
        return dealing.received(checked, dealing.DEALT_KEY, dealer, sealed, opened)


@dataclass(frozen=True, slots=True)
class AwaitingConfirmations:
    """We hold a key; next come the others' signatures that they hold the same. Holds secrets."""

    checked: CheckedRoster
    dealer: Index
    seed: Secret
    message: bytes

    def on_proof(
        self, proof: ConsistencyProof, vector: IntegerVector, backend: Backend
    ) -> tuple["AwaitingSum", OnceVector[EncryptedInputChunk]]:
        """All who go on must have signed our key's digest; then encrypt."""
        checked, membership = self.checked, self.checked.membership
        profile = profile_of(membership.round.config)
        checked.check_signatures(proof.signatures, set(checked.members), self.message)
        stream_seed = membership.rng.token(SEED_SIZE)
        context, name = membership.round.context, membership.participant_id
        backend.do(OpenSymmetric(profile, self.seed.expose(), context, stream_seed, name))
        digest = dealt_key_digest(context, self.seed)
        binding = transcripts.input_binding(context, name, profile, digest, stream_seed)
        upload = encrypted_input(profile, vector, backend, seed=stream_seed, binding=binding)
        return AwaitingSum(checked, self.seed, set_of(proof)), upload


@dataclass(frozen=True, slots=True)
class AwaitingSum:
    """Our input is out; next comes the encrypted sum. Holds the key."""

    checked: CheckedRoster
    seed: Secret
    confirmed: frozenset[Index]

    def on_sum(self, encrypted: EncryptedSum, backend: Backend) -> tuple["AwaitingOrder", SumReport]:
        """Decrypt, round, and say, signed, which sum it is."""
        checked, membership = self.checked, self.checked.membership
        check_sets(checked, encrypted.sets, self.confirmed)
        sums = self._decrypt(encrypted, backend)
        names = tuple(checked.members[i].participant_id for i in encrypted.sets.survivors)
        aggregate = Aggregate(sums, names)
        digest = sums_digest(aggregate, membership.round.config)
        message = transcripts.sum_report(membership.round.context, checked.roster, encrypted.sets.survivors, digest)
        return AwaitingOrder(membership, aggregate), SumReport(digest, membership.sign(message))

    def _decrypt(self, encrypted: EncryptedSum, backend: Backend) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
        config = self.checked.membership.round.config
        profile = profile_of(config)
        layout = layout_of(profile, config.vector_len, 1)
        check_ciphertext(layout, encrypted.c0)
        check_ciphertext(layout, encrypted.c1)
        self.checked.claim_sum(set(encrypted.sets.survivors))
        backend.do(OpenDecryption(profile, self.seed.expose(), self.checked.membership.round.context))
        sums = np.empty(config.vector_len, config.ring_dtype)
        for number in range(layout.chunks):
            start, stop = value_range(profile, layout, number, config.vector_len)
            survivors = len(encrypted.sets.survivors)
            chunks = encrypted.c0[number], encrypted.c1[number]
            sums[start:stop] = values_of(backend.do(Decrypt(layout, number, *chunks, stop - start, survivors)))
        return sums


@dataclass(frozen=True, slots=True)
class AwaitingOrder:
    """We know the sum; next the coordinator may ask for it, if the task gives it to the FL server."""

    membership: Membership
    aggregate: Aggregate

    def on_order(self, order: ReleaseOrder) -> OnceVector[SumChunk] | None:
        """The packed sum, or nothing."""
        config = self.membership.round.config
        if not order.upload:
            return None
        if not config.release_to_coordinator:  # check: C58
            raise ProtocolViolation("this task does not give the sum to the FL server", culprit=COORDINATOR)
        size = chunk_values(config.ring_bits)

        def make(number: int) -> SumChunk:
            return SumChunk(number, pack(self.aggregate.sums[number * size : (number + 1) * size], config.ring_bits))

        return OnceVector(Phase.RELEASE_SUM, -(-config.vector_len // size), make)


def profile_of(config: RoundConfig) -> Profile:
    """The profile of a homomorphic round."""
    if config.homomorphic is None:
        raise ValueError("a masked round has no profile")
    return config.homomorphic


def set_of(proof: ConsistencyProof) -> frozenset[Index]:
    """Who signed."""
    return frozenset(proof.signatures)


def check_sets(checked: CheckedRoster, sets: SurvivorSet, takers: frozenset[Index]) -> None:
    """Refuse survivors that are too few, strangers, or not us.

    Args:
        checked: our checked.
        sets: what the coordinator says.
        takers: who could have sent an input: those who shared keys, or confirmed the dealt one.

    Raises:
        ProtocolViolation: sets overlap, do not make up the takers, lack us, or are below the threshold.
        PolicyViolation: too few organisations among the survivors.
    """
    alive, gone, membership = set(sets.survivors), set(sets.dropped), checked.membership
    if alive & gone:  # check: C53-disjoint
        raise ProtocolViolation(f"{sorted(alive & gone)} are called both survivors and dropped", culprit=COORDINATOR)
    if alive | gone != takers:  # check: C53-takers
        raise ProtocolViolation("survivors and dropped are not those who went on to encrypt", culprit=COORDINATOR)
    if checked.own_index not in alive:  # check: C53-ourselves
        raise ProtocolViolation("our own input is called dropped", culprit=COORDINATOR)
    if len(alive) < membership.threshold:  # check: C53-threshold
        raise ProtocolViolation(
            f"{len(alive)} survivors are below threshold {membership.threshold}", culprit=COORDINATOR
        )
    checked.check_organisations(alive)


def check_ciphertext(layout: Layout, chunks: tuple[bytes, ...]) -> None:
    """Refuse residues that are malformed or hide nothing.

    Raises:
        DecodeError: a missing chunk, a wrong length, a residue that is not below its prime.
        ProtocolViolation: a polynomial is zero.
    """
    if len(chunks) != layout.chunks:  # check: C55
        raise DecodeError(f"the sum has {len(chunks)} chunks, not {layout.chunks}", culprit=COORDINATOR)
    for number, data in enumerate(chunks):
        try:
            residues = unpack_chunk(layout, number, data)
        except DecodeError as error:
            raise DecodeError(f"the encrypted sum: {error}", culprit=COORDINATOR) from None
        if not residues.any(axis=(2, 3)).all():  # check: C56
            raise ProtocolViolation("the encrypted sum is transparent: a polynomial is zero", culprit=COORDINATOR)
