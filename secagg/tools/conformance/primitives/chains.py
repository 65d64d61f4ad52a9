"""Vectors of certificate chains: which a verifier takes, and which it must refuse, one fault each."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from secagg.crypto.certificates import PARTICIPANT_URN
from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuthenticationError
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document

ROOT: Final = "Chains CA, test only"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
NOW: Final = datetime.fromtimestamp(fixtures.NOW_S, UTC)
_P256: Final = ec.SECP256R1()


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A certificate of the chain, as it ought to be; a case changes some of it.

    Attributes:
        common_name: of its subject.
        organisations: of its subject.
        uris: in the SubjectAlternativeName; none at all for an empty tuple and no host.
        hosts: in the SubjectAlternativeName.
        days: first and last day of validity, counted from now.
        authority: whether it may issue others: its basic constraints; None where it has none.
        critical: whether the basic constraints are.
        path_length: of an issuer.
        signs: whether its key usage has keyCertSign; None where it has no key usage.
        signature: whether its key usage has digitalSignature.
        purposes: the extended key usage; None where it has none.
        curve: of its key.
        issuer_name: what it calls its issuer, if that is another name.
        by: whose key signs it, if that is not the issuer's.
        more: further extensions, with whether each is critical.
    """

    common_name: str
    organisations: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    days: tuple[float, float] = (-1, 365)
    authority: bool | None = False
    critical: bool = True
    path_length: int | None = None
    signs: bool | None = False
    signature: bool = True
    purposes: tuple[ObjectIdentifier, ...] | None = (CLIENT,)
    curve: ec.EllipticCurve = _P256
    issuer_name: str = ""
    by: str = ""
    more: tuple[tuple[x509.ExtensionType, bool], ...] = ()

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """Its private key."""
        if self.curve is _P256:
            return fixtures.signing_key(f"chains/{self.common_name}")
        scalar = int.from_bytes(fixtures.seed(f"chains/{self.common_name}"), "big")
        return ec.derive_private_key(scalar, self.curve)

    @property
    def name(self) -> x509.Name:
        """The name of its subject."""
        parts = [(NameOID.ORGANIZATION_NAME, value) for value in self.organisations]
        parts.append((NameOID.COMMON_NAME, self.common_name))
        return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])

    def der(self, issuer: "Issued") -> bytes:
        """The certificate, by `issuer`."""
        signer = fixtures.signing_key(f"chains/{self.by}") if self.by else issuer.key
        called = issuer.name
        if self.issuer_name:
            called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.issuer_name)])
        begin, end = (NOW + timedelta(days=day) for day in self.days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(called)
            .public_key(self.key.public_key())
            .serial_number(int.from_bytes(fixtures.seed(f"serial number of {self.common_name}")[:16], "big") >> 1 | 1)
            .not_valid_before(begin)
            .not_valid_after(end)
        )
        for extension, critical in self._extensions(issuer):
            builder = builder.add_extension(extension, critical=critical)
        return fixtures.der(builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True))

    def _extensions(self, issuer: "Issued") -> Iterator[tuple[x509.ExtensionType, bool]]:
        yield x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False
        yield x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False
        if self.authority is not None:
            yield x509.BasicConstraints(ca=self.authority, path_length=self.path_length), self.critical
        if self.signs is not None:
            never = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
            others = dict.fromkeys((*never, "encipher_only", "decipher_only", "crl_sign"), False)
            yield x509.KeyUsage(digital_signature=self.signature, key_cert_sign=self.signs, **others), True
        if self.purposes is not None:
            yield x509.ExtendedKeyUsage(self.purposes), False
        names = [
            *map(x509.UniformResourceIdentifier, self.uris),
            *map(x509.DNSName, self.hosts),
        ]
        if names:
            yield x509.SubjectAlternativeName(names), False
        yield from self.more


def _issuer(common_name: str, **changes: Any) -> Issued:
    usual: dict[str, Any] = {"authority": True, "signs": True, "signature": False, "purposes": None}
    return Issued(common_name=common_name, **(usual | changes))


