"""What the coordinator must refuse or correct at the end: checks C35, C36, C44 to C48 and C91 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace

from secagg.crypto import polynomial
from secagg.crypto.secret import Secret
from secagg.masked.shares import SharePair, seal
from secagg.messages import (
    MaskKeyShare,
    RevealedShare,
    SelfMaskShare,
    ShareKeys,
    Unmask,
)
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import COORDINATOR, Failure, Script, participant, refused
from secagg.wire.v1 import messages_pb2 as pb

SENDER = "dahlia"
"""Whose messages are altered; it survives both rounds."""

VIOLATION = refused("ProtocolViolation", SENDER)
WRONG = bytes(33)  # a number of the field, and no share of anything here
Vector = tuple[str, Document]


def vectors(semi_honest: Script, active: Script) -> Iterator[Vector]:
    """File name and content."""
    yield from _revealed(active)
    yield from _below_threshold(active)
    yield from _wrong_shares(semi_honest, active)


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
    yield from _refused_at_the_door(active)
    honest: ShareKeys = wire.decode(active.message("ginkgo/share-keys"))
    ended = {"event": "RoundFailed", "reason": "WRONG_SHARES", "culprits": ["ginkgo"]}
    failure = Failure(
        "commitment-mismatch",
        "C48",
        "A seed that is not the one committed to",
        "ginkgo commits to another seed than the one it deals shares of",
        {"events": [_late("UNMASK", "fir"), ended]},
    )
    yield active.replaced(failure, {"ginkgo/share-keys": wire.encode(replace(honest, commitment=bytes(32)))})
    yield from _wrongly_dealt(semi_honest)


def _refused_at_the_door(script: Script) -> Iterator[Vector]:
    at = script.find(at=COORDINATOR, sender=SENDER, message=f"{SENDER}/unmask")
    for slug, owner, what, share in (
        ("wrong-seed-share", "ginkgo", "a survivor's seed", SelfMaskShare(Secret(WRONG))),
        ("wrong-mask-key-share", "elm", "a dropped participant's mask key", MaskKeyShare(Secret(WRONG))),
    ):
        altered = _altered_unmask(script, SENDER, {owner: share})
        title, change = f"Another share of {what} than was dealt", f"it does not fit the digest that {owner} gave"
        failure = Failure(slug, "C91", title, change, refused("AuthenticationError", SENDER))
        yield script.at_coordinator(failure, at, SENDER, altered)


def _wrongly_dealt(script: Script) -> Iterator[Vector]:
    """An owner deals shares, with digests, that are not on its polynomial; holders reveal what they were dealt."""
    accepted = {"event": "MessageAccepted", "phase": "UNMASK", "participant": "fir"}
    insider = script.insider("ginkgo")
    honest: ShareKeys = wire.decode(script.message("ginkgo/share-keys"))

    def case(slug: str, title: str, change: str, holders: list[str], *events: Document) -> Vector:
        entries, altered = dict(honest.sealed), {}
        for name in holders:
            holder = script.members[name]
            pair = SharePair(insider.pairs[holder.index].mask_key, Secret(WRONG))
            entries[holder.index] = seal(script.stage.round, insider.channel, participant("ginkgo"), holder, pair)
            altered[f"{name}/unmask"] = _altered_unmask(script, name, {"ginkgo": SelfMaskShare(Secret(WRONG))})
        altered["ginkgo/share-keys"] = wire.encode(replace(honest, sealed=entries))
        failure = Failure(slug, "C48", title, change, {"events": [accepted, *events]})
        return script.replaced(failure, altered, joined=("fir", "fir/unmask"))

    outcome = script.vector["outcome"]
    done = {"event": "SumReady", "survivors": outcome["survivors"], "sums_digest": outcome["sums_digest"]}
    spare = "; fir's answer comes too, so there are t + 2"
    yield case(
        "wrong-share-corrected",
        "One wrong share was dealt: corrected, the owner named",
        f"ginkgo deals {SENDER} a wrong share of its seed{spare}",
        [SENDER],
        {"event": "WrongShares", "culprit": "ginkgo", "conflicts": [["ginkgo", SENDER]]},
        done,
    )
    yield case(
        "wrong-shares-of-one-owner",
        "More wrong shares were dealt than a decoding corrects: the owner is named",
        f"ginkgo deals {SENDER} and amber-9 wrong shares of its seed{spare}",
        [SENDER, "amber-9"],
        {"event": "RoundFailed", "reason": "WRONG_SHARES", "culprits": ["ginkgo"]},
    )
