"""What the coordinator must refuse or correct at the end: checks C35, C36 and C44 to C48 of proto/PROTOCOL.md."""

from collections.abc import Iterator
from dataclasses import replace

from secagg.conformance import wire
from secagg.conformance.document import Document
from secagg.conformance.failures import COORDINATOR, Failure, Script, refused
from secagg.crypto import polynomial
from secagg.crypto.secret import Secret
from secagg.messages import (
    MaskKeyShare,
    RevealedShare,
    SelfMaskShare,
    ShareKeys,
    Unmask,
)
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
