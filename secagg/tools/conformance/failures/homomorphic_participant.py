"""What a participant of a homomorphic round must refuse: checks C6, C49 to C67 and C92 of proto/PROTOCOL.md."""

from dataclasses import replace
from typing import Any

from secagg.crypto import labels, polynomial
from secagg.messages import ShareDelivery
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.failures.changes import (
    FIRST,
    STRANGER,
    Edit,
    also,
    chunks,
    copied,
    cut,
    dropped,
    entry,
    few,
    first_residue,
    honest,
    member,
    only,
    put,
    then,
    without,
    zeros,
)
from secagg.tools.conformance.failures.forgeries import (
    committing,
    key_digest,
    sealed,
    signs_decryption,
    signs_fallen,
    signs_key,
)
from secagg.tools.conformance.failures.script import (
    BFV,
    CKKS,
    DEALER,
    JOINT,
    ME,
    PEER,
    Script,
    Table,
    refusals,
    refused,
)
from secagg.tools.conformance.failures.stages import shown, shown_again, shown_in_turn

VIOLATION, FORGED, MALFORMED = refusals()
BY_SOMEBODY = refused("AuthenticationError", None)
ANOTHER_KEY = fixtures.seed("another key")
PRIME = polynomial.PRIME.to_bytes(33, "big")

MALFORMED_SHARES: list[tuple[str, str, Edit]] = [
    ("key-share-residue-too-large", "the first residue is its prime", first_residue(None)),
    ("key-share-truncated", "the last byte is missing", cut),
    ("key-share-of-zeros", "zero", zeros),
]
"""Slug, what is wrong, and the change: key shares that were committed to and are none."""

_ME_DROPPED = put(survivors=without(ME), dropped=lambda gone, script: (*gone, script.index(ME)))


def _another_key(_: Any, script: Script) -> bytes:
    return script.seal(labels.DEALT_KEY_SEALING, PEER, ME, ANOTHER_KEY) + script.key_digest


def _seven_with_ours(delivery: ShareDelivery, script: Script) -> ShareDelivery:
    others = [i for i in delivery.key_shares if i != script.index(ME)][:6]
    return replace(
        delivery,
        key_shares={i: share for i, share in delivery.key_shares.items() if i in {*others, script.index(ME)}},
        sealed={i: seal for i, seal in delivery.sealed.items() if i in others},
    )


# fmt: off
DEALT_KEY: Table = {BFV: [
    ("two-dealers", "C49", "Two keys at once", f"{PEER}'s key beside {DEALER}'s",
     shown("share-delivery", put(sealed=entry(PEER, _another_key))), VIOLATION),
    ("dealer-not-on-roster", "C49", "A dealer whom nobody knows", "a key under index 9, the roster ends at 8",
     shown("share-delivery", put(sealed=then(copied(DEALER, STRANGER), without(DEALER)))), VIOLATION),
    ("dealt-under-another-label", "C50", "A key sealed for another purpose", "another label",
     shown("share-delivery", put(sealed=entry(
         DEALER, sealed(labels.SEED_SHARE_SEALING, ANOTHER_KEY, key_digest, by=DEALER)))), BY_SOMEBODY),
    ("dealt-key-altered", "C50", "A seal that was altered on its way", f"{DEALER} or the coordinator",
     shown("share-delivery", put(sealed=entry(DEALER, lambda honest, _: bytes(48) + honest[48:]))),
     refused("AuthenticationError", None)),
    ("dealt-another-key", "C92", "Another key than the one committed to", "its own digest does not fit it",
     shown("share-delivery", put(sealed=entry(
         DEALER, sealed(labels.DEALT_KEY_SEALING, ANOTHER_KEY, key_digest, by=DEALER)))), BY_SOMEBODY),
    ("confirmed-by-a-stranger", "C51", "A signer whom the roster does not know", "index 9 signed",
     shown("key-proof", put(signatures=copied(DEALER, STRANGER))), VIOLATION),
    ("too-few-confirmed", "C51", "Fewer than t hold the key", "two signatures",
     shown("key-proof", put(signatures=few(2))), VIOLATION),
    ("dealer-equivocates", "C52", "Others hold another key", f"{PEER} signed the digest of another key",
     shown("key-proof", put(signatures=entry(PEER, signs_key(PEER, seed=fixtures.seed("other"))))), FORGED),
    ("confirmed-another-dealer", "C52", "Others hold another key", f"{PEER} signed another dealer",
     shown("key-proof", put(signatures=entry(PEER, signs_key(PEER, dealer="Aster")))), FORGED),
]}

