"""A deployment in a folder: CA, the sidecar's certificate, participants' identities, each with its own examples."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from secagg.cli.keyfiles import NewFile, write_new
from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_participant, issue_server
from secagg.demo.job import Examples
from secagg.demo.participant import save_arrays
from secagg.demo.processes import Recruit


@dataclass(frozen=True, slots=True)
class DemoDeployment:
    """Where everything lies.

    Attributes:
        server: the sidecar's identity folder.
        recruits: the participants.
    """

    server: Path
    recruits: Mapping[str, Recruit]


def participant_names(count: int) -> list[str]:
    """Ids that sort in the order of their numbers."""
    return [f"site-{number:02d}" for number in range(1, count + 1)]


def build_deployment(folder: Path, examples: Mapping[str, Examples]) -> DemoDeployment:
    """Make the keys and hand out the data. The CA's key is never written down."""
    now = datetime.now(UTC)
    ca = create_authority(name="secagg demo", now=now)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    server = folder / "sidecar"
    _write(server, ca.certificate_pem, issue_server(authority, hosts=["127.0.0.1"], now=now))
    recruits = {}
    for name, own in examples.items():
        identity = folder / name
        issued = issue_participant(authority, participant_id=name, organisation=f"Organisation of {name}", now=now)
        _write(identity, ca.certificate_pem, issued)
        recruits[name] = Recruit(identity, identity / "examples.npz")
        save_arrays(recruits[name].data, {"images": own.images, "labels": own.labels})
    return DemoDeployment(server, recruits)


def _write(folder: Path, ca_pem: bytes, issued: IssuedCertificate) -> None:
    write_new(
        [
            NewFile(folder / "ca.pem", ca_pem),
            NewFile(folder / "cert.pem", issued.certificate_pem),
            NewFile(folder / "key.pem", issued.key_pem),
        ]
    )
