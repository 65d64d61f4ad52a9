"""The aggregate on the wire: who is in it, and the exact sum in chunks packed like masked inputs."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from secagg.aggregates import Aggregate, plan_of
from secagg.config import MAX_PARTICIPANTS, RoundConfig
from secagg.encoding.packed import Chunks, PackedSums, WordChunks
from secagg.encoding.packing import chunk_values, unpack
from secagg.errors import AuthenticationError, DecodeError
from secagg.wire.fields import bounded, decode_participant_id
from secagg.wire.limits import NAMES_PER_PART
from secagg.wire.v1 import data_plane_pb2 as pb


@dataclass(frozen=True, slots=True)
class PackedAggregate:
    """An aggregate as it is sent to everyone who asks.

    Attributes:
        survivors: participant ids, sorted.
        payloads: the sum in chunks of at most 1 MiB, wherever they are kept.
        digest: 32 bytes, SHA-256 over the payloads.
    """

    survivors: tuple[str, ...]
    payloads: Chunks
    digest: bytes

    @classmethod
    def of(cls, aggregate: Aggregate, config: RoundConfig) -> "PackedAggregate":
        """The aggregate of a round with `config`. It keeps the words of the sum, and packs what is asked for."""
        payloads = WordChunks(aggregate.sums, config.ring_bits)
        return cls(aggregate.survivors, payloads, _digest(payloads))

    def sums(self, config: RoundConfig) -> PackedSums:
        """The sum, read by range."""
        return PackedSums(self.payloads, config.vector_len, config.ring_bits)

    def parts(self) -> Iterator[pb.AggregatePart]:
        """The messages of the aggregate: the survivors and the digest, then the sum in chunks of at most 1 MiB. Each is
        made when it is asked for.
        """
        for start in range(0, len(self.survivors), NAMES_PER_PART):
            names = self.survivors[start : start + NAMES_PER_PART]
            yield pb.AggregatePart(survivors=names, sums_digest=self.digest if start == 0 else b"")
        for number, payload in enumerate(self.payloads):
            yield pb.AggregatePart(number=number, payload=payload)


@dataclass(frozen=True, slots=True)
class PackedGroups:
    """What a round in groups releases, as it is sent.

    Attributes:
        groups: aggregates by number of the group, in ascending order.
    """

    groups: Mapping[int, PackedAggregate]

    @property
    def survivors(self) -> int:
        """Number of participants whose updates are in any of the sums."""
        return sum(len(packed.survivors) for packed in self.groups.values())

    @property
    def digest(self) -> bytes:
        """32 bytes: SHA-256 over each group's number (2 bytes, big-endian) and digest."""
        return _digest(number.to_bytes(2, "big") + packed.digest for number, packed in self.groups.items())

    def parts(self) -> Iterator[pb.AggregatePart]:
        """The messages of each group's aggregate, group after group."""
        for number, packed in self.groups.items():
            for part in packed.parts():
                part.group = number
                yield part


def sums_digest(aggregate: Aggregate, config: RoundConfig) -> bytes:
    """SHA-256 over the packed sum: 32 bytes, the same for everyone who got the same sum."""
    return _digest(WordChunks(aggregate.sums, config.ring_bits))


class IncomingAggregate:
    """The aggregate of a round, as its parts arrive one after the other. Its payloads go on at once."""

    def __init__(self, config: RoundConfig, keep: Callable[[int, bytes, int], None]) -> None:
        """Args:
        config: of the round.
        keep: takes each payload: its first coordinate, its bytes, and how many coordinates it has. The sum is not to be
            believed before `finish`.
        """
        self._config = config
        self._keep = keep
        self._size = chunk_values(config.ring_bits)
        self._survivors: list[str] = []
        self._digest, self._state, self._start = b"", hashlib.sha256(), 0

    def take(self, part: pb.AggregatePart) -> None:
        """The next part.

        Raises:
            DecodeError: it is malformed, or another one belongs here. Its culprit is the coordinator.
        """
        try:
            self._take(part)
        except DecodeError as error:
            raise DecodeError(str(error), culprit="coordinator") from None

    def _take(self, part: pb.AggregatePart) -> None:
        self._digest = self._digest or part.sums_digest
        self._survivors += [decode_participant_id(name) for name in part.survivors]
        if len(self._survivors) > MAX_PARTICIPANTS:
            raise DecodeError(f"more than {MAX_PARTICIPANTS} survivors")
        if not part.payload:
            return
        start, length = self._start, self._config.vector_len
        if part.number * self._size != start or start >= length:
            raise DecodeError(f"part {part.number} of the aggregate is out of order")
        count = min(self._size, length - start)
        self._keep(start, part.payload, count)
        self._state.update(part.payload)
        self._start = start + count

    def finish(self) -> tuple[tuple[str, ...], bytes]:
        """All parts are there: the survivors, and the digest of the sum.

        Raises:
            DecodeError: parts are missing, or the survivors are not in order or too few.
            AuthenticationError: the sum is not the one that the digest names.
        """
        config, survivors = self._config, self._survivors
        if self._start < config.vector_len:  # check: C30-complete
            raise DecodeError(
                f"the aggregate ends after {self._start} of {config.vector_len} coordinates", culprit="coordinator"
            )
        if survivors != sorted(set(survivors)) or len(survivors) < config.threshold:  # check: C30-threshold
            raise DecodeError(
                "the aggregate's survivors are not sorted, or fewer than the threshold", culprit="coordinator"
            )
        if self._state.digest() != self._digest:  # check: C31
            raise AuthenticationError("the aggregate does not match its digest", culprit="coordinator")
        return tuple(survivors), self._digest


def decode_aggregate(parts: Iterable[pb.AggregatePart], config: RoundConfig) -> Aggregate:
    """The aggregate of a round with `config`.

    Raises:
        DecodeError: parts are missing, repeated or malformed.
        AuthenticationError: the sum is not the one that the digest names.
    """
    sums = np.empty(config.vector_len, config.ring_dtype)

    def keep(start: int, payload: bytes, count: int) -> None:
        sums[start : start + count] = unpack(payload, count, config.ring_bits)

    incoming = IncomingAggregate(config, keep)
    for part in bounded(parts):
        incoming.take(part)
    survivors, _ = incoming.finish()
    return Aggregate(sums, survivors)


def decode_groups(parts: Iterable[pb.AggregatePart], config: RoundConfig) -> dict[int, Aggregate]:
    """The aggregates of a round in groups, by number of the group, in ascending order.

    Raises:
        DecodeError: parts are missing, repeated or malformed, groups are too few, or somebody is in two.
        AuthenticationError: a sum is not the one that its digest names.
    """
    plan = plan_of(config)
    found: dict[int, Aggregate] = {}
    members: set[str] = set()
    for number, run in groupby(parts, lambda part: part.group):
        if not max(found, default=0) < number <= plan.count:
            raise DecodeError(f"group {number} is out of order, or none of {plan.count}", culprit="coordinator")
        found[number] = decode_aggregate(run, config)
        if not members.isdisjoint(found[number].survivors):
            raise DecodeError(f"a survivor of group {number} is in another group too", culprit="coordinator")
        members.update(found[number].survivors)
    if len(found) < plan.fewest:
        raise DecodeError(f"{len(found)} groups have a sum; {plan.text} needs {plan.fewest}", culprit="coordinator")
    return found


def _digest(payloads: Iterable[bytes]) -> bytes:
    state = hashlib.sha256()
    for payload in payloads:
        state.update(payload)
    return state.digest()
