"""What a participant must refuse where the key is dealt: checks C49 to C58 and C92 of proto/PROTOCOL.md."""

from typing import Any

from secagg.crypto import labels
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.failures.changes import (
    STRANGER,
    also,
    chunks,
    copied,
    cut,
    dropped,
    entry,
    few,
    first_residue,
    only,
    put,
    then,
    without,
    zeros,
)
from secagg.tools.conformance.failures.forgeries import key_digest, sealed, signs_key
from secagg.tools.conformance.failures.script import BFV, CKKS, DEALER, ME, PEER, Script, Table, refused
from secagg.tools.conformance.failures.stages import shown

VIOLATION, FORGED, MALFORMED = (refused(error) for error in ("ProtocolViolation", "AuthenticationError", "DecodeError"))
BY_DEALER = refused("AuthenticationError", DEALER)
ANOTHER_KEY = fixtures.seed("another key")


def _unsigned_key(_: Any, script: Script) -> bytes:
    return script.seal(labels.DEALT_KEY_SEALING, PEER, ME, ANOTHER_KEY)


# fmt: off
KEY: Table = {BFV: [
    ("two-dealers", "C49", "Two keys at once", f"{PEER}'s key beside {DEALER}'s",
     shown("share-delivery", put(sealed=entry(PEER, _unsigned_key))), VIOLATION),
    ("dealer-not-on-roster", "C49", "A dealer whom nobody knows", "a key under index 9, the roster ends at 8",
     shown("share-delivery", put(sealed=then(copied(DEALER, STRANGER), without(DEALER)))), VIOLATION),
    ("dealt-under-another-label", "C50", "A key sealed for another purpose", "another label",
     shown("share-delivery", put(sealed=entry(
         DEALER, sealed(labels.SEED_SHARE_SEALING, ANOTHER_KEY, key_digest, by=DEALER)))), BY_DEALER),
    ("dealt-key-altered", "C50", "A seal that was altered on its way", f"{DEALER} or the coordinator",
     shown("share-delivery", put(sealed=entry(DEALER, lambda honest, _: bytes(48) + honest[48:]))),
     refused("AuthenticationError", None)),
    ("dealt-another-key", "C92", "Another key than the one committed to", "its own digest does not fit it",
     shown("share-delivery", put(sealed=entry(
         DEALER, sealed(labels.DEALT_KEY_SEALING, ANOTHER_KEY, key_digest, by=DEALER)))), BY_DEALER),
    ("confirmed-by-a-stranger", "C51", "A signer whom the roster does not know", "index 9 signed",
     shown("key-proof", put(signatures=copied(DEALER, STRANGER))), VIOLATION),
    ("too-few-confirmed", "C51", "Fewer than t hold the key", "two signatures",
     shown("key-proof", put(signatures=few(2))), VIOLATION),
    ("dealer-equivocates", "C52", "Others hold another key", f"{PEER} signed the digest of another key",
     shown("key-proof", put(signatures=entry(PEER, signs_key(PEER, seed=fixtures.seed("other"))))), FORGED),
    ("confirmed-another-dealer", "C52", "Others hold another key", f"{PEER} signed another dealer",
     shown("key-proof", put(signatures=entry(PEER, signs_key(PEER, dealer="Aster")))), FORGED),
]}

SUM: Table = {
    BFV: [
        ("sum-sets-overlap", "C53", "Sets that do not add up", f"{PEER} in both",
         shown("encrypted-sum", put(sets=put(dropped=also(PEER)))), VIOLATION),
        ("sum-of-the-unconfirmed", "C53", "Sets that do not add up", "elm, who confirmed no key",
         shown("encrypted-sum", put(sets=put(survivors=also("elm")))), VIOLATION),
        ("sum-forgets-one", "C53", "Sets that do not add up", f"{PEER} in neither",
         shown("encrypted-sum", put(sets=put(survivors=without(PEER)))), VIOLATION),
        ("sum-without-us", "C53", "We ourselves called dropped", "our input is called dropped",
         shown("encrypted-sum", put(sets=dropped(ME))), VIOLATION),
        ("sum-of-two", "C53", "A sum of fewer than t", "two survivors, all others dropped",
         shown("encrypted-sum", put(sets=only(ME, PEER))), VIOLATION),
        ("sum-of-few-organisations", "C54", "Survivors of too few organisations",
         "birch, who alone is of its organisation, is called dropped; the participant demands 2",
         shown("encrypted-sum", put(sets=dropped("birch")), policy={"min_organisations": 2}),
         refused("PolicyViolation")),
        ("sum-without-c1", "C55", "A malformed sum", "no chunk of c1", shown("encrypted-sum", put(c1=())), MALFORMED),
        ("sum-truncated", "C55", "A malformed sum", "c0 lacks its last byte",
         shown("encrypted-sum", put(c0=chunks(cut))), MALFORMED),
        ("sum-residue-too-large", "C55", "A malformed sum", "the first residue of c1 is its prime",
         shown("encrypted-sum", put(c1=chunks(first_residue(None)))), MALFORMED),
        ("sum-transparent", "C56", "A sum that hides nothing", "c1 is zero",
         shown("encrypted-sum", put(c1=chunks(zeros))), VIOLATION),
        ("sum-of-nothing", "C56", "A sum that hides nothing", "c0 is zero",
         shown("encrypted-sum", put(c0=chunks(zeros))), VIOLATION),
        ("sum-altered", "C57", "A sum that nobody can have put in", "the first residue of c0 is 1",
         shown("encrypted-sum", put(c0=chunks(first_residue(1)))), refused("ProtocolViolation", None)),
    ],
    CKKS: [
        ("sum-altered-ckks", "C57", "A sum that nobody can have put in", "the first residue of c0 is 1",
         shown("encrypted-sum", put(c0=chunks(first_residue(1)))), refused("ProtocolViolation", None)),
        ("order-against-the-task", "C58", "The sum asked for where the task does not give it",
         "the coordinator asks for the sum", shown("no-order", put(upload=True)), VIOLATION),
    ],
}
# fmt: on

TABLES = (KEY, SUM)
