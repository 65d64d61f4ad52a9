"""What a coordinator signs when a round ends with a sum: its word on whose updates are in the sum, and which sum it is.

A receipt does not make a sum right. It makes two words of one coordinator on one round provable to anybody: whoever
holds two receipts of one round that differ has the proof (`compare_receipts`).
"""

import json
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from secagg.config import DIGEST_SIZE, MAX_PARTICIPANTS, MAX_TASK_BYTES
from secagg.context import ROUND_ID_SIZE, Context, Round, RoundId
from secagg.crypto import labels, signing
from secagg.crypto.certificates import CertificateChain
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors, VerifiedCoordinator, is_participant_id
from secagg.crypto.transcript import frame
from secagg.errors import AuthenticationError, DecodeError
from secagg.messages import Roster
from secagg.roster import COORDINATOR, roster_digest

MAX_EXPORT_BYTES: Final = 1 << 21
"""An exported receipt with 10,000 names of 64 characters has fewer."""

_KIND: Final = "secagg receipt"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What is signed. Everybody who is in the round knows all of it but the digest of the sum.

    Attributes:
        round_id: 16 bytes; of a round in groups, the id of the group.
        context: 32 bytes: round, configuration and model (`Round.input_context`).
        task: of the configuration.
        model_digest: 32 bytes: of the configuration or, where it was named later, of the model that was named.
        roster_digest: 32 bytes over ids, keys and certificates of everyone who could take part.
        survivors: ids of the participants whose updates are in the sum, sorted.
        sums_digest: 32 bytes, SHA-256 over the packed sum.
    """

    round_id: RoundId
    context: Context
    task: str
    model_digest: bytes
    roster_digest: bytes
    survivors: tuple[str, ...]
    sums_digest: bytes

    @classmethod
    def of(cls, round_: Round, roster: Roster, survivors: tuple[str, ...], sums_digest: bytes) -> "Statement":
        """What is to be signed at the end of `round_`."""
        return cls(
            round_id=round_.round_id,
            context=round_.input_context,
            task=round_.config.task,
            model_digest=round_.model_digest,
            roster_digest=roster_digest(roster),
            survivors=survivors,
            sums_digest=sums_digest,
        )

    def to_sign(self, signed_ms: int) -> bytes:
        """The bytes that the coordinator signs, with the time at which it does."""
        return frame(
            labels.RECEIPT_SIGNATURE,
            self.round_id,
            self.context,
            self.task.encode(),
            self.model_digest,
            self.roster_digest,
            frame(b"", *(name.encode() for name in self.survivors)),
            self.sums_digest,
            signed_ms.to_bytes(8, "big"),
        )


@dataclass(frozen=True, slots=True)
class CoordinatorSignature:
    """The coordinator's signature under a statement.

    Attributes:
        signature: ECDSA P-256, DER, over `Statement.to_sign`.
        chain: the coordinator's certificates, DER, leaf first.
        signed_ms: when it signed, as it says: milliseconds since 1970, below 2^64.
    """

    signature: bytes
    chain: CertificateChain
    signed_ms: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the coordinator said of a round that ended with a sum, under its signature.

    Attributes:
        statement: what the coordinator says of the round.
        signed: its signature.
    """

    statement: Statement
    signed: CoordinatorSignature

    @classmethod
    def sign(cls, statement: Statement, coordinator: CoordinatorIdentity, now: float) -> "Receipt":
        """`statement` under the coordinator's signature; `now` in seconds since 1970."""
        signed_ms = int(now * 1000)
        signature = coordinator.sign(statement.to_sign(signed_ms))
        return cls(statement, CoordinatorSignature(signature, coordinator.chain, signed_ms))

    @property
    def survivors(self) -> int:
        """Number of participants whose updates are in the sum."""
        return len(self.statement.survivors)

    @property
    def sums_digest(self) -> bytes:
        """32 bytes, SHA-256 over the packed sum."""
        return self.statement.sums_digest

    def verify(self, trust: TrustAnchors, at: datetime) -> VerifiedCoordinator:
        """Check the signature, and tell who signed. The certificates must be valid at `at`, and at the time of signing
        that the receipt gives, because others verify it later as of that time.

        Args:
            trust: the deployment's CA.
            at: now, timezone-aware.

        Raises:
            AuthenticationError: it is not signed, not with the certificate of a coordinator, with one that was not
                valid, or the signature is under something else.
            DecodeError: the time of signing is no time.
        """
        if not (self.signed.signature and self.signed.chain):  # check: C88-signed
            raise AuthenticationError("the coordinator did not sign the receipt", culprit=COORDINATOR)
        trust.verify_coordinator(self.signed.chain, at)  # check: C88-now
        signer = trust.verify_coordinator(self.signed.chain, _signed_at(self))
        signed = self.statement.to_sign(self.signed.signed_ms)
        signing.verify(signer.public_key, signed, self.signed.signature, culprit=COORDINATOR)  # check: C89
        return signer

    def export(self) -> bytes:
        """The receipt as a small JSON file, for others to verify and compare. It holds nothing secret."""
        signed = self.signed
        by = {"signed_ms": signed.signed_ms, "signature": _text(signed.signature), "chain": [*map(_text, signed.chain)]}
        document = {"kind": _KIND, "version": _VERSION, **_plain(self.statement), **by}
        return json.dumps(document, indent=2).encode() + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> "Receipt":
        """The receipt that `export` wrote. Nothing is verified yet.

        Raises:
            DecodeError: this is no exported receipt.
        """
        if len(data) > MAX_EXPORT_BYTES:
            raise DecodeError(f"an exported receipt has at most {MAX_EXPORT_BYTES} bytes, this file {len(data)}")
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DecodeError("not an exported receipt: no JSON") from error
        if not isinstance(document, dict) or document.get("kind") != _KIND or document.get("version") != _VERSION:
            raise DecodeError(f"not an exported receipt: no {_KIND!r} of version {_VERSION}")
        return cls(_statement(document), _signature(document))


