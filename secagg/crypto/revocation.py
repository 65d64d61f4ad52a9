"""Certificates that a CA took back: its revocation lists (RFC 5280, section 5).

A list counts if one of the trusted CAs signed it. What it names is refused from then on, whenever the certificate is
said to have been taken back: nobody knows since when its key has been in other hands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from cryptography import x509
from cryptography.x509.oid import ExtensionOID

from secagg.crypto.certificates import UNREADABLE, CertificateError, may_sign_lists, show_name
from secagg.errors import IdentityError

_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list that was read and is whole; `signed_by` says who answers for it.

    Attributes:
        issuer: the name of the CA.
        this_update: when it was made; timezone-aware.
        next_update: when the CA promised the next one.
        number: of the list; a newer one has a higher number, and one without a number has 0.
        entries: serial numbers of the certificates that are taken back, each with when that was.
    """

    issuer: x509.Name
    this_update: datetime
    next_update: datetime
    number: int
    entries: Mapping[int, datetime]
    _list: x509.CertificateRevocationList

    @classmethod
    def all_in(cls, pem: bytes) -> tuple[Self, ...]:
        """The lists of a PEM file, which may hold certificates, too.

        Raises:
            IdentityError: one is unreadable, or is not a whole list of one CA.
        """
        lists = []
        for block in pem.split(_BEGIN)[1:]:
            body, end, _ = block.partition(_END)
            try:
                lists.append(cls._of(x509.load_pem_x509_crl(_BEGIN + body + end + b"\n")))
            except UNREADABLE as error:
                raise IdentityError("no readable PEM revocation list") from error
        return tuple(lists)

    @classmethod
    def _of(cls, read: x509.CertificateRevocationList) -> Self:
        if read.next_update_utc is None:
            raise IdentityError(f"the revocation list of {show_name(read.issuer)} does not say when the next one comes")
        for extension in read.extensions:
            if extension.critical and not _is_whole(extension):  # check: whole-revocation-list
                raise IdentityError(
                    f"the revocation list of {show_name(read.issuer)} is a part of one, or is about certificates of "
                    "others: give the CA's complete list"
                )
        entries = {entry.serial_number: entry.revocation_date_utc for entry in read}
        numbers = [each.value.crl_number for each in read.extensions if isinstance(each.value, x509.CRLNumber)]
        return cls(read.issuer, read.last_update_utc, read.next_update_utc, sum(numbers), entries, read)

    @property
    def place(self) -> tuple[int, datetime]:
        """Its place among the lists of its CA: the newest one has the highest."""
        return self.number, self.this_update

    def signed_by(self, anchors: Sequence[x509.Certificate]) -> bool:
        """Whether one of these CAs signed it."""
        for anchor in anchors:
            if anchor.subject == self.issuer and may_sign_lists(anchor):
                try:
                    if self._list.is_signature_valid(anchor.public_key()):  # type: ignore[arg-type]
                        return True
                except UNREADABLE:
                    continue
        return False

    def names(self, certificate: x509.Certificate) -> bool:
        """Whether the certificate is taken back."""
        return certificate.issuer == self.issuer and certificate.serial_number in self.entries


def _is_whole(extension: x509.Extension[x509.ExtensionType]) -> bool:
    """Whether a critical extension leaves the list what it should be: everything that one CA took back."""
    point = extension.value
    return (
        extension.oid == ExtensionOID.ISSUING_DISTRIBUTION_POINT
        and isinstance(point, x509.IssuingDistributionPoint)
        and not point.indirect_crl
        and not point.only_contains_ca_certs
        and not point.only_contains_attribute_certs
        and point.only_some_reasons is None
    )


def check_current(found: RevocationList, now: datetime) -> None:
    """Raise `CertificateError` unless a newer list is not due yet at `now` (timezone-aware)."""
    if now < found.this_update:
        raise CertificateError(f"its revocation list begins on {found.this_update:%Y-%m-%d %H:%M} UTC")
    if now > found.next_update:
        raise CertificateError(
            f"its revocation list ended on {found.next_update:%Y-%m-%d %H:%M} UTC; ask the CA for the next one"
        )
