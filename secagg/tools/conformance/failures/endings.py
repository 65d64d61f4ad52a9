"""How a round ends for a participant: the receipt, the signatures of the result, and what of both is refused (C88 to
C90 of proto/PROTOCOL.md).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from secagg.crypto.identity import CoordinatorIdentity
from secagg.messages import ConsistencyProof, Index, ParticipantId, Roster, SurvivorSet
from secagg.receipts import Receipt, Statement
from secagg.roster import result_to_sign, roster_digest
from secagg.rounds.certification import Result
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document, document
from secagg.tools.conformance.failures.script import Script, refused
from secagg.tools.conformance.rounds.masked import AUTHORITY
from secagg.wire import codec
from secagg.wire.receipts import encode_receipt

HOST = "coordinator.example"
PARTICIPANT = "dahlia"
SIGNED_S = float(fixtures.NOW_S)
Vector = tuple[str, Document]


def vectors(script: Script) -> Iterator[Vector]:
    """File name and content; `script` is an active masked round."""
    ending = _Ending(script)
    yield "endings", ending.signed()
    yield from ending.receipts()
    yield from ending.certifications()


class _Ending:
    """The end of a round of the vectors."""

    def __init__(self, script: Script) -> None:
        outcome, self._script = script.vector["outcome"], script
        self._roster: Roster = wire.decode(script.message("roster"))
        sets: SurvivorSet = wire.decode(script.message("survivors"))
        self._survivors = sets.survivors
        self._dropped = next(m for m in self._roster.members if m.index in sets.dropped)
        names = tuple(outcome["survivors"])
        digest = bytes.fromhex(outcome["sums_digest"])
        self._statement = Statement.of(script.stage.round, self._roster, names, digest)
        self._result = Result.of(script.stage.round, self._roster, names, digest)
        self._coordinator = self._identity(AUTHORITY)

    @staticmethod
    def _identity(issuer: str) -> CoordinatorIdentity:
        key = fixtures.private_pem(fixtures.signing_key(HOST))
        at = datetime.fromtimestamp(SIGNED_S, UTC)
        return CoordinatorIdentity.from_pem(fixtures.pem(fixtures.server_certificate(HOST, issuer)), key, at)

    def _receipt(
        self, statement: Statement | None = None, signer: CoordinatorIdentity | None = None, at_s: float = SIGNED_S
    ) -> Receipt:
        return Receipt.sign(statement or self._statement, signer or self._coordinator, at_s)

    def signed(self) -> Document:
        """What both signatures cover."""
        receipt, statement = self._receipt(), self._statement
        to_sign = self._statement.to_sign(receipt.seal.signed_ms)
        signature = self._script.sign(PARTICIPANT, self._result.to_sign)
        return document(
            "endings",
            "What the coordinator signs at the end of a round, and what survivors sign",
            "Receipt",
            round=self._script.name,
            round_id=statement.round_id,
            context=statement.context,
            task=statement.task,
            model_digest=statement.model_digest,
            roster_digest=roster_digest(self._roster),
            survivors=statement.survivors,
            indices=self._survivors,
            sums_digest=statement.sums_digest,
            signed_ms=receipt.seal.signed_ms,
            coordinator={
                "private_scalar_test_only": fixtures.scalar_hex(fixtures.signing_key(HOST)),
                "certificate": receipt.seal.chain[0],
            },
            receipt={"signed": to_sign, "signature": receipt.seal.signature, "message": _bytes(receipt)},
            result={
                "signer": PARTICIPANT,
                "signed": self._result.to_sign,
                "signature": signature,
                "signatures": self._proof(self._survivors),
            },
        )

    def _proof(self, signers: tuple[Index, ...], signed: bytes = b"") -> list[bytes]:
        names = {m.index: m.participant_id for m in self._roster.members}
        message = signed or self._result.to_sign
        proof = ConsistencyProof({i: self._script.sign(names[i], message) for i in signers})
        return [part.SerializeToString(deterministic=True) for part in codec.encode_proof(proof)]

    def receipts(self) -> Iterator[Vector]:
        """Receipts that are refused."""
        honest, lie = self._receipt(), replace(self._statement, sums_digest=fixtures.seed("another sum"))
        unsigned = replace(honest, seal=replace(honest.seal, signature=b"", chain=()))
        yield self._failure("unsigned", "C88", "A receipt that nobody signed", "no signature", receipt=unsigned)
        yield self._failure(
            "by-a-participant",
            "C88",
            "A receipt that a participant signed",
            "the signature and the certificate are a participant's",
            receipt=self._by_participant(),
        )
        foreign = self._receipt(signer=self._identity("Another CA, test only"))
        yield self._failure("by-a-stranger", "C88", "A receipt under a foreign CA", "another CA", receipt=foreign)
        yield self._failure(
            "out-of-time",
            "C88",
            "A receipt that was signed before its certificate was valid",
            "signed_ms is 0, and signed so",
            receipt=self._receipt(at_s=0.0),
        )
        yield self._failure(
            "of-another-sum",
            "C89",
            "A receipt that was signed for another sum",
            "the digest differs from what is signed",
            receipt=replace(self._receipt(lie), statement=self._statement),
        )
        out = self._dropped.participant_id
        other = replace(self._statement, survivors=(out, *self._statement.survivors[1:]))
        yield self._failure(
            "of-other-survivors",
            "C89",
            "A receipt that names others than we agreed on",
            f"{out} stands in the place of the first survivor in what is signed",
            receipt=self._receipt(other),
        )
        told = replace(self._statement, roster_digest=fixtures.seed("another roster"))
        yield self._failure(
            "of-another-roster",
            "C89",
            "A receipt about another roster",
            "another roster digest",
            receipt=self._receipt(told),
        )

    def _by_participant(self) -> Receipt:
        credentials = self._script.stage.credentials(PARTICIPANT)
        if credentials is None:
            raise ValueError("nothing is signed in this round")
        honest = self._receipt()
        signature = self._script.sign(PARTICIPANT, self._statement.to_sign(honest.seal.signed_ms))
        return replace(honest, seal=replace(honest.seal, signature=signature, chain=credentials.identity.chain))

    def certifications(self) -> Iterator[Vector]:
        """Signatures of results that are refused, as if the round's configuration had `certify`."""
        lie = result_to_sign(
            self._statement.context, self._roster, self._survivors, fixtures.seed("the sum that others were told")
        )
        yield self._failure(
            "certified-another-result",
            "C90",
            "Signatures of survivors who were told another result",
            "everyone signed another digest",
            receipt=self._receipt(),
            proof=self._proof(self._survivors, lie),
        )
        yield self._failure(
            "certified-by-dropped",
            "C90",
            "A signature of somebody who is not in the sum",
            f"{self._dropped.participant_id} signed too",
            receipt=self._receipt(),
            proof=self._proof((*self._survivors, self._dropped.index)),
            error="ProtocolViolation",
        )

    def _failure(
        self,
        slug: str,
        check: str,
        title: str,
        change: str,
        *,
        receipt: Receipt,
        proof: list[bytes] | None = None,
        error: str = "AuthenticationError",
    ) -> Vector:
        content: Document = {} if proof is None else {"proof": proof}
        name = f"failure-{slug}" if proof is not None else f"failure-receipt-{slug}"
        section = "Receipt" if proof is None else "Certification"
        return name, document(
            "ending",
            title,
            section,
            check=check,
            change=change,
            round=self._script.name,
            participant_id=ParticipantId(PARTICIPANT),
            receipt=_bytes(receipt),
            expect=refused(error),
            **content,
        )


def _bytes(receipt: Receipt) -> bytes:
    return encode_receipt(receipt).SerializeToString(deterministic=True)
