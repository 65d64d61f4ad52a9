"""What a participant of a masked round must refuse: checks C5 to C29, C86, C92, C99 and C100 of proto/PROTOCOL.md."""

from dataclasses import replace
from typing import Any

from secagg.config import METRICS
from secagg.crypto import labels, polynomial
from secagg.messages import Index, Member, Roster
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import (
    STRANGER,
    agreed,
    also,
    before,
    certified,
    copied,
    cut,
    dropped,
    entry,
    every_entry,
    few,
    flipped,
    honest,
    key_of,
    member,
    members,
    only,
    put,
    same,
    top_bit,
    without,
)
from secagg.tools.conformance.failures.forgeries import dealt, sealed, signed_keys, signs_sets
from secagg.tools.conformance.failures.script import (
    ACTIVE,
    LATER,
    ME,
    PEER,
    SEMI_HONEST,
    Script,
    Table,
    refused,
    without_fir,
)
from secagg.tools.conformance.failures.stages import after_sums, shown, shown_again, shown_in_turn
from secagg.wire.v1 import data_plane_pb2 as pb

VIOLATION, FORGED, POLICY = (
    refused(f"{error}") for error in ("ProtocolViolation", "AuthenticationError", "PolicyViolation")
)
BY_PEER, BY_SOMEBODY = refused("AuthenticationError", PEER), refused("AuthenticationError", None)
MALFORMED = refused("DecodeError", None)

ANOTHER_CA = "Foreign CA, test only"
ANOTHER_ROUND = fixtures.seed(f"id of {ACTIVE}")[15::-1]
SEAL = dealing.MASKED.seal_size
LOW_ORDER = bytes(32)
ANOTHER_MODEL = fixtures.seed("another model")


def _cut_in_a_field(_: Roster, script: Script) -> Document:
    return {"type": "Roster", "parts": [script.vector["messages"]["roster"]["parts"][0][:100]]}


def _named_twice(_: Any, script: Script) -> Document:
    [sets] = wire.parts(script.vector["messages"]["survivors"])
    doubled = pb.SurvivorSet(survivors=[sets.survivors[0], *sets.survivors], dropped=sets.dropped)
    return wire.altered("SurvivorSet", doubled)


def _swapped(members: tuple[Member, ...], _: Script) -> tuple[Member, ...]:
    first, second, *rest = members
    return (replace(first, index=Index(2)), replace(second, index=Index(1)), *rest)


def _but_me(members: list[Member]) -> list[Member]:
    return [m for m in members if m.participant_id != ME]


def _twins(members: list[Member]) -> list[Member]:
    fir = next(m.participant_id for m in members if m.participant_id == "fir")
    return [replace(m, participant_id=fir) if m.participant_id == PEER else m for m in members]


def _without_us(script: Script) -> list[Document]:
    """A sum that lacks ME alone: somebody else remembers it in the same file."""
    others = [name for name in script.survivors if name != ME]
    return [{"survivors": others, "threshold": script.replay.config.threshold - 1}]


def _reported_without_fir(script: Script) -> list[Document]:
    return [told | {"purpose": METRICS} for told in without_fir(script)]


def _no_share(_: Any, script: Script) -> bytes:
    seed = script.insider(PEER).pairs[script.index(ME)].self_mask_seed
    return polynomial.PRIME.to_bytes(33, "big") + seed.expose()


def _no_second_share(_: Any, script: Script) -> bytes:
    share = script.insider(PEER).pairs[script.index(ME)].mask_key
    return share.expose() + polynomial.PRIME.to_bytes(33, "big")


def _all_and_without_fir(script: Script) -> list[Document]:
    return without_fir(script, {"survivors": script.survivors, "threshold": script.replay.config.threshold})


