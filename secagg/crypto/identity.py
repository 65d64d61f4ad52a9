"""Who is who: our own identity, and the check of everybody else's.

Chains are built and checked by `cryptography.x509.verification` (RFC 5280, the CA/Browser profile); on top of it comes
the profile of `secagg.crypto.certificates`. A certificate is refused if a revocation list beside the trusted CAs has it
(`secagg.crypto.revocation`). Nobody is asked over the network whether one is revoked.

A process verifies each chain once for the same trusted CAs (`secagg.crypto.verified_chains`): a participant meets the
certificates of a deployment in every roster.
"""

import ipaddress
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from secagg.crypto import labels, signing
from secagg.crypto.authority import (
    Authority,
    IssuedCertificate,
    create_authority,
    issue_participant,
    issue_server,
    load_private_key,
)
from secagg.crypto.certificates import (
    MAX_CERTIFICATE_BYTES,
    MAX_CHAIN_LENGTH,
    MAX_SHOWN_CHARS,
    PARTICIPANT_URN,
    CertificateChain,
    CertificateError,
    Role,
    check_chain_size,
    check_role,
    check_valid_at,
    host_names_of,
    is_authority,
    is_organisation,
    is_participant_id,
    issuer_of,
    organisation_of,
    parse_der_chain,
    parse_pem_chain,
    participant_id_of,
    public_key_of,
    show_name,
)
from secagg.crypto.kdf import derive
from secagg.crypto.revocation import RevocationList, check_current
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import digest, frame
from secagg.crypto.verified_chains import VerifiedChain, VerifiedChains
from secagg.errors import AuthenticationError, IdentityError, printable

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "MAX_CHAIN_LENGTH",
    "PARTICIPANT_URN",
    "Authority",
    "CertificateChain",
    "CoordinatorIdentity",
    "Identity",
    "IssuedCertificate",
    "TrustAnchors",
    "VerifiedCoordinator",
    "VerifiedIdentity",
    "create_authority",
    "is_organisation",
    "is_participant_id",
    "issue_participant",
    "issue_server",
]


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """What a chain that verified says about its owner. `not_valid_after` is when its first certificate expires."""

    participant_id: str
    organisation: str
    public_key: ec.EllipticCurvePublicKey
    not_valid_after: datetime


@dataclass(frozen=True, slots=True)
class VerifiedCoordinator:
    """What a coordinator's chain that verified says about its owner.

    Attributes:
        hosts: DNS names and IP addresses.
        public_key: of its signatures.
    """

    hosts: frozenset[str]
    public_key: ec.EllipticCurvePublicKey

    def is_same_as(self, other: "VerifiedCoordinator") -> bool:
        """Whether both are one coordinator: the same key, or a name in common, as after a renewal."""
        return self.public_key == other.public_key or not self.hosts.isdisjoint(other.hosts)


Path = list[x509.Certificate]
"""From a leaf to the CA that is trusted, as far as it was verified."""

_PARTICIPANTS: Final = VerifiedChains[VerifiedIdentity]()
_COORDINATORS: Final = VerifiedChains[VerifiedCoordinator]()


