"""Lies in what comes with and after the shares: no input, signature or share may leave the program after them."""

from collections.abc import Callable, Collection
from typing import Any, Final

from secagg import roster as rosters
from secagg.messages import Index, ParticipantId, Phase, SurvivorSet
from secagg.tools.runner.over_grpc.cohort import ME, NAMES, PEER, THRESHOLD, Cohort
from secagg.tools.runner.over_grpc.host import Change, Entries, Told, delivered
from secagg.tools.runner.over_grpc.lie import ANYBODY, Lie
from secagg.wire.v1 import data_plane_pb2 as pb

_FORGED: Final = ("AuthenticationError",)
_VIOLATION: Final = ("ProtocolViolation",)
_MALFORMED: Final = ("DecodeError",)
_EITHER: Final = (*_VIOLATION, *_MALFORMED)
_INDEX: Final = {name: Index(number) for number, name in enumerate(NAMES, 1)}
_ASPEN, _FIR = NAMES[0], NAMES[-1]


def entries(edit: Callable[[Cohort, Entries], Entries], **others: Any) -> Change:
    """The entries of the delivery are changed, by their senders' indices."""

    def change(cohort: Cohort, parts: list[Any]) -> Told:
        told = edit(cohort, delivered(parts))
        peers = sorted(told)
        return [pb.ShareDeliveryPart(peers=peers, entries=b"".join(told[peer] for peer in peers), **others)]

    return change


def _flipped(honest: bytes, at: int = 20) -> bytes:
    return honest[:at] + bytes([honest[at] ^ 1]) + honest[at + 1 :]


def _entry(edit: Callable[[Cohort, bytes], bytes]) -> Change:
    return entries(lambda cohort, honest: honest | {_INDEX[PEER]: edit(cohort, honest[_INDEX[PEER]])})


def _meant_for_another(cohort: Cohort, _: bytes) -> bytes:
    sealed: bytes = cohort.shared[PEER].sealed[_INDEX[_FIR]]
    return sealed


def _repeated(_: Cohort, parts: list[Any]) -> Told:
    honest = delivered(parts)
    first = min(honest)
    told = [first, *sorted(honest)]
    return [pb.ShareDeliveryPart(peers=told, entries=b"".join(honest[peer] for peer in told))]


def _one_peer_alone(_: Cohort, parts: list[Any]) -> Told:
    """One peer's entry as often as the threshold asks for peers."""
    honest = delivered(parts)
    first = min(honest)
    return [pb.ShareDeliveryPart(peers=[first] * THRESHOLD, entries=honest[first] * THRESHOLD)]


def sets(survivors: Collection[int], dropped: Collection[int] = ()) -> Change:
    """The survivor set is another."""
    return lambda _, __: [pb.SurvivorSet(survivors=list(survivors), dropped=list(dropped))]


def signatures(edit: Callable[[Cohort, dict[int, bytes]], dict[int, bytes]]) -> Change:
    """The signatures on the survivors are changed, by the signers' indices."""

    def change(cohort: Cohort, parts: list[Any]) -> Told:
        honest = {one.signer: one.signature for part in parts for one in part.signatures}
        told = [pb.SignedBy(signer=signer, signature=one) for signer, one in edit(cohort, honest).items()]
        return [pb.ConsistencyProofPart(signatures=told)]

    return change


def _signed_by_one(times: int, *, all_else: bool) -> Change:
    """One signature as often as the threshold asks for signers."""

    def change(_: Cohort, parts: list[Any]) -> Told:
        honest = [one for part in parts for one in part.signatures]
        return [pb.ConsistencyProofPart(signatures=[honest[0]] * times + (honest if all_else else []))]

    return change


def _in_two_parts(_: Cohort, parts: list[Any]) -> Told:
    """One signer in every part."""
    honest = [one for part in parts for one in part.signatures]
    return [pb.ConsistencyProofPart(signatures=[honest[0]])] * THRESHOLD


def signs(name: ParticipantId, seen: SurvivorSet, *, elsewhere: bytes = b"", others: bytes = b"") -> Change:
    """A peer's true signature, under another story: other sets, another round or another roster."""

    def edit(cohort: Cohort, honest: dict[int, bytes]) -> dict[int, bytes]:
        at = cohort.elsewhere(elsewhere) if elsewhere else cohort.round
        digest = others or rosters.roster_digest(cohort.engine.roster)
        to_sign = rosters.survivors_to_sign(at.input_context, digest, seen)
        return honest | {_INDEX[name]: cohort.site.identities[name].sign(to_sign)}

    return signatures(edit)


