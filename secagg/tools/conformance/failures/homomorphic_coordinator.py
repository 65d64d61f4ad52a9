"""What the coordinator of a homomorphic round must refuse: checks C35, C68 to C84, C91 and C93 of proto/PROTOCOL.md."""

from typing import Any

from secagg.crypto import labels
from secagg.crypto.secret import Secret
from secagg.lattice.keyshares import dealt_key_digest
from secagg.messages import KeyConfirmation, SumReport
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import (
    FIRST,
    Edit,
    cut,
    entry,
    every_entry,
    first_residue,
    flipped,
    put,
    without,
    zeros,
)
from secagg.tools.conformance.failures.forgeries import (
    bound,
    committing,
    sealed,
    seed_share_digest,
    signs_decryption,
    signs_fallen,
    signs_key,
    signs_report,
)
from secagg.tools.conformance.failures.homomorphic_participant import ANOTHER_KEY, MALFORMED_SHARES, PRIME
from secagg.tools.conformance.failures.script import (
    BFV,
    DEALER,
    JOINT,
    ME,
    PEER,
    Script,
    Table,
    dropped_out,
    failed,
    refusals,
    refused,
)
from secagg.tools.conformance.failures.stages import onwards, sent

VIOLATION, FORGED, MALFORMED = refusals(ME)
ASKED = "amber-9"
"""Who hands in the sum: the first who is asked drops out."""

FALLEN = "elm"
"""The first of those whose key seed is recovered."""

WRONG = Secret(bytes(1) + fixtures.seed("wrong share"))


def _channel_key(_: bytes, script: Script) -> bytes:
    return script.members[ME].keys.channel_public_key


def _other_digest(entry: bytes, _: Script) -> bytes:
    return entry[:48] + bytes(32) + entry[80:]


def _confirms_another(honest: KeyConfirmation, script: Script) -> Any:
    digest = dealt_key_digest(script.context, Secret(ANOTHER_KEY))
    return put(digest=digest, signature=signs_key(ME, seed=ANOTHER_KEY))(honest, script)


def _reports_without_first(honest: SumReport, script: Script) -> Any:
    return put(signature=signs_report(ME, honest.digest, lambda survivors, _: survivors[1:]))(honest, script)


def _reports_another(name: str) -> Edit:
    digest = fixtures.seed(f"sum of {name}")
    return put(digest=digest, signature=signs_report(name, digest))


def _zero_inputs(script: Script) -> dict[str, Edit]:
    """Every survivor sends zeros, bound as they should be."""
    return {f"{name}/encrypted-input": bound(sender=name, payload=zeros) for name in script.survivors}


def _next_asked(script: Script) -> Document:
    deadline = script.vector["steps"][script.received(f"{ASKED}/sum")]["now_ms"] + 300_000
    asked = {"event": "PhaseStarted", "phase": "RELEASE_SUM", "expected": 1, "deadline_ms": deadline}
    return {"events": [dropped_out("RELEASE_SUM", ASKED, "REFUSED"), asked]}


# fmt: off
DEALT_KEY: Table = {BFV: [
    ("mask-key-in-homomorphic-round", "C68", "Keys that are not of this custody", "a mask key",
     sent("advertise-keys", put(mask_public_key=_channel_key)), MALFORMED),
    ("commitment-without-joint-key", "C68", "Keys that are not of this custody", "a commitment",
     sent("advertise-keys", put(key_share_commitment=bytes(32))), MALFORMED),
    ("key-for-some", "C69", "A key for some", "none for index 1",
     sent("share-keys", put(sealed=without(FIRST))), VIOLATION),
    ("sealed-key-too-short", "C70", "A dealt key of the wrong shape", "the last byte of each entry is missing",
     sent("share-keys", put(sealed=every_entry(cut))), MALFORMED),
    ("dealt-key-unsigned", "C70", "A dealt key of the wrong shape", "the signature is missing",
     sent("share-keys", put(signature=b"")), MALFORMED),
    ("key-digest-too-short", "C70", "A dealt key of the wrong shape", "the digest is a byte short",
     sent("share-keys", put(commitment=cut)), MALFORMED),
    ("key-share-without-joint-key", "C70", "A dealt key of the wrong shape", "a key share",
     sent("share-keys", put(key_share=b"share")), MALFORMED),
    ("dealt-two-digests", "C93", "Another digest beside one of the seals", "that for index 1 is not the commitment",
     sent("share-keys", put(sealed=entry(FIRST, _other_digest))), VIOLATION),
    ("other-key", "C35", "Two keys dealt", "another digest",
     sent("share-keys", put(commitment=bytes(32), sealed=every_entry(_other_digest)), again=True), VIOLATION),
    ("another-key-dealt", "C72", "A participant that confirms another key",
     f"{ME} confirms another key than the one that {DEALER} committed to, whose digest came with it",
     sent("key-confirmation", _confirms_another), FORGED),
    ("confirmation-forged", "C73", "A signature on another dealer", "signed for index 1",
     sent("key-confirmation", put(signature=signs_key(ME, dealer="Aster"))), FORGED),
]}

