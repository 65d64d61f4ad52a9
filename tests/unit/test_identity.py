"""Identities: what verifies, what does not and why, and that hostile bytes end in AuthenticationError only."""

import copy
import pickle
import warnings
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.crypto import identity as identity_module
from secagg.crypto import signing
from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_participant, issue_server
from secagg.crypto.certificates import MAX_CERTIFICATE_BYTES, MAX_CHAIN_LENGTH
from secagg.crypto.identity import CoordinatorIdentity, Identity, TrustAnchors
from secagg.errors import AuthenticationError, ConfigError, DecodeError, IdentityError
from secagg.messages import AdvertiseKeys
from secagg.wire.keys import decode_advertise, encode_advertise

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


@cache
def deployment(name: str = "Study CA") -> tuple[Authority, TrustAnchors]:
    issued = create_authority(name=name, now=NOW)
    return Authority.from_pem(issued.certificate_pem, issued.key_pem.expose()), TrustAnchors.from_pem(
        issued.certificate_pem
    )


def load(issued: IssuedCertificate) -> Identity:
    return Identity.from_pem(issued.certificate_pem, issued.key_pem.expose())


def enrol(authority: Authority, participant_id: str = "clinic-7", days: int = 30) -> Identity:
    return load(
        issue_participant(
            authority, participant_id=participant_id, organisation="Clinic Seven", now=NOW, validity=days * DAY
        )
    )