# fmt: off
ANY_MESSAGE: Table = {ACTIVE: [
    ("not-protobuf", "C5", "Bytes that are no message", "the roster's bytes are cut in the middle of a field",
     shown("roster", _cut_in_a_field), MALFORMED),
    ("survivors-not-ascending", "C5", "A survivor named twice", "the first survivor stands twice",
     shown("survivors", _named_twice), MALFORMED),
    ("wrong-order", "C6", "A survivor set before the shares", "the survivor set comes where shares are awaited",
     shown("share-delivery", honest("survivors")), VIOLATION),
]}

ROSTERS: Table = {
    ACTIVE: [
        ("roster-too-small", "C7", "A roster below the threshold", "only 6 members",
         shown("roster", members(lambda honest: honest[:6])), VIOLATION),
        ("roster-out-of-order", "C8", "Indices that do not follow the ids", "indices 1 and 2 are swapped",
         shown("roster", put(members=_swapped)), VIOLATION),
        ("duplicate-key", "C9", "One public key for two purposes", f"the mask key of {PEER} is its channel key",
         shown("roster", member(PEER, mask_public_key=key_of(PEER, "channel_public_key"))), VIOLATION),
        ("key-not-reduced", "C9", "A key in another encoding",
         f"the ignored top bit is set in the channel key of {PEER}",
         shown("roster", member(PEER, channel_public_key=top_bit)), VIOLATION),
        ("own-entry-missing", "C10", "A roster without us", f"{ME} is left out",
         shown("roster", members(_but_me)), VIOLATION),
        ("own-entry-changed", "C10", "Our own key replaced", f"another mask key for {ME}",
         shown("roster", member(ME, mask_public_key=agreed(PEER))), VIOLATION),
        ("foreign-certificate", "C11", "A certificate of another CA",
         f"{PEER} shows a certificate of a CA that nobody trusts",
         shown("roster", member(PEER, certificates=certified(PEER, issuer=ANOTHER_CA))), FORGED),
        ("expired-certificate", "C11", "An expired certificate",
         f"the certificate of {PEER} ended a day before the round",
         shown("roster", member(PEER, certificates=certified(PEER, days=-1))), FORGED),
        ("certificate-of-another-id", "C12", "A certificate that belongs to somebody else",
         f"{PEER} is shown with the certificate and signature of fir",
         shown("roster", member(
             PEER, certificates=key_of("fir", "certificates"), signature=key_of("fir", "signature"))),
         VIOLATION),
        ("key-substituted", "C13", "A key that its owner did not sign",
         f"another channel key for {PEER}, with the signature of its true keys",
         shown("roster", member(PEER, channel_public_key=agreed(PEER))), FORGED),
        ("keys-unsigned", "C13", "Keys without a signature", f"no signature of {PEER}",
         shown("roster", member(PEER, signature=b"")), FORGED),
        ("keys-of-another-round", "C13", "Keys replayed from another round",
         f"{PEER} signed the same keys for round {ANOTHER_ROUND.hex()}",
         shown("roster", member(PEER, signed_keys(PEER, round_id=ANOTHER_ROUND))), FORGED),
        ("too-few-organisations-in-roster", "C14", "A cohort of too few organisations",
         "nothing; the participant demands 4 organisations and the roster has 3",
         shown("roster", same, policy={"min_organisations": 4}), POLICY),
    ],
    SEMI_HONEST: [
        ("duplicate-id", "C8", "One participant twice", f"{PEER} is called fir, who is there too",
         shown("roster", members(_twins)), VIOLATION),
        ("low-order-channel-key", "C15", "A channel key that gives everyone the same secret",
         f"the channel key of {PEER} is zero", shown("roster", member(PEER, channel_public_key=LOW_ORDER)), BY_PEER),
        ("low-order-mask-key", "C20", "A mask key that gives everyone the same secret",
         f"the mask key of {PEER} is zero; the shares are as in the honest round",
         shown_in_turn({"roster": member(PEER, mask_public_key=LOW_ORDER), "share-delivery": None}), BY_PEER),
    ],
}