PINNED: Final = _issuer(ROOT)
LEAF: Final = Issued(common_name="leaf", organisations=("Clinic A",), uris=(f"{PARTICIPANT_URN}alice-1",))
ABOVE: Final = _issuer("Intermediate 1, test only", path_length=0)
HIGHER: Final = _issuer("Intermediate 2, test only", path_length=1)
HIGHEST: Final = _issuer("Intermediate 3, test only")
HOST: Final = Issued(common_name="coordinator", hosts=("coordinator.example",), purposes=(SERVER,))
_FOREIGN: Final = _issuer("Foreign CA, test only")


def _leaf(**changes: Any) -> list[Issued]:
    return [replace(LEAF, **changes)]


def _under(**changes: Any) -> list[Issued]:
    return [LEAF, replace(ABOVE, **changes)]


def _named(*ids: str) -> list[Issued]:
    return _leaf(uris=tuple(PARTICIPANT_URN + name for name in ids))


_UNKNOWN: Final = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.55555.1"), b"\x05\x00")
_LIMITED: Final = x509.NameConstraints([x509.DNSName("example")], None)

Cases = tuple[tuple[str, Callable[[], list[Issued]]], ...]

TAKEN: Final[Cases] = (
    ("a leaf under the pinned CA", lambda: [LEAF]),
    ("a chain of two", lambda: [LEAF, ABOVE]),
    ("a chain of three", lambda: [LEAF, ABOVE, HIGHER]),
    ("a chain of four", lambda: [LEAF, ABOVE, HIGHER, HIGHEST]),
    ("an id of 1 character", lambda: _named("a")),
    ("an id of 64 characters", lambda: _named("Z" + "0._-" * 15 + "abc")),
    ("other names beside the id", lambda: _leaf(uris=(*LEAF.uris, "urn:other:1"), hosts=("client.example",))),
    ("an organisation of 64 characters", lambda: _leaf(organisations=("Ω" * 64,))),
    ("another purpose beside clientAuth", lambda: _leaf(purposes=(SERVER, CLIENT))),
    ("no basic constraints in the leaf", lambda: _leaf(authority=None)),
    ("no key usage in the leaf", lambda: _leaf(signs=None)),
    ("an issuer that is for clients", lambda: _under(purposes=(CLIENT,))),
    ("valid from this second on", lambda: _leaf(days=(0, 1))),
    ("valid until this second", lambda: _leaf(days=(-1, 0))),
    ("an unknown extension that is not critical", lambda: _leaf(more=((_UNKNOWN, False),))),
)

REFUSED: Final[Cases] = (
    ("no certificate", list),
    ("no extended key usage", lambda: _leaf(purposes=None)),
    ("another purpose", lambda: _leaf(purposes=(SERVER,))),
    ("a leaf that is a CA", lambda: _leaf(authority=True)),
    ("a leaf that signs certificates", lambda: _leaf(signs=True)),
    ("a leaf on another curve", lambda: _leaf(curve=ec.SECP384R1())),
    ("expired a second ago", lambda: _leaf(days=(-1, -1 / 86400))),
    ("valid from the next second on", lambda: _leaf(days=(1 / 86400, 1))),
    ("signed by another key", lambda: _leaf(by="Foreign CA, test only")),
    ("another name of the issuer", lambda: _leaf(issuer_name="Nobody, test only")),
    ("a critical extension that nobody knows", lambda: _leaf(more=((_UNKNOWN, True),))),
    ("under another CA", lambda: [LEAF, replace(_FOREIGN, by="Foreign CA, test only")]),
    ("no id", lambda: _leaf(uris=())),
    ("another name for an id", lambda: _leaf(uris=("urn:other:alice-1",))),
    ("an id in capital letters of the prefix", lambda: _leaf(uris=("URN:secagg:participant:alice-1",))),
    ("two ids", lambda: _named("alice-1", "bob")),
    ("one id twice", lambda: _named("alice-1", "alice-1")),
    ("an empty id", lambda: _named("")),
    ("an id of 65 characters", lambda: _named("a" * 65)),
    ("an id that begins with a dot", lambda: _named(".alice")),
    ("an id with a slash", lambda: _named("alice/1")),
    ("no organisation", lambda: _leaf(organisations=())),
    ("two organisations", lambda: _leaf(organisations=("Clinic A", "Clinic B"))),
    ("a space before the organisation", lambda: _leaf(organisations=(" Clinic A",))),
    ("a character in the organisation that nobody can print", lambda: _leaf(organisations=("Clinic\nA",))),
    ("an issuer that is no CA", lambda: _under(authority=False, path_length=None)),
    ("an issuer without basic constraints", lambda: _under(authority=None)),
    ("an issuer that signs no certificates", lambda: _under(signs=False, signature=True)),
    ("an issuer for servers", lambda: _under(purposes=(SERVER,))),
    ("an issuer without key usage", lambda: _under(signs=None)),
    ("an issuer with a critical extension that nobody knows", lambda: _under(more=((_UNKNOWN, True),))),
    ("an expired issuer", lambda: _under(days=(-2, -1))),
    ("an issuer that is not valid yet", lambda: _under(days=(1, 2))),
    ("a chain longer than an issuer allows", lambda: [LEAF, ABOVE, replace(HIGHER, path_length=0)]),
    ("a chain without its middle", lambda: [LEAF, HIGHER]),
)
"""Chains of participants."""

