"""What the coordinator must refuse where the key is dealt: checks C35, C68 to C70, C72 to C81 and C93 of
proto/PROTOCOL.md.
"""

from typing import Any

from secagg.crypto.secret import Secret
from secagg.lattice.keyshares import dealt_key_digest
from secagg.messages import KeyConfirmation, SumReport
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import (
    FIRST,
    Edit,
    before,
    cut,
    entry,
    every_entry,
    first_residue,
    flipped,
    put,
    without,
    zeros,
)
from secagg.tools.conformance.failures.dealt_participant import ANOTHER_KEY
from secagg.tools.conformance.failures.forgeries import bound, signs_key, signs_report
from secagg.tools.conformance.failures.script import BFV, DEALER, ME, PEER, Script, Table, dropped_out, failed, refused
from secagg.tools.conformance.failures.stages import onwards, sent

VIOLATION, FORGED, MALFORMED = (
    refused(error, ME) for error in ("ProtocolViolation", "AuthenticationError", "DecodeError")
)
ASKED = "amber-9"
"""Who hands in the sum: the first who is asked drops out."""


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


def zero_inputs(script: Script) -> dict[str, Edit]:
    """Every survivor sends zeros, bound as they should be."""
    return {f"{name}/encrypted-input": bound(sender=name, payload=zeros) for name in script.survivors}


def _next_asked(script: Script) -> Document:
    deadline = script.vector["steps"][script.received(f"{ASKED}/sum")]["now_ms"] + 300_000
    asked = {"event": "PhaseStarted", "phase": "RELEASE_SUM", "expected": 1, "deadline_ms": deadline}
    return {"events": [dropped_out("RELEASE_SUM", ASKED, "REFUSED"), asked]}


# fmt: off
KEY: Table = {BFV: [
    ("mask-key-in-homomorphic-round", "C68", "Keys that are not of this custody", "a mask key",
     sent("advertise-keys", put(mask_public_key=_channel_key)), MALFORMED),
    ("commitment-without-joint-key", "C68", "Keys that are not of this custody", "a commitment",
     sent("advertise-keys", put(key_share_commitment=bytes(32))), MALFORMED),
    ("key-for-some", "C69", "A key for some", "none for index 1",
     sent("share-keys", put(sealed=without(FIRST))), VIOLATION),
    ("sealed-key-too-short", "C70", "A dealt key of the wrong shape", "the first entry has no signature",
     sent("share-keys", put(sealed=entry(FIRST, before(dealing.DEALT_KEY.unsigned_size)))), MALFORMED),
    ("key-digest-too-short", "C70", "A dealt key of the wrong shape", "the digest is a byte short",
     sent("share-keys", put(commitment=cut)), MALFORMED),
    ("key-share-without-joint-key", "C70", "A dealt key of the wrong shape", "a key share",
     sent("share-keys", put(key_share=b"share")), MALFORMED),
    ("dealt-two-digests", "C93", "Another digest beside one of the seals",
     "that for index 1 is not the commitment",
     sent("share-keys", put(sealed=entry(FIRST, _other_digest))), VIOLATION),
    ("other-key", "C35", "Two keys dealt", "another digest",
     sent("share-keys", put(commitment=bytes(32), sealed=every_entry(_other_digest)), again=True), VIOLATION),
    ("another-key-dealt", "C72", "A participant that confirms another key",
     f"{ME} confirms another key than the one that {DEALER} committed to, whose digest came with it",
     sent("key-confirmation", _confirms_another), FORGED),
    ("confirmation-forged", "C73", "A signature on another dealer", "signed for index 1",
     sent("key-confirmation", put(signature=signs_key(ME, dealer="Aster"))), FORGED),
]}

INPUTS: Table = {BFV: [
    ("seedless-input", "C74", "A first chunk without a seed", "no seed",
     sent("encrypted-input", bound(seed=b"")), MALFORMED),
    ("seed-too-short", "C74", "A seed of the wrong size", "15 bytes",
     sent("encrypted-input", bound(seed=cut)), MALFORMED),
    ("repeated-seed", "C75", "Another participant's seed", f"{DEALER}'s",
     sent("encrypted-input", bound(seed=lambda _, s: s.stage.random(DEALER)["stream_seed"])), VIOLATION),
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

ENDS: Table = {BFV: [
    ("report-forged", "C73", "A report on other survivors", "signed without the first survivor",
     sent("sum-report", _reports_without_first), FORGED),
    ("transparent-inputs", "C78", "A sum that hides nothing", "every c0 is zero",
     onwards(zero_inputs), failed("MALFORMED_SUM", dropped_out("ENCRYPTED_INPUT", "juniper"))),
    ("reports-disagree", "C79", "Fewer than t reported the same sum", "of four reports two are of other sums",
     onwards({f"{name}/sum-report": _reports_another(name) for name in ("amber-9", ME)}),
     failed("DISAGREEMENT", dropped_out("REPORT_SUM", "birch"))),
    ("sum-cut", "C80", "A sum of the wrong length", "a byte less",
     sent("sum", put(payload=cut), by=ASKED), refused("DecodeError", ASKED)),
    ("other-sum-handed-in", "C81", "Another sum than was reported", "one bit; the next is asked",
     sent("sum", put(payload=flipped), by=ASKED), _next_asked),
]}
# fmt: on

TABLES = (KEY, INPUTS, ENDS)
