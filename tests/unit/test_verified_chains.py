"""A process verifies a chain once for the same CAs, and refuses it all the same when anything about it has changed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from secagg.crypto import identity as identity_module
from secagg.crypto.authority import (
    Authority,
    create_authority,
    issue_participant,
    issue_revocation_list,
    issue_server,
)
from secagg.crypto.certificates import CertificateChain, parse_pem_chain
from secagg.crypto.identity import CoordinatorIdentity, Identity, TrustAnchors
from secagg.crypto.verified_chains import VerifiedChain, VerifiedChains
from secagg.errors import AuthenticationError
from secagg.tools.redteam.self_test.patches import without_check

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Site:
    """A CA, a participant and a coordinator, with certificates of their own."""

    def __init__(self, *, authority_days: int = 3650, days: int = 30) -> None:
        made = create_authority(name="Study CA", now=NOW, validity=authority_days * DAY)
        self.pem = made.certificate_pem
        self.authority = Authority.from_pem(made.certificate_pem, made.key_pem.expose())
        issued = issue_participant(
            self.authority, participant_id="clinic-7", organisation="Clinic Seven", now=NOW, validity=days * DAY
        )
        self.chain = Identity.from_pem(issued.certificate_pem, issued.key_pem.expose()).chain
        server = issue_server(self.authority, hosts=["localhost"], now=NOW, validity=days * DAY)
        self.server = CoordinatorIdentity.from_pem(server.certificate_pem, server.key_pem.expose(), NOW).chain
        self.serials = [parse_pem_chain(each.certificate_pem)[0].serial_number for each in (issued, server)]  # of both

    @property
    def trust(self) -> TrustAnchors:
        """New anchors each time, as another client of the same process has them."""
        return TrustAnchors.from_pem(self.pem)


Verify = Callable[[TrustAnchors, CertificateChain, datetime], object]
BOTH = pytest.mark.parametrize(
    "verify", [TrustAnchors.verify_participant, TrustAnchors.verify_coordinator], ids=["participant", "coordinator"]
)


def chain_of(site: Site, verify: Verify) -> CertificateChain:
    return site.chain if verify is TrustAnchors.verify_participant else site.server


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that a path was validated."""
    found: list[int] = []
    genuine = TrustAnchors._check_chain

    def counted(self: TrustAnchors, certificates: Any, *given: Any, **named: Any) -> None:
        found.append(len(certificates))
        genuine(self, certificates, *given, **named)

    monkeypatch.setattr(TrustAnchors, "_check_chain", counted)
    return found


@BOTH
def test_a_chain_is_verified_once_in_a_process(verify: Verify, paths: list[int]) -> None:
    site = Site()
    found = [verify(site.trust, chain_of(site, verify), NOW + hours * timedelta(hours=1)) for hours in range(3)]
    assert found[0] is found[1] is found[2]
    assert paths == [1]


