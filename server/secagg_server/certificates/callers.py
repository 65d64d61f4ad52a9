"""Who calls: the participant that the client certificate of the connection names."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from secagg.crypto.identity import CertificateChain, TrustAnchors
from secagg.errors import AuthenticationError
from secagg.messages import ParticipantId
from secagg_server.calls.carrier import Carrier
from secagg_server.certificates.denied import DenyList

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

    def __init__(self, trust: TrustAnchors, denied: DenyList, clock: Callable[[], float]) -> None:
        """Args:
        trust: the CA of participants.
        denied: who may not take part.
        clock: seconds since 1970.
        """
        self._trust = trust
        self._denied = denied
        self._clock = clock
        # By the digest of what was shown, which may be long and is its sender's choice; with the times of validity.
        self._known: dict[bytes, _Known] = {}

    def trust(self, trust: TrustAnchors, denied: DenyList) -> Callable[[], frozenset[ParticipantId]]:
        """Check everybody anew, against this CA and this list.

        Returns:
            finds those who called lately and would be refused now; for a thread, since it checks many certificates.
        """
        self._trust, self._denied = trust, denied
        before, now = list(self._known.values()), self._clock()
        self._known.clear()

        def refused() -> frozenset[ParticipantId]:
            found = set()
            for known in before:
                try:
                    self._verified(known.chain, now)
                except AuthenticationError:
                    found.add(known.caller.participant)
            return frozenset(found)

        return refused

    def of(self, context: Carrier) -> tuple[Caller, bool]:
        """Who is at the other end, and whether that was found out just now.

        Raises:
            AuthenticationError: no participant's certificate, or one that is not valid at this time.
        """
        return self.of_shown(shown_by(context))

    def of_shown(self, pem: bytes) -> tuple[Caller, bool]:
        """As `of`, for who showed this chain on another connection, as an ingress worker says."""
        key = sha256(pem).digest()
        known = self._known.get(key)
        now = self._clock()
        if known is not None and known.begin <= now <= known.end:
            return known.caller, False
        self._known.pop(key, None)
        known = self._verified(_chain_of(pem), now)
        if len(self._known) >= MAX_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[key] = known
        return known.caller, True

    def _verified(self, chain: CertificateChain, now: float) -> "_Known":
        identity = self._trust.verify_participant(chain, datetime.fromtimestamp(now, UTC))
        caller = Caller(ParticipantId(identity.participant_id), identity.organisation, sha256(chain[0]).hexdigest())
        self._denied.check(caller.participant, caller.organisation, caller.fingerprint)
        begin = x509.load_der_x509_certificate(chain[0]).not_valid_before_utc.timestamp()
        return _Known(caller, chain, begin, min(identity.not_valid_after.timestamp(), now + RECHECK_S))


@dataclass(frozen=True, slots=True)
class _Known:
    """A caller whose chain was checked, and from when to when that holds, in seconds since 1970."""

    caller: Caller
    chain: CertificateChain
    begin: float
    end: float


def shown_by(context: Carrier) -> bytes:
    """The certificates that the other end of the connection showed, PEM, its own first; empty if it showed none."""
    shown = context.auth_context() or {}
    return b"".join((*shown.get("x509_pem_cert", ()), *shown.get("x509_pem_cert_chain", ())))  # the others come as one


def _chain_of(pem: bytes) -> CertificateChain:
    if not pem:  # check: client-certificate
        raise AuthenticationError("the connection has no client certificate")
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise AuthenticationError("the client certificate is unreadable") from None
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)
