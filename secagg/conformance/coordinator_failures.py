"""What the coordinator must refuse: vectors for each check on its side (proto/PROTOCOL.md, C33 to C48)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.conformance import fixtures, wire
from secagg.conformance.document import Document
from secagg.conformance.failures import COORDINATOR, Failure, Script, refused
from secagg.conformance.rounds import AUTHORITY, organisation
from secagg.crypto import polynomial
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    MaskedInputChunk,
    MaskKeyShare,
    RevealedShare,
    SelfMaskShare,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.wire.v1 import messages_pb2 as pb

SENDER = "dahlia"
"""Whose messages are altered; it survives both rounds."""

VIOLATION = refused("ProtocolViolation", SENDER)
GONE = refused("NotInRoundError", None)
LOW_ORDER = bytes(32)
WRONG = bytes(33)  # a number of the field, and no share of anything here
Vector = tuple[str, Document]


def vectors(semi_honest: Script, active: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _turns(active)
    yield from _keys(semi_honest, active)
    yield from _shares(active)
    yield from _inputs(active)
    yield from _signature(active)
    yield from _revealed(active)
    yield from _below_threshold(active)
    yield from _wrong_shares(semi_honest, active)


def _turns(script: Script) -> Iterator[Vector]:
    def case(
        slug: str, check: str, title: str, change: str, *, at: int, sender: str, message: str, expect: Document
    ) -> Vector:
        return script.at_coordinator(Failure(slug, check, title, change, expect), at, sender, message)

    sent = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/consistency-check")
    yield case(
        "late-input",
        "C33",
        "An input that comes after its sender was declared dropped",
        "elm's masked input arrives in the phase after",
        at=sent,
        sender="elm",
        message="elm/masked-input",
        expect=GONE,
    )
    sharing = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/share-keys")
    yield case(
        "dropped-speaks-again",
        "C33",
        "A message of the open phase from somebody who dropped out before",
        "cedar, who shared no keys, sends elm's masked input",
        at=script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/masked-input"),
        sender="cedar",
        message="elm/masked-input",
        expect=GONE,
    )
    yield case(
        "late-keys",
        "C33",
        "Keys that come after the roster is fixed",
        "birch, who left, advertises its keys again",
        at=sharing,
        sender="birch",
        message="birch/advertise-keys",
        expect=GONE,
    )
    yield case(
        "not-on-roster",
        "C33",
        "Shares from somebody who is not in the round",
        "birch, who left before the roster was fixed, sends another's shares",
        at=sharing,
        sender="birch",
        message=f"{SENDER}/share-keys",
        expect=GONE,
    )
    yield case(
        "message-of-later-phase",
        "C34",
        "An input before the shares",
        "a masked input comes in the phase of shares",
        at=sharing,
        sender=SENDER,
        message=f"{SENDER}/masked-input",
        expect=VIOLATION,
    )


def _keys(semi_honest: Script, active: Script) -> Iterator[Vector]:
    def case(
        script: Script, slug: str, check: str, title: str, change: str, *, expect: Document, **changes: Any
    ) -> Vector:
        honest: AdvertiseKeys = wire.decode(script.message(f"{SENDER}/advertise-keys"))
        at = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/advertise-keys")
        after = at + 1 if slug == "other-keys" else at
        altered = wire.encode(replace(honest, **changes))
        return script.at_coordinator(Failure(slug, check, title, change, expect), after, SENDER, altered)

    yield case(
        semi_honest,
        "other-keys",
        "C35",
        "Keys advertised twice",
        "two other keys after the first were accepted",
        expect=VIOLATION,
        channel_public_key=KeyPair.from_private(Secret(fixtures.seed("another channel key"))).public,
        mask_public_key=KeyPair.from_private(Secret(fixtures.seed("another mask key"))).public,
    )
    forged = refused("AuthenticationError", SENDER)
    short = semi_honest.members[SENDER].keys.channel_public_key[:-1]
    yield case(
        semi_honest,
        "key-of-31-bytes",
        "C36",
        "A public key of the wrong size",
        "the last byte of the channel key is missing",
        expect=refused("DecodeError", None),
        channel_public_key=short,
    )
    weak = "A public key that gives everyone the same secret"
    yield case(
        semi_honest, "weak-mask-key", "C37", weak, "the mask key is zero", expect=forged, mask_public_key=LOW_ORDER
    )
    top = semi_honest.members["fir"].keys.channel_public_key
    top = top[:-1] + bytes([top[-1] | 0x80])
    yield case(
        semi_honest,
        "key-in-disguise",
        "C37",
        "Another participant's key in another encoding",
        "the channel key is fir's with the ignored top bit set",
        expect=forged,
        channel_public_key=top,
    )
    yield case(
        semi_honest,
        "key-of-another",
        "C38",
        "Another participant's key",
        "the channel key is cedar's, who advertised before",
        expect=VIOLATION,
        channel_public_key=semi_honest.members["cedar"].keys.channel_public_key,
    )
    yield case(active, "advertised-unsigned", "C39", "Unsigned keys", "no signature", expect=forged, signature=b"")
    foreign = fixtures.certificate(SENDER, organisation(SENDER), "Foreign CA, test only")
    yield case(
        active,
        "advertised-foreign-certificate",
        "C39",
        "A certificate of another CA",
        "a certificate of a CA that nobody trusts",
        expect=forged,
        certificates=(foreign,),
    )
    theirs = active.members["fir"].keys
    yield case(
        active,
        "advertised-certificate-of-another",
        "C39",
        "Another participant's certificate",
        "certificate and signature of fir",
        expect=VIOLATION,
        certificates=theirs.certificates,
        signature=theirs.signature,
    )
    expired = fixtures.certificate(SENDER, organisation(SENDER), AUTHORITY, days=-1)
    yield case(
        active,
        "advertised-expired-certificate",
        "C39",
        "An expired certificate",
        "the certificate ended a day before the round",
        expect=forged,
        certificates=(expired,),
    )


def _shares(script: Script) -> Iterator[Vector]:
    honest: ShareKeys = wire.decode(script.message(f"{SENDER}/share-keys"))
    at = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/share-keys")
    other = replace(honest, commitment=bytes(32))
    failure = Failure(
        "other-shares",
        "C35",
        "Shares sent twice, with other content",
        "another commitment after the first was accepted",
        VIOLATION,
    )
    yield script.at_coordinator(failure, at + 1, SENDER, wire.encode(other))
    failure = Failure(
        "commitment-of-31-bytes",
        "C36",
        "A commitment of the wrong size",
        "its last byte is missing",
        refused("DecodeError", SENDER),
    )
    name, vector = script.at_coordinator(failure, at, SENDER, wire.encode(replace(honest, commitment=bytes(31))))
    yield name, vector
    first, *rest = honest.sealed
    failure = Failure(
        "neighbour-left-out",
        "C40",
        "A neighbour who gets no share",
        f"nothing is sealed to index {first}",
        VIOLATION,
    )
    fewer = replace(honest, sealed={i: honest.sealed[i] for i in rest})
    yield script.at_coordinator(failure, at, SENDER, wire.encode(fewer))


def _inputs(script: Script) -> Iterator[Vector]:
    slug = f"{SENDER}/masked-input"
    honest: MaskedInputChunk = wire.decode(script.message(slug))
    at = script.find(at=COORDINATOR, sender=SENDER, message=slug)

    def case(
        slug_: str, check: str, title: str, change: str, *, expect: Document, after: int, **changes: Any
    ) -> Vector:
        altered = wire.encode(replace(honest, **changes))
        return script.at_coordinator(Failure(slug_, check, title, change, expect), after, SENDER, altered)

    malformed = refused("DecodeError", SENDER)
    yield case(
        "chunk-out-of-order", "C41", "A chunk too early", "number 1 comes first", expect=VIOLATION, after=at, number=1
    )
    yield case(
        "chunk-behind-the-last",
        "C41",
        "A chunk too many",
        "an empty chunk after the vector is whole",
        expect=VIOLATION,
        after=at + 1,
        number=1,
        payload=b"",
    )
    yield case(
        "chunk-too-short",
        "C42",
        "A chunk of the wrong length",
        "one byte less",
        expect=malformed,
        after=at,
        payload=honest.payload[:-1],
    )
    padded = honest.payload[:-1] + bytes([honest.payload[-1] | 0x80])
    yield case(
        "padding-bits",
        "C42",
        "Bits behind the last value",
        "the topmost bit is set",
        expect=malformed,
        after=at,
        payload=padded,
    )


def _signature(script: Script) -> Iterator[Vector]:
    sets: SurvivorSet = wire.decode(script.message("survivors"))
    credentials = script.stage.credentials(SENDER)
    if credentials is None:
        raise AssertionError("the signature is part of the active threat model")
    other = SurvivorSet(sets.survivors, ())
    signed = rosters.survivors_to_sign(script.stage.round.context, wire.decode(script.message("roster")), other)
    at = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/consistency-check")
    failure = Failure(
        "check-of-other-sets",
        "C43",
        "A signature on other sets",
        "signed without the dropped",
        refused("AuthenticationError", SENDER),
    )
    altered = wire.encode(ConsistencyCheck(credentials.identity.sign(signed)))
    yield script.at_coordinator(failure, at, SENDER, altered)


def _altered_unmask(script: Script, sender: str, owners: dict[str, RevealedShare | None]) -> Document:
    """The sender's Unmask with other shares for some owners; None leaves one out."""
    honest: Unmask = wire.decode(script.message(f"{sender}/unmask"))
    shares = dict(honest.shares)
    for owner, share in owners.items():
        shares.pop(script.index(owner))
        if share is not None:
            shares[script.index(owner)] = share
    return wire.encode(Unmask(shares))


