"""Lies about the result: the shares are given, but no wrong sum may be believed, and none certified."""

import hashlib
from collections.abc import Callable
from typing import Any, Final

from secagg.tools.runner.over_grpc.cohort import NAMES, PEER, Cohort
from secagg.tools.runner.over_grpc.host import Change, Told
from secagg.tools.runner.over_grpc.lie import ANYBODY, Lie
from secagg.wire.receipts import encode_receipt
from secagg.wire.v1 import data_plane_pb2 as pb

_FORGED: Final = ("AuthenticationError",)
_VIOLATION: Final = ("ProtocolViolation",)
_MALFORMED: Final = ("DecodeError",)
_ANY: Final = (*_FORGED, *_VIOLATION, *_MALFORMED)


def receipt(**fields: Any) -> Change:
    """Fields of the receipt are otherwise than what is signed. A field may be made from the honest value."""

    def change(_: Cohort, parts: list[Any]) -> Told:
        [told] = parts
        for name, value in fields.items():
            made = value(getattr(told, name)) if callable(value) else value
            told.ClearField(name)
            told.MergeFrom(pb.Receipt(**{name: made}))
        return [told]

    return change


def signed(*, survivors: tuple[str, ...] | None = None, digest: bytes = b"") -> Change:
    """The coordinator signs another result."""

    def change(cohort: Cohort, _: list[Any]) -> Told:
        packed = cohort.packed
        return [encode_receipt(cohort.receipt(survivors or packed.survivors, digest or packed.digest))]

    return change


def _by_a_participant(cohort: Cohort, parts: list[Any]) -> Told:
    """The peer signs in the coordinator's place, with its own certificate."""
    [told] = parts
    identity = cohort.site.identities[PEER]
    statement = cohort.receipt(cohort.packed.survivors, cohort.packed.digest).statement
    del told.certificates[:]
    told.certificates.extend(identity.chain)
    told.signature = identity.sign(statement.to_sign(told.signed_ms))
    return [told]


def _by_a_foreign(cohort: Cohort, parts: list[Any]) -> Told:
    [told] = parts
    coordinator = cohort.site.foreign.coordinator
    statement = cohort.receipt(cohort.packed.survivors, cohort.packed.digest).statement
    del told.certificates[:]
    told.certificates.extend(coordinator.chain)
    told.signature = coordinator.sign(statement.to_sign(told.signed_ms))
    return [told]


def aggregate(edit: Callable[[list[Any]], list[Any]]) -> Change:
    """The parts of the aggregate are changed."""
    return lambda _, parts: edit(parts)


def _first(parts: list[Any], **fields: Any) -> list[Any]:
    told = pb.AggregatePart(survivors=parts[0].survivors, sums_digest=parts[0].sums_digest)
    for name, value in fields.items():
        told.ClearField(name)
        told.MergeFrom(pb.AggregatePart(**{name: value}))
    return [told, *parts[1:]]


def _other_bits(parts: list[Any]) -> list[Any]:
    payload = parts[1].payload
    parts[1].payload = bytes([payload[0] ^ 1]) + payload[1:]
    return parts


def _consistently(parts: list[Any]) -> list[Any]:
    """Other bits, and the digest that fits them."""
    told = _other_bits(parts)
    return _first(told, sums_digest=hashlib.sha256(b"".join(part.payload for part in told[1:])).digest())


def _flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def certification(edit: Callable[[Cohort, list[Any]], list[Any]]) -> Change:
    """The signatures of the result are changed."""

    def change(cohort: Cohort, parts: list[Any]) -> Told:
        honest = [one for part in parts for one in part.signatures]
        return [pb.ConsistencyProofPart(signatures=edit(cohort, honest))]

    return change


def _of_another_result(cohort: Cohort, honest: list[Any]) -> list[Any]:
    other = cohort.result_of(b"\x09" * 32)
    honest[1].signature = other.signature(PEER, cohort.site.identities[PEER].sign)
    return honest


_CERTIFY: Final = {"certify": True}

