"""Lies in the roster: no shares may leave the program after them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from secagg import roster as rosters
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import SystemRng
from secagg.messages import ParticipantId
from secagg.tools.runner.over_grpc.cohort import ME, PEER, Cohort
from secagg.tools.runner.over_grpc.host import Change, Told
from secagg.tools.runner.over_grpc.lie import ANYBODY, Lie
from secagg.wire.keys import encode_advertise
from secagg.wire.v1 import data_plane_pb2 as pb

_FORGED: Final = ("AuthenticationError",)
_VIOLATION: Final = ("ProtocolViolation",)
_MALFORMED: Final = ("DecodeError",)
_LOW_ORDER: Final = bytes(32)

Members = list[Any]


def members(edit: Callable[[Cohort, Members], Members]) -> Change:
    """The list of members is changed."""

    def change(cohort: Cohort, parts: list[Any]) -> Told:
        return [pb.RosterPart(members=edit(cohort, [member for part in parts for member in part.members]))]

    return change


def member(name: ParticipantId, edit: Callable[[Cohort, Any], None]) -> Change:
    """One entry is changed."""

    def change(cohort: Cohort, found: Members) -> Members:
        edit(cohort, next(one for one in found if one.participant_id == name))
        return found

    return members(change)


def fresh_key() -> bytes:
    """A public key that the coordinator made."""
    return KeyPair.generate(SystemRng()).public


def signed(name: ParticipantId, *, round_id: bytes = b"", **changes: Any) -> Change:
    """Other keys of a participant, which it signed itself.

    Args:
        name: of the participant.
        round_id: of another round, for which it signed them; this round's if empty.
        changes: fields of its keys.
    """

    def edit(cohort: Cohort, found: Any) -> None:
        [honest] = [one.keys for one in cohort.engine.roster.members if one.participant_id == name]
        keys = replace(honest, **changes)
        context = cohort.round.context
        if round_id:
            context = cohort.elsewhere(round_id).context
        to_sign = rosters.advertisement_to_sign(context, name, keys)
        keys = replace(keys, signature=cohort.site.identities[name].sign(to_sign))
        found.keys.CopyFrom(encode_advertise(keys))

    return member(name, edit)


def certified(kind: str) -> Change:
    """The peer shows another certificate for its own key."""

    def edit(cohort: Cohort, found: Any) -> None:
        chain = cohort.site.participant_chain(PEER, kind)
        del found.keys.certificates[:]
        found.keys.certificates.extend(chain)

    return member(PEER, edit)


def _set(**fields: Any) -> Callable[[Cohort, Any], None]:
    def edit(_: Cohort, found: Any) -> None:
        for name, value in fields.items():
            setattr(found.keys, name, value() if callable(value) else value)

    return edit


def _without(name: ParticipantId) -> Change:
    """As if the participant had not come, with indices that fit."""

    def edit(_: Cohort, found: Members) -> Members:
        left = [one for one in found if one.participant_id != name]
        for index, one in enumerate(left, 1):
            one.index = index
        return left

    return members(edit)


def _certificate_of(name: str) -> Callable[[Cohort, Any], None]:
    def edit(cohort: Cohort, found: Any) -> None:
        [other] = [one.keys for one in cohort.engine.roster.members if one.participant_id == name]
        found.keys.signature = other.signature
        del found.keys.certificates[:]
        found.keys.certificates.extend(other.certificates)

    return edit


def _one_key_for_two(_: Cohort, found: Members) -> Members:
    found[0].keys.mask_public_key = found[1].keys.mask_public_key
    return found


def _swapped(_: Cohort, found: Members) -> Members:
    found[0].index, found[1].index = 2, 1
    return found


def _descending(_: Cohort, found: Members) -> Members:
    return found[::-1]


def _twice(_: Cohort, found: Members) -> Members:
    return [found[0], *found]


def _stranger(cohort: Cohort, found: Members) -> Members:
    """A sixth member, with keys that the coordinator made."""
    made = pb.Member()
    made.CopyFrom(found[-1])
    made.index, made.participant_id = 6, "zelkova"
    made.keys.channel_public_key, made.keys.mask_public_key = fresh_key(), fresh_key()
    del cohort
    return [*found, made]


# fmt: off
LIES: Final = (
    Lie(number="call-200", check="C7", title="A roster below the threshold", at="Advertise",
        change=members(lambda _, found: found[1:3]), error=_VIOLATION),
    Lie(number="call-201", check="C7", title="A member more than the round has places", at="Advertise",
        change=members(_stranger), error=_VIOLATION),
    Lie(number="call-202", check="C8", title="Indices that do not follow the ids", at="Advertise",
        change=members(_swapped), error=(*_VIOLATION, *_MALFORMED), culprit=ANYBODY),
    Lie(number="call-203", check="C8", title="Members in descending order", at="Advertise",
        change=members(_descending), error=(*_VIOLATION, *_MALFORMED), culprit=ANYBODY),
    Lie(number="call-204", check="C5", title="One member twice", at="Advertise",
        change=members(_twice), error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-205", check="C10", title="A roster without us", at="Advertise", change=_without(ME),
        error=_VIOLATION),
    Lie(number="call-206", check="C10", title="Our own mask key replaced", at="Advertise",
        change=member(ME, _set(mask_public_key=fresh_key)), error=_VIOLATION),
    Lie(number="call-207", check="C10", title="Our own signature replaced", at="Advertise",
        change=member(ME, _set(signature=b"\x30\x06\x02\x01\x01\x02\x01\x01")), error=(*_VIOLATION, *_FORGED)),
    Lie(number="call-208", check="C9", title="One public key for two participants", at="Advertise",
        change=members(_one_key_for_two), error=_VIOLATION),
    Lie(number="call-209", check="C9", title="A key in another encoding", at="Advertise",
        change=member(PEER, lambda _, found: setattr(
            found.keys, "channel_public_key",
            found.keys.channel_public_key[:31] + bytes([found.keys.channel_public_key[31] | 0x80]))),
        error=_VIOLATION),
    Lie(number="call-210", check="C13", title="A channel key that its owner did not sign", at="Advertise",
        change=member(PEER, _set(channel_public_key=fresh_key)), error=_FORGED),
    Lie(number="call-211", check="C13", title="A mask key that its owner did not sign", at="Advertise",
        change=member(PEER, _set(mask_public_key=fresh_key)), error=_FORGED),
    Lie(number="call-212", check="C13", title="Keys without a signature", at="Advertise",
        change=member(PEER, _set(signature=b"")), error=_FORGED),
    Lie(number="call-213", check="C13", title="Keys that were signed for another round", at="Advertise",
        change=signed(PEER, round_id=bytes(range(16))), error=_FORGED),
    Lie(number="call-214", check="C12", title="The certificate and the signature of somebody else", at="Advertise",
        change=member(PEER, _certificate_of("fir")), error=(*_VIOLATION, *_FORGED)),
    Lie(number="call-215", check="C11", title="A certificate of another CA", at="Advertise",
        change=certified("foreign"), error=_FORGED),
    Lie(number="call-216", check="C11", title="A certificate that has expired", at="Advertise",
        change=certified("expired"), error=_FORGED),
    Lie(number="call-217", check="C11", title="A certificate that is not valid yet", at="Advertise",
        change=certified("yet"), error=_FORGED),
    Lie(number="call-218", check="C11", title="A certificate for servers", at="Advertise", change=certified("purpose"),
        error=_FORGED),
    Lie(number="call-219", check="C11", title="No certificate", at="Advertise",
        change=member(PEER, lambda _, found: found.keys.ClearField("certificates")), error=(*_FORGED, *_MALFORMED),
        culprit=ANYBODY),
    Lie(number="call-220", check="C14", title="Two organisations, for a program that demands three", at="Advertise",
        policy={"min_organisations": 3}, error=("PolicyViolation",)),
    Lie(number="call-221", check="C15", title="A channel key of low order, which its owner signed", at="Advertise",
        change=signed(PEER, channel_public_key=_LOW_ORDER), error=_FORGED, culprit=PEER),
    Lie(number="call-222", check="C5", title="A key of 31 bytes", at="Advertise",
        change=member(PEER, _set(channel_public_key=bytes(31))), error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-223", check="C5", title="An id with a space", at="Advertise",
        change=members(lambda _, found: [*found[:4], pb.Member(index=5, participant_id="a b", keys=found[4].keys)]),
        error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-224", check="C5", title="An index beyond 10,000", at="Advertise",
        change=members(lambda _, found: [*found[:4], pb.Member(
            index=10_001, participant_id="fir", keys=found[4].keys)]),
        error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-225", check="C5", title="Bytes that are no message in place of the roster", at="Advertise",
        change=lambda _, __: [b"\xff\xff"], error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-226", check="C5", title="A roster that is cut in a field", at="Advertise",
        change=lambda _, parts: [parts[0].SerializeToString()[:-7]], error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-227", check="C7", title="No roster at all", at="Advertise", change=lambda _, __: (),
        error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-228", check="C102", title="A list of members, where everyone shares with everyone", at="Advertise",
        change=lambda _, parts: [*parts, pb.RosterPart(listed=["aspen"], entry_digests=bytes(32))],
        error=(*_VIOLATION, *_MALFORMED), culprit=ANYBODY),
    Lie(number="call-229", check="C98", title="A roster of 300,000 fields", at="Advertise",
        change=lambda _, parts: [parts[0].SerializeToString() + b"\x0a\x00" * 300_000], error=_MALFORMED,
        culprit=ANYBODY),
    Lie(number="call-230", check="", title="A roster with a field of a later version", at="Advertise",
        change=lambda _, parts: [parts[0].SerializeToString() + b"\xf2\x3e\x03abc"]),
)
# fmt: on
