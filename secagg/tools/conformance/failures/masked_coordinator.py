"""What the coordinator of a masked round must refuse or correct: checks C33 to C48, C85, C91 and C93 to C96 of
proto/PROTOCOL.md.
"""

from typing import Any

from secagg.crypto import polynomial
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.messages import Leave, LeaveReason, MaskKeyShare, ParticipantId, SelfMaskShare
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import (
    FIRST,
    Edit,
    certified,
    cut,
    entry,
    every_entry,
    key_of,
    put,
    then,
    top_bit,
    without,
)
from secagg.tools.conformance.failures.forgeries import dealt, signed_keys, signs_sets
from secagg.tools.conformance.failures.masked_participant import ANOTHER_CA, ANOTHER_MODEL, LOW_ORDER
from secagg.tools.conformance.failures.script import (
    ACTIVE,
    LATER,
    ME,
    PEER,
    SEMI_HONEST,
    Script,
    Table,
    dropped_out,
    failed,
    refusals,
    refused,
    without_fir,
)
from secagg.tools.conformance.failures.stages import (
    after_sums,
    nobody_else_comes,
    onwards,
    out_of_turn,
    sent,
    told,
    unnamed,
)
from secagg.wire.v1 import data_plane_pb2 as pb

VIOLATION, FORGED, MALFORMED = refusals(ME)
GONE, NOBODY = refused("NotInRoundError", None), refused("DecodeError", None)
WRONG = Secret(bytes(33))
"""A number of the field, and no share of anything here."""


def _key(purpose: str) -> bytes:
    return KeyPair.from_private(Secret(fixtures.seed(purpose))).public


def _receive(sender: str, message: str) -> Document:
    return {"do": "receive", "sender": sender, "message": message}


def _refuses(edit: Edit) -> Edit:
    """ME leaves because of what PEER dealt to it, and shows the digest of an entry."""

    def leave(_: Any, script: Script) -> Leave:
        refused = edit(script.read(f"{PEER}/share-keys").sealed[script.index(ME)], script)
        return Leave(LeaveReason.REFUSED, ParticipantId(PEER), dealing.entry_digest(ParticipantId(ME), refused))

    return leave


def _other_signature(signature: bytes, _: Script) -> bytes:
    return signature[:-1] + b"!"


def _accused(verdict: str) -> Document:
    accused = {"event": "Accused", "accused": PEER, "accuser": ME, "verdict": verdict}
    return {"events": [accused, dropped_out("MASKED_INPUT", ME, "REFUSED")]}


def _both_shares(_: Any, script: Script) -> Document:
    parts = wire.parts(script.vector["messages"][f"{ME}/unmask"])
    parts[0].shares.append(pb.RevealedShare(owner=script.index("fir"), mask_key_share=WRONG.expose()))
    return wire.altered("Unmask", *parts)


def _mask_key_share(_: Any, script: Script) -> MaskKeyShare:
    return MaskKeyShare(script.insider("fir").pairs[script.index(ME)].mask_key)


def _reveals(owner: str, share: Any) -> Edit:
    """Another share of one owner, which comes last then."""
    return put(shares=then(without(owner), entry(owner, share)))


def _wrongly_dealt(*holders: str) -> dict[str, Edit]:
    """PEER deals, with digests, shares that are not on its polynomial; the holders reveal what they were dealt."""
    entries = [entry(name, dealt(to=name, self_mask_seed=WRONG)) for name in holders]
    reveals = {f"{name}/unmask": _reveals(PEER, SelfMaskShare(WRONG)) for name in holders}
    return {f"{PEER}/share-keys": put(sealed=then(*entries)), **reveals}


def _corrected(script: Script) -> Document:
    honest = script.vector["outcome"]
    wrong = {"event": "WrongShares", "culprit": PEER, "conflicts": [[PEER, ME]]}
    done = {"event": "SumReady", "survivors": honest["survivors"], "sums_digest": honest["sums_digest"]}
    return {"events": [FIR_TOO, wrong, done]}


