"""What participants send that is wrong: each function makes it of the honest requests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from secagg import roster as rosters
from secagg.context import RoundId, bind
from secagg.crypto.agreement import KeyPair
from secagg.crypto.polynomial import PRIME
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.packing import packed_size
from secagg.masked.vector import MaskedVector
from secagg.messages import SENT_IN, AdvertiseKeys, Index, MaskKeyShare, Phase, SelfMaskShare, SurvivorSet, Unmask
from secagg.tools.runner.live_coordinator.live import LiveRound, Member
from secagg.tools.runner.live_coordinator.script import Edit
from secagg.wire.calls import Call
from secagg.wire.configuration import encode_config
from secagg.wire.v1 import data_plane_pb2 as pb


def message(change: Callable[[LiveRound, Member, Any], Any]) -> Edit:
    """Another message of the phase than the honest one, in the same call."""

    def edit(live: LiveRound, member: Member, _: list[bytes]) -> Sequence[bytes]:
        phase = phase_of(member.next)
        other = replace(member, next=change(live, member, member.next))
        return live.requests(other, phase)

    return edit


def phase_of(said: Any) -> Phase:
    """The phase in which a message is sent."""
    return Phase.MASKED_INPUT if isinstance(said, MaskedVector) else SENT_IN[type(said)]


def raw(*requests: bytes) -> Edit:
    """These bytes."""
    return lambda _, __, ___: requests


def named(row: Call[Any], **fields: Any) -> Edit:
    """A request of another call, about this round."""
    return lambda live, _, __: [row.request(round_id=live.round_id, **fields).SerializeToString()]


def late(phase: Phase) -> Edit:
    """What the participant was to send in an earlier phase."""
    return lambda live, member, _: live.requests(member, phase)


# --- keys -----------------------------------------------------------------------------------------------------------


def keys(*, signed: bool = True, **changes: Any) -> Edit:
    """Other keys, which the participant signs. A change may be made from the round and the member."""

    def change(live: LiveRound, member: Member, honest: AdvertiseKeys) -> AdvertiseKeys:
        made = {name: value(live, member) if callable(value) else value for name, value in changes.items()}
        told = replace(honest, **made)
        if not signed:
            return told
        to_sign = rosters.advertisement_to_sign(member.round.context, member.name, told)
        return replace(told, signature=live.site.identities[member.name].sign(to_sign))

    return message(change)


def fresh(_: LiveRound, __: Member) -> bytes:
    """A new public key."""
    return KeyPair.generate(SystemRng()).public


def key_of_another(live: LiveRound, member: Member) -> bytes:
    """Another participant's mask key."""
    other = next(one for one in live.members if one is not member)
    key: bytes = other.session.advertisement.mask_public_key
    return key


def own_channel_key(_: LiveRound, member: Member) -> bytes:
    """The key that the participant uses for seals."""
    return member.session.advertisement.channel_public_key


def top_bit(_: LiveRound, member: Member) -> bytes:
    """The channel key with the ignored bit set."""
    key = member.session.advertisement.channel_public_key
    return key[:31] + bytes([key[31] | 0x80])


def for_another_round(live: LiveRound, member: Member) -> bytes:
    """A signature of the honest keys, for another round."""
    other = RoundId(bytes(range(16)))
    context = bind(other, encode_config(live.config), live.config.model_digest)
    to_sign = rosters.advertisement_to_sign(context, member.name, member.session.advertisement)
    return live.site.identities[member.name].sign(to_sign)


def chain(kind: str) -> Callable[[LiveRound, Member], tuple[bytes, ...]]:
    """Certificates that are not the participant's own good ones: as of `Site.participant_chain`, of a `foreign` CA, or
    those of `another` participant.
    """

    def make(live: LiveRound, member: Member) -> tuple[bytes, ...]:
        if kind == "another":
            other = next(one for one in live.members if one is not member)
            return live.site.identities[other.name].chain
        return live.site.participant_chain(member.name, kind)

    return make


# --- shares -----------------------------------------------------------------------------------------------------------


def shares(change: Callable[[LiveRound, Member, dict[Index, bytes]], dict[Index, bytes]], **others: Any) -> Edit:
    """Other entries of ShareKeys."""
    return message(lambda live, m, honest: replace(honest, sealed=change(live, m, dict(honest.sealed)), **others))


def without_one(_: LiveRound, __: Member, honest: dict[Index, bytes]) -> dict[Index, bytes]:
    """One neighbour gets no entry."""
    return dict(list(honest.items())[1:])


def with_index(index: int) -> Callable[[LiveRound, Member, dict[Index, bytes]], dict[Index, bytes]]:
    """One more entry, for this index."""
    return lambda _, __, honest: honest | {Index(index): next(iter(honest.values()))}