DEALT_INPUTS: Table = {BFV: [
    ("seedless-input", "C74", "A first chunk without a seed", "no seed",
     sent("encrypted-input", bound(seed=b"")), MALFORMED),
    ("seed-too-short", "C74", "A seed of the wrong size", "15 bytes",
     sent("encrypted-input", bound(seed=cut)), MALFORMED),
    ("repeated-seed", "C75", "Another participant's seed", f"{DEALER}'s",
     sent("encrypted-input", bound(seed=lambda _, s: s.replay.random(DEALER)["stream_seed"])), VIOLATION),
    *[(name, "C76", "A chunk that is not of this input", change, sent("encrypted-input", altered), FORGED)
      for name, change, altered in (
        ("binding-altered", "one bit of the binding", put(binding=flipped)),
        ("input-altered", "one bit of the payload", put(payload=flipped)),
        ("input-of-another-round", "bound to another context", bound(context=fixtures.seed("context"))),
        ("input-of-another-sender", "bound to another sender", bound(sender=PEER)),
        ("input-of-another-profile", "bound to one value a slot", bound(profile=put(values_per_slot=1))),
        ("input-under-another-key", "bound to another key", bound(key_digest=fixtures.seed("key"))),
        ("seed-exchanged", "another seed under the binding of the first", put(seed=bytes(16))))],
    *[(name, "C77", "Malformed residues", change, sent("encrypted-input", bound(payload=payload)), MALFORMED)
      for name, change, payload in (
        ("input-truncated", "the last byte is missing", cut),
        ("input-over-long", "a byte too many", lambda honest, _: honest + b"\0"),
        ("input-of-two-blocks", "two blocks where the vector has one", lambda honest, _: 2 * honest),
        ("input-residue-too-large", "the first residue is its prime", first_residue(None)))],
]}

DEALT_ENDS: Table = {BFV: [
    ("report-forged", "C73", "A report on other survivors", "signed without the first survivor",
     sent("sum-report", _reports_without_first), FORGED),
    ("transparent-inputs", "C78", "A sum that hides nothing", "every c0 is zero",
     onwards(_zero_inputs), failed("MALFORMED_SUM", dropped_out("ENCRYPTED_INPUT", "juniper"))),
    ("reports-disagree", "C79", "Fewer than t reported the same sum", "of four reports two are of other sums",
     onwards({f"{name}/sum-report": _reports_another(name) for name in ("amber-9", ME)}),
     failed("DISAGREEMENT", dropped_out("REPORT_SUM", "birch"))),
    ("sum-cut", "C80", "A sum of the wrong length", "a byte less",
     sent("sum", put(payload=cut), by=ASKED), refused("DecodeError", ASKED)),
    ("other-sum-handed-in", "C81", "Another sum than was reported", "one bit; the next is asked",
     sent("sum", put(payload=flipped), by=ASKED), _next_asked),
]}

JOINT_KEYS: Table = {JOINT: [
    ("no-commitment", "C68", "No commitment to a key share", "none",
     sent("advertise-keys", put(key_share_commitment=b"")), MALFORMED),
    ("seed-for-some", "C69", "Shares for some", "none for 1",
     sent("share-keys", put(sealed=without(FIRST))), VIOLATION),
    ("sealed-seed-too-short", "C70", "Entries too short", "a byte of each",
     sent("share-keys", put(sealed=every_entry(cut))), MALFORMED),
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
     onwards(_zero_inputs), failed("MALFORMED_SUM", dropped_out("ENCRYPTED_INPUT", "elm"))),
    ("wrong-partial", "C84", "Partial decryptions that do not open the sum", f"{ME} sends zeros",
     onwards({f"{ME}/partial-decryption": put(payload=zeros)}),
     failed("MALFORMED_SUM", dropped_out("RECOVER_SEEDS", "iris"))),
]}

RECOVERY: Table = {JOINT: [
    ("fallen-left-out", "C82", "A fallen left out", "7", sent("recover-seeds", put(shares=without(FIRST))), VIOLATION),
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

TABLES = (DEALT_KEY, DEALT_INPUTS, DEALT_ENDS, JOINT_KEYS, DECRYPTION, RECOVERY)