# fmt: off
LIES: Final = (
    Lie(number="call-600", check="C89", title="A receipt of fewer survivors", at="Reveal", change=receipt(survivors=4),
        error=_VIOLATION),
    Lie(number="call-601", check="C89", title="A receipt of another sum than was signed", at="Reveal",
        change=receipt(sums_digest=_flipped), error=_FORGED),
    Lie(number="call-602", check="C89", title="A receipt for other survivors, which the coordinator signed",
        at="Reveal", change=signed(survivors=("aspen", "birch", "cedar", "elm", "oak")), error=_FORGED),
    Lie(number="call-603", check="C88", title="A receipt that nobody signed", at="Reveal",
        change=receipt(signature=b""), error=_FORGED),
    Lie(number="call-604", check="C88", title="A receipt without a certificate", at="Reveal",
        change=receipt(certificates=()), error=(*_FORGED, *_MALFORMED)),
    Lie(number="call-605", check="C88", title="A receipt that a participant signed", at="Reveal",
        change=_by_a_participant, error=_FORGED),
    Lie(number="call-606", check="C88", title="A receipt that the coordinator of another CA signed", at="Reveal",
        change=_by_a_foreign, error=_FORGED),
    Lie(number="call-607", check="C89", title="A receipt of another time than was signed", at="Reveal",
        change=receipt(signed_ms=lambda ms: ms + 1), error=_FORGED),
    Lie(number="call-608", check="C88", title="A receipt of a time before the certificate was valid", at="Reveal",
        change=receipt(signed_ms=1), error=_FORGED),
    Lie(number="call-609", check="C5", title="A digest of 31 bytes", at="Reveal", change=receipt(sums_digest=bytes(31)),
        error=_MALFORMED),
    Lie(number="call-610", check="C5", title="Two receipts in one answer", at="Reveal",
        change=lambda _, parts: [*parts, *parts], error=(*_MALFORMED, *_VIOLATION)),
    Lie(number="call-611", check="C88", title="A receipt with a certificate of 10,000 bytes", at="Reveal",
        change=receipt(certificates=[bytes(10_000)]), error=(*_MALFORMED, *_FORGED)),

    Lie(number="call-700", check="C31", title="Another sum than that of the receipt", at="FetchAggregate",
        change=aggregate(_consistently), error=_FORGED),
    Lie(number="call-701", check="C31", title="Another sum than its own digest says", at="FetchAggregate",
        change=aggregate(_other_bits), error=_ANY, culprit=ANYBODY),
    Lie(number="call-702", check="C31", title="The true sum under another digest", at="FetchAggregate",
        change=aggregate(lambda parts: _first(parts, sums_digest=bytes(32))), error=_ANY, culprit=ANYBODY),
    Lie(number="call-703", check="C30", title="A sum of other survivors", at="FetchAggregate",
        change=aggregate(lambda parts: _first(parts, survivors=NAMES[1:])), error=_VIOLATION),
    Lie(number="call-704", check="C30", title="A sum that nobody is in", at="FetchAggregate",
        change=aggregate(lambda parts: _first(parts, survivors=())), error=_ANY, culprit=ANYBODY),
    Lie(number="call-705", check="C30", title="A sum without its values", at="FetchAggregate",
        change=aggregate(lambda parts: parts[:1]), error=_ANY, culprit=ANYBODY),
    Lie(number="call-706", check="C30", title="A sum whose values come twice", at="FetchAggregate",
        change=aggregate(lambda parts: [*parts, parts[-1]]), error=_ANY, culprit=ANYBODY),
    Lie(number="call-707", check="C30", title="Chunks in another order", at="FetchAggregate", config={"size": 600_000},
        change=aggregate(lambda parts: [parts[0], parts[2], parts[1]]), error=_ANY, culprit=ANYBODY),
    Lie(number="call-708", check="C30", title="A chunk that is too short", at="FetchAggregate",
        change=aggregate(lambda parts: [parts[0], pb.AggregatePart(number=0, payload=parts[1].payload[:-1])]),
        error=_ANY, culprit=ANYBODY),
    Lie(number="call-709", check="C30", title="A chunk that is too long", at="FetchAggregate",
        change=aggregate(lambda parts: [parts[0], pb.AggregatePart(number=0, payload=parts[1].payload + b"\0")]),
        error=_ANY, culprit=ANYBODY),

    Lie(number="call-800", check="C90", title="A signature of another result", at="Certify", config=_CERTIFY,
        change=certification(_of_another_result), error=_FORGED),
    Lie(number="call-801", check="C90", title="A signer of the result who is no survivor", at="Certify",
        config=_CERTIFY, error=_VIOLATION,
        change=certification(lambda _, honest: [*honest, pb.SignedBy(signer=9, signature=honest[0].signature)])),
    Lie(number="call-802", check="C5", title="One signer of the result twice", at="Certify", config=_CERTIFY,
        change=certification(lambda _, honest: [honest[0], *honest]), error=(*_MALFORMED, *_VIOLATION),
        culprit=ANYBODY),
)
# fmt: on
