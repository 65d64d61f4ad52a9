"""What a participant must refuse under a joint key: checks C6, C53 to C67 and C92 of proto/PROTOCOL.md."""

from dataclasses import replace

from secagg.crypto import labels, polynomial
from secagg.messages import ShareDelivery
from secagg.tools.conformance.failures.changes import (
    FIRST,
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
    put,
    then,
    without,
    zeros,
)
from secagg.tools.conformance.failures.forgeries import committing, sealed, signs_decryption, signs_fallen
from secagg.tools.conformance.failures.script import JOINT, ME, PEER, Script, Table, refused
from secagg.tools.conformance.failures.stages import shown, shown_again, shown_in_turn

VIOLATION, FORGED, MALFORMED = (refused(error) for error in ("ProtocolViolation", "AuthenticationError", "DecodeError"))
BY_PEER = refused("AuthenticationError", PEER)
PRIME = polynomial.PRIME.to_bytes(33, "big")

MALFORMED_SHARES: list[tuple[str, str, Edit]] = [
    ("key-share-residue-too-large", "the first residue is its prime", first_residue(None)),
    ("key-share-truncated", "the last byte is missing", cut),
    ("key-share-of-zeros", "zero", zeros),
]
"""Slug, what is wrong, and the change: key shares that were committed to and are none."""

_ME_DROPPED = put(survivors=without(ME), dropped=lambda gone, script: (*gone, script.index(ME)))


def _seven_with_ours(delivery: ShareDelivery, script: Script) -> ShareDelivery:
    others = [i for i in delivery.key_shares if i != script.index(ME)][:6]
    return replace(
        delivery,
        key_shares={i: share for i, share in delivery.key_shares.items() if i in {*others, script.index(ME)}},
        sealed={i: seal for i, seal in delivery.sealed.items() if i in others},
    )


# fmt: off
SHARES: Table = {JOINT: [
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
     refused("DecodeError", PEER)),
    ("digest-of-another-seed-share", "C92", "A digest that does not fit the share", f"{PEER} signed both",
     shown("share-delivery", put(sealed=entry(PEER, sealed(labels.SEED_SHARE_SEALING, bytes(33), bytes(32))))),
     BY_PEER),
    ("rogue-key-share", "C61", "A key share chosen after the others were seen",
     f"{PEER}'s is another than it committed to",
     shown("share-delivery", put(key_shares=entry(PEER, first_residue(1)))), FORGED),
    *[(f"{slug}-delivered", "C62", "A key share that is none", change,
       shown_in_turn({"roster": member(PEER, committing(PEER, share)),
                      "share-delivery": put(key_shares=entry(PEER, share))}), MALFORMED)
      for slug, change, share in MALFORMED_SHARES],
]}

SUM: Table = {JOINT: [
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

TABLES = (SHARES, SUM, RECOVERY)