def odd_certificate(
    *,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    organisations: tuple[str, ...] = ("Clinic Seven",),
    names: tuple[str, ...] | None = ("urn:secagg:participant:clinic-7",),
    hosts: tuple[str, ...] = (),
    usage: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> tuple[bytes, bytes]:
    """A certificate (DER) that our CA would not make, signed by our CA all the same, and its key (PEM)."""
    authority, _ = deployment()
    key = key or ec.generate_private_key(ec.SECP256R1())
    organisation = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, value) for value in organisations]
    issuer_key = authority.certificate.public_key()
    assert isinstance(issuer_key, ec.EllipticCurvePublicKey)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*organisation, x509.NameAttribute(NameOID.COMMON_NAME, "clinic-7")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )
    if names is not None:
        known = [*map(x509.UniformResourceIdentifier, names), *map(x509.DNSName, hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(known), critical=False)
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    certificate = builder.sign(authority._key, hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.DER), key.private_bytes(
        PEM, PKCS8, serialization.NoEncryption()
    )


def test_an_issued_identity_verifies() -> None:
    authority, anchors = deployment()
    own = enrol(authority)
    verified = anchors.verify_participant(own.chain, NOW)
    assert (verified.participant_id, verified.organisation) == ("clinic-7", "Clinic Seven")
    assert (own.participant_id, own.organisation) == ("clinic-7", "Clinic Seven")
    assert own.not_valid_after == NOW + 30 * DAY
    signing.verify(verified.public_key, b"message", own.sign(b"message"), culprit="clinic-7")


def test_pem_round_trip() -> None:
    own = enrol(deployment()[0])
    again = Identity.from_pem(own.certificate_pem, own.private_key_pem().expose())
    assert again.chain == own.chain
    assert TrustAnchors.from_pem(deployment()[1].pem).verify_participant(again.chain, NOW).participant_id == "clinic-7"


def test_signatures_are_deterministic_and_bound_to_message_and_key() -> None:
    authority, anchors = deployment()
    own, other = enrol(authority), enrol(authority, "clinic-8")
    signature = own.sign(b"message")
    assert signature == own.sign(b"message")
    key = anchors.verify_participant(own.chain, NOW).public_key
    other_key = anchors.verify_participant(other.chain, NOW).public_key
    for public_key, message, bad in [
        (key, b"massage", signature),
        (other_key, b"message", signature),
        (key, b"message", signature[:-1]),
        (key, b"message", b""),
    ]:
        with pytest.raises(AuthenticationError, match="clinic-7") as caught:
            signing.verify(public_key, message, bad, culprit="clinic-7")
        assert caught.value.culprit == "clinic-7"


def test_signature_of_rfc_6979() -> None:
    """RFC 6979, appendix A.2.5: P-256 with SHA-256, message "sample"."""
    key = ec.derive_private_key(0xC9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721, ec.SECP256R1())
    r, s = decode_dss_signature(signing.sign(key, b"sample"))
    assert r == 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    assert s == 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8


def test_foreign_ca_is_refused_by_name() -> None:
    stranger = enrol(deployment("Somebody else")[0])
    with pytest.raises(AuthenticationError, match=r"foreign CA, CN=Somebody else; trusted here: CN=Study CA"):
        deployment()[1].verify_participant(stranger.chain, NOW)


def test_foreign_ca_under_a_trusted_name_is_refused() -> None:
    issued = create_authority(name="Study CA", now=NOW)
    impostor = enrol(Authority.from_pem(issued.certificate_pem, issued.key_pem.expose()))
    with pytest.raises(AuthenticationError, match="foreign CA with the name of a trusted one, CN=Study CA"):
        deployment()[1].verify_participant(impostor.chain, NOW)


def test_without_the_chain_check_a_foreign_ca_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the check that stops key substitution by a coordinator with a CA of its own (T5) is the chain check."""
    stranger = enrol(deployment("Somebody else")[0])
    monkeypatch.setattr(TrustAnchors, "_check_chain", lambda *_: None)
    assert deployment()[1].verify_participant(stranger.chain, NOW).participant_id == "clinic-7"


@pytest.mark.parametrize(
    ("now", "reason", "cure"),
    [
        (
            NOW + 31 * DAY,
            "expired on 2026-03-31 12:00 UTC",
            "; run: secagg ca issue participant clinic-7 --organisation 'Clinic Seven'",
        ),
        (NOW - DAY, r"not valid before 2026-03-01 11:50 UTC \(the clock says 2026-0", "; set the clock"),
    ],
)
def test_validity_in_time(now: datetime, reason: str, cure: str) -> None:
    authority, anchors = deployment()
    own = enrol(authority)
    with pytest.raises(AuthenticationError, match=reason):
        anchors.verify_participant(own.chain, now)
    with pytest.raises(IdentityError, match=reason) as caught:
        own.check_validity(now)
    assert str(caught.value).endswith(cure)
    own.check_validity(NOW)


def test_time_is_checked_by_the_chain_verification_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own check gives the better message; the library would refuse the certificate without it."""
    authority, anchors = deployment()
    monkeypatch.setattr(identity_module, "check_valid_at", lambda *_: None)
    with pytest.raises(AuthenticationError, match="not valid at validation time"):
        anchors.verify_participant(enrol(authority).chain, NOW + 31 * DAY)


def test_verification_in_another_time_zone_is_the_same_moment() -> None:
    authority, anchors = deployment()
    own = enrol(authority)
    last = (own.not_valid_after - timedelta(minutes=1)).astimezone(timezone(timedelta(hours=9)))
    assert anchors.verify_participant(own.chain, last).participant_id == "clinic-7"
    with pytest.raises(AuthenticationError, match="expired"):
        anchors.verify_participant(own.chain, last + timedelta(minutes=2))


def test_expired_ca_is_named() -> None:
    issued = create_authority(name="Old CA", now=NOW, validity=10 * DAY)
    authority = Authority.from_pem(issued.certificate_pem, issued.key_pem.expose())
    key = authority._key
    leaf = x509.load_der_x509_certificate(enrol(authority, days=9).chain[0])
    outliving = (
        x509.CertificateBuilder(
            leaf.issuer,
            leaf.subject,
            leaf.public_key(),
            leaf.serial_number,
            NOW.replace(tzinfo=None),
            (NOW + 30 * DAY).replace(tzinfo=None),
            list(leaf.extensions),
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    anchors = TrustAnchors.from_pem(issued.certificate_pem)
    with pytest.raises(
        AuthenticationError, match=r"its CA CN=Old CA is trusted but expired on 2026-03-11 .*; add the CA"
    ):
        anchors.verify_participant((outliving,), NOW + 20 * DAY)
    with pytest.raises(ConfigError, match="ask for at most 10 days"):
        enrol(authority, days=11)
    with pytest.raises(IdentityError, match="the CA expired on 2026-03-11"):
        issue_participant(authority, participant_id="a", organisation="A", now=NOW + 11 * DAY)


def test_rotation_both_cas_are_trusted_until_the_old_one_is_dropped() -> None:
    old, old_only = deployment()
    for name in ("Study CA", "Study CA 2"):  # a successor may even have the same name
        issued = create_authority(name=name, now=NOW)
        new = Authority.from_pem(issued.certificate_pem, issued.key_pem.expose())
        both = TrustAnchors.from_pem(old_only.pem + issued.certificate_pem)
        for authority in (old, new):
            assert both.verify_participant(enrol(authority).chain, NOW).participant_id == "clinic-7"
        new_only = TrustAnchors.from_pem(issued.certificate_pem)
        assert new_only.verify_participant(enrol(new).chain, NOW).participant_id == "clinic-7"
        with pytest.raises(AuthenticationError, match="foreign CA"):
            new_only.verify_participant(enrol(old).chain, NOW)


def test_profile_is_enforced_on_certificates_that_a_trusted_ca_signed() -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    urn = "urn:secagg:participant:"
    cases: list[tuple[tuple[bytes, bytes], str]] = [
        (odd_certificate(key=rsa_key), "not ECDSA"),
        (odd_certificate(key=ec.generate_private_key(ec.SECP384R1())), "curve secp384r1"),
        (odd_certificate(names=None), "exactly one name urn:secagg:participant:<id>, has 0"),
        (odd_certificate(names=("https://clinic.example",)), "has 0"),
        (odd_certificate(names=(urn + "a", urn + "b")), "has 2"),
        (odd_certificate(names=(urn + "../a",)), "the participant id is not"),
        (odd_certificate(names=(urn,)), "the participant id is not"),
        (odd_certificate(organisations=()), r"exactly one organisation \(O\) in its subject, has 0"),
        (odd_certificate(organisations=("A", "B")), "has 2"),
        (odd_certificate(organisations=("Evil\nlog line",)), "printable"),
        (odd_certificate(usage=None), "lacks clientAuth"),
        (odd_certificate(usage=ExtendedKeyUsageOID.SERVER_AUTH), "lacks clientAuth"),
    ]
    for (certificate, key), reason in cases:
        with pytest.raises(AuthenticationError, match=reason):
            deployment()[1].verify_participant((certificate,), NOW)
        pem = x509.load_der_x509_certificate(certificate).public_bytes(PEM)
        with pytest.raises(IdentityError, match=reason):
            Identity.from_pem(pem, key)
    good, _ = odd_certificate()
    assert deployment()[1].verify_participant((good,), NOW).organisation == "Clinic Seven"


def test_a_participant_cannot_act_as_a_ca() -> None:
    """A leaf key signs another 'participant': the chain leaf → leaf → CA must not verify."""
    authority, anchors = deployment()
    mallory = enrol(authority, "mallory")
    as_authority = Authority(x509.load_der_x509_certificate(mallory.chain[0]), mallory._key)
    victim = issue_participant(as_authority, participant_id="victim", organisation="Clinic", now=NOW, validity=DAY)
    chain = (load(victim).chain[0], mallory.chain[0])
    with pytest.raises(AuthenticationError, match="does not chain"):
        anchors.verify_participant(chain, NOW)
    with pytest.raises(IdentityError, match="no CA certificate"):
        Authority.from_pem(mallory.certificate_pem, mallory.private_key_pem().expose())


def test_chain_limits() -> None:
    authority, anchors = deployment()
    leaf = enrol(authority).chain[0]
    for chain in ((), (leaf,) * (MAX_CHAIN_LENGTH + 1), (leaf + bytes(MAX_CERTIFICATE_BYTES),)):
        with pytest.raises(AuthenticationError):
            anchors.verify_participant(chain, NOW)
    assert anchors.verify_participant((leaf, leaf), NOW).participant_id == "clinic-7"


def test_one_limit_holds_for_chains_everywhere() -> None:
    """In the library, at the decoder, for our own file, in the specification and in the .proto."""
    authority, _ = deployment()
    own = enrol(authority)
    keys = AdvertiseKeys(bytes(32), bytes(32), b"", own.chain * MAX_CHAIN_LENGTH)
    assert decode_advertise(encode_advertise(keys)) == keys
    too_many = replace(keys, certificates=own.chain * (MAX_CHAIN_LENGTH + 1))
    too_long = replace(keys, certificates=(bytes(MAX_CERTIFICATE_BYTES + 1),))
    for altered in (too_many, too_long):
        with pytest.raises(DecodeError):
            decode_advertise(encode_advertise(altered))
    with pytest.raises(IdentityError, match="a chain holds 1 to 4 certificates, this one 5"):
        Identity.from_pem(own.certificate_pem * 5, own.private_key_pem().expose())
    root = Path(__file__).parents[2] / "proto"
    assert (MAX_CHAIN_LENGTH, MAX_CERTIFICATE_BYTES) == (4, 8192)
    assert "A chain has 1 to 4 certificates, leaf first, each at most 8,192 bytes" in (root / "PROTOCOL.md").read_text()
    messages = (root / "secagg/wire/v1/data_plane.proto").read_text()
    assert "at most 4 of at most 8,192 bytes" in messages


def test_own_key_must_match_and_be_readable() -> None:
    authority, _ = deployment()
    one, two = enrol(authority), enrol(authority)
    key = one.private_key_pem().expose()
    encrypted = one._key.private_bytes(PEM, PKCS8, serialization.BestAvailableEncryption(b"secret"))
    rsa_pem = rsa.generate_private_key(65537, 2048).private_bytes(PEM, PKCS8, serialization.NoEncryption())
    for certificate_pem, key_pem, reason in [
        (two.certificate_pem, key, "do not belong together"),
        (one.certificate_pem, rsa_pem, "not ECDSA P-256"),
        (one.certificate_pem, encrypted, "encrypted"),
        (one.certificate_pem, b"not a key", "no readable PEM private key"),
        (b"not a certificate", key, "no readable PEM certificate"),
        (deployment()[1].pem, key, "extended key usage lacks clientAuth"),
    ]:
        with pytest.raises(IdentityError, match=reason):
            Identity.from_pem(certificate_pem, key_pem)


def test_keys_neither_print_nor_pickle_nor_copy() -> None:
    authority, _ = deployment()
    own = enrol(authority)
    for holder in (own, authority):
        assert "PRIVATE" not in repr(holder)
        assert "Key object" not in repr(holder)
        for leak in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="not pickled"):
                leak(holder)
    secret = format(own._key.private_numbers().private_value, "x")
    assert secret not in repr(own)


def test_encrypted_ca_key() -> None:
    issued = create_authority(name="CA", now=NOW, passphrase=b"correct horse")
    assert b"ENCRYPTED" in issued.key_pem.expose()
    opened = Authority.from_pem(issued.certificate_pem, issued.key_pem.expose(), passphrase=b"correct horse")
    assert opened.certificate.subject.rfc4514_string() == "CN=CA"
    with pytest.raises(IdentityError, match="wrong passphrase"):
        Authority.from_pem(issued.certificate_pem, issued.key_pem.expose(), passphrase=b"wrong")
    with pytest.raises(IdentityError, match="needs its passphrase"):
        Authority.from_pem(issued.certificate_pem, issued.key_pem.expose())


def test_server_certificates() -> None:
    authority, anchors = deployment()
    issued = issue_server(authority, hosts=["aggregator.example.org", "10.0.0.5", "::1"], now=NOW, validity=30 * DAY)
    key = issued.key_pem.expose()
    CoordinatorIdentity.from_pem(issued.certificate_pem, key, NOW)
    with pytest.raises(IdentityError, match="server certificate: expired"):
        CoordinatorIdentity.from_pem(issued.certificate_pem, key, NOW + 31 * DAY)
    participant = enrol(authority)
    with pytest.raises(IdentityError, match="lacks serverAuth"):
        CoordinatorIdentity.from_pem(participant.certificate_pem, participant.private_key_pem().expose(), NOW)
    with pytest.raises(IdentityError, match="do not belong together"):
        CoordinatorIdentity.from_pem(issued.certificate_pem, participant.private_key_pem().expose(), NOW)
    leaf = x509.load_pem_x509_certificate(issued.certificate_pem)
    with pytest.raises(AuthenticationError, match="lacks clientAuth"):
        anchors.verify_participant((leaf.public_bytes(serialization.Encoding.DER),), NOW)
    store = Store([authority.certificate])
    verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(x509.DNSName("aggregator.example.org"))
    assert verifier.verify(leaf, [])


def test_server_certificate_needs_ecdsa() -> None:
    der, key = odd_certificate(key=rsa.generate_private_key(65537, 2048), usage=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(IdentityError, match="server certificate: the key is not ECDSA"):
        CoordinatorIdentity.from_pem(x509.load_der_x509_certificate(der).public_bytes(PEM), key, NOW)


@pytest.mark.parametrize("participant_id", ["", "a b", "../x", "-a", "ä", "a" * 65, "a/b", "a\n"])
def test_bad_participant_ids_are_not_issued(participant_id: str) -> None:
    with pytest.raises(ConfigError, match="participant id"):
        issue_participant(deployment()[0], participant_id=participant_id, organisation="A", now=NOW)


@pytest.mark.parametrize("organisation", ["", " A", "A ", "A\nB", "A" * 65])
def test_bad_organisations_are_not_issued(organisation: str) -> None:
    with pytest.raises(ConfigError, match="organisation"):
        issue_participant(deployment()[0], participant_id="a", organisation=organisation, now=NOW)


@pytest.mark.parametrize("host", ["", "a b", "-a", "ä.example", "a..b", "a/b", "x" * 64])
def test_bad_hosts_are_not_issued(host: str) -> None:
    with pytest.raises(ConfigError, match="neither an IP address nor a DNS name"):
        issue_server(deployment()[0], hosts=[host], now=NOW)


def test_validity_must_be_positive_and_representable() -> None:
    for validity in (timedelta(0), timedelta(days=-1), timedelta(days=10**7)):
        with pytest.raises(ConfigError):
            create_authority(name="CA", now=NOW, validity=validity)


def test_trust_anchors_must_be_cas() -> None:
    with pytest.raises(IdentityError, match="not a CA certificate"):
        TrustAnchors.from_pem(enrol(deployment()[0]).certificate_pem)
    with pytest.raises(IdentityError, match="no readable PEM certificate"):
        TrustAnchors.from_pem(b"")


@pytest.mark.parametrize("hosts", [("fl_server",), ("a b", "a..b"), ("*.a_b", "fl_server")])
def test_a_server_certificate_has_a_name_that_can_be_looked_for(hosts: tuple[str, ...]) -> None:
    """Another PKI may issue any name. Who verifies takes the first that is a host's, if there is one."""
    der, key = odd_certificate(names=(), hosts=hosts, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    with pytest.raises(AuthenticationError, match="none of its names is") as refused:
        deployment()[1].verify_coordinator((der,), NOW)
    assert refused.value.culprit == "coordinator"
    with pytest.raises(IdentityError, match="server certificate: none of its names is an IP address, or a DNS name"):
        CoordinatorIdentity.from_pem(x509.load_der_x509_certificate(der).public_bytes(PEM), key, NOW)
    der, key = odd_certificate(names=(), hosts=(*hosts, "localhost"), usage=ExtendedKeyUsageOID.SERVER_AUTH)
    assert "localhost" in deployment()[1].verify_coordinator((der,), NOW).hosts
    CoordinatorIdentity.from_pem(x509.load_der_x509_certificate(der).public_bytes(PEM), key, NOW)


@settings(max_examples=600, deadline=None)
@given(st.data())
def test_a_damaged_certificate_of_a_coordinator_is_only_ever_refused(data: st.DataObject) -> None:
    """It comes with every receipt. Half of the damage is in the names, which are looked at before the signature."""
    leaf = bytearray(_server_leaf())
    names = leaf.index(b"aggregator.example.org") - 6
    where = st.integers(0, len(leaf) - 1) | st.integers(names, names + 32)
    for position, difference in data.draw(st.dictionaries(where, st.integers(1, 255), min_size=1, max_size=3)).items():
        leaf[position] ^= difference
    with pytest.raises(AuthenticationError):
        _verify_server_quietly(bytes(leaf))


def test_a_coordinators_subject_that_cannot_be_read_is_refused() -> None:
    """Nobody needs it; the library reads it to say which certificate lacks an extension."""
    leaf = _server_leaf().replace(b"\x55\x1d\x23", b"\x55\x1d\x73")  # an authorityKeyIdentifier no more
    tag = leaf.index(b"aggregator.example.org") - 2  # of the common name's text
    with pytest.raises(AuthenticationError, match="coordinator's certificate: it, or one behind it, is unreadable"):
        _verify_server_quietly(leaf[:tag] + b"\x0d" + leaf[tag + 1 :])


def _verify_server_quietly(leaf: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deployment()[1].verify_coordinator((leaf,), NOW)


@cache
def _server_leaf() -> bytes:
    issued = issue_server(deployment()[0], hosts=["aggregator.example.org"], now=NOW, validity=30 * DAY)
    return x509.load_pem_x509_certificate(issued.certificate_pem).public_bytes(serialization.Encoding.DER)


def verify_quietly(chain: tuple[bytes, ...]) -> None:
    """Verify; the library may warn about an odd certificate, which is no error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deployment()[1].verify_participant(chain, NOW)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=6))
def test_hostile_bytes_are_only_ever_refused(chain: list[bytes]) -> None:
    with pytest.raises(AuthenticationError):
        verify_quietly(tuple(chain))


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_a_damaged_chain_is_only_ever_refused(data: st.DataObject) -> None:
    """Any changed byte is under the signature or in it, or breaks the encoding."""
    leaf = bytearray(_leaf())
    positions = st.integers(0, len(leaf) - 1)
    edits = data.draw(
        st.lists(st.tuples(positions, st.integers(1, 255)), min_size=1, max_size=3, unique_by=lambda e: e[0])
    )
    for position, difference in edits:
        leaf[position] ^= difference
    with pytest.raises(AuthenticationError):
        verify_quietly((bytes(leaf),))


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_damaged_certificate_with_a_true_signature_ends_in_a_decision(data: st.DataObject) -> None:
    """The CA itself signs damaged contents: the parser meets every field. The outcome is acceptance or our error."""
    body = bytearray(x509.load_der_x509_certificate(_leaf()).tbs_certificate_bytes)
    for position in data.draw(st.lists(st.integers(4, len(body) - 1), min_size=1, max_size=4)):
        body[position] = data.draw(st.integers(0, 255))
    with suppress(AuthenticationError):
        verify_quietly((_signed_by_the_ca(bytes(body)),))


def test_a_name_of_an_odd_type_is_refused() -> None:
    """An organisation that is a BIT STRING and no text: found by fuzzing."""
    body = x509.load_der_x509_certificate(_leaf()).tbs_certificate_bytes
    text, bits = b"\x0c\x0cClinic Seven", b"\x03\x0c\x00linic Seven"
    assert body.count(text) == 1
    with pytest.raises(AuthenticationError, match="the subject is unreadable"):
        verify_quietly((_signed_by_the_ca(body.replace(text, bits)),))


def _signed_by_the_ca(body: bytes) -> bytes:
    signature = signing.sign(deployment()[0]._key, body)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    content = body + algorithm + b"\x03" + bytes([len(signature) + 1]) + b"\x00" + signature
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


@cache
def _leaf() -> bytes:
    return enrol(deployment()[0]).chain[0]


@given(st.binary(max_size=200))
def test_hostile_pem_files_are_only_ever_refused(data: bytes) -> None:
    for pem in (data, b"-----BEGIN CERTIFICATE-----\n" + data + b"\n-----END CERTIFICATE-----\n"):
        with pytest.raises(IdentityError):
            TrustAnchors.from_pem(pem)
        with pytest.raises(IdentityError):
            Identity.from_pem(pem, pem)


def test_one_ca_that_is_valid_is_enough() -> None:
    """During a rotation the old one may have expired."""
    old = create_authority(name="old", now=NOW - 40 * DAY, validity=30 * DAY).certificate_pem
    new = create_authority(name="new", now=NOW).certificate_pem
    TrustAnchors.from_pem(old + new).check_validity(NOW)
    with pytest.raises(IdentityError, match=r"^CA CN=old: expired on .* \(the clock says .*\)$"):
        TrustAnchors.from_pem(old).check_validity(NOW)
    with pytest.raises(IdentityError, match=r"CA CN=old: expired on .*; CA CN=new: not valid before"):
        TrustAnchors.from_pem(old + new).check_validity(NOW - 5 * DAY)
