"""The rounds that participants play on a live coordinator, in which they behave, drop out, or misbehave."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from secagg.config import ThreatModel
from secagg.events import DropReason, Verdict
from secagg.messages import Index, Phase
from secagg.tools.runner.live_coordinator import edits, looking
from secagg.tools.runner.live_coordinator.script import (
    ALL,
    Aborts,
    Edit,
    Excluded,
    Leaves,
    Scene,
    Silent,
    Twice,
    Wrong,
    same,
)
from secagg.wire.calls import (
    AWAIT_RECEIPT,
    CERTIFY,
    CHECK,
    FETCH_AGGREGATE,
    INPUT_PROGRESS,
    LEAVE_ROUND,
    REVEAL,
    SEND_INPUT,
    SHARE,
)
from secagg.wire.v1 import data_plane_pb2 as pb

KEYS, SHARES, INPUT = Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT
CHECKS, UNMASK = Phase.CONSISTENCY_CHECK, Phase.UNMASK
VIOLATION, FORGED, MALFORMED, LATE = "ProtocolViolation", "AuthenticationError", "DecodeError", "NotInRoundError"
LOW_ORDER: Final = bytes(32)
_TWO_CHUNKS: Final = 600_000
_UNKNOWN_FIELD: Final = b"\xf2\x3e\x80\x80\x40" + bytes(1 << 20)
"""A field that no version knows, of 1 MiB."""
_GARBAGE: Final = b"\xff\xff\xff"


def silent(letters: str, phase: Phase) -> dict[tuple[str, Phase], tuple[Silent, ...]]:
    """Who sends nothing in a phase."""
    return {(letter, phase): (Silent(),) for letter in letters}


def leave(letters: str, phase: Phase) -> dict[tuple[str, Phase], tuple[Leaves, ...]]:
    """Who says goodbye in a phase."""
    return {(letter, phase): (Leaves(),) for letter in letters}


def wrong(edit: Edit, error: str, culprit: str | None = "self", *, phase: Phase, **more: Any) -> dict[Any, Any]:
    """e sends this before its honest message of the phase."""
    return {("e", phase): (Wrong(edit, error, culprit, **more),)}


def _minus(letters: str) -> str:
    return "".join(letter for letter in ALL if letter not in letters)


_AFTER: Final = (SHARES, INPUT, CHECKS, UNMASK)
_SURVIVES: Final = {SHARES: False, INPUT: False, CHECKS: True, UNMASK: True}
_NAME: Final = {phase: phase.name for phase in Phase}
_DEADLINE, _LEFT = DropReason.DEADLINE, DropReason.CANCELLED


def _dropouts() -> Iterator[Scene]:
    """One or two are gone from each phase on: silently, or with a goodbye. Three are too many."""
    for at, phase in enumerate(_AFTER):
        counted = _SURVIVES[phase]
        for kind, gone, many in (("silent", silent, "fall silent"), ("leave", leave, "leave")):
            reason = _DEADLINE if kind == "silent" else _LEFT
            base = 10 + at if kind == "silent" else 20 + at
            yield Scene(
                number=f"join-0{base}",
                check="C47",
                title=f"Two {many} in {_NAME[phase]}",
                at=gone("bd", phase),
                survivors=ALL if counted else _minus("bd"),
                drops=dict.fromkeys("bd", reason),
            )
            yield Scene(
                number=f"join-0{base + 20}",
                check="C47",
                title=f"Three {many} in {_NAME[phase]}",
                at=gone("abd", phase),
                ends="BELOW_THRESHOLD",
                drops=dict.fromkeys("ab", reason),
            )


# fmt: off
SCENES: Final = (
    Scene(number="join-001", check="", title="An honest round"),
    Scene(number="join-002", check="C90", title="An honest round that certifies its result", config={"certify": True}),
    Scene(number="join-003", check="", title="An honest round of two chunks", config={"size": _TWO_CHUNKS}),
    Scene(number="join-004", check="", title="An honest round of the semi-honest threat model",
          config={"threat_model": ThreatModel.SEMI_HONEST}),
    Scene(number="join-005", check="C47", title="Four come, where there are five places", survivors="abcd",
          at=silent("e", KEYS)),
    Scene(number="join-006", check="C47", title="Two come, where three are needed", at=silent("cde", KEYS),
          ends="BELOW_THRESHOLD"),
    *sorted(_dropouts(), key=lambda scene: scene.number),
    *(Scene(number=f"join-05{at}", check="C35", title=f"A call is made twice at once in {_NAME[phase]}",
            at={("e", phase): (Twice(),)})
      for at, phase in enumerate((KEYS, SHARES, CHECKS, UNMASK))),
    *(Scene(number=f"join-06{at}", check="C35", title=f"A call is hung up on in {_NAME[phase]}, and made again",
            at={("e", phase): (Twice(hangs_up=True),)})
      for at, phase in enumerate((KEYS, SHARES, CHECKS, UNMASK))),

    Scene(number="join-100", check="C37", title="A channel key of low order", at=wrong(
        edits.keys(channel_public_key=LOW_ORDER), FORGED, phase=KEYS)),
    Scene(number="join-101", check="C37", title="A mask key of low order", at=wrong(
        edits.keys(mask_public_key=LOW_ORDER), FORGED, phase=KEYS)),
    Scene(number="join-102", check="C37", title="A key that is not reduced", at=wrong(
        edits.keys(channel_public_key=edits.top_bit), FORGED, phase=KEYS)),
    Scene(number="join-103", check="C38", title="One key for both purposes", at=wrong(
        edits.keys(mask_public_key=edits.own_channel_key), VIOLATION, phase=KEYS)),
    Scene(number="join-104", check="C38", title="A key of somebody else", at=wrong(
        edits.keys(mask_public_key=edits.key_of_another), VIOLATION, phase=KEYS)),
    Scene(number="join-105", check="C39", title="Keys that were changed after they were signed", at=wrong(
        edits.keys(signed=False, mask_public_key=edits.fresh), FORGED, phase=KEYS)),
    Scene(number="join-106", check="C39", title="Keys without a signature", at=wrong(
        edits.keys(signed=False, signature=b""), FORGED, phase=KEYS)),
    Scene(number="join-107", check="C39", title="Keys that were signed for another round", at=wrong(
        edits.keys(signed=False, signature=edits.for_another_round), FORGED, phase=KEYS)),
    Scene(number="join-108", check="C39", title="The certificate of somebody else", at=wrong(
        edits.keys(certificates=edits.chain("another")), VIOLATION, phase=KEYS)),
    Scene(number="join-109", check="C39", title="A certificate of another CA", at=wrong(
        edits.keys(certificates=edits.chain("foreign")), FORGED, phase=KEYS)),
    Scene(number="join-110", check="C39", title="A certificate that has expired", at=wrong(
        edits.keys(certificates=edits.chain("expired")), FORGED, phase=KEYS)),
    Scene(number="join-111", check="C39", title="A certificate for servers", at=wrong(
        edits.keys(certificates=edits.chain("purpose")), FORGED, phase=KEYS)),
    Scene(number="join-112", check="C39", title="No certificate", at=wrong(
        edits.keys(certificates=()), FORGED, phase=KEYS)),
    Scene(number="join-113", check="C36", title="A key of 31 bytes", at=wrong(
        edits.keys(channel_public_key=bytes(31)), MALFORMED, None, phase=KEYS)),
    Scene(number="join-114", check="C36", title="Bytes that are no message", at=wrong(
        edits.raw(_GARBAGE), MALFORMED, None, phase=KEYS)),
    Scene(number="join-115", check="C36", title="Keys with a commitment, where nobody commits to a key share", at=wrong(
        edits.keys(key_share_commitment=bytes(32)), MALFORMED, phase=KEYS)),
    Scene(number="join-116", check="C98", title="Keys with 60,000 fields", at=wrong(
        lambda _, __, honest: [honest[0] + b"\xf2\x3e\x00" * 60_000], MALFORMED, None, phase=KEYS)),
    Scene(number="join-117", check="C36", title="No request in the call", at=wrong(
        edits.raw(), MALFORMED, None, phase=KEYS)),
    Scene(number="join-119", check="C36", title="A chain of five certificates", at=wrong(
        edits.keys(certificates=lambda live, m: live.site.identities[m.name].chain * 5), MALFORMED, None, phase=KEYS)),
    Scene(number="join-120", check="", title="A round that there is not", at=wrong(
        lambda _, __, ___: [pb.InputProgressRequest(round_id=bytes(16)).SerializeToString()], "UnknownRoundError", None,
        phase=KEYS, row=INPUT_PROGRESS)),
    Scene(number="join-121", check="C36", title="A round id of 15 bytes", at=wrong(
        lambda _, __, ___: [pb.InputProgressRequest(round_id=bytes(15)).SerializeToString()], MALFORMED, None,
        phase=KEYS, row=INPUT_PROGRESS)),

    Scene(number="join-122", check="C95", title="Other keys, while a call with the first ones waits", at={
        ("e", KEYS): (), ("d", KEYS): (Twice(), Wrong(edits.keys(mask_public_key=edits.fresh), VIOLATION))}),
    Scene(number="join-123", check="C95", title="A goodbye, while a call with keys waits", at={
        ("e", KEYS): (), ("d", KEYS): (Twice(), Wrong(
            edits.named(LEAVE_ROUND, leave=pb.Leave(reason="LEAVE_REASON_CANCELLED")), VIOLATION, row=LEAVE_ROUND))}),

    *(Scene(number=f"join-{130 + at}", check="C34", title=f"{row.name} before there is a list of members", at=wrong(
        edits.named(row), error, culprit, phase=KEYS, row=row))
      for at, (row, error, culprit) in enumerate((
          (AWAIT_RECEIPT, LATE, None), (FETCH_AGGREGATE, LATE, None), (CERTIFY, LATE, None)))),
    Scene(number="join-133", check="C34", title="Shares before there is a roster", at=wrong(
        lambda _, __, ___: [pb.ShareKeysPart(commitment=bytes(32)).SerializeToString()], LATE, None, phase=KEYS,
        row=SHARE)),
    Scene(number="join-134", check="C34", title="Input before shares are exchanged", at=wrong(
        lambda _, __, ___: [pb.MaskedInputChunk(number=0, payload=b"x").SerializeToString()], VIOLATION, phase=SHARES,
        row=SEND_INPUT)),
    Scene(number="join-135", check="C34", title="A signature before the survivors are known", at=wrong(
        lambda live, _, __: [pb.CheckRequest(
            round_id=live.round_id, check=pb.ConsistencyCheck(signature=b"x" * 70)).SerializeToString()],
        VIOLATION, phase=INPUT, row=CHECK)),
    Scene(number="join-136", check="C34", title="Revealed shares before the survivors are agreed on", at=wrong(
        lambda _, __, ___: [pb.UnmaskPart(
            shares=[pb.RevealedShare(owner=1, self_mask_share=bytes(33))]).SerializeToString()],
        VIOLATION, phase=CHECKS, row=REVEAL)),

    Scene(number="join-200", check="C40", title="A neighbour gets no share", at=wrong(
        edits.shares(edits.without_one), VIOLATION, phase=SHARES)),
    Scene(number="join-201", check="C40", title="A share for somebody who is no member", at=wrong(
        edits.shares(edits.with_index(9)), VIOLATION, phase=SHARES)),
    Scene(number="join-202", check="C40", title="A share for oneself", at=wrong(
        edits.shares(edits.with_own), VIOLATION, phase=SHARES)),
    Scene(number="join-203", check="C40", title="No shares", at=wrong(
        edits.shares(lambda _, __, ___: {}), VIOLATION, phase=SHARES)),
    Scene(number="join-204", check="C93", title="Entries that are too short for a seal and its digests", at=wrong(
        edits.shares(edits.resized(100)), MALFORMED, phase=SHARES)),
    Scene(number="join-205", check="C36", title="A commitment of 31 bytes", at=wrong(
        edits.shares(lambda _, __, honest: honest, commitment=bytes(31)), MALFORMED, phase=SHARES)),
    Scene(number="join-206", check="C36", title="A key share, where nobody has one", at=wrong(
        edits.shares(lambda _, __, honest: honest, key_share=b"x"), MALFORMED, phase=SHARES)),
    Scene(number="join-207", check="C36", title="Bytes that are no message", at=wrong(
        edits.raw(_GARBAGE), MALFORMED, None, phase=SHARES)),
    Scene(number="join-208", check="", title="Shares without the round in the metadata", at=wrong(
        same, MALFORMED, None, phase=SHARES, round_id=b"")),
    Scene(number="join-209", check="", title="Shares for a round that there is not", at=wrong(
        same, "UnknownRoundError", None, phase=SHARES, round_id=bytes(16))),
    Scene(number="join-210", check="C98", title="Shares with 60,000 fields", at=wrong(
        lambda _, __, honest: [*honest, b"\xf2\x3e\x00" * 60_000], MALFORMED, None, phase=SHARES)),
    Scene(number="join-211", check="C35", title="Other shares than before", at={("e", SHARES): (), ("d", SHARES): (
        Twice(hangs_up=True), Wrong(edits.shares(lambda _, __, honest: honest, commitment=bytes(32)), VIOLATION))}),
    Scene(number="join-212", check="C33", title="Shares after the sender dropped out", survivors="abcd",
        at={**silent("e", SHARES), ("e", INPUT): (Wrong(edits.late(SHARES), LATE, None, row=SHARE),)}),
    Scene(number="join-213", check="", title="More shares than 8 MiB", at=wrong(
        lambda _, __, honest: [*honest, *[_UNKNOWN_FIELD] * 9], MALFORMED, None, phase=SHARES)),
    Scene(number="join-214", check="C33", title="Other shares when the phase is over", at={
        ("e", INPUT): (Wrong(edits.other_commitment, LATE, None, row=SHARE),)}),

    Scene(number="join-300", check="C41", title="The second chunk first", config={"size": _TWO_CHUNKS}, at=wrong(
        edits.chunks(edits.chunk(1, of=1)), VIOLATION, phase=INPUT)),
    Scene(number="join-301", check="C41", title="A chunk behind the last", at={
        ("e", INPUT): (), ("d", INPUT): (Wrong(edits.chunks(edits.chunk(0), edits.chunk(1)), VIOLATION),)}),
    Scene(number="join-302", check="C42", title="A chunk that is too short", at=wrong(
        edits.chunks(edits.chunk(0, lambda payload: payload[:-1])), MALFORMED, phase=INPUT)),
    Scene(number="join-303", check="C42", title="A chunk that is too long", at=wrong(
        edits.chunks(edits.chunk(0, lambda payload: payload + b"\0")), MALFORMED, phase=INPUT)),
    Scene(number="join-304", check="C42", title="A bit behind the last value", at=wrong(
        edits.chunks(edits.chunk(0, lambda payload: payload[:-1] + bytes([payload[-1] | 0x80]))), MALFORMED,
        phase=INPUT)),
    Scene(number="join-305", check="C42", title="A chunk without bytes", at=wrong(
        edits.chunks(edits.chunk(0, lambda _: b"")), MALFORMED, phase=INPUT)),
    Scene(number="join-306", check="C36", title="Bytes that are no chunk", at=wrong(
        edits.raw(_GARBAGE), MALFORMED, None, phase=INPUT)),
    Scene(number="join-307", check="C41", title="No chunk, before any came", at=wrong(
        edits.raw(), VIOLATION, phase=INPUT)),
    Scene(number="join-308", check="C33", title="An input after the sender dropped out", survivors="abcd",
        at={**silent("e", INPUT), ("e", CHECKS): (Wrong(edits.a_chunk, LATE, None, row=SEND_INPUT),)}),
    Scene(number="join-309", check="C33", title="The input of somebody who did not share keys", survivors="abcd",
        at={**silent("e", SHARES), ("e", INPUT): (Wrong(edits.a_chunk, LATE, None),)}),
    Scene(number="join-310", check="C41", title="Half a vector, and then nothing", config={"size": _TWO_CHUNKS},
        survivors="abcd", at={("e", INPUT): (Wrong(edits.first_and_wrong, VIOLATION), Silent())}),

    Scene(number="join-400", check="C43", title="A signature that is wrong", at=wrong(
        edits.message(lambda _, __, honest: replace(honest, signature=b"\x30\x06\x02\x01\x01\x02\x01\x01")), FORGED,
        phase=CHECKS)),
    Scene(number="join-401", check="C43", title="A signature of other survivors", at=wrong(
        edits.signature(edits.one_less), FORGED, phase=CHECKS)),
    Scene(number="join-402", check="C43", title="A signature for another round", at=wrong(
        edits.signature(lambda sets: sets, round_id=b"x"), FORGED, phase=CHECKS)),
    Scene(number="join-403", check="C43", title="No signature", at=wrong(
        edits.message(lambda _, __, honest: replace(honest, signature=b"")), FORGED, phase=CHECKS)),
    Scene(number="join-404", check="C36", title="A signature of 73 bytes", at=wrong(
        lambda live, _, __: [pb.CheckRequest(
            round_id=live.round_id, check=pb.ConsistencyCheck(signature=bytes(73))).SerializeToString()],
        MALFORMED, None, phase=CHECKS)),
    Scene(number="join-405", check="C43", title="The signature of somebody else", at=wrong(
        edits.signature_of_another, FORGED, phase=CHECKS)),
    Scene(number="join-406", check="C33", title="A signature of somebody who is no survivor", survivors="abcd",
        at={**silent("e", INPUT), ("e", CHECKS): (Wrong(edits.signature_of_another, LATE, None, row=CHECK),)}),

    Scene(number="join-500", check="C44", title="A share is missing", at=wrong(
        edits.revealed(lambda _, __, honest: dict(list(honest.items())[1:])), VIOLATION, phase=UNMASK)),
    Scene(number="join-501", check="C44", title="A share of somebody who is no member", at=wrong(
        edits.revealed(lambda _, __, honest: honest | {Index(9): honest[Index(1)]}), VIOLATION, phase=UNMASK)),
    Scene(number="join-502", check="C45", title="A share of the other kind", at=wrong(
        edits.revealed(edits.of_owner(1, edits.other_kind)), VIOLATION, phase=UNMASK)),
    Scene(number="join-503", check="C46", title="A share that is no number of the field", at=wrong(
        edits.revealed(edits.of_owner(1, edits.beyond)), MALFORMED, phase=UNMASK)),
    Scene(number="join-504", check="C91", title="Another share than was dealt", at=wrong(
        edits.revealed(edits.of_owner(1, edits.other_share)), FORGED, phase=UNMASK)),
    Scene(number="join-505", check="C36", title="One owner twice", at=wrong(
        edits.repeated_owner, MALFORMED, None, phase=UNMASK)),
    Scene(number="join-506", check="C44", title="No shares", at=wrong(
        edits.revealed(lambda _, __, ___: {}), VIOLATION, phase=UNMASK)),
    Scene(number="join-507", check="C45", title="The mask key's share of somebody who survived, where one dropped out",
        survivors="abcd", at={**silent("e", INPUT), ("d", UNMASK): (
            Wrong(edits.revealed(edits.of_owner(5, edits.other_kind)), VIOLATION),)}),
    Scene(number="join-508", check="C35", title="Other shares than before", at={("e", UNMASK): (), ("d", UNMASK): (
        Twice(hangs_up=True), Wrong(edits.revealed(edits.of_owner(1, edits.other_share)), VIOLATION))}),
    Scene(number="join-509", check="C33", title="Shares of somebody who did not sign", at={
        **silent("e", CHECKS), ("e", UNMASK): (Wrong(edits.shares_of_another, LATE, None),)}),
    Scene(number="join-510", check="C36", title="A share of 32 bytes", at=wrong(
        edits.raw(pb.UnmaskPart(shares=[pb.RevealedShare(owner=1, self_mask_share=bytes(32))]).SerializeToString()),
        MALFORMED, None, phase=UNMASK)),
    Scene(number="join-511", check="C36", title="An owner without a share", at=wrong(
        edits.raw(pb.UnmaskPart(shares=[pb.RevealedShare(owner=1)]).SerializeToString()), MALFORMED, None,
        phase=UNMASK)),
    Scene(number="join-512", check="C91", title="Two of five hold on to wrong shares, and three suffice", survivors=ALL,
        at={("d", UNMASK): (Wrong(edits.revealed(edits.of_owner(1, edits.other_share)), FORGED), Silent()),
            ("e", UNMASK): (Wrong(edits.revealed(edits.of_owner(2, edits.other_share)), FORGED), Silent())}),
    Scene(number="join-513", check="C47", title="Three of five hold on to wrong shares", ends="BELOW_THRESHOLD",
        culprits="cde", at={
            (letter, UNMASK): (Wrong(edits.revealed(edits.of_owner(1, edits.other_share)), FORGED), Silent())
            for letter in "cde"}),

    Scene(number="join-600", check="C94", title="An accusation about an entry that was not passed on",
        survivors="acde", at={("b", INPUT): (Leaves(looking.accuses_a(bytes(32))),)},
        then=looking.accused(Verdict.UNFOUNDED)),
    Scene(number="join-601", check="C94", title="An accusation about an entry that was signed",
        survivors="acde", at={("b", INPUT): (Leaves(looking.accuses_a()),)}, then=looking.accused(Verdict.HEARSAY)),
    Scene(number="join-602", check="C36", title="A goodbye without a reason", at=wrong(
        edits.named(LEAVE_ROUND, leave=pb.Leave()), MALFORMED, None, phase=INPUT, row=LEAVE_ROUND)),
    Scene(number="join-603", check="C33", title="Somebody who left comes back", survivors="abcd",
        at={("e", SHARES): (Leaves(), Wrong(same, LATE, None))}),
    Scene(number="join-604", check="C90", title="A signature of the result, where nothing is certified",
          then=looking.no_certification),
    Scene(number="join-605", check="C33", title="Somebody who left comes back with the same keys", survivors="abce",
          at={("e", KEYS): (), ("d", KEYS): (Twice(hangs_up=True), Leaves(), Wrong(same, LATE, None))}),
    Scene(number="join-606", check="C47", title="Somebody leaves when its input is in, and that counts",
          at={("e", INPUT): (), ("d", INPUT): (Twice(hangs_up=True), Leaves())}, drops={"d": _LEFT}),

    Scene(number="join-700", check="", title="A call without a certificate", then=looking.stranger("")),
    Scene(number="join-701", check="", title="A call with a certificate of another CA",
          then=looking.stranger("foreign")),
    Scene(number="join-702", check="", title="A call with a certificate that has expired",
          then=looking.stranger("expired")),
    Scene(number="join-703", check="", title="A call with a certificate for servers", then=looking.stranger("purpose")),
    Scene(number="join-704", check="C33", title="Somebody who is no member asks for the receipt and the sum",
        then=looking.no_member),
    Scene(number="join-706", check="", title="The sum is not for participants",
          config={"release_to_participants": False}, then=looking.no_sum_for_participants),
    Scene(number="join-707", check="C96", title="Somebody is excluded while inputs come", survivors="abcd",
        at={("e", INPUT): (Excluded(), Wrong(edits.a_chunk, LATE, None))}, drops={"e": DropReason.EXCLUDED}),
    Scene(number="join-708", check="C85", title="A sum that differs by one participant from an earlier one",
        then=looking.once_more_without_one),
    Scene(number="join-709", check="", title="The FL server aborts the round", ends="CANCELLED",
        at={("e", INPUT): (Aborts(),)}),
    Scene(number="join-710", check="", title="The coordinator describes itself", then=looking.describes),
    Scene(number="join-711", check="", title="A compressed message", then=looking.compressed),
    Scene(number="join-712", check="C36", title="A search for a task and a round at once", then=looking.both_searched),
    Scene(number="join-714", check="C96", title="Somebody who is excluded comes", survivors="abce",
          at={("e", KEYS): (), ("d", KEYS): (Excluded(), Wrong(same, LATE, None))}),
)
# fmt: on
