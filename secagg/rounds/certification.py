"""Signatures of the survivors under the result that they were given: the last step of a round that asks for it.

Without it each participant has the coordinator's word alone on the sum. With it, a participant that holds the
signatures of t survivors under its own digest knows that no other member can hold as many under another one: an honest
survivor signs once, and 2t > n + n_C. With a sparse graph the committee signs, and t_c of its signatures say the same.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from secagg.context import Round
from secagg.crypto import signing
from secagg.crypto.certificates import parse_der_chain, public_key_of
from secagg.errors import AuthenticationError, NotInRoundError, ProtocolViolation
from secagg.messages import ConsistencyProof, Index, ParticipantId, Roster
from secagg.roster import COORDINATOR, names_of, result_to_sign, roster_digest
from secagg.rounds.graph import neighbourhoods


@dataclass(frozen=True, slots=True)
class Result:
    """A round's result as one party sees it, and whose signatures under it count.

    Attributes:
        to_sign: what a survivor's signature covers.
        signers: those survivors who sign, by index: id and key. Their certificates were verified with the roster.
        threshold: signatures that certify it: t, or t_c.
        others: the survivors who do not sign: with a sparse graph, all but the committee.
    """

    to_sign: bytes
    signers: Mapping[Index, tuple[ParticipantId, ec.EllipticCurvePublicKey]]
    threshold: int
    others: frozenset[ParticipantId] = frozenset()

    @classmethod
    def of(cls, round_: Round, roster: Roster, survivors: Iterable[str], sums_digest: bytes) -> "Result":
        """Put together what survivors of `round_` sign.

        Args:
            round_: the round.
            roster: with certificates of all who sign, verified.
            survivors: ids of the participants whose updates are in the sum.
            sums_digest: 32 bytes, SHA-256 over the packed sum.
        """
        names, digest = set(survivors), roster_digest(roster)
        everyone = {Index(i): name for i, name in enumerate(names_of(roster), start=1)}
        alive = {index: name for index, name in everyone.items() if name in names}
        message = result_to_sign(round_.input_context, digest, alive, sums_digest)
        sign = neighbourhoods(round_.of_members(digest), len(everyone)).committee & alive.keys()
        chains = {m.index: m.keys.certificates for m in roster.members if m.index in sign}
        signers = {i: (alive[i], public_key_of(parse_der_chain(chain)[0])) for i, chain in chains.items()}
        others = frozenset(name for index, name in alive.items() if index not in sign)
        return cls(message, signers, round_.config.signatures_needed, others)

    def signature(self, own: ParticipantId, sign: Callable[[bytes], bytes]) -> bytes:
        """Our signature, made by `sign`; empty where others sign for us."""
        return b"" if own in self.others else sign(self.to_sign)

    def is_certified(self, proof: ConsistencyProof) -> bool:
        """Whether as many as are needed signed this very result.

        Raises:
            ProtocolViolation: somebody signed who is no survivor.
            AuthenticationError: a signature is under something else. The coordinator made it up, or told its signer
                another result: an honest one passes on no such signature.
        """
        if strangers := set(proof.signatures) - set(self.signers):  # check: C90
            raise ProtocolViolation(f"{sorted(strangers)} signed the result, who are no survivors", culprit=COORDINATOR)
        for index, signature in proof.signatures.items():
            name, key = self.signers[index]
            try:
                signing.verify(key, self.to_sign, signature, culprit=COORDINATOR)  # check: C90-signatures
            except AuthenticationError as error:
                raise AuthenticationError(
                    f"the signature of {name} is not under the result that we were given", culprit=COORDINATOR
                ) from error
        return len(proof.signatures) >= self.threshold


class Certification:
    """The coordinator's side: it collects signatures until everyone has signed who is waited for.

    Attributes:
        closed: whether it takes no more. The answer is then the same for everyone.
    """

    def __init__(self, result: Result, awaited: Iterable[Index]) -> None:
        """Args:
        result: what is to be signed.
        awaited: survivors who delivered in the last phase and so will hear the result.
        """
        self.closed = False
        self._result = result
        self._index = {name: index for index, (name, _) in result.signers.items()}
        self._awaited = set(awaited) & set(result.signers)
        self._signatures: dict[Index, bytes] = {}
        self._close_if_complete()

    def receive(self, sender: ParticipantId, signature: bytes) -> None:
        """Check a survivor's signature and take it. Raises as `check`."""
        self.check(sender, signature)
        self.take(sender, signature)

    def check(self, sender: ParticipantId, signature: bytes) -> None:
        """Refuse what must not be taken. This changes nothing, and so may run in any thread. Another signature of the
        same sender, or one that is late, is not looked at.

        Raises:
            NotInRoundError: the sender is no survivor.
            ProtocolViolation: it signed, and others sign for it.
            AuthenticationError: the signature is under something else.
        """
        if sender in self._result.others:
            if signature:  # check: C110-result
                raise ProtocolViolation(f"{sender} signed the result, and is not in the committee", culprit=sender)
            return
        index = self._index.get(sender)
        if index is None:
            raise NotInRoundError(f"{sender} is not in the sum of this round, so it does not sign the result")
        if self.closed or index in self._signatures:
            return
        signing.verify(
            self._result.signers[index][1], self._result.to_sign, signature, culprit=sender
        )  # check: certification-signature

    def take(self, sender: ParticipantId, signature: bytes) -> None:
        """Take a signature that was checked. Another one of the same sender, or one that is late, changes nothing."""
        index = self._index.get(sender)
        if index is not None and not self.closed and index not in self._signatures:
            self._signatures[index] = signature
            self._close_if_complete()

    def leave(self, sender: ParticipantId) -> None:
        """Stop waiting for `sender`."""
        index = self._index.get(sender)
        if index is not None:
            self._awaited.discard(index)
            self._close_if_complete()

    def restore(self, proof: ConsistencyProof) -> None:
        """No more signatures than these are taken; they were checked when they came."""
        self._signatures = dict(proof.signatures)
        self.closed = True

    def close(self) -> None:
        """Take no more signatures: the time is over."""
        self.closed = True

    def proof(self) -> ConsistencyProof:
        """The signatures that were taken, by signer; the same for everyone who asks once no more are taken."""
        return ConsistencyProof(dict(sorted(self._signatures.items())))

    def _close_if_complete(self) -> None:
        self.closed = self.closed or self._awaited <= set(self._signatures)
