"""Disorder for whole rounds, drawn from one seed: messages lost, repeated, delayed, passed off and altered."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from secagg.crypto.secret import Secret
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    ConsistencyProof,
    Index,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    MaskKeyShare,
    Member,
    RevealedShare,
    Roster,
    SelfMaskShare,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.tools.simulation.network import Down, Envelope, Up

Draw = np.random.Generator


def pick(rng: Draw, items: Iterable[Any]) -> Any:
    """One of the items."""
    choices = list(items)
    return choices[int(rng.integers(len(choices)))]


def alter_bytes(rng: Draw, data: bytes) -> bytes:
    """One bit flipped, a byte cut off or added, or nothing left."""
    how = int(rng.integers(8))
    if how == 0 or not data:
        return data + b"\0"
    if how == 1:
        return data[:-1]
    if how == 2:
        return b""
    at = int(rng.integers(len(data)))
    return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]


def alter_keys(rng: Draw, keys: AdvertiseKeys) -> AdvertiseKeys:
    match int(rng.integers(5)):
        case 0:
            return replace(keys, channel_public_key=alter_bytes(rng, keys.channel_public_key))
        case 1:
            return replace(keys, mask_public_key=alter_bytes(rng, keys.mask_public_key))
        case 2:
            return replace(keys, mask_public_key=keys.channel_public_key)
        case 3:
            return replace(keys, signature=alter_bytes(rng, keys.signature))
        case _:
            return replace(keys, certificates=tuple(alter_bytes(rng, c) for c in keys.certificates))


def alter_table(rng: Draw, table: dict[Index, Any], alter: Callable[[Any], Any]) -> dict[Index, Any]:
    """One entry altered, removed, moved to another index, or put in another's place."""
    if not table:
        return {Index(1): b""}
    key = pick(rng, table)
    rest = {i: entry for i, entry in table.items() if i != key}
    match int(rng.integers(4)):
        case 0:
            return {**rest, key: alter(table[key])}
        case 1:
            return rest
        case 2:
            return {**rest, Index(int(rng.integers(0, 20))): table[key]}
        case _:
            return {**table, key: table[pick(rng, table)]}


def alter_share(rng: Draw, share: RevealedShare) -> RevealedShare:
    if rng.integers(3) == 0:
        return MaskKeyShare(share.share) if isinstance(share, SelfMaskShare) else SelfMaskShare(share.share)
    return type(share)(Secret(alter_bytes(rng, share.share.expose())))


def alter_roster(rng: Draw, roster: Roster) -> Roster:
    members = list(roster.members)
    if not members:
        return roster
    at = int(rng.integers(len(members)))
    member = members[at]
    match int(rng.integers(5)):
        case 0:
            del members[at]
        case 1:
            members.insert(at, member)
        case 2:
            members[at] = Member(member.index, member.participant_id, alter_keys(rng, member.keys))
        case 3:
            members[at] = Member(Index(int(rng.integers(0, 20))), member.participant_id, member.keys)
        case _:
            members[at] = Member(member.index, pick(rng, members).participant_id, pick(rng, members).keys)
    return Roster(tuple(members))


def alter_sets(rng: Draw, sets: SurvivorSet) -> SurvivorSet:
    survivors, dropped = list(sets.survivors), list(sets.dropped)
    match int(rng.integers(5)):
        case 0:
            dropped.append(pick(rng, survivors or [Index(1)]))
        case 1 if survivors:
            dropped.append(survivors.pop(int(rng.integers(len(survivors)))))
        case 2 if survivors:
            survivors.pop(int(rng.integers(len(survivors))))
        case 3 if dropped:
            survivors.append(dropped.pop())
        case _:
            survivors.append(Index(int(rng.integers(0, 20))))
    return SurvivorSet(tuple(survivors), tuple(dropped))


def alter(rng: Draw, message: Any) -> Any:  # noqa: PLR0911, one case each
    """Something like `message`. The content of a vector is never altered: any content is some input."""
    match message:
        case AdvertiseKeys():
            return alter_keys(rng, message)
        case ShareKeys(commitment, sealed):
            if rng.integers(4) == 0:
                return replace(message, commitment=alter_bytes(rng, commitment))
            return replace(message, sealed=alter_table(rng, dict(sealed), lambda s: alter_bytes(rng, s)))
        case MaskedInputChunk(number, payload):
            return MaskedInputChunk(number + int(rng.integers(1, 3)), payload)
        case ConsistencyCheck(signature):
            return ConsistencyCheck(alter_bytes(rng, signature))
        case Unmask(shares):
            if rng.integers(2):
                return Unmask({i: alter_share(rng, s) for i, s in shares.items()})
            return Unmask(alter_table(rng, dict(shares), lambda s: alter_share(rng, s)))
        case Leave():
            return Leave(pick(rng, LeaveReason))
        case Roster():
            return alter_roster(rng, message)
        case ShareDelivery(sealed):
            return replace(message, sealed=alter_table(rng, dict(sealed), lambda s: alter_bytes(rng, s)))
        case SurvivorSet():
            return alter_sets(rng, message)
        case ConsistencyProof(signatures):
            return ConsistencyProof(alter_table(rng, dict(signatures), lambda s: alter_bytes(rng, s)))
    raise AssertionError(message)


@dataclass
class Chaos:
    """A hook that does to each message, with a chance of `rate`, what it likes.

    Attributes:
        rng: decides.
        rate: of messages that are disturbed.
        lies: whether messages of participants are altered too, or taken for others'.
        coordinator_lies: whether the coordinator's are.
        disturbed: how many messages were.
    """

    rng: Draw
    rate: float
    lies: bool = False
    coordinator_lies: bool = False
    disturbed: int = 0
    _held: list[Envelope] = field(default_factory=list)
    _seen: list[Envelope] = field(default_factory=list)

    def __call__(self, envelope: Envelope) -> Iterable[Envelope]:
        """See `Hook`."""
        self._seen.append(envelope)
        if self.rng.random() >= self.rate:
            return (envelope, *self._release())
        self.disturbed += 1
        return self._disturb(envelope)

    def _disturb(self, envelope: Envelope) -> Iterable[Envelope]:
        altering = self.lies if isinstance(envelope, Up) else self.coordinator_lies
        match int(self.rng.integers(6 if altering else 4)):
            case 0:
                return ()
            case 1:
                return (envelope, envelope)
            case 2:
                self._held.append(envelope)
                return ()
            case 3 if isinstance(envelope, Up):
                leave = Up(envelope.participant, Leave(pick(self.rng, LeaveReason)), envelope.phase)
                return (envelope, leave) if self.rng.integers(2) else (leave,)
            case 4:
                return (self._altered(envelope),)
            case _:
                return (self._passed_off(envelope), envelope) if altering else (envelope,)

    def _altered(self, envelope: Envelope) -> Envelope:
        return replace(envelope, message=alter(self.rng, envelope.message))

    def _passed_off(self, envelope: Envelope) -> Envelope:
        """Another message of the same direction, under this one's name."""
        others = [e for e in self._seen if isinstance(e, Down) == isinstance(envelope, Down)]
        # A vector of another sender would be an input like any other.
        others = [e for e in others if not isinstance(e.message, MaskedInputChunk)] or [envelope]
        return replace(envelope, message=pick(self.rng, others).message)

    def _release(self) -> list[Envelope]:
        if not self._held or self.rng.random() > 0.3:
            return []
        out = self._held[::-1]
        self._held = []
        return out
