"""What the coordinator must refuse before the end: checks C33 to C43 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    ShareKeys,
    SurvivorSet,
)
from secagg.rounds import dealing
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import COORDINATOR, Failure, Script, participant, refused
from secagg.tools.conformance.rounds.masked import AUTHORITY, organisation

SENDER = "dahlia"
FIRST = "fir"
"""Comes before the sender, so that keys are still advertised when it has come."""
"""Whose messages are altered; it survives both rounds."""

VIOLATION = refused("ProtocolViolation", SENDER)
GONE = refused("NotInRoundError", None)
LOW_ORDER = bytes(32)
Vector = tuple[str, Document]


def vectors(semi_honest: Script, active: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _turns(active)
    yield from _keys(semi_honest, active)
    yield from _places(active)
    yield from _shares(active)
    yield from _accusations(active)
    yield from _inputs(active)
    yield from _signature(active)


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
        script: Script,
        slug: str,
        check: str,
        title: str,
        change: str,
        *,
        expect: Document,
        sender: str = SENDER,
        **changes: Any,
    ) -> Vector:
        honest: AdvertiseKeys = wire.decode(script.message(f"{sender}/advertise-keys"))
        at = script.find(at=COORDINATOR, sender=sender, message=f"{sender}/advertise-keys")
        after = at + 1 if slug == "other-keys" else at
        altered = wire.encode(replace(honest, **changes))
        return script.at_coordinator(Failure(slug, check, title, change, expect), after, sender, altered)

    yield case(
        semi_honest,
        "other-keys",
        "C35",
        "Keys advertised twice",
        "two other keys after the first were accepted, whose call still waits",
        expect=refused("ProtocolViolation", FIRST),
        sender=FIRST,
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


def _places(script: Script) -> Iterator[Vector]:
    """Who may come, and who is done without: what the FL server says, and processes that were started again."""

    def after(at: int, *steps: Document) -> list[Document]:
        now_ms = max(step.get("now_ms", 0) for step in script.vector["steps"][: at + 1])
        return [{"at": COORDINATOR, "now_ms": now_ms, **step} for step in steps]

    advertising = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/advertise-keys")
    yield script.write(
        Failure("excluded", "C96", "An excluded participant comes", "the FL server has excluded dahlia", GONE),
        advertising,
        after(
            advertising,
            {"do": "exclude", "participants": [SENDER]},
            {"do": "receive", "sender": SENDER, "message": f"{SENDER}/advertise-keys"},
        ),
        {},
    )
    others = [f"expected-{i}" for i in range(script.stage.config.max_participants - 1)]
    yield script.write(
        Failure(
            "no-place-left", "C96", "Keys of somebody for whom no place is left", "the FL server expects others", GONE
        ),
        advertising,
        after(
            advertising,
            {"do": "expect", "participants": [FIRST, *others]},
            {"do": "receive", "sender": SENDER, "message": f"{SENDER}/advertise-keys"},
        ),
        {},
    )
    keys: AdvertiseKeys = wire.decode(script.message(f"{FIRST}/advertise-keys"))
    renewed = replace(
        keys,
        channel_public_key=KeyPair.from_private(Secret(fixtures.seed("channel key of a new process"))).public,
        mask_public_key=KeyPair.from_private(Secret(fixtures.seed("mask key of a new process"))).public,
    )
    signed = rosters.advertisement_to_sign(script.stage.round.context, participant(FIRST), renewed)
    renewed = replace(renewed, signature=script.sign(FIRST, signed))
    at = script.find(at=COORDINATOR, sender=FIRST, message=f"{FIRST}/advertise-keys") + 1
    yield script.write(
        Failure(
            "keys-taken-back",
            "C95",
            "Keys that were taken back come again",
            "a second process of fir replaced its keys; the first process is alive after all, and sends its own again",
            refused("ProtocolViolation", FIRST),
        ),
        at,
        after(
            at,
            {"do": "rejoin", "sender": FIRST, "message": "altered"},
            {"do": "receive", "sender": FIRST, "message": f"{FIRST}/advertise-keys"},
        ),
        {"altered": wire.encode(renewed)},
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
    unsigned = {**honest.sealed, first: honest.sealed[first][: dealing.MASKED.unsigned_size]}
    failure = Failure(
        "entry-unsigned",
        "C93",
        "An entry of the wrong size",
        f"what is sealed to index {first} has no signature",
        refused("DecodeError", SENDER),
    )
    yield script.at_coordinator(failure, at, SENDER, wire.encode(replace(honest, sealed=unsigned)))
    failure = Failure(
        "neighbour-left-out",
        "C40",
        "A neighbour who gets no share",
        f"nothing is sealed to index {first}",
        VIOLATION,
    )
    fewer = replace(honest, sealed={i: honest.sealed[i] for i in rest})
    yield script.at_coordinator(failure, at, SENDER, wire.encode(fewer))


def _accusations(script: Script) -> Iterator[Vector]:
    """C94: an entry was refused; the coordinator looks whether it is the one that it passed on, and who signed it."""
    at = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/masked-input")
    dealt: ShareKeys = wire.decode(script.message("ginkgo/share-keys"))
    entry = dealt.sealed[script.index(SENDER)]
    gone = {"event": "ParticipantDropped", "phase": "MASKED_INPUT", "participant": SENDER, "reason": "REFUSED"}

    def case(verdict: str, change: str, digest: bytes) -> Vector:
        told = {"event": "Accused", "accused": "ginkgo", "accuser": SENDER, "verdict": verdict}
        title = f"An accusation that is {verdict.lower()}"
        failure = Failure(f"accusation-{verdict.lower()}", "C94", title, change, {"events": [told, gone]})
        message = Leave(LeaveReason.REFUSED, participant("ginkgo"), digest)
        return script.at_coordinator(failure, at, SENDER, wire.encode(message))

    yield case("HEARSAY", f"{SENDER} refuses what ginkgo dealt and signed", dealing.entry_digest(entry))
    yield case("UNFOUNDED", f"{SENDER} shows another entry than it was given", dealing.entry_digest(bytes(218)))
    leave = Leave(LeaveReason.REFUSED, participant("ginkgo"), dealing.entry_digest(entry[:-1] + b"!"))
    unsigned = replace(dealt, sealed={**dealt.sealed, script.index(SENDER): entry[:-1] + b"!"})
    told = {"event": "Accused", "accused": "ginkgo", "accuser": SENDER, "verdict": "PROVEN"}
    failure = Failure(
        "accusation-proven",
        "C94",
        "An accusation that is proven",
        f"ginkgo did not sign what it dealt to {SENDER}",
        {"events": [told, gone]},
    )
    yield _accused_after(script, failure, wire.encode(unsigned), wire.encode(leave))


def _accused_after(script: Script, failure: Failure, dealt: Document, leave: Document) -> Vector:
    """The coordinator's round from ginkgo's ShareKeys to the moment where SENDER leaves."""
    slug = "ginkgo/share-keys"
    at = script.find(at=COORDINATOR, message=slug)
    end = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/masked-input")
    steps = [s for s in script.vector["steps"][at : end + 1] if s["at"] == COORDINATOR and s["do"] != "answer"]
    steps[0] = steps[0] | {"message": "altered"}
    steps[-1] = steps[-1] | {"message": "leave"}
    return script.write(failure, at, steps, {"altered": dealt, "leave": leave})


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