_ALL: Final = tuple(_INDEX.values())
_EVERYONE: Final = SurvivorSet(_ALL, ())
_WITHOUT_ME: Final = SurvivorSet(tuple(i for i in _ALL if i != _INDEX[ME]), (_INDEX[ME],))


# fmt: off
LIES: Final = (
    Lie(number="call-300", check="C16", title="A share of somebody who is no member", at="Share",
        change=entries(lambda _, honest: honest | {9: honest[1]}), error=_VIOLATION),
    Lie(number="call-301", check="C17", title="Shares of fewer than the threshold", at="Share",
        change=entries(lambda _, honest: {1: honest[1]}), error=_VIOLATION),
    Lie(number="call-302", check="C17", title="No shares", at="Share", change=entries(lambda _, __: {}),
        error=_VIOLATION),
    Lie(number="call-303", check="C5", title="One peer twice", at="Share", change=_repeated, error=_EITHER,
        culprit=ANYBODY),
    Lie(number="call-304", check="C5", title="One peer as often as the threshold asks for peers", at="Share",
        change=_one_peer_alone, error=_EITHER, culprit=ANYBODY),
    Lie(number="call-305", check="C18", title="A seal that the coordinator changed", at="Share",
        change=_entry(lambda _, honest: _flipped(honest)), error=_FORGED, culprit=None, entry_of=PEER),
    Lie(number="call-306", check="C18", title="A seal that was meant for somebody else", at="Share",
        change=_entry(_meant_for_another), error=_FORGED, culprit=None, entry_of=PEER),
    Lie(number="call-307", check="C18", title="A seal shown under another sender's name", at="Share",
        change=entries(lambda _, honest: honest | {_INDEX[PEER]: honest[_INDEX[_FIR]]}), error=_FORGED, culprit=None,
        entry_of=PEER),
    Lie(number="call-308", check="C18", title="Entries that are cut", at="Share",
        change=entries(lambda _, honest: {peer: entry[:81] for peer, entry in honest.items()}),
        error=(*_FORGED, *_MALFORMED), culprit=ANYBODY),
    Lie(number="call-309", check="C5", title="Entries of two sizes", at="Share",
        change=_entry(lambda _, honest: honest[:81]), error=(*_MALFORMED, *_FORGED), culprit=ANYBODY),
    Lie(number="call-310", check="C16", title="A share of our own", at="Share",
        change=entries(lambda _, honest: honest | {_INDEX[ME]: honest[1]}), error=_VIOLATION),
    Lie(number="call-311", check="C99", title="A model named with the shares, where the configuration names it",
        at="Share", change=entries(lambda _, honest: honest, model_digest=bytes(32)), error=_VIOLATION),
    Lie(number="call-312", check="C5", title="Entries of 292 bytes", at="Share",
        change=entries(lambda _, honest: {peer: entry * 2 for peer, entry in honest.items()}),
        error=(*_MALFORMED, *_FORGED), culprit=ANYBODY),
    Lie(number="call-313", check="C5", title="A peer with the number 0", at="Share",
        change=entries(lambda _, honest: {0: honest[1]} | honest), error=_EITHER, culprit=ANYBODY),
    Lie(number="call-314", check="C98", title="A delivery of 300,000 fields", at="Share",
        change=lambda _, parts: [*parts, b"\x0a\x00" * 150_000], error=_MALFORMED, culprit=ANYBODY),

    Lie(number="call-400", check="C21", title="A participant called a survivor and dropped", at="SendInput",
        change=sets((1, 2, 3, 4, 5), (2,)), error=_VIOLATION),
    Lie(number="call-401", check="C22", title="A survivor whom the roster does not have", at="SendInput",
        change=sets((1, 2, 3, 4, 5, 6)), error=_VIOLATION),
    Lie(number="call-402", check="C22", title="Somebody who shared keys is in neither set", at="SendInput",
        change=sets((1, 3, 4, 5)), error=_VIOLATION),
    Lie(number="call-403", check="C22", title="Somebody called dropped who never shared keys", at="SendInput",
        change=sets((2, 3, 4, 5), (1,)), gone={_ASPEN: Phase.SHARE_KEYS}, error=_VIOLATION),
    Lie(number="call-404", check="C23", title="We ourselves called dropped", at="SendInput",
        change=sets((1, 2, 4, 5), (3,)), error=_VIOLATION),
    Lie(number="call-405", check="C24", title="Fewer survivors than the threshold", at="SendInput",
        change=sets((2, 3), (1, 4, 5)), error=_VIOLATION),
    Lie(number="call-406", check="C24", title="We alone survive", at="SendInput", change=sets((3,), (1, 2, 4, 5)),
        error=_VIOLATION),
    Lie(number="call-407", check="C25", title="Survivors of one organisation, for a program that demands two",
        at="SendInput", change=sets((1, 3, 5), (2, 4)), policy={"min_organisations": 2}, error=("PolicyViolation",)),
    Lie(number="call-408", check="C5", title="A survivor named twice", at="SendInput", change=sets((1, 2, 2, 3, 4, 5)),
        error=_EITHER, culprit=ANYBODY),
    Lie(number="call-409", check="C5", title="Survivors in descending order", at="SendInput",
        change=sets((5, 4, 3, 2, 1)), error=_EITHER, culprit=ANYBODY),
    Lie(number="call-410", check="C24", title="Nobody survives", at="SendInput", change=sets(()), error=_EITHER,
        culprit=ANYBODY),
    Lie(number="call-411", check="C86", title="A sum that differs by one participant from an earlier one",
        at="SendInput", released=(tuple(name for name in NAMES if name != _FIR),), error=("PolicyViolation",)),
    Lie(number="call-412", check="C5", title="Two survivor sets in one answer", at="SendInput",
        change=lambda _, parts: [*parts, *parts], error=_EITHER, culprit=ANYBODY),
    Lie(number="call-413", check="C5", title="A list of survivors of 1 MB", at="SendInput",
        change=sets(range(1, 300_000)), error=_EITHER, culprit=ANYBODY),
    Lie(number="call-414", check="", title="More chunks acknowledged than there are", at="InputProgress",
        change=lambda _, __: [pb.InputProgressReply(next_chunk=9)], breaks_after=1, error=_VIOLATION,
        leaves=True),

    Lie(number="call-500", check="C26", title="A signature of somebody who is no survivor", at="Check",
        gone={_FIR: Phase.MASKED_INPUT},
        change=signs(_FIR, SurvivorSet(tuple(Index(i) for i in (1, 2, 3, 4)), (Index(5),))), error=_VIOLATION),
    Lie(number="call-501", check="C27", title="Fewer signatures than the threshold", at="Check",
        change=signatures(lambda _, honest: dict(list(honest.items())[:2])), error=_VIOLATION),
    Lie(number="call-502", check="C5", title="One signer as often as the threshold asks for signers", at="Check",
        change=_signed_by_one(THRESHOLD, all_else=False), error=_EITHER, culprit=ANYBODY),
    Lie(number="call-503", check="C5", title="One signer in each of several parts", at="Check", change=_in_two_parts,
        error=_EITHER, culprit=ANYBODY),
    Lie(number="call-504", check="C5", title="One signer twice, beside all others", at="Check",
        change=_signed_by_one(1, all_else=True), error=_EITHER, culprit=ANYBODY),
    Lie(number="call-505", check="C27", title="Our own signature alone", at="Check",
        change=signatures(lambda _, honest: {_INDEX[ME]: honest[_INDEX[ME]]}), error=_VIOLATION),
    Lie(number="call-506", check="C28", title="Two stories: a peer was told that we dropped out", at="Check",
        change=signs(PEER, _WITHOUT_ME), error=_FORGED),
    Lie(number="call-507", check="C28", title="Two stories: a peer was told of another roster", at="Check",
        change=signs(PEER, _EVERYONE, others=b"\x05" * 32), error=_FORGED),
    Lie(number="call-508", check="C28", title="A signature from another round", at="Check",
        change=signs(PEER, _EVERYONE, elsewhere=bytes(range(16))), error=_FORGED),
    Lie(number="call-509", check="C28", title="A signature under another signer's name", at="Check",
        change=signatures(lambda _, honest: honest | {2: honest[1]}), error=_FORGED),
    Lie(number="call-510", check="C28", title="A signature of no bytes", at="Check",
        change=signatures(lambda _, honest: honest | {2: b""}), error=(*_FORGED, *_MALFORMED), culprit=ANYBODY),
    Lie(number="call-511", check="C5", title="A signature of 73 bytes", at="Check",
        change=signatures(lambda _, honest: honest | {2: honest[2].ljust(73, b"\0")}), error=(*_MALFORMED, *_FORGED),
        culprit=ANYBODY),
    Lie(number="call-512", check="C5", title="A signer with the number 0", at="Check",
        change=signatures(lambda _, honest: {0: honest[1]} | honest), error=_EITHER, culprit=ANYBODY),
    Lie(number="call-513", check="C27", title="No signatures", at="Check", change=lambda _, __: (), error=_EITHER,
        culprit=ANYBODY),
    Lie(number="call-514", check="C28", title="One signature is wrong, and more than the threshold are right",
        at="Check", change=signatures(lambda _, honest: honest | {5: _flipped(honest[5], 30)}), error=_FORGED),
)
# fmt: on