def _differencing(script: Script) -> Document:
    events = script.vector["steps"][script.opening("CONSISTENCY_CHECK")]["expect"]["events"]
    return failed("DIFFERENCING", *(event for event in events if event["event"] != "PhaseStarted"))


FIR_TOO = {"event": "MessageAccepted", "phase": "UNMASK", "participant": "fir"}

# fmt: off
TURNS: Table = {ACTIVE: [
    ("late-input", "C33", "An input that comes after its sender was declared dropped",
     "elm's masked input arrives in the phase after",
     out_of_turn("elm", "elm/masked-input", before=f"{ME}/consistency-check"), GONE),
    ("dropped-speaks-again", "C33", "A message of the open phase from somebody who dropped out before",
     "cedar, who shared no keys, sends elm's masked input",
     out_of_turn("cedar", "elm/masked-input", before=f"{ME}/masked-input"), GONE),
    ("late-keys", "C33", "Keys that come after the roster is fixed", "birch, who left, advertises its keys again",
     out_of_turn("birch", "birch/advertise-keys", before=f"{ME}/share-keys"), GONE),
    ("not-on-roster", "C33", "Shares from somebody who is not in the round",
     "birch, who left before the roster was fixed, sends another's shares",
     out_of_turn("birch", f"{ME}/share-keys", before=f"{ME}/share-keys"), GONE),
    ("message-of-later-phase", "C34", "An input before the shares", "a masked input comes in the phase of shares",
     out_of_turn(ME, f"{ME}/masked-input", before=f"{ME}/share-keys"), VIOLATION),
], LATER: [
    ("input-before-the-model", "C34", "An input before the model is named",
     "a masked input comes when shares are exchanged and the model is not named",
     unnamed(ME, f"{ME}/masked-input"), VIOLATION),
]}

KEYS: Table = {
    SEMI_HONEST: [
        ("other-keys", "C35", "Keys advertised twice",
         "two other keys after the first were accepted, whose call still waits",
         sent("advertise-keys", put(channel_public_key=_key("another channel key"),
                                    mask_public_key=_key("another mask key")), by="fir", again=True),
         refused("ProtocolViolation", "fir")),
        ("key-of-31-bytes", "C36", "A public key of the wrong size", "the last byte of the channel key is missing",
         sent("advertise-keys", put(channel_public_key=cut)), NOBODY),
        ("weak-mask-key", "C37", "A public key that gives everyone the same secret", "the mask key is zero",
         sent("advertise-keys", put(mask_public_key=LOW_ORDER)), FORGED),
        ("key-in-disguise", "C37", "Another participant's key in another encoding",
         "the channel key is fir's with the ignored top bit set",
         sent("advertise-keys", put(channel_public_key=then(key_of("fir", "channel_public_key"), top_bit))), FORGED),
        ("key-of-another", "C38", "Another participant's key", "the channel key is cedar's, who advertised before",
         sent("advertise-keys", put(channel_public_key=key_of("cedar", "channel_public_key"))), VIOLATION),
    ],
    ACTIVE: [
        ("advertised-unsigned", "C39", "Unsigned keys", "no signature",
         sent("advertise-keys", put(signature=b"")), FORGED),
        ("advertised-foreign-certificate", "C39", "A certificate of another CA",
         "a certificate of a CA that nobody trusts",
         sent("advertise-keys", put(certificates=certified(ME, issuer=ANOTHER_CA))), FORGED),
        ("advertised-certificate-of-another", "C39", "Another participant's certificate",
         "certificate and signature of fir",
         sent("advertise-keys", put(certificates=key_of("fir", "certificates"), signature=key_of("fir", "signature"))),
         VIOLATION),
        ("advertised-expired-certificate", "C39", "An expired certificate",
         "the certificate ended a day before the round",
         sent("advertise-keys", put(certificates=certified(ME, days=-1))), FORGED),
        ("excluded", "C96", "An excluded participant comes", "the FL server has excluded dahlia",
         told({"do": "exclude", "participants": [ME]}, _receive(ME, f"{ME}/advertise-keys"),
              before=f"{ME}/advertise-keys"), GONE),
        ("no-place-left", "C96", "Keys of somebody for whom no place is left", "the FL server expects others",
         told({"do": "expect", "participants": ["fir", *(f"expected-{i}" for i in range(11))]},
              _receive(ME, f"{ME}/advertise-keys"), before=f"{ME}/advertise-keys"), GONE),
        ("keys-taken-back", "C95", "Keys that were taken back come again",
         "a second process of fir replaced its keys; the first process is alive after all, and sends its own again",
         told({"do": "rejoin", "sender": "fir", "message": "altered"}, _receive("fir", "fir/advertise-keys"),
              after="fir/advertise-keys", altered=("fir/advertise-keys", signed_keys(
                  "fir", channel_public_key=_key("channel key of a new process"),
                  mask_public_key=_key("mask key of a new process")))),
         refused("ProtocolViolation", "fir")),
    ],
}

