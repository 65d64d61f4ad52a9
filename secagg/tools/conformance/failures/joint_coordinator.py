"""What the coordinator must refuse under a joint key: checks C68 to C84 and C91 of proto/PROTOCOL.md."""

from secagg.crypto import labels
from secagg.crypto.secret import Secret
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.failures.changes import FIRST, before, cut, entry, first_residue, put, without, zeros
from secagg.tools.conformance.failures.dealt_coordinator import zero_inputs
from secagg.tools.conformance.failures.forgeries import (
    committing,
    sealed,
    seed_share_digest,
    signs_decryption,
    signs_fallen,
)
from secagg.tools.conformance.failures.joint_participant import MALFORMED_SHARES, PRIME
from secagg.tools.conformance.failures.script import JOINT, ME, Table, dropped_out, failed, refused
from secagg.tools.conformance.failures.stages import onwards, sent

VIOLATION, FORGED, MALFORMED = (
    refused(error, ME) for error in ("ProtocolViolation", "AuthenticationError", "DecodeError")
)
FALLEN = "elm"
"""The first of those whose key seed is recovered."""

WRONG = Secret(bytes(1) + fixtures.seed("wrong share"))

# fmt: off
KEYS: Table = {JOINT: [
    ("no-commitment", "C68", "No commitment to a key share", "none",
     sent("advertise-keys", put(key_share_commitment=b"")), MALFORMED),
    ("seed-for-some", "C69", "Shares for some", "none for 1",
     sent("share-keys", put(sealed=without(FIRST))), VIOLATION),
    ("sealed-seed-too-short", "C70", "An entry too short", "no signature",
     sent("share-keys", put(sealed=entry(FIRST, before(dealing.SEED_SHARE.unsigned_size)))), MALFORMED),
    ("key-share-exchanged", "C71", "A key share that does not fit its commitment", "another share",
     sent("share-keys", put(key_share=first_residue(1))), FORGED),
    *[(slug, "C71", "A key share that is none", change,
       onwards({f"{ME}/advertise-keys": committing(ME, share), f"{ME}/share-keys": put(key_share=share)}), MALFORMED)
      for slug, change, share in MALFORMED_SHARES],
]}

DECRYPTION: Table = {JOINT: [
    ("decryption-check-forged", "C73", "A signature on other sets", "without the dropped",
     sent("consistency-check", put(signature=signs_decryption(ME, sets=put(dropped=())))), FORGED),
    ("recovery-check-forged", "C73", "A signature on another list", "one fallen fewer",
     sent("recovery-check", put(signature=signs_fallen(ME, lambda fallen, _: fallen[1:]))), FORGED),
    ("seed-under-joint-key", "C74", "A seed under a joint key", "16 bytes",
     sent("encrypted-input", put(seed=bytes(16))), MALFORMED),
    ("partial-truncated", "C77", "Malformed residues", "a byte short",
     sent("partial-decryption", put(payload=cut)), MALFORMED),
    ("partial-residue-too-large", "C77", "Malformed residues", "the first residue is its prime",
     sent("partial-decryption", put(payload=first_residue(None))), MALFORMED),
    ("joint-inputs-transparent", "C78", "A transparent sum under a joint key", "every input is zero",
     onwards(zero_inputs), failed("MALFORMED_SUM", dropped_out("ENCRYPTED_INPUT", "elm"))),
    ("wrong-partial", "C84", "Partial decryptions that do not open the sum", f"{ME} sends zeros",
     onwards({f"{ME}/partial-decryption": put(payload=zeros)}),
     failed("MALFORMED_SUM", dropped_out("RECOVER_SEEDS", "iris"))),
]}

RECOVERY: Table = {JOINT: [
    ("fallen-left-out", "C82", "A fallen left out", "7",
     sent("recover-seeds", put(shares=without(FIRST))), VIOLATION),
    ("seed-share-not-in-field", "C82", "A share that is none", "the field prime",
     sent("recover-seeds", put(shares=entry(FIRST, Secret(PRIME)))), MALFORMED),
    ("wrong-seed-piece", "C91", "Another share of a key seed than was dealt", "it does not fit the owner's digest",
     sent("recover-seeds", put(shares=entry(FIRST, WRONG))), FORGED),
    ("wrongly-dealt-seed", "C83", "A wrong share was dealt, with none to spare",
     f"{FALLEN} dealt {ME} a share of its key seed that is not on its polynomial",
     onwards({f"{FALLEN}/share-keys": put(sealed=entry(ME, sealed(
                  labels.SEED_SHARE_SEALING, WRONG.expose(), seed_share_digest(FALLEN, WRONG), by=FALLEN))),
              f"{ME}/recover-seeds": put(shares=entry(FALLEN, WRONG))}),
     failed("WRONG_SHARES", dropped_out("RECOVER_SEEDS", "iris"), culprits=[FALLEN])),
]}
# fmt: on

TABLES = (KEYS, DECRYPTION, RECOVERY)