class TrustAnchors:
    """The CA certificates that a deployment trusts: during a rotation, the old one and the new one together. With them
    come the lists of the certificates that these CAs took back.
    """

    __slots__ = ("_anchors", "_digest", "_lists", "_store")

    def __init__(self, anchors: list[x509.Certificate], lists: Sequence[RevocationList] = ()) -> None:
        self._anchors = tuple(anchors)
        self._digest = digest(
            labels.TRUST_DIGEST, *sorted(each.public_bytes(serialization.Encoding.DER) for each in anchors)
        )
        self._lists = tuple(lists)
        self._store = Store(anchors)

    @classmethod
    def from_pem(cls, pem: bytes) -> "TrustAnchors":
        """The anchors of a PEM file, which holds one or more certificates, and may hold revocation lists of these CAs.

        Raises:
            IdentityError: a certificate is unreadable, or is not that of a CA; or a list is unreadable, or none of
                these CAs signed it.
        """
        lists = RevocationList.all_in(pem)
        try:
            anchors = parse_pem_chain(pem)
        except CertificateError as error:
            raise IdentityError(f"trusted CA file: {error}") from error
        for anchor in anchors:
            if not is_authority(anchor):
                raise IdentityError(f"trusted CA file: {show_name(anchor.subject)} is not a CA certificate")
        for found in lists:
            if not found.signed_by(anchors):  # check: signed-revocation-list
                raise IdentityError(
                    f"no trusted CA signed the revocation list of {show_name(found.issuer)}: take it out, or trust the "
                    "CA that signed it"
                )
        return cls(anchors, lists)

    @property
    def pem(self) -> bytes:
        """The anchors as one PEM file, as TLS libraries take it."""
        return b"".join(anchor.public_bytes(serialization.Encoding.PEM) for anchor in self._anchors)

    @property
    def expiries(self) -> list[tuple[str, datetime]]:
        """When the certificate of each CA expires, and when the next list of each is due."""
        certificates = [(f"CA {show_name(anchor.subject)}", anchor.not_valid_after_utc) for anchor in self._anchors]
        return certificates + [
            (f"revocation list of {show_name(each.issuer)}", each.next_update) for each in self._lists
        ]

    def check_validity(self, now: datetime) -> None:
        """Check that at least one CA certificate is valid at a time, and each revocation list. During a rotation the
        old certificate may have expired.

        Args:
            now: timezone-aware.

        Raises:
            IdentityError: none is, or a list is not.
        """
        for found in self._lists:
            try:
                check_current(found, now)
            except CertificateError as error:
                raise IdentityError(f"CA {show_name(found.issuer)}: {error}") from error
        troubles = []
        for anchor in self._anchors:
            try:
                check_valid_at(anchor, now)
            except CertificateError as error:
                troubles.append(f"CA {show_name(anchor.subject)}: {error}")
        if len(troubles) == len(self._anchors):
            raise IdentityError("; ".join(troubles))

    def check_follows(self, before: "TrustAnchors") -> None:
        """Check that these may replace others that were in force: whom a CA took back stays out.

        Raises:
            IdentityError: a list is older than one of the same CA that was in force, or is missing.
        """
        for anchor in self._anchors:
            old, new = before._list_of(anchor), self._list_of(anchor)
            if old is not None and (new is None or new.place < old.place):  # check: newer-revocation-list
                found = (
                    "is missing" if new is None else f"is number {new.number}, of {new.this_update:%Y-%m-%d %H:%M} UTC"
                )
                raise IdentityError(
                    f"the revocation list of {show_name(old.issuer)} {found}, and number {old.number}, of "
                    f"{old.this_update:%Y-%m-%d %H:%M} UTC, is in force: give the newest one"
                )

    def _list_of(self, anchor: x509.Certificate) -> RevocationList | None:
        """The newest list that the CA signed."""
        own = [each for each in self._lists if each.signed_by([anchor])]
        return max(own, key=lambda each: each.place, default=None)

    @property
    def digest(self) -> bytes:
        """32 bytes that fix which CA certificates these are, in whatever order."""
        return self._digest

    def verify_participant(self, chain: CertificateChain, now: datetime) -> VerifiedIdentity:
        """Whose chain this is, or `AuthenticationError` with the reason it is refused at `now` (timezone-aware)."""
        key = self._key(chain)
        try:
            verified = _PARTICIPANTS.find(key, now)
            if verified is not None:
                self._check_not_revoked(verified.certificates)  # check: not-revoked-since
                return verified.owner
            certificates = parse_der_chain(chain)
            leaf = certificates[0]
            check_valid_at(leaf, now)
            check_role(leaf, Role.PARTICIPANT)
            identity, path = _described(certificates), Path()
            self._check_chain(certificates, now, path)  # check: C11, C39
            self._check_not_revoked(certificates)
        except CertificateError as error:
            raise AuthenticationError(f"participant certificate: {error}") from error
        if not set(certificates).issubset(path):  # check: nothing-beside-the-path
            return identity
        _PARTICIPANTS.keep(key, VerifiedChain.of(identity, certificates, path))
        return identity

    def verify_coordinator(self, chain: CertificateChain, now: datetime) -> VerifiedCoordinator:
        """Whose chain this is: of a certificate that serves TLS (serverAuth) and is no participant's.

        The names in it are not compared with anything: clients may know the coordinator by an address.

        Raises:
            AuthenticationError: the reason it is refused at `now` (timezone-aware).
        """
        key = self._key(chain)
        try:
            verified = _COORDINATORS.find(key, now)
            if verified is not None:
                self._check_not_revoked(verified.certificates)  # check: not-revoked-since
                return verified.owner
            certificates = parse_der_chain(chain)
            leaf = certificates[0]
            check_valid_at(leaf, now)
            check_role(leaf, Role.SERVER)
            hosts = host_names_of(leaf)
            coordinator, path = VerifiedCoordinator(frozenset(hosts), public_key_of(leaf)), Path()
            self._check_chain(certificates, now, path, host=_subject_of(leaf))
            self._check_not_revoked(certificates)
        except CertificateError as error:
            raise AuthenticationError(f"coordinator's certificate: {error}", culprit="coordinator") from error
        if not set(certificates).issubset(path):  # check: nothing-beside-the-path
            return coordinator
        _COORDINATORS.keep(key, VerifiedChain.of(coordinator, certificates, path))
        return coordinator

    def _key(self, chain: CertificateChain) -> bytes:
        """What a verified chain is kept under: it fixes every certificate of it, and every trusted CA."""
        return digest(labels.VERIFIED_CHAIN, self._digest, *chain)

    def _check_not_revoked(self, certificates: Sequence[x509.Certificate]) -> None:
        for certificate in certificates:
            if any(each.names(certificate) for each in self._lists):  # check: not-revoked
                number = f"{certificate.serial_number:x}"
                raise CertificateError(f"its CA {show_name(certificate.issuer)} took it back (serial number {number})")

    def _check_chain(
        self,
        certificates: list[x509.Certificate],
        now: datetime,
        path: Path,
        host: x509.DNSName | x509.IPAddress | None = None,
    ) -> None:
        """Path validation for a client's certificate, or for the server `host`; puts into `path` what was verified."""
        builder = PolicyBuilder().store(self._store).time(now)
        leaf, others = certificates[0], certificates[1:]
        try:
            if host is None:
                path += builder.build_client_verifier().verify(leaf, others).chain
            else:
                path += builder.build_server_verifier(host).verify(leaf, others)
        except VerificationError as error:
            raise CertificateError(self._why_untrusted(certificates, now, error)) from error
        except ValueError as error:  # some of it is read only now
            raise CertificateError("it, or one behind it, is unreadable") from error
        for certificate in path:  # the library compares whole seconds
            check_valid_at(certificate, now)  # check: valid-to-the-millisecond

    def _why_untrusted(self, certificates: list[x509.Certificate], now: datetime, error: VerificationError) -> str:
        """The reason in the words of somebody who runs a deployment. The decision itself was the library's."""
        issuers = [issuer_of(certificate) for certificate in certificates]
        named = [anchor for anchor in self._anchors if anchor.subject in issuers]
        if not named:
            trusted = "; ".join(show_name(anchor.subject) for anchor in self._anchors)
            return f"issued by a foreign CA, {show_name(issuers[-1])}; trusted here: {trusted}"
        for anchor in named:
            try:
                check_valid_at(anchor, now)
            except CertificateError as trouble:
                return f"its CA {show_name(anchor.subject)} is trusted but {trouble}; add the CA that replaces it"
        if "signature does not match" in str(error):
            name = show_name(named[0].subject)
            return (
                f"signed by a foreign CA with the name of a trusted one, {name}: forged, or from before a CA rotation"
            )
        return f"does not chain to a trusted CA: {printable(str(error), MAX_SHOWN_CHARS)}"


