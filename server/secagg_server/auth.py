"""Who calls: the participant that the client certificate of the connection names, and how much it may ask at once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuthenticationError, LimitError
from secagg.messages import ParticipantId
from secagg_server.boundary import Context


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated participant. `fingerprint` is SHA-256 over its certificate (DER), in hex."""

    participant: ParticipantId
    organisation: str
    fingerprint: str


def authenticate(context: Context, trust: TrustAnchors, now: float) -> Caller:
    """Who is at the other end.

    TLS has checked the chain when the connection was made. It is checked again here, with the profile of participants'
    certificates and the time of now: connections live long.

    Raises:
        AuthenticationError: no participant's certificate, or one that is no longer valid.
    """
    pem = list((context.auth_context() or {}).get("x509_pem_cert", ()))
    if len(pem) != 1:
        raise AuthenticationError("the connection has no client certificate")
    try:
        der = x509.load_pem_x509_certificate(pem[0]).public_bytes(Encoding.DER)
    except ValueError:
        raise AuthenticationError("the client certificate is unreadable") from None
    identity = trust.verify_participant((der,), datetime.fromtimestamp(now, UTC))
    return Caller(ParticipantId(identity.participant_id), identity.organisation, sha256(der).hexdigest())


class CallLimit:
    """Counts the calls of each participant that are under way."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[ParticipantId] = Counter()

    @contextmanager
    def admitted(self, participant: ParticipantId) -> Iterator[None]:
        """One more call.

        Raises:
            LimitError: too many.
        """
        if self._running[participant] >= self._most:
            raise LimitError(f"{participant} has {self._most} calls under way; end one first")
        self._running[participant] += 1
        try:
            yield
        finally:
            self._running[participant] -= 1
            if not self._running[participant]:
                del self._running[participant]
