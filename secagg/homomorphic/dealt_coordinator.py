"""The coordinator of a round whose key is with the participants: it adds ciphertexts that it cannot open."""

import hashlib
from collections import Counter

import numpy as np

from secagg.aggregates import Aggregate
from secagg.context import Round
from secagg.crypto import signing
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.packing import chunk_values, packed_size, unpack
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    DecodeError,
    ProtocolViolation,
    RoundAborted,
)
from secagg.events import DropReason, Event, ParticipantDropped, PhaseStarted, SumDelivered
from secagg.homomorphic import transcripts
from secagg.homomorphic.dealt_participant import profile_of
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.streams import SEED_SIZE, SeededPolynomials
from secagg.lattice.summation import Aggregate as EncryptedAggregate
from secagg.lattice.summation import SeededSum
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedInputChunk,
    EncryptedSum,
    Index,
    KeyConfirmation,
    ParticipantId,
    ParticipantMessage,
    ReleaseOrder,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
    SurvivorSet,
)
from secagg.phases import Phase, time_limit_s
from secagg.rounds import dealing
from secagg.rounds.engine import Engine
from secagg.rounds.releases import Claim
from secagg.rounds.uploads import Spool, Uploads

DIGEST_SIZE = 32


class DealtKeyCoordinator(Engine):
    """One round in custody `participants`."""

    _kind = dealing.DEALT_KEY

    def __init__(self, round_: Round, *, now: float, trust: TrustAnchors, spool: Spool, claim: Claim) -> None:
        """See `Engine`. `spool` keeps incomplete vectors."""
        super().__init__(round_, now=now, trust=trust, claim=claim)
        self._profile = profile_of(round_.config)
        self._sum = SeededSum(self._profile, round_.config.vector_len)
        self._inputs = Uploads(
            Phase.ENCRYPTED_INPUT, self._sum.upload.chunks, spool, check=self._check_input, fold=self._sum.add
        )
        self._shared: dict[Index, ShareKeys] = {}
        self._confirmed: dict[Index, KeyConfirmation] = {}
        self._seeds: dict[Index, bytes] = {}
        self._seed_owners: dict[bytes, Index] = {}
        self._encrypted = EncryptedSum(SurvivorSet((), ()), (), ())
        self._reports: dict[Index, SumReport] = {}
        self._digest = b""  # what most report
        self._candidates: list[Index] = []  # who may still be asked for the sum; the first is asked
        self._released = _ReleasedSum(round_)
        self._releases = Uploads(
            Phase.RELEASE_SUM, self._released.chunks, spool, check=self._released.check, fold=self._released.fold
        )

    @property
    def finishers(self) -> frozenset[Index]:
        """Who reported the sum that was agreed on and has not left."""
        return frozenset(set(self._candidates) - set(self._left))

    @property
    def dealer(self) -> Index:
        """Whose key counts: the first who shared one."""
        return min(self._shared)

    def received_chunks(self, participant: ParticipantId) -> int:
        """See `Engine`."""
        handing_in = self.phase is Phase.RELEASE_SUM or self._uploading(self._releases, participant) > 0
        return self._uploading(self._releases if handing_in else self._inputs, participant)

    def ready(self, participant: ParticipantId, phase: Phase) -> bool:
        """See `Engine`. While one participant hands in the sum, the others who reported wait: one may have to take
        over.
        """
        if phase is Phase.REPORT_SUM and self.phase is Phase.RELEASE_SUM:
            return [self._joining.index.get(participant)] == self._candidates[
                :1
            ]  # nobody, while the last one is let go
        return super().ready(participant, phase)

    # --- taking messages ----------------------------------------------------------------------------------------------

    def _take(self, index: Index, message: ParticipantMessage) -> bool:
        name = self._joining.name(index)
        match message:
            case ShareKeys():
                self._take_key(index, message, name)
            case KeyConfirmation():
                self._take_confirmation(index, message, name)
            case EncryptedInputChunk():
                return self._take_input(index, message, name)
            case SumReport():
                self._take_report(index, message, name)
            case SumChunk():
                return self._take_sum(index, message, name)
            case _:
                raise ValueError(f"{type(message).__name__} is not of this scheme")
        return True

    def _take_key(self, index: Index, message: ShareKeys, name: ParticipantId) -> None:
        if index in self._shared:  # check: C35
            raise ProtocolViolation(f"{name} shared another key before", culprit=name)
        if set(message.sealed) != set(self._joining.members) - {index}:  # check: C69
            raise ProtocolViolation(f"{name} must seal its key to everyone, no more and no fewer", culprit=name)
        for entry in message.sealed.values():
            self._kind.check_size(entry, signed=True, sender=name)  # check: C70-entry
        if len(message.commitment) != DIGEST_SIZE or message.key_share:  # check: C70-commitment
            raise DecodeError(f"{name}: the digest of a key is {DIGEST_SIZE} bytes, without a key share", culprit=name)
        if any(self._kind.digest_in(entry, 0) != message.commitment for entry in message.sealed.values()):  # check: C93
            raise ProtocolViolation(f"{name} dealt another key than the one it committed to", culprit=name)
        self._shared[index] = message

    def _take_confirmation(self, index: Index, message: KeyConfirmation, name: ParticipantId) -> None:
        if index in self._confirmed:
            raise ProtocolViolation(f"{name} confirmed another key before", culprit=name)
        if message.digest != self._shared[self.dealer].commitment:  # check: C72
            dealer = self._joining.name(self.dealer)
            raise AuthenticationError(f"{name} confirms another key than {dealer} committed to", culprit=name)
        signed = transcripts.key_confirmation(self.round.context, self._joining.roster, self.dealer, message.digest)
        signing.verify(self._joining.identities[name].public_key, signed, message.signature, culprit=name)  # check: C73
        self._confirmed[index] = message

    def _take_input(self, index: Index, message: EncryptedInputChunk, name: ParticipantId) -> bool:
        if message.number == 0:
            self._check_seed(index, message.seed, name)
        elif message.seed:
            raise DecodeError(f"{name}: the seed belongs into chunk 0", culprit=name)
        key, seed = self._shared[self.dealer].commitment, message.seed or self._seeds.get(index, b"")
        binding = transcripts.input_binding(self.round.context, name, self._profile, key, seed)
        check_chunk(binding, message, name)
        complete = self._inputs.add(index, message.number, message.payload, name=name)
        self._seeds[index] = seed
        self._seed_owners[seed] = index
        return complete

    def _check_seed(self, index: Index, seed: bytes, name: ParticipantId) -> None:
        """Fresh: under one key, equal seeds would show the difference of two updates."""
        if len(seed) != SEED_SIZE:  # check: C74
            raise DecodeError(f"{name}: a seed has {SEED_SIZE} bytes, not {len(seed)}", culprit=name)
        if self._seed_owners.get(seed, index) != index:  # check: C75
            raise ProtocolViolation(f"{name} repeats the seed of another participant", culprit=name)

    def _check_input(self, number: int, payload: bytes) -> None:
        unpack_chunk(self._sum.upload, number, payload)

    def _take_report(self, index: Index, message: SumReport, name: ParticipantId) -> None:
        if index in self._reports:
            raise ProtocolViolation(f"{name} reported another sum before", culprit=name)
        survivors = self._encrypted.sets.survivors
        signed = transcripts.sum_report(self.round.context, self._joining.roster, survivors, message.digest)
        signing.verify(self._joining.identities[name].public_key, signed, message.signature, culprit=name)  # check: C73
        self._reports[index] = message

    def _take_sum(self, index: Index, message: SumChunk, name: ParticipantId) -> bool:
        complete = self._releases.add(index, message.number, message.payload, name=name)
        if complete and self._released.digest() != self._digest:  # check: C81
            self._released.reset()
            self._expected.discard(index)  # not what it reported: the next is asked at once
        return complete

    def _is_repeated(self, index: Index, message: ParticipantMessage) -> bool:
        accepted = (self._shared.get(index), self._confirmed.get(index), self._reports.get(index))
        return message in [m for m in accepted if m is not None]

    # --- closing phases -----------------------------------------------------------------------------------------------

    def _delivered(self, index: Index, phase: Phase) -> bool:
        match phase:
            case Phase.SHARE_KEYS:
                return index in self._shared
            case Phase.CONFIRM_KEY:
                return index in self._confirmed
            case Phase.ENCRYPTED_INPUT:
                return self._inputs.complete(index)
            case Phase.REPORT_SUM:
                return index in self._reports
            case _:
                return self._releases.complete(index) and self._released.digest() == self._digest

    def _answer(self, index: Index, phase: Phase) -> CoordinatorMessage:
        match phase:
            case Phase.SHARE_KEYS:
                dealt = self._shared[self.dealer].sealed
                return ShareDelivery({self.dealer: dealt[index]} if index != self.dealer else {})
            case Phase.CONFIRM_KEY:
                return ConsistencyProof({i: m.signature for i, m in self._confirmed.items()})
            case Phase.ENCRYPTED_INPUT:
                return self._encrypted
            case Phase.REPORT_SUM:
                return self._order_for(index)
            case _:
                raise ValueError("the last phase is not closed by a message")

    def _order_for(self, index: Index) -> ReleaseOrder:
        if self._reports[index].digest != self._digest:
            name = self._joining.name(index)
            raise ProtocolViolation(f"{name} decrypted another sum than the others did", culprit=name)
        return ReleaseOrder(upload=self.phase is Phase.RELEASE_SUM and index == self._candidates[0])

    def _dealt(self, owner: Index, holder: Index) -> bytes | None:
        shared = self._shared.get(owner)
        return None if shared is None else shared.sealed.get(holder)

    def _closed(self, phase: Phase, alive: set[Index]) -> list[Event]:
        if phase is Phase.ENCRYPTED_INPUT:
            self._add_up(alive)
        if phase is Phase.REPORT_SUM:
            return self._compare_reports(alive)
        return []

    def _add_up(self, alive: set[Index]) -> None:
        dropped = sorted(set(self._confirmed) - alive)
        for index in dropped:
            self._inputs.discard(index)
        total = self._sum.finish([self._stream(i) for i in sorted(alive)])
        refuse_transparent(total)
        chunks = range(self._sum.upload.chunks)
        sets = SurvivorSet(tuple(sorted(alive)), tuple(dropped))
        self._encrypted = EncryptedSum(
            sets, tuple(total.c0.chunk(i) for i in chunks), tuple(total.c1.chunk(i) for i in chunks)
        )
        self._sum.forget()

    def _miss(self, name: ParticipantId, reason: DropReason) -> list[Event]:
        index = self._joining.index.get(name)
        if self.phase is Phase.RELEASE_SUM and index in self._candidates[1:]:
            self._candidates.remove(index)
            return [self._drop(name, reason)]
        return super()._miss(name, reason)

    def _left_over(self) -> int:
        """See `Engine`. Any one of those who hold the sum is enough."""
        return self.round.config.threshold if self.phase is Phase.RELEASE_SUM else super()._left_over()

    def _stream(self, owner: Index) -> SeededPolynomials:
        """The c1 of a survivor."""
        name = self._joining.name(owner)
        return SeededPolynomials(self._profile, self._seeds[owner], context=self.round.context, participant=name)

    def _compare_reports(self, alive: set[Index]) -> list[Event]:
        """At least t participants must have decrypted the same sum; the others are dropped."""
        votes = Counter(self._reports[i].digest for i in sorted(alive))
        threshold = self.round.config.threshold
        agreed = [digest for digest, count in votes.items() if count >= threshold]
        if len(agreed) != 1:  # check: C79
            raise RoundAborted(
                AbortReason.DISAGREEMENT,
                f"{len(agreed)} sums were reported by the threshold of {threshold} participants or more, not one; "
                f"the votes are {sorted(votes.values(), reverse=True)}",
            )
        self._digest = agreed[0]
        self._candidates = sorted(i for i in alive if self._reports[i].digest == self._digest)
        others = sorted(alive - set(self._candidates))
        return [ParticipantDropped(Phase.REPORT_SUM, self._joining.name(i), DropReason.REFUSED) for i in others]

    def _open(self, phase: Phase, now: float) -> list[Event]:
        if phase is not Phase.RELEASE_SUM:
            return super()._open(phase, now)
        gone = [i for i in self._candidates if i in self._left]
        self._candidates = [i for i in self._candidates if i not in self._left]
        dropped: list[Event] = [ParticipantDropped(phase, self._joining.name(i), self._left[i]) for i in gone]
        return dropped + self._ask_next(now)

    def _close(self, phase: Phase, now: float) -> list[Event]:
        """Of those who hold the sum one is enough; whoever fails to hand it in is followed by the next."""
        if phase is not Phase.RELEASE_SUM:
            return super()._close(phase, now)
        asked = self._candidates[0]
        if self._delivered(asked, phase):
            names = tuple(self._joining.name(i) for i in self._encrypted.sets.survivors)
            return self._succeed(Aggregate(self._released.sums, names))
        lied, late = self._releases.complete(asked), asked in self._expected  # else its good-bye was told
        self._releases.discard(asked)
        del self._candidates[0]
        reasons = [DropReason.REFUSED] if lied else [DropReason.DEADLINE] if late else []
        dropped: list[Event] = [ParticipantDropped(phase, self._joining.name(asked), reason) for reason in reasons]
        return dropped + self._ask_next(now)

    def _ask_next(self, now: float) -> list[Event]:
        if not self._candidates:
            return self._fail(RoundAborted(AbortReason.DISAGREEMENT, "nobody handed in the sum that all reported"))
        self.phase = Phase.RELEASE_SUM
        self._expected = {self._candidates[0]}
        self.deadline = now + time_limit_s(Phase.RELEASE_SUM, self.round.config.deadlines)
        return [PhaseStarted(Phase.RELEASE_SUM, self.deadline, 1)]

    def _forget(self) -> None:
        for uploads in (self._inputs, self._releases):
            uploads.discard_incomplete()
        self._sum.forget()
        self._released.forget()
        self._encrypted = EncryptedSum(self._encrypted.sets, (), ())
        self._shared = {i: ShareKeys(m.commitment, {}) for i, m in self._shared.items()}

    def _finish(self) -> list[Event]:
        self.phase = None
        names = tuple(self._joining.name(i) for i in self._encrypted.sets.survivors)
        self.delivered = SumDelivered(names, self._digest)
        return [self.delivered]