def _subject_of(leaf: x509.Certificate) -> x509.DNSName | x509.IPAddress:
    """One of a certificate's own names, for a library that asks for the name that is looked for: the first that the
    library takes for a host's.
    """
    builder = PolicyBuilder().store(Store([leaf]))
    for host in host_names_of(leaf):
        try:
            subject = _subject(host)
            builder.build_server_verifier(subject)
        except ValueError:
            continue
        return subject
    raise CertificateError("none of its names is an IP address, or a DNS name of letters, digits and hyphens")


def _subject(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host.replace("*", "any", 1))


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """Our own certificate chain and private key. The key does not print and does not pickle.

    Attributes:
        participant_id: the name that the certificate gives us.
        organisation: the organisation that it names.
        chain: DER certificates, our own first.
        not_valid_before: when our certificate begins to be valid.
        not_valid_after: when it expires.
    """

    participant_id: str
    organisation: str
    chain: CertificateChain = field(repr=False)
    not_valid_before: datetime
    not_valid_after: datetime
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, certificate_pem: bytes, key_pem: bytes) -> "Identity":
        """The identity of a certificate chain and its key. Whether it has expired is not checked here but by
        `check_validity`, so that an expired one can be looked at.

        Raises:
            IdentityError: one of them is unreadable or is not as secagg needs it, or they do not belong together.
        """
        try:
            certificates = parse_pem_chain(certificate_pem)
            check_chain_size([certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates])
            leaf = certificates[0]
            check_role(leaf, Role.PARTICIPANT)
            participant_id, organisation = participant_id_of(leaf), organisation_of(leaf)
            key = _matching_key(leaf, key_pem)
        except CertificateError as error:
            raise IdentityError(f"own certificate: {error}") from error
        return cls(
            participant_id,
            organisation,
            tuple(certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates),
            leaf.not_valid_before_utc,
            leaf.not_valid_after_utc,
            key,
        )

    @property
    def certificate_pem(self) -> bytes:
        """The chain as PEM, leaf first."""
        certificates = [x509.load_der_x509_certificate(der) for der in self.chain]
        return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)

    def private_key_pem(self) -> Secret:
        """The key as unencrypted PKCS#8 PEM, for a TLS library that wants it so."""
        pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return Secret(self._key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))

    def sign(self, message: bytes) -> bytes:
        """An ECDSA P-256 signature of the message, DER, by the key of this identity."""
        return signing.sign(self._key, message)

    def check_validity(self, now: datetime) -> None:
        """Check that our certificate is valid at a time.

        Args:
            now: timezone-aware.

        Raises:
            IdentityError: it has expired, or is not yet valid.
        """
        try:
            check_valid_at(x509.load_der_x509_certificate(self.chain[0]), now)
        except CertificateError as error:
            if now < self.not_valid_before:
                raise IdentityError(f"the certificate of {self.participant_id}: {error}; set the clock") from error
            renew = f"secagg ca issue participant {self.participant_id} --organisation {shlex.quote(self.organisation)}"
            named = IdentityError(f"the certificate of {self.participant_id}: {error}; who runs the CA can renew it")
            raise named.mended_by(renew) from error

    def __reduce__(self) -> NoReturn:
        raise TypeError("private keys are not pickled")