def own_index(live: LiveRound, member: Member) -> Index:
    """The participant's place in the roster."""
    return Index(live.members.index(member) + 1)


def with_own(live: LiveRound, member: Member, honest: dict[Index, bytes]) -> dict[Index, bytes]:
    """One more entry, for the sender itself."""
    return honest | {own_index(live, member): next(iter(honest.values()))}


def resized(to: int) -> Callable[[LiveRound, Member, dict[Index, bytes]], dict[Index, bytes]]:
    """Every entry has so many bytes: the first of the honest one's."""
    return lambda _, __, honest: {index: entry[:to] for index, entry in honest.items()}


def other_commitment(_: LiveRound, member: Member, __: list[bytes]) -> list[bytes]:
    """The shares that were sent, with another commitment."""
    first, *rest = member.sent[Phase.SHARE_KEYS]
    part = pb.ShareKeysPart.FromString(first)
    part.commitment = bytes(32)
    return [part.SerializeToString(), *rest]


# --- input ------------------------------------------------------------------------------------------------------------


def chunk(number: int, edit: Callable[[bytes], bytes] = bytes, *, of: int = 0) -> bytes | Any:
    """A chunk with this number, and the payload of the honest chunk `of`."""

    def make(honest: list[bytes]) -> bytes:
        payload = pb.MaskedInputChunk.FromString(honest[of]).payload
        return pb.MaskedInputChunk(number=number, payload=edit(payload)).SerializeToString()

    return make


def chunks(*made: Any) -> Edit:
    """These chunks."""
    return lambda _, __, honest: [one(honest) for one in made]


# --- signatures and shares ------------------------------------------------------------------------------------------


def signature(sets: Callable[[SurvivorSet], SurvivorSet], *, round_id: bytes = b"") -> Edit:
    """A signature of other sets, or with the context of another round."""

    def change(live: LiveRound, member: Member, honest: Any) -> Any:
        seen = sets(member.answers[Phase.MASKED_INPUT])
        digest = rosters.roster_digest(member.answers[Phase.ADVERTISE_KEYS])
        context = round_id.ljust(32, b"\0") if round_id else member.round.input_context
        to_sign = rosters.survivors_to_sign(context, digest, seen)  # type: ignore[arg-type]
        return replace(honest, signature=live.site.identities[member.name].sign(to_sign))

    return message(change)


def one_less(sets: SurvivorSet) -> SurvivorSet:
    """The first survivor is called dropped."""
    return SurvivorSet(sets.survivors[1:], (*sets.survivors[:1], *sets.dropped))


def revealed(change: Callable[[LiveRound, Member, dict[Index, Any]], dict[Index, Any]]) -> Edit:
    """Other shares."""
    return message(lambda live, member, honest: Unmask(change(live, member, dict(honest.shares))))


def of_owner(index: int, make: Callable[[Any], Any]) -> Callable[[LiveRound, Member, dict[Index, Any]], Any]:
    """The share of this owner's secret is changed."""
    return lambda _, __, honest: honest | {Index(index): make(honest[Index(index)])}


def other_kind(share: Any) -> Any:
    """The same bytes, as a share of the other secret."""
    return MaskKeyShare(share.share) if isinstance(share, SelfMaskShare) else SelfMaskShare(share.share)


def other_share(share: Any) -> Any:
    """Another number of the field."""
    value = share.share.expose()
    return type(share)(Secret(value[:-1] + bytes([value[-1] ^ 1])))


def beyond(share: Any) -> Any:
    """A number that is not below the prime."""
    return type(share)(Secret(PRIME.to_bytes(33, "big")))


def repeated_owner(_: LiveRound, __: Member, honest: list[bytes]) -> list[bytes]:
    """All shares come twice."""
    return [*honest, *honest]


def a_chunk(live: LiveRound, _: Member, __: list[bytes]) -> list[bytes]:
    """A whole vector of one chunk, of somebody who has none."""
    size = packed_size(live.config.vector_len, live.config.ring_bits)
    return [pb.MaskedInputChunk(number=0, payload=bytes(size)).SerializeToString()]


def first_and_wrong(_: LiveRound, __: Member, honest: list[bytes]) -> list[bytes]:
    """The first chunk is right, and then it comes again."""
    return [honest[0], honest[0]]


def signature_of_another(live: LiveRound, _: Member, __: list[bytes]) -> list[bytes]:
    """What a sent, in the name of whoever sends it."""
    return live.member("a").sent[Phase.CONSISTENCY_CHECK]


def shares_of_another(live: LiveRound, _: Member, __: list[bytes]) -> list[bytes]:
    """What a revealed, in the name of whoever sends it."""
    return live.member("a").sent[Phase.UNMASK]
