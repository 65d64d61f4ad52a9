"""What a certificate says, for `secagg ca show` and for programs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from secagg.crypto.certificates import (
    UNREADABLE,
    CertificateError,
    Role,
    check_role,
    is_authority,
    organisation_of,
    parse_pem_chain,
    participant_id_of,
    show_name,
)
from secagg.errors import IdentityError


@dataclass(frozen=True, slots=True)
class CertificateSummary:
    """One certificate. `participant_id` and `organisation` are None unless its role is participant."""

    path: Path
    role: str  # ca, participant or server
    subject: str
    participant_id: str | None
    organisation: str | None
    hosts: tuple[str, ...]
    sha256: str
    not_before: datetime
    not_after: datetime

    @property
    def name(self) -> str:
        """The participant id, the host names, or the subject."""
        return self.participant_id or ", ".join(self.hosts) or self.subject

    def days_left(self, now: datetime) -> int:
        """Days of validity, a part of one counted as one; zero or less once expired."""
        return -((now - self.not_after) // timedelta(days=1))

    def expiry(self, now: datetime) -> str:
        """When the certificate expires, or that it has expired, in words."""
        if now > self.not_after:
            return f"EXPIRED on {self.not_after:%Y-%m-%d}"
        if now < self.not_before:
            return f"NOT VALID before {self.not_before:%Y-%m-%d}"
        days = self.days_left(now)
        return f"expires in {days} day{'' if days == 1 else 's'} ({self.not_after:%Y-%m-%d})"

    def as_json(self, now: datetime) -> dict[str, object]:
        """The values that `--json` prints; times in ISO 8601 (UTC)."""
        return {
            "path": str(self.path),
            "role": self.role,
            "subject": self.subject,
            "participant_id": self.participant_id,
            "organisation": self.organisation,
            "hosts": list(self.hosts),
            "sha256": self.sha256,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "expires_in_days": self.days_left(now),
            "valid": self.not_before <= now <= self.not_after,
        }


def summarise(path: Path, pem: bytes) -> list[CertificateSummary]:
    """Every certificate of a PEM file; `IdentityError` naming the file when it is none of ours."""
    try:
        return [_summary(path, certificate) for certificate in parse_pem_chain(pem)]
    except CertificateError as error:
        raise IdentityError(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise IdentityError(f"{path}: a certificate in it is unreadable") from error


def _summary(path: Path, certificate: x509.Certificate) -> CertificateSummary:
    role = _role(certificate)
    participant = role == "participant"
    return CertificateSummary(
        path=path,
        role=role,
        subject=show_name(certificate.subject),
        participant_id=participant_id_of(certificate) if participant else None,
        organisation=organisation_of(certificate) if participant else None,
        hosts=_hosts(certificate) if role == "server" else (),
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def _role(certificate: x509.Certificate) -> str:
    if is_authority(certificate):
        return "ca"
    try:
        check_role(certificate, Role.PARTICIPANT)
    except CertificateError:
        check_role(certificate, Role.SERVER)
        return "server"
    return "participant"


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound as error:
        raise CertificateError("a server certificate without a host name") from error
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))