SHARES: Table = {ACTIVE: [
    ("share-of-a-stranger", "C16", "A share of somebody who is no neighbour",
     "a share under an index that the roster does not have",
     shown("share-delivery", put(sealed=copied(PEER, STRANGER))), VIOLATION),
    ("too-few-shared", "C17", "Fewer than t shared keys", "shares of 5 others only, so 6 with our own",
     shown("share-delivery", put(sealed=few(5))), VIOLATION),
    ("seal-of-another-round", "C18", "A replayed seal", "sealed for another round id",
     shown("share-delivery", put(sealed=entry(PEER, dealt(elsewhere={"round_id": ANOTHER_ROUND})))), BY_SOMEBODY),
    ("seal-of-another-model", "C18", "A peer that holds another model",
     f"{PEER} was given another model, so its context differs",
     shown("share-delivery", put(sealed=entry(PEER, dealt(elsewhere={"model": fixtures.seed("another model")})))),
     BY_SOMEBODY),
    ("seal-of-another-sender", "C18", "A seal under another sender's name",
     f"what index 3 sealed to us is shown as {PEER}'s",
     shown("share-delivery", put(sealed=copied("amber-9", PEER))), BY_SOMEBODY),
    ("seal-for-another-receiver", "C18", "A seal that was meant for somebody else",
     f"what {PEER} sealed to fir",
     shown("share-delivery", put(sealed=entry(PEER, dealt(to="fir")))), BY_SOMEBODY),
    ("seal-altered", "C18", "An altered seal",
     f"one bit of what {PEER} sealed: {PEER} or the coordinator",
     shown("share-delivery", put(sealed=entry(PEER, flipped))), BY_SOMEBODY),
    ("truncated-seal", "C18", "Seals that are too short", "there is no more of any entry",
     shown("share-delivery", put(sealed=every_entry(before(SEAL - 1)))), BY_SOMEBODY),
    ("dealt-no-share", "C19", "A dealt share that is no number of the field",
     f"{PEER} seals the field prime itself as its share",
     shown("share-delivery", put(sealed=entry(PEER, sealed(labels.SHARE_SEALING, _no_share, bytes(64))))),
     refused("DecodeError", None)),
    ("dealt-no-second-share", "C19", "A second dealt share that is no number of the field",
     f"{PEER} seals the field prime itself as its second share",
     shown("share-delivery", put(sealed=entry(PEER, sealed(labels.SHARE_SEALING, _no_second_share, bytes(64))))),
     refused("DecodeError", None)),
    ("delivery-of-nobody", "C17", "Nobody shared keys", "there is no entry",
     shown("share-delivery", put(sealed=few(0))), VIOLATION),
    ("digests-of-other-shares", "C92", "Digests that do not fit the shares",
     f"{PEER} dealt other digests than those of the shares that it sealed, or the coordinator changed them",
     shown("share-delivery", put(sealed=entry(PEER, dealt(edit=lambda e, _: e[:SEAL] + bytes(64))))), BY_SOMEBODY),
]}

MODELS: Table = {
    ACTIVE: [
        ("model-named-again", "C99", "A model named with the shares, where the configuration names it",
         "the delivery has the digest of the configuration",
         shown("share-delivery", put(model_digest=lambda _, script: script.replay.model_digest)), VIOLATION),
    ],
    LATER: [
        ("model-not-named", "C99", "Shares without the model, where it is named with them", "there is no digest",
         shown("share-delivery", put(model_digest=b"")), VIOLATION),
        ("model-digest-too-short", "C5", "A model digest of the wrong size", "its last byte is missing",
         shown("share-delivery", put(model_digest=cut)), MALFORMED),
        ("another-model-named", "C100", "Another model than ours named with the shares",
         "the delivery has the digest of another model",
         shown("share-delivery", put(model_digest=ANOTHER_MODEL)), refused("ModelMismatch")),
        ("signature-about-another-model", "C28", "Others were told another model",
         f"{PEER} was told another model with the shares, and signed the same sets about it",
         shown("consistency-proof",
               put(signatures=entry(PEER, signs_sets(PEER, model_digest=ANOTHER_MODEL)))), FORGED),
        ("differencing-of-a-named-model", "C86", "A sum that differs by one participant, of the model named later",
         "a sum of the model that was named later, without fir, was released before",
         after_sums(without_fir, shown="survivors"), POLICY),
    ],
}