@BOTH
def test_a_chain_that_was_verified_expires(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    chain = chain_of(site, verify)
    verify(site.trust, chain, NOW)
    for late in (NOW + 4000 * DAY, NOW - DAY):
        with pytest.raises(AuthenticationError, match=r"expired|not valid before"):
            verify(site.trust, chain, late)
    verify(site.trust, chain, NOW)
    without_check(monkeypatch, VerifiedChains, "find", "chain-valid-now")
    verify(site.trust, chain, NOW + 4000 * DAY)


def outliving(site: Site) -> CertificateChain:
    """The participant's certificate, made to last longer than that of its CA."""
    leaf = x509.load_der_x509_certificate(site.chain[0])
    begin, end = NOW.replace(tzinfo=None), (NOW + 300 * DAY).replace(tzinfo=None)
    builder = x509.CertificateBuilder(
        leaf.issuer, leaf.subject, leaf.public_key(), leaf.serial_number, begin, end, list(leaf.extensions)
    )
    return (builder.sign(site.authority._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER),)


def test_a_chain_that_was_verified_ends_with_its_ca(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(authority_days=40)
    chain = outliving(site)
    assert site.trust.verify_participant(chain, NOW).not_valid_after > NOW + 50 * DAY
    with pytest.raises(AuthenticationError, match="its CA CN=Study CA is trusted but expired"):
        site.trust.verify_participant(chain, NOW + 50 * DAY)
    without_check(monkeypatch, VerifiedChains, "find", "chain-valid-now")
    site.trust.verify_participant(chain, NOW + 50 * DAY)


@BOTH
def test_a_chain_that_was_verified_counts_for_the_same_cas_alone(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Site(), Site()  # two CAs of one name
    chain = chain_of(ours, verify)
    verify(ours.trust, chain, NOW)
    with pytest.raises(AuthenticationError, match="signed by a foreign CA with the name of a trusted one"):
        verify(theirs.trust, chain, NOW)
    with pytest.raises(AuthenticationError, match="foreign CA"):
        verify(TrustAnchors.from_pem(create_authority(name="another", now=NOW).certificate_pem), chain, NOW)
    verify(TrustAnchors.from_pem(theirs.pem + ours.pem), chain, NOW)  # a rotation


def test_every_certificate_of_a_chain_counts() -> None:
    site, other = Site(), Site()
    site.trust.verify_participant(site.chain, NOW)
    with pytest.raises(AuthenticationError, match=r"not a readable X.509 certificate"):
        site.trust.verify_participant((*site.chain, b"garbage"), NOW)
    with pytest.raises(AuthenticationError):
        site.trust.verify_participant((*other.chain, *site.chain), NOW)


@BOTH
def test_who_was_verified_and_is_taken_back_later_is_refused(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    chain = chain_of(site, verify)
    verify(site.trust, chain, NOW)
    found = issue_revocation_list(site.authority, [(each, NOW) for each in site.serials], number=1, now=NOW)
    later = TrustAnchors.from_pem(site.pem + found)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match="took it back"):
            verify(later, chain, NOW)
    verify(site.trust, chain, NOW)
    without_check(monkeypatch, TrustAnchors, verify.__name__, "not-revoked-since")
    getattr(later, verify.__name__)(chain, NOW)


def test_half_a_second_after_the_end_of_its_ca_a_chain_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(authority_days=40)
    chain, end = outliving(site), x509.load_pem_x509_certificate(site.pem).not_valid_after_utc
    late = end + timedelta(milliseconds=500)
    with pytest.raises(AuthenticationError, match="expired on"):
        site.trust.verify_participant(chain, late)
    with monkeypatch.context() as patch:
        without_check(patch, TrustAnchors, "_check_chain", "valid-to-the-millisecond")
        site.trust.verify_participant(chain, late)


@BOTH
def test_a_refusal_is_not_kept(verify: Verify, paths: list[int]) -> None:
    site = Site()
    chain = chain_of(site, verify)
    with pytest.raises(AuthenticationError, match="not valid before"):
        verify(site.trust, chain, NOW - DAY)
    verify(site.trust, chain, NOW)
    assert paths == [1]


@BOTH
def test_what_no_ca_has_signed_is_not_kept(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = Site(), Site()
    chain = chain_of(ours, verify)
    with monkeypatch.context() as patch:
        patch.setattr(TrustAnchors, "_check_chain", lambda *_, **__: None)
        verify(theirs.trust, chain, NOW)
    with pytest.raises(AuthenticationError, match="foreign CA"):
        verify(theirs.trust, chain, NOW)


@BOTH
def test_a_chain_with_certificates_beside_its_path_is_not_kept(verify: Verify, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one participant fills the memory: it may show whatever certificates it likes behind its own."""
    site, other = Site(), Site()
    chain = (*chain_of(site, verify), *other.chain)
    [root] = parse_pem_chain(site.pem)
    whole = (*chain_of(site, verify), root.public_bytes(serialization.Encoding.DER))
    assert verify(site.trust, whole, NOW) is verify(site.trust, whole, NOW)  # its CA belongs to the path
    kept = (identity_module._PARTICIPANTS, identity_module._COORDINATORS)
    before = [len(each) for each in kept]
    verify(site.trust, chain, NOW)
    assert [len(each) for each in kept] == before
    without_check(monkeypatch, TrustAnchors, verify.__name__, "nothing-beside-the-path")
    getattr(site.trust, verify.__name__)(chain, NOW)
    assert sum(len(each) for each in kept) == sum(before) + 1


def test_chains_are_bounded_and_the_one_longest_unseen_goes() -> None:
    leaf = x509.load_der_x509_certificate(Site().chain[0])
    chains = VerifiedChains[str](most=2)
    for name in ("a", "b"):
        chains.keep(name.encode(), VerifiedChain.of(name, [leaf], [leaf]))
    assert chains.find(b"a", NOW)
    chains.keep(b"c", VerifiedChain.of("c", [leaf], [leaf]))
    assert [chains.find(key, NOW) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    assert len(chains) == 2
    chains.keep(b"a", VerifiedChain.of("a again", [leaf], [leaf]))
    assert len(chains) == 2
    chains.keep(b"d", VerifiedChain.of("d", [leaf], [leaf]))
    assert [chains.find(key, NOW) is not None for key in (b"a", b"c", b"d")] == [True, False, True]
    assert 10_000 < identity_module._PARTICIPANTS._most < 100_000  # a whole cohort, and no more than some megabytes
