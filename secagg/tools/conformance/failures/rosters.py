"""What a participant must refuse of a roster: checks C7 to C15 and C20 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.context import RoundId, bind
from secagg.messages import Index, Member, Roster
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import Failure, Script, participant, refused
from secagg.tools.conformance.rounds.masked import AUTHORITY, organisation

ME = "dahlia"
"""The participant whose checks are tried; it survives both rounds."""

PEER = "ginkgo"
VIOLATION = refused("ProtocolViolation")
FORGED = refused("AuthenticationError")
LOW_ORDER = bytes(32)
Vector = tuple[str, Document]


def vectors(semi_honest: Script, active: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _roster(active)
    yield _twins(semi_honest)
    yield from _certificates(active)
    yield from _weak_keys(semi_honest)


def _change(roster: Roster, name: str, **changes: Any) -> Document:
    """The roster with other keys of one member."""
    members = (replace(m, keys=replace(m.keys, **changes)) if m.participant_id == name else m for m in roster.members)
    return wire.encode(Roster(tuple(members)))


def _renumber(members: Iterator[Member]) -> Document:
    return wire.encode(Roster(tuple(replace(m, index=Index(i)) for i, m in enumerate(members, start=1))))


def _roster(script: Script) -> Iterator[Vector]:
    roster: Roster = wire.decode(script.message("roster"))
    members, t = roster.members, script.stage.config.threshold

    def case(slug: str, check: str, title: str, change: str, altered: Document, **more: Any) -> Vector:
        failure = Failure(slug, check, title, change, more.pop("expect", VIOLATION))
        return script.at_participant(failure, ME, "roster", altered, more.get("policy"))

    few = [m for m in members if m.participant_id == ME] + [m for m in members if m.participant_id != ME][: t - 2]
    few.sort(key=lambda m: m.participant_id)
    yield case("roster-too-small", "C7", "A roster below the threshold", f"only {t - 1} members", _renumber(iter(few)))
    swapped = {1: Index(2), 2: Index(1)}
    shuffled = (replace(m, index=swapped.get(m.index, m.index)) for m in members)
    yield case(
        "roster-out-of-order",
        "C8",
        "Indices that do not follow the ids",
        "indices 1 and 2 are swapped",
        wire.encode(Roster(tuple(shuffled))),
    )
    theirs = script.members[PEER].keys
    yield case(
        "duplicate-key",
        "C9",
        "One public key for two purposes",
        f"the mask key of {PEER} is its channel key",
        _change(roster, PEER, mask_public_key=theirs.channel_public_key),
    )
    disguised = theirs.channel_public_key[:-1] + bytes([theirs.channel_public_key[-1] | 0x80])
    yield case(
        "key-not-reduced",
        "C9",
        "A key in another encoding",
        f"the ignored top bit is set in the channel key of {PEER}",
        _change(roster, PEER, channel_public_key=disguised),
    )
    yield case(
        "own-entry-missing",
        "C10",
        "A roster without us",
        f"{ME} is left out",
        _renumber(m for m in members if m.participant_id != ME),
    )
    other = script.insider("fir").mask.agree(theirs.mask_public_key, peer=PEER).expose()  # any 32 bytes will do
    yield case(
        "own-entry-changed",
        "C10",
        "Our own key replaced",
        f"another mask key for {ME}",
        _change(roster, ME, mask_public_key=other),
    )
    yield case(
        "too-few-organisations-in-roster",
        "C14",
        "A cohort of too few organisations",
        "nothing; the participant demands 4 organisations and the roster has 3",
        script.message("roster"),
        expect=refused("PolicyViolation"),
        policy={"min_organisations": 4},
    )


def _certificates(script: Script) -> Iterator[Vector]:
    roster: Roster = wire.decode(script.message("roster"))
    keys = script.members[PEER].keys

    def case(slug: str, check: str, title: str, change: str, **changes: Any) -> Vector:
        failure = Failure(slug, check, title, change, changes.pop("expect", FORGED))
        return script.at_participant(failure, ME, "roster", _change(roster, PEER, **changes))

    foreign = fixtures.certificate(PEER, organisation(PEER), "Foreign CA, test only")
    yield case(
        "foreign-certificate",
        "C11",
        "A certificate of another CA",
        f"{PEER} shows a certificate of a CA that nobody trusts",
        certificates=(foreign,),
    )
    expired = fixtures.certificate(PEER, organisation(PEER), AUTHORITY, days=-1)
    yield case(
        "expired-certificate",
        "C11",
        "An expired certificate",
        f"the certificate of {PEER} ended a day before the round",
        certificates=(expired,),
    )
    yield case(
        "certificate-of-another-id",
        "C12",
        "A certificate that belongs to somebody else",
        f"{PEER} is shown with the certificate and signature of fir",
        certificates=script.members["fir"].keys.certificates,
        signature=script.members["fir"].keys.signature,
        expect=VIOLATION,
    )
    mine = script.insider("fir").mask.agree(keys.mask_public_key, peer=PEER).expose()
    yield case(
        "key-substituted",
        "C13",
        "A key that its owner did not sign",
        f"another channel key for {PEER}, with the signature of its true keys",
        channel_public_key=mine,
    )
    yield case("keys-unsigned", "C13", "Keys without a signature", f"no signature of {PEER}", signature=b"")
    earlier = script.stage.round.round_id[::-1]
    context = bind(RoundId(earlier), bytes.fromhex(script.vector["config"]), script.stage.config.model_digest)
    identity = fixtures.identity(keys.certificates[0], fixtures.scalar_hex(fixtures.signing_key(PEER)))
    signature = identity.sign(rosters.advertisement_to_sign(context, participant(PEER), keys))
    yield case(
        "keys-of-another-round",
        "C13",
        "Keys replayed from another round",
        f"{PEER} signed the same keys for round {earlier.hex()}",
        signature=signature,
    )


def _twins(script: Script) -> Vector:
    roster: Roster = wire.decode(script.message("roster"))
    twin = replace(script.members[PEER], participant_id=participant("fir"))
    twins = (twin if m.participant_id == PEER else m for m in roster.members)
    failure = Failure(
        "duplicate-id", "C8", "One participant twice", f"{PEER} is called fir, who is there too", VIOLATION
    )
    return script.at_participant(failure, ME, "roster", _renumber(twins))


def _weak_keys(script: Script) -> Iterator[Vector]:
    roster: Roster = wire.decode(script.message("roster"))
    failure = Failure(
        "low-order-channel-key",
        "C15",
        "A channel key that gives everyone the same secret",
        f"the channel key of {PEER} is zero",
        refused("AuthenticationError", PEER),
    )
    yield script.at_participant(failure, ME, "roster", _change(roster, PEER, channel_public_key=LOW_ORDER))
    failure = replace(
        failure,
        slug="low-order-mask-key",
        check="C20",
        title="A mask key that gives everyone the same secret",
        change=f"the mask key of {PEER} is zero; the shares are as in the honest round",
    )
    yield _two_steps(script, failure, _change(roster, PEER, mask_public_key=LOW_ORDER))


def _two_steps(script: Script, failure: Failure, roster: Document) -> Vector:
    """A roster that passes, and a delivery that must not."""
    at = script.find(at=ME, do="receive", message="roster")
    delivery = script.find(at=ME, do="receive", message=f"{ME}/share-delivery")
    steps = [script.vector["steps"][at] | {"message": "altered"}, script.vector["steps"][delivery]]
    return script.write(failure, at, steps, {"altered": roster})