def check_chunk(binding: bytes, message: EncryptedInputChunk, name: ParticipantId) -> None:
    """Refuse a chunk that is not of this encrypted input.

    Raises:
        AuthenticationError: of another round, sender, profile, key or place, or altered.
    """
    if message.binding != transcripts.chunk_binding(binding, message.number, message.payload):  # check: C76
        raise AuthenticationError(
            f"chunk {message.number} of {name} was altered, or is of another round, sender, profile or key",
            culprit=name,
        )


def refuse_transparent(total: EncryptedAggregate) -> None:
    """End the round if its encrypted sum hides nothing: all its senders together sent zeros.

    Raises:
        RoundAborted: MALFORMED_SUM.
    """
    try:
        total.refuse_transparent()
    except ProtocolViolation as error:
        raise RoundAborted(AbortReason.MALFORMED_SUM, f"the encrypted sum is refused: {error}") from None


class _ReleasedSum:
    """The packed sum that a participant hands in."""

    def __init__(self, round_: Round) -> None:
        config = round_.config
        self._bits = config.ring_bits
        self._size = chunk_values(self._bits)
        self.sums = np.zeros(config.vector_len, config.ring_dtype)
        self.chunks = -(-config.vector_len // self._size)
        self._state = hashlib.sha256()

    def check(self, number: int, payload: bytes) -> None:
        count = min(self._size, len(self.sums) - number * self._size)
        if len(payload) != packed_size(count, self._bits):
            raise DecodeError(f"chunk {number} has {len(payload)} bytes, not {packed_size(count, self._bits)}")
        unpack(payload, count, self._bits)

    def fold(self, number: int, payload: bytes) -> None:
        part = self.sums[number * self._size : (number + 1) * self._size]
        part[:] = unpack(payload, len(part), self._bits)
        self._state.update(payload)

    def digest(self) -> bytes:
        return self._state.digest()

    def reset(self) -> None:
        self._state = hashlib.sha256()

    def forget(self) -> None:
        """Drop the sum; its digest stays known."""
        self.sums = self.sums[:0].copy()