def _revealed(script: Script) -> Iterator[Vector]:
    at = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/unmask")

    def case(
        slug: str, check: str, title: str, change: str, *, altered: Document, expect: Document = VIOLATION
    ) -> Vector:
        after = at + 1 if slug == "revealed-twice" else at
        return script.at_coordinator(Failure(slug, check, title, change, expect), after, SENDER, altered)

    wrong = SelfMaskShare(Secret(WRONG))
    yield case(
        "revealed-twice",
        "C35",
        "Other shares revealed a second time",
        "another share of fir's seed after the first answer was accepted",
        altered=_altered_unmask(script, SENDER, {"fir": wrong}),
    )
    both = wire.parts(script.message(f"{SENDER}/unmask"))
    both[0].shares.append(pb.RevealedShare(owner=script.index("fir"), mask_key_share=WRONG))
    yield case(
        "both-shares",
        "C36",
        "Both shares of one owner",
        "a share of fir's mask key beside that of its seed",
        altered=wire.altered("Unmask", *both),
        expect=refused("DecodeError", None),
    )
    yield case(
        "owner-left-out",
        "C44",
        "No share of an owner",
        "fir's share is missing",
        altered=_altered_unmask(script, SENDER, {"fir": None}),
    )
    pair = script.insider("fir").pairs[script.index(SENDER)]
    yield case(
        "wrong-kind-of-share",
        "C45",
        "A share of a survivor's mask key",
        "fir survived, and a share of its mask key is revealed",
        altered=_altered_unmask(script, SENDER, {"fir": MaskKeyShare(pair.mask_key)}),
    )
    prime = SelfMaskShare(Secret(polynomial.PRIME.to_bytes(33, "big")))
    yield case(
        "share-not-in-field",
        "C46",
        "A share that is no number of the field",
        "the field prime itself",
        altered=_altered_unmask(script, SENDER, {"fir": prime}),
        expect=refused("DecodeError", SENDER),
    )