SHARES: Table = {ACTIVE: [
    ("other-shares", "C35", "Shares sent twice, with other content", "another commitment after the first was accepted",
     sent("share-keys", put(commitment=bytes(32)), again=True), VIOLATION),
    ("commitment-of-31-bytes", "C36", "A commitment of the wrong size", "its last byte is missing",
     sent("share-keys", put(commitment=bytes(31))), MALFORMED),
    ("entries-too-short", "C93", "Entries of the wrong size", "the last byte of each is missing",
     sent("share-keys", put(sealed=every_entry(cut))), MALFORMED),
    ("dealt-unsigned", "C93", "Entries that nobody signed", "the signature is missing",
     sent("share-keys", put(signature=b"")), MALFORMED),
    ("neighbour-left-out", "C40", "A neighbour who gets no share", "nothing is sealed to index 1",
     sent("share-keys", put(sealed=without(FIRST))), VIOLATION),
]}

ACCUSATIONS: Table = {ACTIVE: [
    ("accusation-hearsay", "C94", "An accusation that is hearsay", f"{ME} refuses what {PEER} dealt and signed",
     sent("masked-input", _refuses(lambda dealt, _: dealt)), _accused("HEARSAY")),
    ("accusation-unfounded", "C94", "An accusation that is unfounded", f"{ME} shows another entry than it was given",
     sent("masked-input", _refuses(lambda *_: bytes(146))), _accused("UNFOUNDED")),
    ("accusation-proven", "C94", "An accusation that is proven", f"{PEER} did not sign what it dealt to {ME}",
     onwards({f"{PEER}/share-keys": put(signature=_other_signature),
              f"{ME}/masked-input": _refuses(lambda dealt, _: dealt)}, until=f"{ME}/masked-input",
             names={f"{PEER}/share-keys": "altered", f"{ME}/masked-input": "leave"}), _accused("PROVEN")),
]}

INPUTS: Table = {ACTIVE: [
    ("chunk-out-of-order", "C41", "A chunk too early", "number 1 comes first",
     sent("masked-input", put(number=1)), VIOLATION),
    ("chunk-behind-the-last", "C41", "A chunk too many", "an empty chunk after the vector is whole",
     sent("masked-input", put(number=1, payload=b""), again=True), VIOLATION),
    ("chunk-too-short", "C42", "A chunk of the wrong length", "one byte less",
     sent("masked-input", put(payload=cut)), MALFORMED),
    ("padding-bits", "C42", "Bits behind the last value", "the topmost bit is set",
     sent("masked-input", put(payload=top_bit)), MALFORMED),
    ("check-of-other-sets", "C43", "A signature on other sets", "signed without the dropped",
     sent("consistency-check", put(signature=signs_sets(ME, put(dropped=())))), FORGED),
    ("differencing-at-coordinator", "C85", "A sum that differs from an earlier one by one participant",
     "a sum of the same model without fir was released before",
     after_sums(without_fir, opens="CONSISTENCY_CHECK"), _differencing),
], LATER: [
    ("check-about-another-model", "C43", "A signature about another model than the one that was named",
     "signed as if another model had been named",
     sent("consistency-check", put(signature=signs_sets(ME, model_digest=ANOTHER_MODEL))), FORGED),
    ("differencing-of-a-named-model-at-coordinator", "C85",
     "A sum that differs from an earlier one by one participant, of the model named later",
     "a sum of the model that was named later, without fir, was released before",
     after_sums(without_fir, opens="CONSISTENCY_CHECK"), _differencing),
]}

