"""What a participant refuses after a round: sums, receipts, signatures of results (checks C5, C30, C31, C88 to C90 and
C113 of proto/PROTOCOL.md). Beside them what the honest signatures at the end of a round cover.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from secagg.crypto.identity import CoordinatorIdentity
from secagg.messages import ConsistencyProof, ParticipantId
from secagg.receipts import Receipt, Statement
from secagg.roster import result_to_sign, roster_digest
from secagg.rounds.certification import Result
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document, document
from secagg.tools.conformance.failures.changes import Edit, flipped, put, same
from secagg.tools.conformance.failures.script import (
    ACCEPTED,
    ACTIVE,
    ME,
    Failure,
    Play,
    Script,
    Table,
    Vector,
    refused,
)
from secagg.tools.conformance.rounds.inputs import AUTHORITY
from secagg.wire.agreement import encode_proof
from secagg.wire.receipts import encode_receipt
from secagg.wire.v1 import data_plane_pb2

HOST = "coordinator.example"
SIGNED_S = float(fixtures.NOW_S)
DROPPED = "elm"
"""Who is not in the sum."""


def statement(script: Script) -> Statement:
    """What the coordinator of the honest round signs."""
    return Statement.of(script.replay.round, script.roster, tuple(script.survivors), _sums_digest(script))


def result(script: Script) -> Result:
    """What the survivors of the honest round sign, if its configuration had `certify`."""
    return Result.of(script.replay.round, script.roster, tuple(script.survivors), _sums_digest(script))


def _sums_digest(script: Script) -> bytes:
    return bytes.fromhex(script.vector["outcome"]["sums_digest"])


def _coordinator(issuer: str) -> CoordinatorIdentity:
    key = fixtures.private_pem(fixtures.signing_key(HOST))
    at = datetime.fromtimestamp(SIGNED_S, UTC)
    return CoordinatorIdentity.from_pem(fixtures.pem(fixtures.server_certificate(HOST, issuer)), key, at)


def receipt(change: Edit = same, *, issuer: str = AUTHORITY, at_s: float = SIGNED_S) -> Callable[[Script], Receipt]:
    """A receipt of the coordinator on a changed statement."""
    return lambda script: Receipt.sign(change(statement(script), script), _coordinator(issuer), at_s)


def proof(script: Script, signers: list[str], signed: bytes) -> list[bytes]:
    """What the coordinator hands out where a round is certified: signatures of these survivors."""
    signatures = ConsistencyProof({script.index(name): script.sign(name, signed) for name in signers})
    return [part.SerializeToString(deterministic=True) for part in encode_proof(signatures)]


def _bytes(receipt: Receipt) -> bytes:
    return encode_receipt(receipt).SerializeToString(deterministic=True)


def vectors(script: Script) -> Iterator[Vector]:
    """What both signatures cover; `script` is an active masked round."""
    honest, stated, certified = receipt()(script), statement(script), result(script)
    yield (
        "endings",
        document(
            "endings",
            "What the coordinator signs at the end of a round, and what survivors sign",
            "Receipt",
            round=script.name,
            round_id=stated.round_id,
            context=stated.context,
            task=stated.task,
            model_digest=stated.model_digest,
            roster_digest=roster_digest(script.roster),
            survivors=stated.survivors,
            indices=script.sets.survivors,
            sums_digest=stated.sums_digest,
            signed_ms=honest.signed.signed_ms,
            coordinator={
                "private_scalar_test_only": fixtures.scalar_hex(fixtures.signing_key(HOST)),
                "certificate": honest.signed.chain[0],
            },
            receipt={
                "signed": stated.to_sign(honest.signed.signed_ms),
                "signature": honest.signed.signature,
                "message": _bytes(honest),
            },
            result={
                "signer": ME,
                "signed": certified.to_sign,
                "signature": script.sign(ME, certified.to_sign),
                "signatures": proof(script, script.survivors, certified.to_sign),
            },
        ),
    )


# --- what is refused ----------------------------------------------------------------------------------------------


def handed(
    receipt: Callable[[Script], Receipt],
    signatures: Callable[[Script], list[bytes]] | None = None,
    *,
    days: int = 0,
    **fields: Any,
) -> Play:
    """ME receives a receipt, and where the round is certified signatures of the result.

    Args:
        receipt: made by the coordinator.
        signatures: of the result.
        days: after the round.
        fields: of the message that have other values, or what is made of the honest ones.
    """

    def play(script: Script, failure: Failure) -> Document:
        certified: Document = {} if signatures is None else {"proof": signatures(script)}
        certified |= {"now_ms": (fixtures.NOW_S + 86400 * days) * 1000} if days else {}
        message = encode_receipt(receipt(script))
        for name, value in fields.items():
            made = value(getattr(message, name)) if callable(value) else value
            message.ClearField(name)
            message.MergeFrom(data_plane_pb2.Receipt(**{name: made}))
        return failure.document(
            "ending",
            "Receipt" if signatures is None else "Certification",
            round=script.name,
            participant_id=ParticipantId(ME),
            receipt=message.SerializeToString(deterministic=True),
            expect=failure.outcome(script),
            **certified,
        )

    return play


def handed_sum(change: Edit) -> Play:
    """ME receives changed parts of the sum."""

    def play(script: Script, failure: Failure) -> Document:
        parts = [bytes.fromhex(part) for part in script.vector["outcome"]["aggregate"]]
        made = change(parts, script)
        return failure.document("aggregate", round=script.name, parts=made, expect=failure.outcome(script))

    return play


def _unsigned(script: Script) -> Receipt:
    honest = receipt()(script)
    return replace(honest, signed=replace(honest.signed, signature=b"", chain=()))


def _by_participant(script: Script) -> Receipt:
    credentials, honest = script.replay.credentials(ME), receipt()(script)
    if credentials is None:
        raise ValueError("nothing is signed in this round")
    signature = script.sign(ME, honest.statement.to_sign(honest.signed.signed_ms))
    return replace(honest, signed=replace(honest.signed, signature=signature, chain=credentials.identity.chain))


def _of_another_sum(script: Script) -> Receipt:
    signed = receipt(put(sums_digest=fixtures.seed("another sum")))(script)
    return replace(signed, statement=statement(script))


def _dropped_for_first(survivors: tuple[str, ...], _: Script) -> tuple[str, ...]:
    return (DROPPED, *survivors[1:])


def _on_another_sum(script: Script) -> list[bytes]:
    lie = fixtures.seed("the sum that others were told")
    signed = result_to_sign(script.context, roster_digest(script.roster), script.sets.survivors, lie)
    return proof(script, script.survivors, signed)


def _by_dropped_too(script: Script) -> list[bytes]:
    return proof(script, [*script.survivors, DROPPED], result(script).to_sign)


def _six_survivors(parts: list[bytes], _: Script) -> list[bytes]:
    few = data_plane_pb2.AggregatePart.FromString(parts[0])
    del few.survivors[6:]
    return [few.SerializeToString(deterministic=True), *parts[1:]]


def _one_bit(parts: list[bytes], script: Script) -> list[bytes]:
    other = data_plane_pb2.AggregatePart.FromString(parts[1])
    other.payload = flipped(other.payload, script)
    return [parts[0], other.SerializeToString(deterministic=True)]


def _second_first(parts: list[bytes], _: Script) -> list[bytes]:
    other = data_plane_pb2.AggregatePart.FromString(parts[1])
    other.number = 1
    return [parts[0], other.SerializeToString(deterministic=True)]


def _not_an_id(parts: list[bytes], _: Script) -> list[bytes]:
    first = data_plane_pb2.AggregatePart.FromString(parts[0])
    first.survivors[0] = f"-{first.survivors[0]}"
    return [first.SerializeToString(deterministic=True), *parts[1:]]


def _just_t(parts: list[bytes], script: Script) -> list[bytes]:
    few = data_plane_pb2.AggregatePart.FromString(parts[0])
    del few.survivors[script.replay.config.threshold :]
    return [few.SerializeToString(deterministic=True), *parts[1:]]


def _a_byte_more(parts: list[bytes], _: Script) -> list[bytes]:
    """The digest is that of the longer bytes."""
    first, second = map(data_plane_pb2.AggregatePart.FromString, parts)
    second.payload += b"\0"
    first.sums_digest = hashlib.sha256(second.payload).digest()
    return [part.SerializeToString(deterministic=True) for part in (first, second)]


def _no_message(parts: list[bytes], _: Script) -> list[bytes]:
    """The second part is cut in the middle of a field."""
    return [parts[0], parts[1][:-1]]


def _exchanged(parts: list[bytes], _: Script) -> list[bytes]:
    first = data_plane_pb2.AggregatePart.FromString(parts[0])
    names = list(first.survivors)
    first.survivors[0], first.survivors[1] = names[1], names[0]
    return [first.SerializeToString(deterministic=True), *parts[1:]]


def _by_one_on_another_sum(script: Script) -> list[bytes]:
    """All sign the result but the last, who signs another."""
    lie = fixtures.seed("the sum that others were told")
    signed = result_to_sign(script.context, roster_digest(script.roster), script.sets.survivors, lie)
    return [
        *proof(script, script.survivors[:-1], result(script).to_sign),
        *proof(script, script.survivors[-1:], signed),
    ]


FORGED, MALFORMED = refused("AuthenticationError"), refused("DecodeError")

# fmt: off
SUMS: Table = {ACTIVE: [
    ("aggregate-cut", "C30", "A sum that ends early", "no part with values",
     handed_sum(lambda parts, _: parts[:1]), MALFORMED),
    ("aggregate-not-protobuf", "C5", "A sum whose bytes are no message", "the last byte of the second part is missing",
     handed_sum(_no_message), refused("DecodeError", None)),
    ("aggregate-below-threshold", "C30", "A sum of too few", "six survivors are named, the threshold is 7",
     handed_sum(_six_survivors), MALFORMED),
    ("aggregate-out-of-order", "C30", "A sum that begins with its second chunk", "the only chunk has the number 1",
     handed_sum(_second_first), MALFORMED),
    ("aggregate-of-others", "C30", "A sum whose survivors are in another order", "the first two are exchanged",
     handed_sum(_exchanged), MALFORMED),
    ("aggregate-of-nobody", "C30", "A sum with a survivor whose id is none", "a dash stands before the first",
     handed_sum(_not_an_id), MALFORMED),
    ("aggregate-too-long", "C30", "A sum whose only chunk is too long", "a byte more, and the digest fits it",
     handed_sum(_a_byte_more), MALFORMED),
    ("aggregate-of-t", "", "A sum of just t", "the last survivors are not named; the threshold is 7",
     handed_sum(_just_t), ACCEPTED),
    ("aggregate-altered", "C31", "A sum that is not the one of the receipt", "one bit of the sum",
     handed_sum(_one_bit), FORGED),
]}

RECEIPTS: Table = {ACTIVE: [
    ("receipt-unsigned", "C88", "A receipt that nobody signed", "no signature", handed(_unsigned), FORGED),
    ("receipt-by-a-participant", "C88", "A receipt that a participant signed",
     "the signature and the certificate are a participant's", handed(_by_participant), FORGED),
    ("receipt-by-a-stranger", "C88", "A receipt under a foreign CA", "another CA",
     handed(receipt(issuer="Another CA, test only")), FORGED),
    ("receipt-out-of-time", "C88", "A receipt that was signed before its certificate was valid",
     "signed_ms is 0, and signed so", handed(receipt(at_s=0.0)), FORGED),
    ("receipt-of-an-expired-coordinator", "C88", "A receipt whose certificate has ended since",
     "400 days have passed; the certificate was valid for 365, and when the receipt was signed",
     handed(receipt(), days=400), FORGED),
    ("receipt-of-another-number", "C113", "A receipt about another number of survivors", "one more than we were shown",
     handed(receipt(), survivors=lambda number: number + 1), refused("ProtocolViolation")),
    ("receipt-of-10001", "C113", "A receipt about more survivors than a round can have", "10,001",
     handed(receipt(), survivors=10_001), MALFORMED),
    ("receipt-of-10000", "C113", "A receipt about as many survivors as a round can have", "10,000; we were shown fewer",
     handed(receipt(), survivors=10_000), refused("ProtocolViolation")),
    ("receipt-chain-of-four", "C88", "A receipt with the longest chain, under a foreign CA",
     "one certificate four times",
     handed(receipt(issuer="Another CA, test only"), certificates=lambda chain: 4 * list(chain)), FORGED),
    ("receipt-certificate-of-8192-bytes", "C88", "A receipt with the longest certificate, which is none",
     "zeros behind it, 8,192 bytes in all",
     handed(receipt(), certificates=lambda chain: [chain[0] + bytes(8192 - len(chain[0]))]), FORGED),
    ("receipt-digest-of-31-bytes", "C113", "A receipt with a digest that is too short", "its last byte is missing",
     handed(receipt(), sums_digest=lambda digest: digest[:-1]), MALFORMED),
    ("receipt-signature-of-73-bytes", "C113", "A receipt with a signature that is too long", "73 bytes",
     handed(receipt(), signature=lambda signature: signature + bytes(73 - len(signature))), MALFORMED),
    ("receipt-chain-of-five", "C113", "A receipt with a chain that is too long", "five certificates",
     handed(receipt(), certificates=lambda chain: 5 * list(chain)), MALFORMED),
    ("receipt-certificate-of-8193-bytes", "C113", "A receipt with a certificate that is too long", "8,193 bytes",
     handed(receipt(), certificates=lambda chain: [chain[0] + bytes(8193 - len(chain[0]))]), MALFORMED),
    ("receipt-of-another-sum", "C89", "A receipt that was signed for another sum",
     "the digest differs from what is signed", handed(_of_another_sum), FORGED),
    ("receipt-of-other-survivors", "C89", "A receipt that names others than we agreed on",
     f"{DROPPED} stands in the place of the first survivor in what is signed",
     handed(receipt(put(survivors=_dropped_for_first))), FORGED),
    ("receipt-of-another-roster", "C89", "A receipt about another roster", "another roster digest",
     handed(receipt(put(roster_digest=fixtures.seed("another roster")))), FORGED),
    ("certified-another-result", "C90", "Signatures of survivors who were told another result",
     "everyone signed another digest", handed(receipt(), _on_another_sum), FORGED),
    ("certified-another-result-by-one", "C90", "A signature of one survivor who was told another result",
     "the last one signed another digest", handed(receipt(), _by_one_on_another_sum), FORGED),
    ("certified-by-dropped", "C90", "A signature of somebody who is not in the sum", f"{DROPPED} signed too",
     handed(receipt(), _by_dropped_too), refused("ProtocolViolation")),
]}
# fmt: on

TABLES = (SUMS, RECEIPTS)
