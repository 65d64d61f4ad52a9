"""The coordinator of a round with a joint key: it adds ciphertexts, and opens the sum with partial decryptions."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from secagg.aggregates import Aggregate
from secagg.context import Round
from secagg.crypto import labels, shamir, signing
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest
from secagg.errors import AbortReason, AuthenticationError, DecodeError, ProtocolViolation, RoundAborted
from secagg.events import Event
from secagg.homomorphic import transcripts
from secagg.homomorphic.dealt_coordinator import check_chunk, refuse_transparent
from secagg.homomorphic.dealt_participant import profile_of
from secagg.lattice.decoding import decode
from secagg.lattice.keyshares import (
    check_commitment,
    check_recovered_seed,
    fallen_part,
    joint_key,
    unpack_key_share,
)
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import U64
from secagg.lattice.residues import Accumulator, pack_residues, unpack_chunk
from secagg.lattice.rlwe import SecretKey, add
from secagg.lattice.summation import Aggregate as EncryptedAggregate
from secagg.lattice.summation import PublicKeySum
from secagg.messages import (
    ConsistencyCheck,
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedInputChunk,
    EncryptedSum,
    FallenSet,
    Index,
    PartialChunk,
    ParticipantId,
    ParticipantMessage,
    RecoverSeeds,
    RecoveryCheck,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
)
from secagg.phases import Phase
from secagg.rounds import dealing
from secagg.rounds.engine import Engine
from secagg.rounds.recovery import Recovery, Wanted, salt_from
from secagg.rounds.releases import Claim
from secagg.rounds.uploads import Spool, Uploads

SignedT = TypeVar("SignedT", ConsistencyCheck, RecoveryCheck)


class JointKeyCoordinator(Engine):
    """One round in custody `threshold` (experimental)."""

    _kind = dealing.SEED_SHARE

    def __init__(self, round_: Round, *, now: float, trust: TrustAnchors, spool: Spool, claim: Claim) -> None:
        """See `Engine`. `spool` keeps incomplete vectors."""
        super().__init__(round_, now=now, trust=trust, claim=claim)
        config = round_.config
        self._profile = profile_of(config)
        self._sum = PublicKeySum(self._profile, config.vector_len)
        self._single = layout_of(self._profile, config.vector_len, 1)
        self._partials = Accumulator(self._single)
        self._inputs = Uploads(
            Phase.ENCRYPTED_INPUT, self._sum.upload.chunks, spool, check=self._check_input, fold=self._sum.add
        )
        self._parts = Uploads(
            Phase.PARTIAL_DECRYPTION, self._single.chunks, spool, check=self._check_part, fold=self._partials.add
        )
        self._shared: dict[Index, ShareKeys] = {}
        self._joint_digest = b""
        self._total: EncryptedAggregate | None = None
        self._encrypted = EncryptedSum(SurvivorSet((), ()), (), ())
        self._signed: dict[Index, ConsistencyCheck] = {}
        self._to_sign = b""
        self._fallen: tuple[Index, ...] = ()
        self._agreed: dict[Index, RecoveryCheck] = {}
        self._revealed: dict[Index, RecoverSeeds] = {}

    def received_chunks(self, participant: ParticipantId) -> int:
        """See `Engine`."""
        in_parts = self.phase is Phase.PARTIAL_DECRYPTION or self._uploading(self._parts, participant) > 0
        return self._uploading(self._parts if in_parts else self._inputs, participant)

    # --- taking messages ----------------------------------------------------------------------------------------------

    def _take(self, index: Index, message: ParticipantMessage) -> bool:
        name = self._joining.name(index)
        match message:
            case ShareKeys():
                self._take_share(index, message, name)
            case EncryptedInputChunk():
                return self._take_input(index, message, name)
            case ConsistencyCheck():
                self._take_signature(self._signed, index, message, self._to_sign)
            case PartialChunk():
                return self._parts.add(index, message.number, message.payload, name=name)
            case RecoveryCheck():
                signed = transcripts.recovery(self.round.context, self._joining.roster, self._fallen)
                self._take_signature(self._agreed, index, message, signed)
            case RecoverSeeds():
                self._take_pieces(index, message, name)
            case _:
                raise ValueError(f"{type(message).__name__} is not of this scheme")
        return True

    def _take_signature(self, kept: dict[Index, SignedT], index: Index, message: SignedT, signed: bytes) -> None:
        name = self._joining.name(index)
        if index in kept:  # check: C35  # whoever holds the key can make valid signatures without end
            raise ProtocolViolation(f"{name} signed before", culprit=name)
        self._verify(name, signed, message.signature)
        kept[index] = message

    def _verify(self, name: ParticipantId, signed: bytes, signature: bytes) -> None:
        signing.verify(self._joining.identities[name].public_key, signed, signature, culprit=name)  # check: C73

    def _take_share(self, index: Index, message: ShareKeys, name: ParticipantId) -> None:
        if index in self._shared:
            raise ProtocolViolation(f"{name} shared another key before", culprit=name)
        if set(message.sealed) != set(self._joining.members) - {index}:  # check: C69
            raise ProtocolViolation(f"{name} must seal its seed to everyone, no more and no fewer", culprit=name)
        if message.commitment:
            raise DecodeError(f"{name}: a commitment, which belongs to the keys of this scheme", culprit=name)
        for entry in message.sealed.values():
            self._kind.check_size(entry, signed=True, sender=name)  # check: C70-entry
        committed = self._joining.members[index].keys.key_share_commitment
        check_commitment(committed, self.round.context, name, message.key_share)  # check: C71
        try:
            unpack_key_share(self._profile, message.key_share)
        except DecodeError as error:
            raise DecodeError(f"{name}: {error}", culprit=name) from None
        self._shared[index] = message

    def _take_input(self, index: Index, message: EncryptedInputChunk, name: ParticipantId) -> bool:
        if message.seed:  # check: C74
            raise DecodeError(f"{name}: there is no seed under a joint key", culprit=name)
        binding = transcripts.input_binding(self.round.context, name, self._profile, self._joint_digest, b"")
        check_chunk(binding, message, name)
        return self._inputs.add(index, message.number, message.payload, name=name)

    def _check_input(self, number: int, payload: bytes) -> None:
        unpack_chunk(self._sum.upload, number, payload)

    def _check_part(self, number: int, payload: bytes) -> None:
        unpack_chunk(self._single, number, payload)

    def _take_pieces(self, index: Index, message: RecoverSeeds, name: ParticipantId) -> None:
        if index in self._revealed:
            raise ProtocolViolation(f"{name} revealed other shares before", culprit=name)
        if set(message.shares) != set(self._fallen):  # check: C82
            raise ProtocolViolation(f"{name} must reveal one share for each fallen decryptor", culprit=name)
        for owner, piece in message.shares.items():
            try:
                shamir.decode_share(piece.expose())
            except DecodeError as error:
                raise DecodeError(f"{name}: {error}", culprit=name) from None
            dealt_by, holder = self._joining.name(owner), self._joining.members[index]
            made = transcripts.seed_share_digest(self.round.context, dealt_by, holder, piece)
            if made != self._kind.digest_in(self._shared[owner].sealed[index], 0):  # check: C91
                raise self._refuse_wrong_share(dealt_by, name)
        self._revealed[index] = message

    def _is_repeated(self, index: Index, message: ParticipantMessage) -> bool:
        kept: tuple[Mapping[Index, ParticipantMessage], ...] = (
            self._shared,
            self._signed,
            self._agreed,
            self._revealed,
        )
        return message in [messages[index] for messages in kept if index in messages]

    # --- closing phases -----------------------------------------------------------------------------------------------

    def _delivered(self, index: Index, phase: Phase) -> bool:
        match phase:
            case Phase.SHARE_KEYS:
                return index in self._shared
            case Phase.ENCRYPTED_INPUT:
                return self._inputs.complete(index)
            case Phase.CONSISTENCY_CHECK:
                return index in self._signed
            case Phase.PARTIAL_DECRYPTION:
                return self._parts.complete(index)
            case Phase.RECOVERY_CHECK:
                return index in self._agreed
            case _:
                return index in self._revealed

    def _answer(self, index: Index, phase: Phase) -> CoordinatorMessage:
        match phase:
            case Phase.SHARE_KEYS:
                sealed = {i: m.sealed[index] for i, m in self._shared.items() if i != index}
                return ShareDelivery(sealed, {i: m.key_share for i, m in self._shared.items()})
            case Phase.ENCRYPTED_INPUT:
                return self._encrypted
            case Phase.CONSISTENCY_CHECK:
                return ConsistencyProof({i: m.signature for i, m in self._signed.items()})
            case Phase.PARTIAL_DECRYPTION:
                return FallenSet(self._fallen)
            case Phase.RECOVERY_CHECK:
                return ConsistencyProof({i: m.signature for i, m in self._agreed.items()})
            case _:
                raise ValueError("the last phase is not closed by a message; fetch the aggregate")

    def _dealt(self, owner: Index, holder: Index) -> bytes | None:
        shared = self._shared.get(owner)
        return None if shared is None else shared.sealed.get(holder)

    def _closed(self, phase: Phase, alive: set[Index]) -> list[Event]:
        if phase is Phase.SHARE_KEYS:
            shares = [unpack_key_share(self._profile, self._shared[i].key_share) for i in sorted(self._shared)]
            joint = joint_key(self._profile, shares)
            self._joint_digest = digest(labels.RESIDUES_DIGEST, pack_residues(joint, self._profile.prime_bits))
        if phase is Phase.ENCRYPTED_INPUT:
            self._add_up(alive)
        if phase is Phase.PARTIAL_DECRYPTION:
            self._fallen = tuple(sorted(set(self._shared) - alive))
            for index in self._fallen:
                self._parts.discard(index)
        return []

    def _following(self, phase: Phase) -> Phase | None:
        if phase is Phase.PARTIAL_DECRYPTION and not self._fallen:
            return None
        return super()._following(phase)

    def _add_up(self, alive: set[Index]) -> None:
        dropped = sorted(set(self._shared) - alive)
        for index in dropped:
            self._inputs.discard(index)
        self._total = self._sum.finish()
        refuse_transparent(self._total)
        c1 = tuple(self._total.c1.chunk(i) for i in range(self._single.chunks))
        self._encrypted = EncryptedSum(SurvivorSet(tuple(sorted(alive)), tuple(dropped)), (), c1)
        self._to_sign = transcripts.decryption(
            self.round.context, self._joining.roster, self._encrypted.sets, self._total.c1.digest()
        )

    def _forget(self) -> None:
        for uploads in (self._inputs, self._parts):
            uploads.discard_incomplete()
        self._sum.forget()
        self._partials.forget()
        self._total = None
        self._encrypted = EncryptedSum(self._encrypted.sets, (), ())
        self._shared = {i: ShareKeys(b"", {}) for i in self._shared}
        self._revealed = {i: RecoverSeeds({}) for i in self._revealed}

    def _finish(self) -> list[Event]:
        """c0 + Σ d_u, plus the parts of the fallen; then decoded and rounded."""
        if self._total is None:
            raise ValueError("there is no sum to decrypt")
        salt = salt_from({i: m.shares for i, m in self._revealed.items()})
        recovery = Recovery(self._joining.members, self.round.config.threshold, salt)
        seeds = recovery.secrets(self._wanted(owner) for owner in self._fallen)
        c0, c1 = self._total.c0.residues[:, 0], self._total.c1.residues[:, 0]
        phase = add(self._profile.primes, c0, self._partials.finish().residues[:, 0])
        for owner in self._fallen:
            key = SecretKey(self._profile, seeds[owner], self.round.context)
            phase = add(self._profile.primes, phase, fallen_part(key, c1))
        survivors = self._encrypted.sets.survivors
        sums = self._decoded(phase, len(survivors))
        aggregate = Aggregate(sums, tuple(self._joining.name(i) for i in survivors))
        return [*recovery.wrong_shares(), *self._succeed(aggregate)]

    def _decoded(self, phase: U64, survivors: int) -> U64:
        config = self.round.config
        try:
            values = decode(self._profile, np.ascontiguousarray(phase), config.vector_len, survivors)
        except ProtocolViolation as error:
            # Nothing proves which input or partial decryption was wrong.
            raise RoundAborted(AbortReason.MALFORMED_SUM, f"the sum cannot be opened: {error}") from None
        return values.astype(config.ring_dtype)

    def _wanted(self, owner: Index) -> Wanted:
        name = self._joining.name(owner)

        def accepts(seed: Secret) -> bool:
            try:
                check_recovered_seed(self._profile, seed, self.round.context, name, self._shared[owner].key_share)
            except AuthenticationError:
                return False
            return True

        return Wanted(owner, {i: m.shares[owner] for i, m in self._revealed.items()}, accepts)