def _below_threshold(script: Script) -> Iterator[Vector]:
    ended = {"event": "RoundFailed", "reason": "BELOW_THRESHOLD"}
    late = [_late("UNMASK", name) for name in sorted([SENDER, "fir"], key=script.index)]
    failure = Failure(
        "below-threshold-at-unmask",
        "C47",
        "One answer fewer than the threshold",
        f"the shares of {SENDER} never come",
        {"events": [*late, ended]},
    )
    yield script.replaced(failure, {}, missing=f"{SENDER}/unmask")
    failure = Failure(
        "below-threshold-at-keys",
        "C47",
        "Fewer participants than the threshold",
        "the deadline passes after two have come",
        {"events": [ended]},
    )
    second = [i for i, s in enumerate(script.vector["steps"]) if s.get("sender") is not None][1]
    tick = script.vector["steps"][script.find(do="tick")]
    yield script.write(failure, second + 1, [tick], {})


def _late(phase: str, name: str) -> Document:
    return {"event": "ParticipantDropped", "phase": phase, "participant": name, "reason": "DEADLINE"}


def _wrong_shares(semi_honest: Script, active: Script) -> Iterator[Vector]:
    yield from _corrected(semi_honest)
    failed = {"events": [_late("UNMASK", "fir"), {"event": "RoundFailed", "reason": "WRONG_SHARES"}]}

    def lie(slug: str, title: str, change: str, owner: str, share: RevealedShare) -> Vector:
        altered = {f"{SENDER}/unmask": _altered_unmask(active, SENDER, {owner: share})}
        return active.replaced(Failure(slug, "C48", title, change, failed), altered)

    yield lie(
        "wrong-seed-share",
        "A wrong share of a survivor's seed, and none to spare",
        f"{SENDER} sends a wrong share of ginkgo's seed; there are just t answers",
        "ginkgo",
        SelfMaskShare(Secret(WRONG)),
    )
    yield lie(
        "wrong-mask-key-share",
        "A wrong share of a dropped participant's mask key, and none to spare",
        f"{SENDER} sends a wrong share of elm's mask key; there are just t answers",
        "elm",
        MaskKeyShare(Secret(WRONG)),
    )
    honest: ShareKeys = wire.decode(active.message("ginkgo/share-keys"))
    failure = Failure(
        "commitment-mismatch",
        "C48",
        "A seed that is not the one committed to",
        "ginkgo commits to another seed than the one it deals shares of",
        failed,
    )
    yield active.replaced(failure, {"ginkgo/share-keys": wire.encode(replace(honest, commitment=bytes(32)))})


