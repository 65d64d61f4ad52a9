"""Who calls: the participant that the client certificate of the connection names."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuthenticationError
from secagg.messages import ParticipantId
from secagg_server.calls.statuses import Context

MAX_KNOWN: Final = 10_000
"""How many checked certificates are remembered."""

RECHECK_S: Final = 3600.0
"""A chain is checked again after so many seconds, because the CA's certificate may have expired."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated participant. `fingerprint` is SHA-256 over its own certificate (DER), in hex."""

    participant: ParticipantId
    organisation: str
    fingerprint: str


class Callers:
    """Finds the participant behind a call by the certificate of its connection.

    TLS has checked the chain when the connection was made. It is checked again here, with the profile of participants'
    certificates; what that gave is remembered, and only the times are held against the clock at each call, because
    connections live long.
    """

    def __init__(self, trust: TrustAnchors, clock: Callable[[], float]) -> None:
        """Args:
        trust: the CA of participants.
        clock: seconds since 1970.
        """
        self._trust = trust
        self._clock = clock
        # By the digest of what was shown, which may be long and is its sender's choice; with the times of validity.
        self._known: dict[bytes, tuple[Caller, float, float]] = {}

    def trust(self, trust: TrustAnchors) -> None:
        """Check everybody anew, against this CA."""
        self._trust = trust
        self._known.clear()

    def of(self, context: Context) -> tuple[Caller, bool]:
        """Who is at the other end, and whether that was found out just now.

        Raises:
            AuthenticationError: no participant's certificate, or one that is not valid at this time.
        """
        shown = context.auth_context() or {}
        pem = (*shown.get("x509_pem_cert", ()), *shown.get("x509_pem_cert_chain", ()))  # leaf; then the others, as one
        key = sha256(b"".join(pem)).digest()
        caller, begin, end = self._known.get(key, (None, 0.0, 0.0))
        now = self._clock()
        if caller is not None and begin <= now <= end:
            return caller, False
        self._known.pop(key, None)
        caller, begin, end = self._verified(pem, now)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = (caller, begin, end)
        return caller, True

    def _verified(self, pem: tuple[bytes, ...], now: float) -> tuple[Caller, float, float]:
        if not pem:  # check: client-certificate
            raise AuthenticationError("the connection has no client certificate")
        try:
            certificates = x509.load_pem_x509_certificates(b"".join(pem))
        except ValueError:
            raise AuthenticationError("the client certificate is unreadable") from None
        chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)
        identity = self._trust.verify_participant(chain, datetime.fromtimestamp(now, UTC))
        caller = Caller(ParticipantId(identity.participant_id), identity.organisation, sha256(chain[0]).hexdigest())
        begin, end = certificates[0].not_valid_before_utc.timestamp(), identity.not_valid_after.timestamp()
        return caller, begin, min(end, now + RECHECK_S)