SURVIVORS: Table = {ACTIVE: [
    ("overlap", "C21", "Both shares of one participant", f"{PEER} is called a survivor and dropped",
     shown("survivors", put(dropped=also(PEER))), VIOLATION),
    ("dropped-never-shared", "C22", "Someone called dropped who never shared keys", "cedar is called dropped",
     shown("survivors", put(dropped=also("cedar"))), VIOLATION),
    ("survivor-not-on-roster", "C22", "A survivor whom the roster does not know", "an index beyond the roster",
     shown("survivors", put(survivors=also(STRANGER))), VIOLATION),
    ("shared-forgotten", "C22", "Someone in neither set", f"{PEER} in none",
     shown("survivors", put(survivors=without(PEER))), VIOLATION),
    ("self-called-dropped", "C23", "We ourselves called dropped", f"{ME} is called dropped",
     shown("survivors", dropped(ME)), VIOLATION),
    ("too-few-survivors", "C24", "Fewer than t survivors", "6 survivors, all others called dropped",
     shown("survivors", only("Aster", "amber-10", "amber-9", ME, "fir", "ginkgo")), VIOLATION),
    ("too-few-organisations-left", "C25", "Survivors of too few organisations",
     "hazel, who alone is of its organisation among the survivors, is called dropped; the participant demands 3",
     shown("survivors", dropped("hazel"), policy={"min_organisations": 3}), POLICY),
    ("differencing-at-participant", "C86", "A sum that differs by one participant from an earlier one that we are in",
     "a sum of the same model without fir was released before", after_sums(without_fir, shown="survivors"), POLICY),
    ("differencing-by-a-sum-without-us", "C86", "A sum that differs by us from an earlier one that we are not in",
     f"a sum of the same model without {ME} was released before, and {ME} remembers it",
     after_sums(_without_us, shown="survivors"), POLICY),
    ("differencing-beside-metrics", "C86", "A sum of updates, of other participants than reported beside it",
     "a sum of the same model for the purpose metrics, without fir, was released before",
     after_sums(_reported_without_fir, shown="survivors"), POLICY),
    ("differencing-beside-an-equal-cohort", "C86",
     "The same cohort was asked before, and beside it one that differs by one participant",
     "sums of the same model were released before, one of the same cohort and one without fir",
     after_sums(_all_and_without_fir, shown="survivors"), POLICY),
]}

SIGNATURES: Table = {ACTIVE: [
    ("signer-no-survivor", "C26", "A signature of somebody who did not survive",
     "elm, who dropped, signs the survivor set too",
     shown("consistency-proof", put(signatures=entry("elm", signs_sets("elm")))), VIOLATION),
    ("too-few-signatures", "C27", "Fewer than t signatures", "only 6 signatures",
     shown("consistency-proof", put(signatures=few(6))), VIOLATION),
    ("signature-on-other-survivors", "C28", "Others were shown another survivor set",
     f"{PEER} signed a set in which {ME} dropped",
     shown("consistency-proof", put(signatures=entry(PEER, signs_sets(PEER, dropped(ME))))), FORGED),
    ("signature-on-other-dropped", "C28", "Others were shown other dropped participants",
     f"{PEER} signed a set without the dropped",
     shown("consistency-proof", put(signatures=entry(PEER, signs_sets(PEER, put(dropped=()))))), FORGED),
    ("second-unmask-request", "C29", "Shares asked for a second time",
     "the same proof again, after the shares were revealed", shown_again("consistency-proof"), VIOLATION),
]}
# fmt: on

TABLES = (ANY_MESSAGE, ROSTERS, SHARES, MODELS, SURVIVORS, SIGNATURES)