REVEALED: Table = {ACTIVE: [
    ("revealed-twice", "C35", "Other shares revealed a second time",
     "another share of fir's seed after the first answer was accepted",
     sent("unmask", _reveals("fir", SelfMaskShare(WRONG)), again=True), VIOLATION),
    ("both-shares", "C36", "Both shares of one owner", "a share of fir's mask key beside that of its seed",
     sent("unmask", _both_shares), NOBODY),
    ("owner-left-out", "C44", "No share of an owner", "fir's share is missing",
     sent("unmask", put(shares=without("fir"))), VIOLATION),
    ("wrong-kind-of-share", "C45", "A share of a survivor's mask key",
     "fir survived, and a share of its mask key is revealed",
     sent("unmask", _reveals("fir", _mask_key_share)), VIOLATION),
    ("share-not-in-field", "C46", "A share that is no number of the field", "the field prime itself",
     sent("unmask", _reveals("fir", SelfMaskShare(Secret(polynomial.PRIME.to_bytes(33, "big"))))), MALFORMED),
    ("wrong-seed-share", "C91", "Another share of a survivor's seed than was dealt",
     f"it does not fit the digest that {PEER} gave", sent("unmask", _reveals(PEER, SelfMaskShare(WRONG))), FORGED),
    ("wrong-mask-key-share", "C91", "Another share of a dropped participant's mask key than was dealt",
     "it does not fit the digest that elm gave", sent("unmask", _reveals("elm", MaskKeyShare(WRONG))), FORGED),
]}

ENDS: Table = {
    ACTIVE: [
        ("below-threshold-at-unmask", "C47", "One answer fewer than the threshold", f"the shares of {ME} never come",
         onwards({}, missing=f"{ME}/unmask"),
         failed("BELOW_THRESHOLD", dropped_out("UNMASK", ME), dropped_out("UNMASK", "fir"))),
        ("below-threshold-at-keys", "C47", "Fewer participants than the threshold",
         "the deadline passes after two have come", nobody_else_comes(2), failed("BELOW_THRESHOLD")),
        ("commitment-mismatch", "C48", "A seed that is not the one committed to",
         f"{PEER} commits to another seed than the one it deals shares of",
         onwards({f"{PEER}/share-keys": put(commitment=bytes(32))}),
         failed("WRONG_SHARES", dropped_out("UNMASK", "fir"), culprits=[PEER])),
    ],
    SEMI_HONEST: [
        ("wrong-share-corrected", "C48", "One wrong share was dealt: corrected, the owner named",
         f"{PEER} deals {ME} a wrong share of its seed; fir's answer comes too, so there are t + 2",
         onwards(_wrongly_dealt(ME), joined=("fir", "fir/unmask")), _corrected),
        ("wrong-shares-of-one-owner", "C48",
         "More wrong shares were dealt than a decoding corrects: the owner is named",
         f"{PEER} deals {ME} and amber-9 wrong shares of its seed; fir's answer comes too, so there are t + 2",
         onwards(_wrongly_dealt(ME, "amber-9"), joined=("fir", "fir/unmask")),
         failed("WRONG_SHARES", FIR_TOO, culprits=[PEER])),
    ],
}
# fmt: on

TABLES = (TURNS, KEYS, SHARES, ACCUSATIONS, INPUTS, REVEALED, ENDS)