@dataclass(frozen=True, slots=True, eq=False)
class CoordinatorIdentity:
    """The coordinator's certificate chain and private key: they serve TLS and sign receipts. The key does not print."""

    chain: CertificateChain = field(repr=False)
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def from_pem(cls, certificate_pem: bytes, key_pem: bytes, now: datetime) -> "CoordinatorIdentity":
        """Raise `IdentityError` unless these can serve TLS and sign receipts at `now`.

        They must be ECDSA P-256 for serverAuth, with a host's name and no participant's, in time, a chain of at most 4
        certificates, and the certificate's own key.

        An RSA certificate would let TLS 1.2 in: what keeps it out is that its only cipher suites offered need RSA.
        """
        try:
            certificates = parse_pem_chain(certificate_pem)
            leaf = certificates[0]
            check_role(leaf, Role.SERVER)
            check_valid_at(leaf, now)
            key = _matching_key(leaf, key_pem)
            _subject_of(leaf)
            chain = tuple(certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates)
            parse_der_chain(chain)
        except CertificateError as error:
            raise IdentityError(f"server certificate: {error}") from error
        return cls(chain, key)

    @property
    def not_valid_after(self) -> datetime:
        """When the first certificate of the chain expires."""
        return min(x509.load_der_x509_certificate(der).not_valid_after_utc for der in self.chain)

    @property
    def host(self) -> str:
        """One of the names of hosts in the certificate, by which a TLS client knows it."""
        host = sorted(host_names_of(x509.load_der_x509_certificate(self.chain[0])))[0]
        return host.replace("*", "any", 1)

    def sign(self, message: bytes) -> bytes:
        """An ECDSA P-256 signature of the message, DER, by the key of this identity."""
        return signing.sign(self._key, message)

    def derived(self, label: bytes) -> Secret:
        """32 bytes that only who has this private key can derive, for the one purpose that `label` names."""
        scalar = self._key.private_numbers().private_value.to_bytes(32, "big")
        return derive(Secret(scalar), salt=b"", info=frame(label), size=32)

    def __reduce__(self) -> NoReturn:
        raise TypeError("private keys are not pickled")


def verified_before(chain: CertificateChain) -> VerifiedIdentity:
    """Whose chain this is, for one that `verify_participant` has verified and that nobody can have changed since.

    Raises:
        AuthenticationError: it is unreadable, so it cannot be such a one.
    """
    try:
        return _described(parse_der_chain(chain))
    except CertificateError as error:
        raise AuthenticationError(f"participant certificate: {error}") from error


def _described(certificates: list[x509.Certificate]) -> VerifiedIdentity:
    leaf = certificates[0]
    expires = min(certificate.not_valid_after_utc for certificate in certificates)
    return VerifiedIdentity(participant_id_of(leaf), organisation_of(leaf), public_key_of(leaf), expires)


def _matching_key(leaf: x509.Certificate, key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    public_key = public_key_of(leaf)
    key = load_private_key(key_pem)
    if key.public_key() != public_key:
        raise IdentityError("the certificate and the private key do not belong together")
    return key
