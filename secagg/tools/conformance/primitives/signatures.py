"""Vectors of rosters, and of what participants sign in masked and homomorphic rounds."""

from typing import Any

from secagg import roster as rosters
from secagg.crypto import labels
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.homomorphic import transcripts
from secagg.messages import AdvertiseKeys, Index, Member, Roster, SurvivorSet
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.fixtures import ALICE, BOB, CONTEXT

SETS = SurvivorSet((Index(1), Index(258)), (Index(3),))


def _roster(*, masked: bool = True) -> Roster:
    """Two members with certificates, as where participants sign; the bytes stand for certificates only here."""
    members = []
    for i, name in enumerate((ALICE, BOB), start=1):
        channel, mask = (KeyPair.from_private(Secret(fixtures.seed(f"{kind} of {name}"))) for kind in ("c", "s"))
        if masked:
            certificates = tuple(f"certificate {k} of {name}".encode() for k in range(i))
            keys = AdvertiseKeys(channel.public, mask.public, b"", certificates)
        else:
            certificates, commitment = (f"certificate of {name}".encode(),), fixtures.seed(f"b of {name}")
            keys = AdvertiseKeys(channel.public, b"", b"", certificates, commitment)
        members.append(Member(Index(i), name, keys))
    return Roster(tuple(members))


def _fields(roster: Roster, *more: str) -> list[dict[str, Any]]:
    fields = ("channel_public_key", "mask_public_key", "certificates", *more)
    return [
        {"index": m.index, "participant_id": m.participant_id} | {name: getattr(m.keys, name) for name in fields}
        for m in roster.members
    ]


def _roster_digest() -> Document:
    roster = _roster()
    fields: list[bytes] = []
    for m in roster.members:
        keys = m.keys
        fields += [m.index.to_bytes(4, "big"), m.participant_id.encode(), keys.channel_public_key, keys.mask_public_key]
        fields += [keys.key_share_commitment, frame(b"", *keys.certificates)]
    return {
        "members": _fields(roster),
        "frame": frame(labels.ROSTER_DIGEST, *fields),
        "digest": rosters.roster_digest(roster),
    }


def _signer(roster: Roster) -> Document:
    """Who signs, and on which roster and sets."""
    return {
        "context": CONTEXT,
        "participant_id": ALICE,
        "private_scalar_test_only": fixtures.scalar_hex(fixtures.signing_key(ALICE)),
        "roster_digest": rosters.roster_digest(roster),
        "survivors": SETS.survivors,
        "dropped": SETS.dropped,
    }


def _signed(message: bytes) -> dict[str, bytes]:
    """A signature by RFC 6979, so that it is the same on every run."""
    scalar = fixtures.scalar_hex(fixtures.signing_key(ALICE))
    identity = fixtures.identity(fixtures.certificate(ALICE, "org", "vector CA"), scalar)
    return {"signed": message, "signature": identity.sign(message)}


def _signed_bytes() -> Document:
    roster = _roster()
    return _signer(roster) | {
        "members": _fields(roster),
        "advertise_keys": _signed(rosters.advertisement_to_sign(CONTEXT, ALICE, roster.members[0].keys)),
        "consistency_check": _signed(rosters.survivors_to_sign(CONTEXT, rosters.roster_digest(roster), SETS)),
    }


def _homomorphic() -> Document:
    roster, fallen = _roster(masked=False), (Index(2), Index(77))
    key, sums, c1 = (fixtures.seed(f"{name} digest") for name in ("key", "sums", "c1"))
    return _signer(roster) | {
        "members": _fields(roster, "key_share_commitment"),
        "dealer": 2,
        "fallen": fallen,
        "key_digest": key,
        "sums_digest": sums,
        "c1_digest": c1,
        "signatures": {
            "advertise_keys": _signed(rosters.advertisement_to_sign(CONTEXT, ALICE, roster.members[0].keys)),
            "key_confirmation": _signed(transcripts.key_confirmation(CONTEXT, roster, Index(2), key)),
            "sum_report": _signed(transcripts.sum_report(CONTEXT, roster, SETS.survivors, sums)),
            "consistency_check": _signed(transcripts.decryption(CONTEXT, roster, SETS, c1)),
            "recovery_check": _signed(transcripts.recovery(CONTEXT, roster, fallen)),
        },
    }


# fmt: off
VECTORS: Contents = {
    "roster-digest": ("The digest of a roster", "Roster", _roster_digest),
    "signed-bytes": ("What the two signatures of the active threat model cover", "Signatures", _signed_bytes),
    "homomorphic-signed-bytes": ("What the signatures of homomorphic rounds cover", "Signatures of homomorphic rounds",
        _homomorphic),
}
# fmt: on
