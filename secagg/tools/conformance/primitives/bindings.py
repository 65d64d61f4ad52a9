"""Vectors of what homomorphic rounds bind and sign."""

import hashlib

from secagg import roster as rosters
from secagg.crypto import labels
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.homomorphic import transcripts
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import AdvertiseKeys, Index, Member, Roster, SurvivorSet
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Contents, Document
from secagg.tools.conformance.primitives.lattice import ALICE, BOB, profile_fields, small_profile
from secagg.tools.conformance.primitives.rings import CONTEXT


def _bindings() -> Document:
    cases, payload = [], b"packed residues stand here"
    for scheme in Scheme:
        for custody in Custody:
            profile = small_profile(scheme, custody)
            key, seed = (
                fixtures.seed("key digest"),
                fixtures.seed("seed")[:16] if custody is Custody.PARTICIPANTS else b"",
            )
            numbers = (
                profile.ring_degree,
                *profile.key_primes,
                profile.plain_modulus,
                profile.scale,
                profile.values_per_slot,
            )
            shape = b"".join(n.to_bytes(16, "big") for n in numbers)
            binding = transcripts.input_binding(CONTEXT, ALICE, profile, key, seed)
            hashed = hashlib.sha256(payload).digest()
            cases.append(
                {
                    "profile": profile_fields(profile),
                    "key_digest": key,
                    "seed": seed,
                    "numbers": [str(n) for n in numbers],
                    "input_frame": frame(labels.ENCRYPTED_INPUT_BINDING, CONTEXT, ALICE.encode(), shape, key, seed),
                    "input_binding": binding,
                    "chunks": [
                        {
                            "number": i,
                            "frame": frame(labels.ENCRYPTED_CHUNK_BINDING, binding, i.to_bytes(4, "big"), hashed),
                            "binding": transcripts.chunk_binding(binding, i, payload),
                        }
                        for i in (0, 258)
                    ],
                }
            )
    return {"context": CONTEXT, "participant_id": ALICE, "payload": payload, "cases": cases}


def _signed_bytes() -> Document:
    members = []
    for i, name in enumerate((ALICE, BOB), start=1):
        channel = KeyPair.from_private(Secret(fixtures.seed(f"c of {name}")))
        keys = AdvertiseKeys(
            channel.public, b"", b"", (f"certificate of {name}".encode(),), fixtures.seed(f"b of {name}")
        )
        members.append(Member(Index(i), name, keys))
    roster, key = Roster(tuple(members)), fixtures.signing_key(ALICE)
    sets, fallen = SurvivorSet((Index(1), Index(258)), (Index(3),)), (Index(2), Index(77))
    digests = {name: fixtures.seed(name) for name in ("key digest", "sums digest", "c1 digest")}
    sign = fixtures.identity(fixtures.certificate(ALICE, "org", "vector CA"), fixtures.scalar_hex(key)).sign
    signed = {
        "advertise_keys": rosters.advertisement_to_sign(CONTEXT, ALICE, roster.members[0].keys),
        "key_confirmation": transcripts.key_confirmation(CONTEXT, roster, Index(2), digests["key digest"]),
        "sum_report": transcripts.sum_report(CONTEXT, roster, sets.survivors, digests["sums digest"]),
        "consistency_check": transcripts.decryption(CONTEXT, roster, sets, digests["c1 digest"]),
        "recovery_check": transcripts.recovery(CONTEXT, roster, fallen),
    }
    return {
        "context": CONTEXT,
        "participant_id": ALICE,
        "private_scalar_test_only": fixtures.scalar_hex(key),
        "members": [
            {
                "index": m.index,
                "participant_id": m.participant_id,
                "channel_public_key": m.keys.channel_public_key,
                "mask_public_key": m.keys.mask_public_key,
                "key_share_commitment": m.keys.key_share_commitment,
                "certificates": m.keys.certificates,
            }
            for m in members
        ],
        "roster_digest": rosters.roster_digest(roster),
        "dealer": 2,
        "survivors": sets.survivors,
        "dropped": sets.dropped,
        "fallen": fallen,
        "key_digest": digests["key digest"],
        "sums_digest": digests["sums digest"],
        "c1_digest": digests["c1 digest"],
        "signatures": {name: {"signed": message, "signature": sign(message)} for name, message in signed.items()},
    }


VECTORS: Contents = {
    "encrypted-bindings": (
        "What ties an encrypted chunk to its round, sender, profile, key, seed and place",
        "Encrypted inputs",
        _bindings,
    ),
    "homomorphic-signed-bytes": (
        "What the signatures of homomorphic rounds cover",
        "Signatures of homomorphic rounds",
        _signed_bytes,
    ),
}
