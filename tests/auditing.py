"""Audit logs for tests: a coordinator's certificates, a clock that is set by hand, and folders with a log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from secagg.crypto.authority import Authority, create_authority, issue_server
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.programs.audit.log import AuditLog, Draft
from secagg.programs.disk import REAL_DISK, Disk

NOW: Final = 1_800_000_000.0


class Deployment:
    """A CA, the coordinator's identities over time, and a clock.

    Attributes:
        now: seconds since 1970.
        trust: the CA.
        identity: of the coordinator, now.
    """

    def __init__(self, hosts: tuple[str, ...] = ("coordinator.example",), ca: Authority | None = None) -> None:
        self.now = NOW
        self.hosts = hosts
        self.authority = ca or authority()
        self.trust = TrustAnchors([self.authority.certificate])
        self.identity = self.renewed()

    def renewed(self, days: int = 30) -> CoordinatorIdentity:
        """A fresh certificate and key for the same names; in force from now on."""
        made = issue_server(self.authority, hosts=list(self.hosts), now=self.at, validity=timedelta(days=days))
        self.identity = CoordinatorIdentity.from_pem(made.certificate_pem, made.key_pem.expose(), self.at)
        return self.identity

    @property
    def at(self) -> datetime:
        """The clock as a date."""
        return datetime.fromtimestamp(self.now, UTC)

    def log(self, folder: Path, disk: Disk = REAL_DISK) -> AuditLog:
        """The log in a folder."""
        return AuditLog.open(folder, lambda: self.identity, lambda: self.now, disk)

    def joined(self, name: str, step: int = 1, round_id: str = "ab" * 16) -> Draft:
        """An entry."""
        return Draft("joined", self.now, {"participant": name, "round": round_id, "step": step})


def authority() -> Authority:
    """A fresh CA."""
    made = create_authority(name="test", now=datetime.fromtimestamp(NOW - 86_400, UTC))
    return Authority.from_pem(made.certificate_pem, made.key_pem.expose())