DEALT_SUM: Table = {
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

JOINT_SHARES: Table = {JOINT: [
    ("key-share-missing", "C59", "A seed without a key share", f"{PEER}'s",
     shown("share-delivery", put(key_shares=without(PEER))), VIOLATION),
    ("too-few-key-shares", "C59", "Fewer than t key shares", "7 with our own",
     shown("share-delivery", _seven_with_ours), VIOLATION),
    ("own-key-share-changed", "C59", "Our key share exchanged", f"{PEER}'s",
     shown("share-delivery", put(key_shares=copied(PEER, ME))), VIOLATION),
    ("seed-share-of-another", "C60", "Another sender's seal", "shown as its own",
     shown("share-delivery", put(sealed=copied(FIRST, PEER))), refused("AuthenticationError", None)),
    ("seed-share-no-share", "C60", "A dealt share that is none", "the field prime",
     shown("share-delivery", put(sealed=entry(PEER, sealed(labels.SEED_SHARE_SEALING, PRIME, bytes(32))))),
     refused("DecodeError", None)),
    ("digest-of-another-seed-share", "C92", "A digest that does not fit the share", f"{PEER} dealt both",
     shown("share-delivery", put(sealed=entry(PEER, sealed(labels.SEED_SHARE_SEALING, bytes(33), bytes(32))))),
     BY_SOMEBODY),
    ("rogue-key-share", "C61", "A key share chosen after the others were seen",
     f"{PEER}'s is another than it committed to",
     shown("share-delivery", put(key_shares=entry(PEER, first_residue(1)))), FORGED),
    *[(f"{slug}-delivered", "C62", "A key share that is none", change,
       shown_in_turn({"roster": member(PEER, committing(PEER, share)),
                      "share-delivery": put(key_shares=entry(PEER, share))}), MALFORMED)
      for slug, change, share in MALFORMED_SHARES],
]}

JOINT_SUM: Table = {JOINT: [
    ("joint-sum-of-strangers", "C53", "Sets that do not add up", "cedar, who shared no key, is called dropped",
     shown("encrypted-sum", put(sets=put(dropped=also("cedar")))), VIOLATION),
    ("joint-sum-residue-too-large", "C55", "A malformed sum", "the first residue is its prime",
     shown("encrypted-sum", put(c1=chunks(first_residue(None)))), MALFORMED),
    ("joint-sum-truncated", "C55", "A malformed sum", "a byte short",
     shown("encrypted-sum", put(c1=chunks(cut))), MALFORMED),
    ("joint-sum-transparent", "C56", "A sum that hides nothing", "c1 is zero",
     shown("encrypted-sum", put(c1=chunks(zeros))), VIOLATION),
    ("decryption-signed-by-dropped", "C63", "A signer who did not survive", "elm signs too",
     shown("consistency-proof", put(signatures=entry("elm", signs_decryption("elm")))), VIOLATION),
    ("decryption-signed-by-few", "C63", "Fewer than t signatures", "7 signatures",
     shown("consistency-proof", put(signatures=few(7))), VIOLATION),
    ("survivors-changed", "C63", "Survivors changed after signing", f"{PEER} signed other survivors",
     shown("consistency-proof", put(signatures=entry(PEER, signs_decryption(PEER, sets=_ME_DROPPED)))), FORGED),
    ("c1-changed", "C63", "Another ciphertext to decrypt", f"{PEER} signed another c1",
     shown("consistency-proof", put(signatures=entry(PEER, signs_decryption(PEER, c1=chunks(first_residue(1)))))),
     FORGED),
    ("second-survivor-list", "C6", "Other survivors after the signature", f"{PEER} is dropped afterwards",
     shown("consistency-proof", then(honest("encrypted-sum"), put(sets=dropped(PEER)))), VIOLATION),
    ("second-partial-request", "C64", "A partial decryption asked for again", "the same message again",
     shown_again("consistency-proof"), VIOLATION),
]}

RECOVERY: Table = {JOINT: [
    ("second-fallen-list", "C64", "Another list of fallen after the signature", "the same message again",
     shown_again("fallen"), VIOLATION),
    ("seeds-asked-again", "C64", "Seed shares asked for again", "the same message again",
     shown_again("recovery-proof"), VIOLATION),
    ("fallen-never-shared", "C65", "Someone fallen who shared no key", "cedar",
     shown("fallen", put(fallen=also("cedar"))), VIOLATION),
    ("we-are-fallen", "C65", "We ourselves called fallen", f"{ME} is called fallen",
     shown("fallen", put(fallen=also(ME))), VIOLATION),
    ("unsigned-not-fallen", "C66", "One who did not sign, still standing", "hazel",
     shown("fallen", put(fallen=without("hazel"))), VIOLATION),
    ("too-many-fallen", "C66", "Fewer than t left", "6 fallen of 13",
     shown("fallen", put(fallen=also("Aster", "Nutmeg", "amber-10"))), VIOLATION),
    ("recovery-signed-by-fallen", "C67", "A signer who fell", "fir signs too",
     shown("recovery-proof", put(signatures=entry("fir", signs_fallen("fir")))), VIOLATION),
    ("recovery-signed-by-few", "C67", "Fewer than t signatures", "7 signatures",
     shown("recovery-proof", put(signatures=few(7))), VIOLATION),
    ("recovery-of-others", "C67", "Others were shown other fallen", f"{PEER} signed a shorter list",
     shown("recovery-proof", put(signatures=entry(PEER, signs_fallen(PEER, lambda fallen, _: fallen[1:])))), FORGED),
]}
# fmt: on

TABLES = (DEALT_KEY, DEALT_SUM, JOINT_SHARES, JOINT_SUM, RECOVERY)
