"""Participants of a simulated round in many processes: `Host` is one of these, and `Spread` reaches all of them.

A host makes the same participants, of the same seeds, as a simulation in one process, and does their work with the same
code. Between it and the coordinator are bytes. Whatever a hook sees or changes, it does so at the coordinator's side.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Final

import numpy as np

from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.authority import Authority
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.prg import Words
from secagg.crypto.rng import SeededRng
from secagg.encoding.arrays import FloatArray
from secagg.encoding.packing import packed_size
from secagg.encoding.vector import IntegerVector
from secagg.errors import RemoteError
from secagg.lattice.jobs import Desk
from secagg.messages import ParticipantId, Phase
from secagg.rounds.membership import Credentials, Membership
from secagg.schemes import Participant, take_part
from secagg.tools.simulation.cohort import (
    START,
    Contribution,
    create_ca,
    encoded,
    identities_of,
    lenient,
)
from secagg.tools.simulation.network import MODEL, Down, GaveUp, Up, answers
from secagg.tools.simulation.passing import Batch, Inbox, Outbox, Packed, pack, unpack
from secagg.tools.simulation.stopwatch import Clock, Side, Stopwatch, standing_still
from secagg.wire.configuration import decode_config, encode_config

BATCH_BYTES: Final = 16 << 20
MOST_IN_BATCH: Final = 64
"""A batch of messages is for so many participants at most, and their vectors have no more bytes than that together,
unless a single one has.
"""

AT_A_HOST: Final = 2
"""Batches that a host has at once: one that it works on, and one that waits."""

Seconds = Mapping[Phase, float]
"""What the participants of a host took in each phase."""


@dataclass(frozen=True, slots=True)
class Entering:
    """A participant that enters a round.

    Attributes:
        seed: where its keys, shares and rounding come from, 32 bytes.
        start: where its update begins in the numbers that all updates are windows on.
    """

    seed: bytes
    start: int


@dataclass(frozen=True, slots=True)
class Said:
    """What one participant made of one message.

    Attributes:
        participant: who.
        messages: that it sends, with the phase of each.
        error: why it gave up instead.
        closed: the phase that the message closed.
        awaits: the phase whose end it waits for now; None if the round is over for it.
    """

    participant: ParticipantId
    messages: tuple[tuple[Phase, Packed], ...]
    error: RemoteError | None
    closed: Phase
    awaits: Phase | None


class Host:
    """Some participants of a deployment, in a process of their own."""

    def __init__(self, names: Sequence[ParticipantId], ca: tuple[bytes, bytes] | None, clock: Clock) -> None:
        """Args:
        names: of the participants.
        ca: certificate and key of the CA that issues their identities, PEM; None where nobody signs.
        clock: seconds; the participants' work is measured on it.
        """
        self._clock = clock
        self._credentials: dict[ParticipantId, Credentials] = {}
        if ca is not None:
            trust, at = TrustAnchors.from_pem(ca[0]), datetime.fromtimestamp(START, UTC)
            made = identities_of(Authority.from_pem(*ca), dict.fromkeys(names, "simulated organisation"), at)
            self._credentials = {name: Credentials(identity, trust) for name, identity in made.items()}

    def enter(
        self, round_id: bytes, config_bytes: bytes, entering: Mapping[ParticipantId, Entering], base: FloatArray
    ) -> tuple[list[Said], Seconds]:
        """A round begins. Give what its participants send first.

        Args:
            round_id: 16 bytes.
            config_bytes: the configuration, as on the wire.
            entering: the participants, by name.
            base: float64 numbers that all updates are windows on.
        """
        config = decode_config(config_bytes)
        round_ = Round(RoundId(round_id), config, bind(RoundId(round_id), config_bytes, config.model_digest))
        self._config, self._inbox = config, Inbox()
        self._participants: dict[ParticipantId, Participant] = {}
        self._vectors: dict[ParticipantId, IntegerVector] = {}
        policy, stopwatch, said = lenient(config), Stopwatch(self._clock), []
        for name, one in entering.items():
            rng = SeededRng(one.seed)
            membership = Membership(round_, name, policy, rng, self._credentials.get(name) if config.signed else None)
            update = base[one.start : one.start + config.schema.size]
            vector = self._vectors[name] = encoded(round_, Contribution(update), rng, MODEL)
            stopwatch.start()
            participant = self._participants[name] = take_part(membership, vector, Desk)
            stopwatch.count(Side.PARTICIPANT, Phase.ADVERTISE_KEYS)
            sent = ((Phase.ADVERTISE_KEYS, pack(participant.advertisement)),)
            said.append(Said(name, sent, None, Phase.ADVERTISE_KEYS, participant.awaits))
        return said, _taken(stopwatch)

    def deliver(self, batch: Batch, now: float) -> tuple[list[Said], Seconds]:
        """What the participants make of these messages. Args: now: seconds since 1970."""
        stopwatch, said = Stopwatch(self._clock), []
        for down in self._inbox.unpack(batch):
            participant = self._participants[down.participant]
            messages, error = [], None
            for sent in answers(participant, down, now, stopwatch, _nothing_to_provide):
                if isinstance(sent, GaveUp):
                    participant.abort()
                    error = sent.error
                else:
                    messages.append((sent.phase, pack(sent.message)))
            said.append(Said(down.participant, tuple(messages), error, down.phase, participant.awaits))
        return said, _taken(stopwatch)

    def expected(self, survivors: Sequence[ParticipantId]) -> Words:
        """The sum of the vectors of these participants before masking, words[vector_len]."""
        config = self._config
        total: Words = np.zeros(config.vector_len, config.ring_dtype)
        for name in survivors:
            total += self._vectors[name].read(0, config.vector_len, config.ring_dtype)
        return total


def _taken(stopwatch: Stopwatch) -> Seconds:
    return {phase: seconds for (_, phase), seconds in stopwatch.seconds.items()}


def _nothing_to_provide() -> None:
    raise ValueError("participants on hosts have their vectors from the start")


Wait = Callable[[], Any]
"""Waits for the result of a call of a host."""

Ask = Callable[..., Wait]
"""Begins a call of a host: the name of its method, and arguments."""


class Spread:
    """Participants of a deployment on several hosts, for one round after the other.

    Attributes:
        trust: the CA of their identities; None where nobody signs.
    """

    def __init__(
        self,
        names: Sequence[ParticipantId],
        make: Callable[[Sequence[ParticipantId], tuple[bytes, bytes] | None, Clock], Ask],
        hosts: int,
        *,
        signed: bool,
        share: Callable[[FloatArray], Any] = lambda array: array,
        clock: Clock = standing_still,
    ) -> None:
        """Args:
        names: of all participants.
        make: makes a `Host` somewhere, with these arguments.
        hosts: how many, at least one.
        signed: whether participants have identities.
        share: makes an array available to all hosts; gives what stands for it in calls.
        clock: seconds; each host measures the work of its participants on it.
        """
        ca = create_ca(START) if signed else None
        given = None if ca is None else (ca.certificate_pem, ca.key_pem.expose())  # of this simulation alone
        self.trust = None if ca is None else TrustAnchors.from_pem(ca.certificate_pem)
        self._share = share
        hosts = min(hosts, len(names))
        self._hosts = [make(names[number::hosts], given, clock) for number in range(hosts)]
        self._at = {name: number % hosts for number, name in enumerate(names)}

    def enter(
        self, round_: Round, entering: Mapping[ParticipantId, Entering], base: FloatArray, stopwatch: Stopwatch
    ) -> "SpreadCrowd":
        """A round with these participants. Args: stopwatch: is told what they take. The others as of `Host.enter`."""
        there: list[dict[ParticipantId, Entering]] = [{} for _ in self._hosts]
        for name, one in entering.items():
            there[self._at[name]][name] = one
        config_bytes, shared = encode_config(round_.config), self._share(base)
        joining = [
            ask("enter", round_.round_id, config_bytes, some, shared)
            for ask, some in zip(self._hosts, there, strict=True)
        ]
        return SpreadCrowd(self._hosts, self._at, joining, round_.config, stopwatch)


class SpreadCrowd:
    """The participants of one round on several hosts: a `Crowd`. It keeps of them who waits for what."""

    def __init__(
        self,
        hosts: Sequence[Ask],
        at: Mapping[ParticipantId, int],
        joining: Sequence[Wait],
        config: RoundConfig,
        stopwatch: Stopwatch,
    ) -> None:
        """Args:
        hosts: where the participants are.
        at: which of the hosts each one is at.
        joining: give what they send first.
        config: of the round.
        stopwatch: is told what they take.
        """
        self._hosts, self._at, self._joining = hosts, at, joining
        self._stopwatch = stopwatch
        self._outboxes = [Outbox() for _ in hosts]
        self._awaits: dict[ParticipantId, Phase | None] = {}
        size = packed_size(config.vector_len, config.ring_bits)
        self._in_batch = max(1, min(MOST_IN_BATCH, BATCH_BYTES // size))

    def first(self) -> Iterator[Up]:
        """See `Crowd`."""
        said = {sent.participant: sent for joining in self._joining for sent in self._taken(joining)}
        for name in self._at:
            sent = said.get(name)
            if isinstance(sent, Up):
                yield sent

    def awaiting(self) -> Iterator[tuple[ParticipantId, Phase]]:
        """See `Crowd`."""
        for name, phase in self._awaits.items():
            if phase is not None:
                yield name, phase

    def deliver(self, downs: Sequence[Down], now: float) -> Iterator[Up | GaveUp]:
        """See `Crowd`. Hosts work beside each other, and not far ahead of whoever takes what they say."""
        under_way: deque[Wait] = deque()
        for number, some in self._batches(downs):
            if len(under_way) >= AT_A_HOST * len(self._hosts):
                yield from self._taken(under_way.popleft())
            under_way.append(self._hosts[number]("deliver", self._outboxes[number].pack(some), now))
        while under_way:
            yield from self._taken(under_way.popleft())

    def abort(self, name: ParticipantId) -> None:
        """See `Crowd`. Its host forgets it with the round."""
        self._awaits[name] = None

    def expected(self, survivors: Sequence[ParticipantId]) -> Words:
        """The sum of the vectors of these participants before masking, words[vector_len]."""
        there: list[list[ParticipantId]] = [[] for _ in self._hosts]
        for name in survivors:
            there[self._at[name]].append(name)
        waits = [ask("expected", some) for ask, some in zip(self._hosts, there, strict=True)]
        total: Words = sum(wait() for wait in waits)
        return total

    def _batches(self, downs: Sequence[Down]) -> Iterator[tuple[int, list[Down]]]:
        """For each host in turn some of its messages, so that all have something to do."""
        there: list[list[Down]] = [[] for _ in self._hosts]
        for down in downs:
            there[self._at[down.participant]].append(down)
        step = self._in_batch
        cut = [[some[start : start + step] for start in range(0, len(some), step)] for some in there]
        for batches in zip_longest(*cut):
            for number, some in enumerate(batches):
                if some:
                    yield number, some

    def _taken(self, wait: Wait) -> Iterator[Up | GaveUp]:
        said, seconds = wait()
        for phase, spent in seconds.items():
            self._stopwatch.add(Side.PARTICIPANT, phase, spent)
        for one in said:
            self._awaits[one.participant] = one.awaits
            for phase, packed in one.messages:
                yield Up(one.participant, unpack(packed), phase)
            if one.error is not None:
                yield GaveUp(one.participant, one.error, one.closed)