def _corrected(script: Script) -> Iterator[Vector]:
    """With shares to spare the sum comes out all the same, and the liar is named."""
    done = {
        "event": "SumReady",
        "survivors": script.vector["outcome"]["survivors"],
        "sums_digest": script.vector["outcome"]["sums_digest"],
    }
    accepted = {"event": "MessageAccepted", "phase": "UNMASK", "participant": "fir"}
    wrong = SelfMaskShare(Secret(WRONG))

    def case(slug: str, title: str, change: str, liars: list[str], *, culprit: str, pairs: list[list[str]]) -> Vector:
        told = {"event": "WrongShares", "culprit": culprit, "conflicts": pairs}
        failure = Failure(slug, "C48", title, change, {"events": [accepted, told, done]})
        altered = {f"{liar}/unmask": _altered_unmask(script, liar, {"ginkgo": wrong}) for liar in liars}
        return script.replaced(failure, altered, joined=("fir", "fir/unmask"))

    spare = "; fir's answer comes too, so there are t + 2"
    yield case(
        "wrong-share-corrected",
        "One wrong share: corrected, its holder named",
        f"{SENDER} sends a wrong share of ginkgo's seed{spare}",
        [SENDER],
        culprit=SENDER,
        pairs=[["ginkgo", SENDER]],
    )
    yield case(
        "wrong-shares-of-one-owner",
        "Two wrong shares of one owner: corrected, the owner named",
        f"{SENDER} and amber-9 send wrong shares of ginkgo's seed, as if ginkgo had dealt them{spare}",
        [SENDER, "amber-9"],
        culprit="ginkgo",
        pairs=[["ginkgo", "amber-9"], ["ginkgo", SENDER]],
    )
