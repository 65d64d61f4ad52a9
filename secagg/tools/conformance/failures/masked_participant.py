"""What a participant must refuse after the roster: checks C5, C6 and C16 to C29 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from typing import Any

from secagg import roster as rosters
from secagg.context import Round, RoundId, bind
from secagg.crypto import labels, polynomial
from secagg.masked import shares
from secagg.messages import ConsistencyProof, Index, Roster, ShareDelivery, SurvivorSet
from secagg.rounds import dealing, peer_sealing
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import Failure, Script, participant, refused
from secagg.tools.conformance.rounds.masked import organisation
from secagg.wire.v1 import messages_pb2 as pb

ME = "dahlia"
"""The participant whose checks are tried; it survives both rounds."""

PEER = "ginkgo"
VIOLATION = refused("ProtocolViolation")
FORGED = refused("AuthenticationError")
Vector = tuple[str, Document]


def vectors(active: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _any_message(active)
    yield from _delivery(active)
    yield from _survivors(active)
    yield from _proof(active)


def _any_message(script: Script) -> Iterator[Vector]:
    failure = Failure(
        "not-protobuf",
        "C5",
        "Bytes that are no message",
        "the roster's bytes are cut in the middle of a field",
        refused("DecodeError", None),
    )
    roster = script.message("roster")
    cut = {"type": "Roster", "parts": [roster["parts"][0][:100]]}
    yield script.at_participant(failure, ME, "roster", cut)
    failure = Failure(
        "survivors-not-ascending",
        "C5",
        "A survivor named twice",
        "the first survivor stands twice",
        refused("DecodeError", None),
    )
    sets = wire.parts(script.message("survivors"))[0]
    doubled = pb.SurvivorSet(survivors=[sets.survivors[0], *sets.survivors], dropped=sets.dropped)
    yield script.at_participant(failure, ME, "survivors", wire.altered("SurvivorSet", doubled))
    failure = Failure(
        "wrong-order",
        "C6",
        "A survivor set before the shares",
        "the survivor set comes where shares are awaited",
        VIOLATION,
    )
    yield script.at_participant(failure, ME, f"{ME}/share-delivery", script.message("survivors"))


def _delivery(script: Script) -> Iterator[Vector]:
    slug = f"{ME}/share-delivery"
    honest: ShareDelivery = wire.decode(script.message(slug))
    me, peer = script.members[ME], script.members[PEER]
    insider = script.insider(PEER)

    def case(
        slug_: str, check: str, title: str, change: str, *, sealed: dict[Index, bytes], expect: Document
    ) -> Vector:
        altered = wire.encode(ShareDelivery(sealed))
        return script.at_participant(Failure(slug_, check, title, change, expect), ME, slug, altered)

    def signed(entry: bytes) -> bytes:
        return script.signed_entry(PEER, ME, entry)

    def with_seal(sealed: bytes) -> dict[Index, bytes]:
        return {**honest.sealed, peer.index: sealed}

    yield case(
        "share-of-a-stranger",
        "C16",
        "A share of somebody who is no neighbour",
        "a share under an index that the roster does not have",
        sealed={**honest.sealed, Index(len(script.members) + 1): honest.sealed[peer.index]},
        expect=VIOLATION,
    )
    few = dict(list(honest.sealed.items())[: script.stage.config.threshold - 2])
    yield case(
        "too-few-shared",
        "C17",
        "Fewer than t shared keys",
        f"shares of {len(few)} others only, so {len(few) + 1} with our own",
        sealed=few,
        expect=VIOLATION,
    )
    broken, nobody = refused("AuthenticationError", PEER), refused("AuthenticationError", None)
    config_bytes = bytes.fromhex(script.vector["config"])
    round_id = RoundId(script.stage.round.round_id[::-1])
    context = bind(round_id, config_bytes, script.stage.config.model_digest)
    earlier = Round(round_id, script.stage.config, context)
    replayed = signed(shares.seal(earlier, insider.channel, participant(PEER), me, insider.pairs[me.index]))
    yield case(
        "seal-of-another-round",
        "C18",
        "A replayed seal",
        "sealed for another round id",
        sealed=with_seal(replayed),
        expect=broken,
    )
    other_model = bind(script.stage.round.round_id, config_bytes, fixtures.seed("another model"))
    misled = Round(script.stage.round.round_id, script.stage.config, other_model)
    foreign = signed(shares.seal(misled, insider.channel, participant(PEER), me, insider.pairs[me.index]))
    yield case(
        "seal-of-another-model",
        "C18",
        "A peer that holds another model",
        f"{PEER} was given another model, so its context differs",
        sealed=with_seal(foreign),
        expect=broken,
    )
    other = next(i for i in honest.sealed if i != peer.index)
    yield case(
        "seal-of-another-sender",
        "C18",
        "A seal under another sender's name",
        f"what index {other} sealed to us is shown as {PEER}'s",
        sealed=with_seal(honest.sealed[other]),
        expect=nobody,
    )
    third = script.members["fir"]
    to_third = shares.seal(script.stage.round, insider.channel, participant(PEER), third, insider.pairs[third.index])
    yield case(
        "seal-for-another-receiver",
        "C18",
        "A seal that was meant for somebody else",
        f"what {PEER} sealed to fir, and signed for us",
        sealed=with_seal(signed(to_third)),
        expect=broken,
    )
    flipped = bytes([honest.sealed[peer.index][0] ^ 1]) + honest.sealed[peer.index][1:]
    yield case(
        "seal-altered",
        "C18",
        "An altered seal",
        f"one bit of what {PEER} sealed, behind its signature's back: {PEER} or the coordinator",
        sealed=with_seal(flipped),
        expect=nobody,
    )
    short = honest.sealed[peer.index][: dealing.MASKED.seal_size - 1]
    yield case(
        "truncated-seal",
        "C18",
        "A seal that is too short",
        "there is no more of the entry",
        sealed=with_seal(short),
        expect=nobody,
    )
    bad = polynomial.PRIME.to_bytes(33, "big") + insider.pairs[me.index].self_mask_seed.expose()
    ends = {"sender": participant(PEER), "receiver": me}
    dealt = peer_sealing.seal(script.stage.round, labels.SHARE_SEALING, insider.channel, plaintext=bad, **ends)  # type: ignore[arg-type]
    yield case(
        "dealt-no-share",
        "C19",
        "A dealt share that is no number of the field",
        f"{PEER} seals the field prime itself as its share",
        sealed=with_seal(signed(dealt + bytes(64))),
        expect=refused("DecodeError", PEER),
    )
    right = shares.seal(script.stage.round, insider.channel, participant(PEER), me, insider.pairs[me.index])
    other_digests = right[: dealing.MASKED.seal_size] + bytes(64)
    for suffix, change, entry, expect in (
        ("", f"{PEER} signed other digests than those of the shares that it sealed", signed(other_digests), broken),
        ("-unsigned", "the coordinator changed the digests", other_digests + bytes(70), nobody),
    ):
        yield case(
            f"digests-of-other-shares{suffix}",
            "C92",
            "Digests that do not fit the shares",
            change,
            sealed=with_seal(entry),
            expect=expect,
        )


def _survivors(script: Script) -> Iterator[Vector]:
    honest: SurvivorSet = wire.decode(script.message("survivors"))
    me, peer, cedar = (script.index(name) for name in (ME, PEER, "cedar"))
    alive, gone = honest.survivors, honest.dropped

    def case(slug: str, check: str, title: str, change: str, sets: SurvivorSet, **more: Any) -> Vector:
        failure = Failure(slug, check, title, change, more.pop("expect", VIOLATION))
        return script.at_participant(failure, ME, "survivors", wire.encode(sets), more.get("policy"))

    def without(index: Index) -> tuple[Index, ...]:
        return tuple(i for i in alive if i != index)

    yield case(
        "overlap",
        "C21",
        "Both shares of one participant",
        f"{PEER} is called a survivor and dropped",
        SurvivorSet(alive, tuple(sorted((*gone, peer)))),
    )
    yield case(
        "dropped-never-shared",
        "C22",
        "Someone called dropped who never shared keys",
        "cedar is called dropped",
        SurvivorSet(alive, tuple(sorted((*gone, cedar)))),
    )
    yield case(
        "survivor-not-on-roster",
        "C22",
        "A survivor whom the roster does not know",
        "an index beyond the roster",
        SurvivorSet((*alive, Index(len(script.members) + 1)), gone),
    )
    yield case("shared-forgotten", "C22", "Someone in neither set", f"{PEER} in none", SurvivorSet(without(peer), gone))
    yield case(
        "self-called-dropped",
        "C23",
        "We ourselves called dropped",
        f"{ME} is called dropped",
        SurvivorSet(without(me), tuple(sorted((*gone, me)))),
    )
    keep = sorted([me, *without(me)[: script.stage.config.threshold - 2]])
    rest = tuple(sorted({*alive, *gone} - set(keep)))
    yield case(
        "too-few-survivors",
        "C24",
        "Fewer than t survivors",
        f"{len(keep)} survivors, all others called dropped",
        SurvivorSet(tuple(keep), rest),
    )
    lost = organisation("hazel")
    names = {m.index: m.participant_id for m in script.members.values()}
    left = [i for i in alive if organisation(names[i]) != lost]
    rest = tuple(sorted({*alive, *gone} - set(left)))
    yield case(
        "too-few-organisations-left",
        "C25",
        "Survivors of too few organisations",
        "hazel, who alone is of its organisation among the survivors, is called dropped; the participant demands 3",
        SurvivorSet(tuple(left), rest),
        expect=refused("PolicyViolation"),
        policy={"min_organisations": 3},
    )


def _proof(script: Script) -> Iterator[Vector]:
    honest: ConsistencyProof = wire.decode(script.message("consistency-proof"))
    roster: Roster = wire.decode(script.message("roster"))
    sets: SurvivorSet = wire.decode(script.message("survivors"))
    peer = script.index(PEER)

    def case(
        slug: str, check: str, title: str, change: str, *, signatures: dict[Index, bytes], expect: Document
    ) -> Vector:
        failure = Failure(slug, check, title, change, expect)
        return script.at_participant(failure, ME, "consistency-proof", wire.encode(ConsistencyProof(signatures)))

    def signed(name: str, seen: SurvivorSet) -> bytes:
        credentials = script.stage.credentials(name)
        if credentials is None:
            raise AssertionError("the proof is part of the active threat model")
        return credentials.identity.sign(rosters.survivors_to_sign(script.stage.round.context, roster, seen))

    yield case(
        "signer-no-survivor",
        "C26",
        "A signature of somebody who did not survive",
        "elm, who dropped, signs the survivor set too",
        signatures={**honest.signatures, script.index("elm"): signed("elm", sets)},
        expect=VIOLATION,
    )
    few = dict(list(honest.signatures.items())[: script.stage.config.threshold - 1])
    yield case(
        "too-few-signatures",
        "C27",
        "Fewer than t signatures",
        f"only {len(few)} signatures",
        signatures=few,
        expect=VIOLATION,
    )
    without = tuple(i for i in sets.survivors if i != script.index(ME))
    seen = SurvivorSet(without, tuple(sorted((*sets.dropped, script.index(ME)))))
    yield case(
        "signature-on-other-survivors",
        "C28",
        "Others were shown another survivor set",
        f"{PEER} signed a set in which {ME} dropped",
        signatures={**honest.signatures, peer: signed(PEER, seen)},
        expect=FORGED,
    )
    swapped = SurvivorSet(sets.survivors, ())
    yield case(
        "signature-on-other-dropped",
        "C28",
        "Others were shown other dropped participants",
        f"{PEER} signed a set without the dropped",
        signatures={**honest.signatures, peer: signed(PEER, swapped)},
        expect=FORGED,
    )
    at = script.find(at=ME, do="receive", message="consistency-proof")
    step = script.vector["steps"][at]
    failure = Failure(
        "second-unmask-request",
        "C29",
        "Shares asked for a second time",
        "the same proof again, after the shares were revealed",
        VIOLATION,
    )
    yield script.write(failure, at + 1, [step], {})
