"""The certificates of a simulated deployment, which are the same in every process: made once, from fixed keys."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partialmethod
from hashlib import sha256
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from secagg.crypto.authority import Authority, create_authority, issue_participant, issue_server
from secagg.crypto.identity import CoordinatorIdentity, Identity, TrustAnchors
from secagg.messages import ParticipantId
from secagg.tools.faults.processes import EPOCH

NAMES: Final = tuple(ParticipantId(f"site-{number}") for number in range(1, 13))

_SIGN: Final = x509.CertificateBuilder.sign


@dataclass(frozen=True, slots=True)
class Deployment:
    """A CA, and an identity for everybody."""

    trust: TrustAnchors
    coordinator: CoordinatorIdentity
    identities: dict[ParticipantId, Identity]


@cache
def deployment() -> Deployment:
    """The one deployment of all histories. Its certificates are valid for a year around their beginning."""
    at = datetime.fromtimestamp(EPOCH, UTC) - timedelta(days=180)
    numbers = count(1)

    def key(curve: Any) -> ec.EllipticCurvePrivateKey:
        digest = sha256(b"simulated deployment %d" % next(numbers)).digest()
        return ec.derive_private_key(int.from_bytes(digest) >> 1, curve)

    with (
        patch("secagg.crypto.authority.ec.generate_private_key", key),
        patch("secagg.crypto.authority.x509.random_serial_number", lambda: next(numbers)),
        patch.object(x509.CertificateBuilder, "sign", partialmethod(_SIGN, ecdsa_deterministic=True)),
    ):
        ca = create_authority(name="simulated deployment", now=at)
        authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
        people = {
            name: issue_participant(authority, participant_id=name, organisation="north", now=at) for name in NAMES
        }
        server = issue_server(authority, hosts=["coordinator.simulated"], now=at)
    return Deployment(
        TrustAnchors.from_pem(ca.certificate_pem),
        CoordinatorIdentity.from_pem(server.certificate_pem, server.key_pem.expose(), at),
        {name: Identity.from_pem(made.certificate_pem, made.key_pem.expose()) for name, made in people.items()},
    )
