"""Identities of nodes, as files."""

from datetime import UTC, datetime
from functools import cache

from secagg.crypto.authority import Authority, create_authority, issue_participant

NODES = (1, 2, 3, 4, 5)


@cache
def issued() -> dict[str, bytes]:
    """Files by name: a CA, and certificates and keys of the nodes."""
    now = datetime.now(UTC)
    ca = create_authority(name="deployment", now=now)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    files = {"ca.pem": ca.certificate_pem}
    for node in NODES:
        made = issue_participant(authority, participant_id=f"site-{node}", organisation=f"hospital {node}", now=now)
        files |= {f"{node}.cert.pem": made.certificate_pem, f"{node}.key.pem": made.key_pem.expose()}
    return files
