"""The phase REPORT_SUM, only in custody `participants`: who decrypted which sum.

Participant: checks who is in the sum and that the ciphertext is well-formed; records the sum as opened; decrypts and
rounds it. It sends a signed digest of the sum, which shows nothing of it.

Coordinator: takes one signed report of each member. One sum must have been reported by t members or more, and no other;
whoever reported another one is told so. Where the FL server gets the sum, it answers each member whether to hand it in.
Else the round ends here: the coordinator knows who is in the sum and its digest, and not the sum.
"""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secagg.aggregates import Aggregate
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, ProtocolViolation, RoundAborted
from secagg.events import DropReason, Event, ParticipantDropped, SumDelivered
from secagg.homomorphic import encrypted_sum, transcripts
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicTurn
from secagg.homomorphic.vectors import Backend
from secagg.lattice.jobs import Decrypt, OpenDecryption, values_of
from secagg.lattice.layout import layout_of
from secagg.lattice.uploads import value_range
from secagg.messages import EncryptedSum, Index, Phase, ReleaseOrder, SumReport
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.rounds.session import Waiting
from secagg.wire.results import sums_digest


@dataclass(frozen=True, slots=True)
class AwaitingSum:
    """Our input is out; next comes the encrypted sum. Holds the key."""

    awaits: ClassVar = Phase.ENCRYPTED_INPUT
    takes: ClassVar = EncryptedSum
    checked: CheckedRoster
    seed: Secret
    confirmed: frozenset[Index]

    def receive(self, encrypted: EncryptedSum, turn: HomomorphicTurn) -> tuple[Waiting, SumReport]:
        """Decrypt, round, and say, signed, which sum it is."""
        checked, membership = self.checked, self.checked.membership
        encrypted_sum.check_sets(checked, encrypted.sets, self.confirmed)
        sums = self._decrypt(encrypted, turn.backend)
        names = tuple(checked.members[i].participant_id for i in encrypted.sets.survivors)
        aggregate = Aggregate(sums, names)
        digest = sums_digest(aggregate, membership.round.config)
        message = transcripts.sum_report(membership.round.context, checked.roster, encrypted.sets.survivors, digest)
        return turn.after(self, membership, aggregate), SumReport(digest, membership.sign(message))

    def _decrypt(self, encrypted: EncryptedSum, backend: Backend) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
        round_ = self.checked.membership.round
        config = round_.config
        profile = profile_of(config)
        layout = layout_of(profile, config.vector_len, 1)
        encrypted_sum.check_ciphertext(layout, encrypted.c0)
        encrypted_sum.check_ciphertext(layout, encrypted.c1)
        self.checked.claim_sum(set(encrypted.sets.survivors))  # check: C86
        backend.do(OpenDecryption(profile, self.seed.expose(), round_.context))
        sums = np.empty(config.vector_len, config.ring_dtype)
        for number in range(layout.chunks):
            start, stop = value_range(profile, layout, number, config.vector_len)
            survivors = len(encrypted.sets.survivors)
            chunks = encrypted.c0[number], encrypted.c1[number]
            sums[start:stop] = values_of(backend.do(Decrypt(layout, number, *chunks, stop - start, survivors)))
        return sums


class ReportSumPhase(SignaturePhase[SumReport]):
    """REPORT_SUM at the coordinator."""

    state: DealtKeyState
    phase = Phase.REPORT_SUM
    another = "reported another sum"
    opens_the_sum = True  # everyone was given it under their own key

    def to_sign(self, message: SumReport) -> bytes:
        """Who is in the sum, and the digest."""
        state = self.state
        return transcripts.sum_report(state.round.context, state.members.roster, state.sets.survivors, message.digest)

    def close(self, alive: set[Index]) -> list[Event]:
        """At least t participants must have decrypted the same sum; the others are dropped."""
        votes = Counter(self.accepted[i].digest for i in sorted(alive))
        threshold = self.state.round.config.threshold
        agreed = [digest for digest, count in votes.items() if count >= threshold]
        if len(agreed) != 1:  # check: C79
            raise RoundAborted(
                AbortReason.DISAGREEMENT,
                f"{len(agreed)} sums were reported by the threshold of {threshold} participants or more, not one; "
                f"the votes are {sorted(votes.values(), reverse=True)}",
            )
        self.state.sum_digest = agreed[0]
        others = sorted(alive - self.going_on(alive))
        return [ParticipantDropped(self.phase, self.state.members.name(i), DropReason.REFUSED) for i in others]

    def going_on(self, alive: set[Index]) -> set[Index]:
        """Those who reported the sum that was agreed on."""
        return {i for i in alive if self.accepted[i].digest == self.state.sum_digest}

    def answer(self, index: Index) -> ReleaseOrder:
        """Whether the member is to hand in the sum.

        Raises:
            ProtocolViolation: it reported another sum than the others did.
        """
        if self.accepted[index].digest != self.state.sum_digest:
            name = self.state.members.name(index)
            raise ProtocolViolation(f"{name} decrypted another sum than the others did", culprit=name)
        return ReleaseOrder(upload=index == self.state.asked)

    def finish(self) -> tuple[list[Event], SumDelivered]:
        """The sum stays with the participants."""
        return [], SumDelivered(self.state.survivors, self.state.sum_digest)
