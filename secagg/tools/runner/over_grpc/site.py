"""Certificates for the cases: those of a deployment, and those that a program must not believe."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from secagg.crypto.authority import (
    Authority,
    IssuedCertificate,
    create_authority,
    issue_participant,
    issue_server,
    load_private_key,
)
from secagg.crypto.certificates import PARTICIPANT_URN
from secagg.crypto.identity import CoordinatorIdentity, Identity, TrustAnchors
from secagg.messages import ParticipantId
from secagg.tools.conformance import fixtures

HOSTS: Final = ("localhost", "127.0.0.1")
_DAY: Final = timedelta(days=1)
_VALID: Final = (-1, 30)
_DAYS: Final = {"expired": (-2, -1), "yet": (1, 2)}
"""From when to when a certificate is valid, in days from now, where that is what is wrong with it."""


class Site:
    """A deployment that is made when a run begins: by the clock of now, since the program looks at its own.

    Attributes:
        ca_pem: the certificate of its CA.
        identities: of every participant.
    """

    def __init__(self, organisations: Mapping[ParticipantId, str], ca: IssuedCertificate | None = None) -> None:
        """Args:
        organisations: of every participant.
        ca: the CA of a deployment that is there already; a new one is made if None.
        """
        self._now = datetime.now(UTC)
        made = ca or create_authority(name="conformance", now=self._now)
        self.ca_pem, self._ca_key = made.certificate_pem, made.key_pem
        self._authority = Authority.from_pem(made.certificate_pem, made.key_pem.expose())
        self._issued = {
            name: issue_participant(self._authority, participant_id=name, organisation=organisation, now=self._now)
            for name, organisation in organisations.items()
        }
        self.identities = {
            name: Identity.from_pem(issued.certificate_pem, issued.key_pem.expose())
            for name, issued in self._issued.items()
        }

    @cached_property
    def trust(self) -> TrustAnchors:
        """The CA, to verify against."""
        return TrustAnchors.from_pem(self.ca_pem)

    @cached_property
    def server(self) -> IssuedCertificate:
        """The coordinator's own."""
        return issue_server(self._authority, hosts=HOSTS, now=self._now)

    @cached_property
    def coordinator(self) -> CoordinatorIdentity:
        """Who signs receipts."""
        return CoordinatorIdentity.from_pem(self.server.certificate_pem, self.server.key_pem.expose(), self._now)

    @cached_property
    def foreign(self) -> "Site":
        """Another deployment whose people have the same names. Nobody here trusts its CA."""
        return Site(dict.fromkeys(self._issued, "north"))

    def credentials(self, name: ParticipantId) -> tuple[bytes, bytes]:
        """Key and certificate of a participant, each PEM."""
        issued = self._issued[name]
        return issued.key_pem.expose(), issued.certificate_pem

    def write(self, name: ParticipantId, folder: Path) -> dict[str, str]:
        """Write the certificate, the key and the CA of a participant, each PEM, and give their paths."""
        issued = self._issued[name]
        contents = {
            "certificate": issued.certificate_pem,
            "key": issued.key_pem.expose(),
            "ca": self.ca_pem,
        }
        paths = {what: folder / f"{what}.pem" for what in contents}
        for what, path in paths.items():
            path.touch(mode=0o600)
            path.write_bytes(contents[what])
        return {what: str(path) for what, path in paths.items()}

    def wrong_server(self, kind: str) -> tuple[bytes, bytes]:
        """Certificate and key of a server that the program must not talk to, each PEM: of another `host`, of a
        `foreign` CA, one that has `expired`, is not valid `yet`, is for another `purpose`, or is a `participant`'s.
        """
        if kind == "foreign":
            served = self.foreign.server
            return served.certificate_pem, served.key_pem.expose()
        if kind == "participant":
            issued = next(iter(self._issued.values()))
            return issued.certificate_pem, issued.key_pem.expose()
        hosts = ("elsewhere.example",) if kind == "host" else HOSTS
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if kind == "purpose" else ExtendedKeyUsageOID.SERVER_AUTH
        return self._server(hosts, purpose, _DAYS.get(kind, _VALID))

    def participant_pem(self, name: ParticipantId, kind: str) -> tuple[bytes, bytes]:
        """Key and certificate of `participant_chain`, each PEM."""
        [certificate] = self.participant_chain(name, kind)
        return self._issued[name].key_pem.expose(), fixtures.pem(certificate)

    def participant_chain(self, name: ParticipantId, kind: str, at: "Site | None" = None) -> tuple[bytes, ...]:
        """A chain, DER, for the key of a participant, that others must not take for its own: one that has `expired`,
        is not valid `yet`, is for another `purpose`, or of a `foreign` CA. The key is the participant's own, so that
        its signatures hold; `at` the site where that is not this one.
        """
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if kind == "purpose" else ExtendedKeyUsageOID.CLIENT_AUTH
        if kind == "foreign":
            return self.foreign.participant_chain(name, "", self)
        key = load_private_key((at or self)._issued[name].key_pem.expose())
        subject = [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "north"),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(PARTICIPANT_URN + name)]
        made = self._signed(key, subject, names, purpose, _DAYS.get(kind, _VALID))
        return (fixtures.der(made),)

    def _server(
        self, hosts: Sequence[str], purpose: x509.ObjectIdentifier, days: tuple[int, int]
    ) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]
        names: list[x509.GeneralName] = [_host(host) for host in hosts]
        made = self._signed(key, subject, names, purpose, days)
        return fixtures.pem(fixtures.der(made)), fixtures.private_pem(key)

    def _signed(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: list[x509.NameAttribute[str]],
        names: list[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        days: tuple[int, int],
    ) -> x509.Certificate:
        """As `secagg ca` issues them, but for what it never would. `days`: from when to when, from now."""
        ca = load_private_key(self._ca_key.expose())
        never = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=False,
            crl_sign=False,
            **dict.fromkeys((*never, "encipher_only", "decipher_only"), False),
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self._authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now + days[0] * _DAY)
            .not_valid_after(self._now + days[1] * _DAY)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key()), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return builder.sign(ca, hashes.SHA256())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
