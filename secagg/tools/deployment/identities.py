"""A CA and identities in a folder, for a deployment that lives on this machine and for a short while."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_participant, issue_server
from secagg.programs.keyfiles import NewFile, write_new

HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Identities:
    """The folders of all identities, each with cert.pem, key.pem (mode 0600) and ca.pem.

    Attributes:
        server: the sidecar's.
        participants: theirs, by participant id; the folder's name is the id.
    """

    server: Path
    participants: Mapping[str, Path]


def create_identities(folder: Path, names: Iterable[str]) -> Identities:
    """Make all keys, each participant in an organisation of its own. The CA's key is never written down."""
    now = datetime.now(UTC)
    ca = create_authority(name="secagg local deployment", now=now)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    made = Identities(folder / "sidecar", {name: folder / name for name in names})
    _write(made.server, ca.certificate_pem, issue_server(authority, hosts=[HOST], now=now))
    for name, identity in made.participants.items():
        issued = issue_participant(authority, participant_id=name, organisation=f"Organisation of {name}", now=now)
        _write(identity, ca.certificate_pem, issued)
    return made


def _write(folder: Path, ca_pem: bytes, issued: IssuedCertificate) -> None:
    write_new(
        [
            NewFile(folder / "ca.pem", ca_pem),
            NewFile(folder / "cert.pem", issued.certificate_pem),
            NewFile(folder / "key.pem", issued.key_pem),
        ]
    )
