"""Revocation lists beside the trusted CAs: who is refused, and which lists count."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from secagg.crypto.authority import (
    Authority,
    IssuedCertificate,
    create_authority,
    issue_participant,
    issue_revocation_list,
    issue_server,
)
from secagg.crypto.certificates import parse_pem_chain
from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuthenticationError, IdentityError
from secagg.tools.redteam.self_test.patches import without_check

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEM = serialization.Encoding.PEM


class Issuer:
    """A CA with two participants and a coordinator."""

    def __init__(self, name: str = "one CA") -> None:
        made = create_authority(name=name, now=NOW)
        self.pem = made.certificate_pem
        self.key = made.key_pem.expose()
        self.authority = Authority.from_pem(self.pem, self.key)
        self.people = [
            issue_participant(self.authority, participant_id=name, organisation="north", now=NOW) for name in ("a", "b")
        ]
        self.server = issue_server(self.authority, hosts=["localhost"], now=NOW)

    def list_of(self, *revoked: IssuedCertificate, number: int = 1, now: datetime = NOW) -> bytes:
        serials = [(certificate(each).serial_number, NOW) for each in revoked]
        return issue_revocation_list(self.authority, serials, number=number, now=now)


def certificate(issued: IssuedCertificate) -> x509.Certificate:
    return parse_pem_chain(issued.certificate_pem)[0]


def chain(issued: IssuedCertificate) -> tuple[bytes, ...]:
    return (certificate(issued).public_bytes(serialization.Encoding.DER),)


def odd_list(
    ca: Issuer, extensions: Sequence[tuple[x509.ExtensionType, bool]], *, signer: bytes | None = None
) -> bytes:
    key = serialization.load_pem_private_key(signer or ca.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.authority.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(PEM)


def test_who_is_on_a_list_is_refused_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = Issuer()
    trust = TrustAnchors.from_pem(ca.pem + ca.list_of(ca.people[0]))
    with pytest.raises(AuthenticationError, match="participant certificate: its CA CN=one CA took it back"):
        trust.verify_participant(chain(ca.people[0]), NOW)
    assert trust.verify_participant(chain(ca.people[1]), NOW).participant_id == "b"
    assert trust.verify_coordinator(chain(ca.server), NOW)
    without_check(monkeypatch, TrustAnchors, "_check_not_revoked", "not-revoked")
    trust.verify_participant(chain(ca.people[0]), NOW)


def test_a_coordinator_can_be_revoked_too() -> None:
    ca = Issuer()
    trust = TrustAnchors.from_pem(ca.list_of(ca.server) + ca.pem)  # in any order
    with pytest.raises(AuthenticationError, match="took it back") as refused:
        trust.verify_coordinator(chain(ca.server), NOW)
    assert refused.value.culprit == "coordinator"


def test_a_number_of_another_ca_is_another_number() -> None:
    one, two = Issuer(), Issuer("another CA")
    serials = [(certificate(one.people[0]).serial_number, NOW)]
    theirs = issue_revocation_list(two.authority, serials, number=1, now=NOW)
    assert TrustAnchors.from_pem(one.pem + two.pem + theirs).verify_participant(chain(one.people[0]), NOW)


def test_several_lists_count_together() -> None:
    ca = Issuer()
    trust = TrustAnchors.from_pem(ca.pem + ca.list_of(ca.people[0]) + ca.list_of(ca.people[1], number=2))
    for each in ca.people:
        with pytest.raises(AuthenticationError, match="took it back"):
            trust.verify_participant(chain(each), NOW)


def test_a_list_must_be_signed_by_a_trusted_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    one, same_name = Issuer(), Issuer()
    forged = same_name.list_of(one.people[0]), odd_list(one, (), signer=same_name.key)
    for pem in forged:
        with pytest.raises(IdentityError, match="no trusted CA signed the revocation list of CN=one CA"):
            TrustAnchors.from_pem(one.pem + pem)
    without_check(monkeypatch, TrustAnchors, "from_pem", "signed-revocation-list")
    for pem in forged:
        TrustAnchors.from_pem(one.pem + pem)


def test_a_ca_that_may_not_sign_lists_signs_none() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a CA without lists")])
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
         "crl_sign", "encipher_only", "decipher_only"), False
    )  # fmt: skip
    end = NOW + timedelta(days=1)
    ca = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    ca = ca.not_valid_before(NOW).not_valid_after(end)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = ca.add_extension(x509.KeyUsage(key_cert_sign=True, **usage), critical=True).sign(key, hashes.SHA256())
    builder = x509.CertificateRevocationListBuilder().issuer_name(name).last_update(NOW).next_update(end)
    made = builder.sign(key, hashes.SHA256()).public_bytes(PEM)
    TrustAnchors.from_pem(pem.public_bytes(PEM))
    with pytest.raises(IdentityError, match="no trusted CA signed the revocation list of CN=a CA without lists"):
        TrustAnchors.from_pem(pem.public_bytes(PEM) + made)


def distribution_point(*, indirect: bool) -> x509.IssuingDistributionPoint:
    return x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=not indirect,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=indirect,
        only_contains_attribute_certs=False,
    )


def test_a_list_must_be_whole() -> None:
    ca = Issuer()
    whole, indirect = distribution_point(indirect=False), distribution_point(indirect=True)
    TrustAnchors.from_pem(ca.pem + odd_list(ca, [(whole, True), (x509.CRLNumber(3), False)]))
    for extension in (indirect, x509.DeltaCRLIndicator(1)):
        with pytest.raises(IdentityError, match="is a part of one, or is about certificates of others"):
            TrustAnchors.from_pem(ca.pem + odd_list(ca, [(extension, True)]))


@pytest.mark.parametrize("spoilt", [b"AAAA", b"", b"?"])
def test_a_list_that_cannot_be_read_is_refused(spoilt: bytes) -> None:
    ca = Issuer()
    block = b"-----BEGIN X509 CRL-----\n" + spoilt + b"\n-----END X509 CRL-----\n"
    with pytest.raises(IdentityError, match="no readable PEM revocation list"):
        TrustAnchors.from_pem(ca.pem + block)


def test_a_list_has_its_time() -> None:
    ca = Issuer()
    trust = TrustAnchors.from_pem(ca.pem + ca.list_of())
    trust.check_validity(NOW)
    with pytest.raises(
        IdentityError, match="its revocation list ended on 2026-01-31 00:00 UTC; ask the CA for the next"
    ):
        trust.check_validity(NOW + timedelta(days=31))
    with pytest.raises(IdentityError, match="its revocation list begins on"):
        trust.check_validity(NOW - timedelta(hours=1))
    assert trust.expiries[1] == ("revocation list of CN=one CA", NOW + timedelta(days=30))


def test_tls_gets_the_cas_without_the_lists() -> None:
    ca = Issuer()
    trust = TrustAnchors.from_pem(ca.pem + ca.list_of(ca.people[0]))
    assert trust.pem == TrustAnchors.from_pem(ca.pem).pem
    assert trust.digest == TrustAnchors.from_pem(ca.pem).digest


# --- one after another ------------------------------------------------------------------------------------------------


def trusting(*parts: bytes) -> TrustAnchors:
    return TrustAnchors.from_pem(b"".join(parts))


def test_an_older_list_does_not_replace_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ca = Issuer()
    older, newer = ca.list_of(number=1), ca.list_of(ca.people[0], number=2)
    before = trusting(ca.pem, newer)
    trusting(ca.pem, newer).check_follows(before)
    trusting(ca.pem, older, newer).check_follows(before)
    trusting(ca.pem, newer).check_follows(trusting(ca.pem, older))
    for wrong, told in ((older, "is number 1, of "), (b"", "is missing, and number 2, of ")):
        with pytest.raises(IdentityError, match=told):
            trusting(ca.pem, wrong).check_follows(before)
    made = [ca.list_of(number=1, now=NOW + timedelta(days=day)) for day in (0, 1)]  # as all are that have no number
    with pytest.raises(IdentityError, match="give the newest one"):
        trusting(ca.pem, made[0]).check_follows(trusting(ca.pem, made[1]))
    without_check(monkeypatch, TrustAnchors, "check_follows", "newer-revocation-list")
    trusting(ca.pem, older).check_follows(before)


def test_a_new_ca_of_the_same_name_counts_its_lists_anew() -> None:
    old, new = Issuer(), Issuer()
    before = trusting(old.pem, new.pem, old.list_of(number=7))
    trusting(old.pem, new.pem, old.list_of(number=7), new.list_of(number=1)).check_follows(before)
    trusting(new.pem, new.list_of(number=1)).check_follows(before)