class Agreement(Enum):
    """What two receipts say together."""

    AGREE = "agree"
    """They are of one round and say the same.

    Cure:
        Nothing to do.
    """
    CONTRADICT = "contradict"
    """One coordinator signed two different results of one round, so it lied to somebody.

    Cure:
        Keep both receipts: they prove that the coordinator lied. Do not use either result.
    """
    UNRELATED = "unrelated"
    """They are of different rounds, or of different coordinators. Nothing follows from that.

    Cure:
        Compare two receipts of the same round.
    """


@dataclass(frozen=True, slots=True)
class ReceiptComparison:
    """What comes of comparing two receipts.

    Attributes:
        verdict: whether the receipts agree.
        differences: names of the fields in which what the coordinator said differs.
    """

    verdict: Agreement
    differences: tuple[str, ...]


def compare_receipts(first: Receipt, second: Receipt, trust: TrustAnchors) -> ReceiptComparison:
    """Whether two receipts contradict each other.

    Each is verified as of the moment at which it says that it was signed, so that a receipt does not lose its worth
    when a certificate expires. Receipts of two certificates are of one coordinator if the certificates share a key or
    a host name.

    Args:
        first: a receipt, our own for example.
        second: another one, from another participant.
        trust: the deployment's CA.

    Raises:
        AuthenticationError: one of them is not signed by a coordinator of this deployment.
    """
    signers = [receipt.verify(trust, _signed_at(receipt)) for receipt in (first, second)]
    differences = tuple(
        f.name for f in fields(Statement) if getattr(first.statement, f.name) != getattr(second.statement, f.name)
    )
    if "round_id" in differences or not signers[0].is_same_as(signers[1]):
        return ReceiptComparison(Agreement.UNRELATED, differences)
    return ReceiptComparison(Agreement.CONTRADICT if differences else Agreement.AGREE, differences)


def _signed_at(receipt: Receipt) -> datetime:
    try:
        return datetime.fromtimestamp(receipt.signed.signed_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError) as error:
        raise DecodeError("the receipt's time is none", culprit=COORDINATOR) from error


def _plain(statement: Statement) -> dict[str, Any]:
    values = {f.name: getattr(statement, f.name) for f in fields(statement)}
    return {name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()}


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _statement(document: dict[str, Any]) -> Statement:
    names = document.get("survivors")
    if not isinstance(names, list) or not 0 < len(names) <= MAX_PARTICIPANTS:
        raise DecodeError(f"a receipt names 1 to {MAX_PARTICIPANTS} survivors")
    if not all(isinstance(name, str) and is_participant_id(name) for name in names):
        raise DecodeError("a receipt's survivors are participant ids")
    if names != sorted(set(names)):
        raise DecodeError("a receipt's survivors are sorted, each named once")
    task = document.get("task")
    if not isinstance(task, str) or not 0 < len(task.encode(errors="replace")) <= MAX_TASK_BYTES:
        raise DecodeError(f"a receipt's task has 1 to {MAX_TASK_BYTES} bytes")
    if not task.isprintable():
        raise DecodeError("a receipt's task is printable")
    return Statement(
        round_id=RoundId(_hex(document, "round_id", ROUND_ID_SIZE)),
        context=Context(_hex(document, "context", DIGEST_SIZE)),
        task=task,
        model_digest=_hex(document, "model_digest", DIGEST_SIZE),
        roster_digest=_hex(document, "roster_digest", DIGEST_SIZE),
        survivors=tuple(names),
        sums_digest=_hex(document, "sums_digest", DIGEST_SIZE),
    )


def _signature(document: dict[str, Any]) -> CoordinatorSignature:
    chain, signed_ms = document.get("chain"), document.get("signed_ms")
    if not isinstance(chain, list):
        raise DecodeError("a receipt has a list of certificates")
    if type(signed_ms) is not int or not 0 <= signed_ms < 1 << 64:
        raise DecodeError("a receipt's time is in milliseconds since 1970")
    certificates = tuple(_base64(entry, "a receipt's certificate") for entry in chain)
    return CoordinatorSignature(_base64(document.get("signature"), "a receipt's signature"), certificates, signed_ms)


def _hex(document: dict[str, Any], name: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(document[name])
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"a receipt's {name} is written in hexadecimal") from error
    if len(value) != size:
        raise DecodeError(f"a receipt's {name} has {size} bytes, not {len(value)}")
    return value


def _base64(value: Any, what: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (TypeError, ValueError, BadBase64) as error:
        raise DecodeError(f"{what} is written in base64") from error