LATE: Final[Cases] = (
    ("half a second after its end", lambda: _leaf(days=(-1, 0))),
    ("half a second after its issuer's end", lambda: _under(days=(-1, 0))),
)
"""Chains of participants that are refused half a second after `NOW`, and taken at that time."""

SERVERS: Final[Cases] = (("a coordinator's certificate", lambda: [HOST]),)
NO_SERVERS: Final[Cases] = (
    ("a participant's for clients", lambda: [LEAF]),
    ("a participant's that serves, too", lambda: _leaf(purposes=(SERVER,))),
    ("a coordinator's without serverAuth", lambda: [replace(HOST, purposes=(CLIENT,))]),
)


def _built(chain: list[Issued]) -> list[bytes]:
    """In DER: each by the one behind it, the last by the pinned CA."""
    above = [*chain[1:], PINNED] if chain else []
    if chain and chain[-1].common_name == _FOREIGN.common_name:
        above[-1] = _FOREIGN
    made = [each.der(issuer) for each, issuer in zip(chain, above, strict=True)]
    if len(chain) == 2 and chain[1] is HIGHER:
        made[0] = chain[0].der(ABOVE)
    return made


def _chains() -> Document:
    pinned = PINNED.der(PINNED)
    trust = TrustAnchors.from_pem(fixtures.pem(pinned))

    def cases(kind: str, listed: Cases, *, taken: bool, late_ms: int = 0) -> Iterator[Document]:
        now = NOW + timedelta(milliseconds=late_ms)
        for title, make in listed:
            chain = tuple(_built(make()))
            case: Document = {"title": title, "of": kind, "chain": chain, "taken": taken}
            case |= {"at_ms": 1000 * fixtures.NOW_S + late_ms} if late_ms else {}
            try:
                if kind == "participant":
                    found = trust.verify_participant(chain, now)
                    case |= {"participant_id": found.participant_id, "organisation": found.organisation}
                else:
                    trust.verify_coordinator(chain, now)
            except AuthenticationError:
                if taken:
                    raise
            else:
                if not taken:
                    raise AssertionError(title)
            yield case

    return {
        "ca": pinned,
        "at_ms": 1000 * fixtures.NOW_S,
        "cases": [
            *cases("participant", TAKEN, taken=True),
            *cases("participant", REFUSED, taken=False),
            *cases("participant", LATE, taken=False, late_ms=500),
            *cases("coordinator", SERVERS, taken=True),
            *cases("coordinator", NO_SERVERS, taken=False),
        ],
    }


VECTORS: Contents = {
    "certificate-chains": ("Chains of certificates that are taken and refused", "A minimal verifier", _chains)
}
