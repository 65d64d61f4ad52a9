"""A checkpoint: an entry with the coordinator's signature, which fixes every entry before it.

The signature is over the entry's own line as it would be without the signature, so it covers the number of the entry,
the digest of the one before, the time and the certificates. What stands behind the last checkpoint is not signed yet.
"""

from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from datetime import UTC, datetime
from typing import Any, Final

from secagg.audit import entries
from secagg.audit.entries import Entry
from secagg.crypto import labels, signing
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors, VerifiedCoordinator
from secagg.crypto.transcript import frame
from secagg.errors import AuditError, AuthenticationError
from secagg.privacy.ledger import Head
from secagg.roster import COORDINATOR

KIND: Final = "checkpoint"

EVERY_ENTRIES: Final = 256
"""A checkpoint comes after at most so many other entries."""

EVERY_S: Final = 300.0
"""And at most so many seconds after an entry, while the coordinator runs."""


def write(at_ms: int, after: Head, coordinator: CoordinatorIdentity) -> tuple[bytes, Head]:
    """The line of a checkpoint, and the head after it. Arguments as of `entries.write`."""
    facts: dict[str, Any] = {"certificates": [b64encode(der).decode() for der in coordinator.chain]}
    unsigned, _ = entries.write(KIND, at_ms, facts, after)
    signature = coordinator.sign(to_sign(unsigned))
    return entries.write(KIND, at_ms, {**facts, "signature": b64encode(signature).decode()}, after)


def to_sign(unsigned: bytes) -> bytes:
    """The bytes that are signed.

    Args:
        unsigned: the checkpoint's line without its signature.
    """
    return frame(labels.AUDIT_CHECKPOINT, unsigned)


def verify(entry: Entry, trust: TrustAnchors) -> VerifiedCoordinator:
    """Check a checkpoint, and tell who signed it. Its certificates must have been valid when it says that it was
    signed, so that a log does not lose its worth when they expire.

    Args:
        entry: a checkpoint.
        trust: the deployment's CA, and those that it had before.

    Raises:
        AuditError: it is not signed, or not by a coordinator of this deployment, or something else is signed; the text
            goes on after "entry N".
    """
    body = entry.body
    signature = _bytes(body.pop("signature", None), "signature")
    listed = body["certificates"] if isinstance(body.get("certificates"), list) else []
    chain = tuple(_bytes(text, "certificate") for text in listed)
    try:
        signer = trust.verify_coordinator(chain, datetime.fromtimestamp(entry.at_ms / 1000, UTC))
        signing.verify(
            signer.public_key, to_sign(entries.as_line(body)), signature, culprit=COORDINATOR
        )  # check: audit-signature
    except AuthenticationError as error:
        raise AuditError(f"is a checkpoint that does not hold: {error}") from error
    return signer


def _bytes(text: object, what: str) -> bytes:
    """What a text says in base64, which must be written as `b64encode` writes it."""
    try:
        found = b64decode(text, validate=True) if isinstance(text, str) else b""
    except (BadBase64, ValueError):
        found = b""
    if not found or b64encode(found).decode() != text:  # check: audit-base64
        raise AuditError(f"is a checkpoint whose {what} is not written in base64")
    return found
