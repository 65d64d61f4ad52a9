"""A round at a framework's server: an engine that is fed with what the framework brings.

The framework's process asks for `steps`, sends each to its peer, and hands every reply to `take`. Who is gone it names
with `lost`. When it has waited long enough, `close` ends the exchange for those that have not answered. Then it asks
for the next `steps`, until there are none: the round is over, and `outcome` says how it ended.

The framework decides how long to wait. The time limits of the configuration are not used here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, Context, Round, RoundId, bind
from secagg.crypto.certificates import CertificateError, parse_der_chain, participant_id_of
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.rng import Rng, SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    DecodeError,
    LedgerError,
    NotInRoundError,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
    SecAggError,
    printable,
)
from secagg.events import Event, MessageAccepted, ParticipantDropped
from secagg.masked.ranges import Workers, one_after_the_other
from secagg.messages import AdvertiseKeys, ParticipantId, Phase
from secagg.phases import phases
from secagg.programs.ledgers.budgets import Charge
from secagg.rounds.releases import ReleaseMemory
from secagg.schemes import coordinate
from secagg.wire.calls import CALL_OF, Transfer
from secagg.wire.configuration import encode_config
from secagg.wire.counting import MAX_FIELDS
from secagg.wire.fields import decode_participant_id
from secagg.wire.limits import MAX_STREAM_MESSAGE_BYTES
from secagg.wire.parsing import parse
from secagg.wire.rounds import encode_offer
from secagg_client.carried.steps import (
    LEAVE,
    OPEN,
    Step,
    check_size,
    over_step,
    read_leave,
    serialised,
    whole,
)

Peer = str
"""A participant's address in the framework, such as the id of a Flower node or the name of a FLARE site."""

Clock = Callable[[], float]
"""Seconds since 1970, UTC."""

SEED_SIZE: Final = 32
MAX_REASON_CHARS: Final = 300


@dataclass(frozen=True, slots=True)
class OpenedGroup:
    """What a round in groups has settled for one of its groups.

    Attributes:
        round_id: id of the group's round.
        config_bytes: configuration of the group's round.
        charge: of the round in groups, which all of its groups share.
        taken: ids of those who came into any of its groups, which all of its groups share.
    """

    round_id: RoundId
    config_bytes: bytes
    charge: Charge | None
    taken: set[ParticipantId]


Outcome = Aggregate | RoundAborted
"""How a round ended: with a sum, or without."""


class CarriedRound:
    """One round over a framework's channel, at its server. For one thread at a time.

    Attributes:
        round_id: 16 bytes, fresh.
        config: configuration of the round.
        dropped: why a peer takes no further part, in words that may be printed.
        events: what happened, in order.
        outcome: how the round ended; None while it runs.
    """

    def __init__(
        self,
        config: RoundConfig,
        peers: Sequence[Peer],
        *,
        clock: Clock,
        rng: Rng | None = None,
        trust: TrustAnchors | None = None,
        charge: Callable[[RoundId, RoundConfig], Charge | None] | None = None,
        releases: ReleaseMemory | None = None,
        workers: Workers = one_after_the_other,
        group: OpenedGroup | None = None,
    ) -> None:
        """A new round. Nobody knows of it yet.

        Args:
            config: what the round is; its time limits are not used.
            peers: who is asked to take part. Where nothing is signed, a peer's address is also its participant id.
            clock: seconds since 1970; certificates are checked by it.
            rng: round id and the seed of the coordinator's noise come from it; the system's CSPRNG if None.
            trust: the CA of participants; needed where messages are signed.
            charge: sets aside what the round costs of its task's privacy budget, durably (`Budgets.plan`); None for no
                ledger.
            releases: what earlier rounds of this process released, which is shared by all of them.
            workers: make the pieces of unmasking.
            group: which group of a round this is; `CarriedGroups` says so.

        Raises:
            ConfigError: the configuration does not fit a framework's channel or these peers.
            BudgetExceeded: more than is left of the privacy budget.
            LedgerError: the privacy ledger is damaged, or cannot be written.
        """
        _check(config, peers)
        rng = rng or SystemRng()
        self.round_id = RoundId(rng.token(ROUND_ID_SIZE)) if group is None else group.round_id
        self.config = config
        self.dropped: dict[Peer, str] = {}
        self.events: list[Event] = []
        self.outcome: Outcome | None = None
        config_bytes = encode_config(config) if group is None else group.config_bytes
        self._clock = clock
        self._peers = tuple(peers)
        self._order = phases(config)
        self._offer = Step(self.round_id, OPEN, serialised(encode_offer(self.round_id, config_bytes)))
        self._names: dict[Peer, ParticipantId] = {}  # of those who sent keys
        self._peer_of: dict[ParticipantId, Peer] = {}  # the other way round
        self._taken: set[ParticipantId] = set() if group is None else group.taken  # names, in other groups too
        self._asked: set[Peer] = set()  # in this exchange, and not heard yet
        self._at: dict[ParticipantId, Phase] = {}  # the latest phase in which each delivered
        self._shared: tuple[object, tuple[bytes, ...]] | None = None  # the latest answer, or its phase, and its parts
        self._releases = releases or ReleaseMemory(1)
        self._charge = group.charge if group else charge(self.round_id, config) if charge else None
        try:
            self._engine = coordinate(
                Round(self.round_id, config, bind(self.round_id, config_bytes, config.model_digest)),
                now=clock(),
                trust=trust,
                workers=workers,
                claim=partial(self._releases.claim, self.round_id),
                noise_seed=Secret(rng.token(SEED_SIZE)) if config.central_noise else None,
            )
        except SecAggError:
            if self._charge is not None and group is None:
                self._charge.withdraw()
            raise

    # --- what the framework's process asks ----------------------------------------------------------------------------

    @property
    def context(self) -> Context:
        """What `Aggregate.mean` reads the sum with, 32 bytes (`Round.input_context`)."""
        return self._engine.round.input_context

    @property
    def round_ids(self) -> tuple[RoundId, ...]:
        """The rounds whose steps this takes: itself."""
        return (self.round_id,)

    @property
    def phase(self) -> Phase | None:
        """The phase whose messages the peers are asked for; None once the round is over."""
        return None if self.outcome is not None else self._engine.phase

    @property
    def awaits_model(self) -> bool:
        """Whether the round goes on only once `name_model` is called."""
        return self.outcome is None and self._engine.awaits_model

    def steps(self) -> dict[Peer, Step]:
        """What to send to whom now: to everyone whose answer is awaited. Empty when the round is over, and while it
        `awaits_model`.
        """
        self._asked = set(awaited := self._awaited())
        return {peer: self._step(peer) for peer in awaited}

    def endings(self, failure: RoundAborted | None = None) -> dict[Peer, Step]:
        """What to tell each peer of the end, in a later exchange; nobody answers it. Empty while the round runs.

        Args:
            failure: of the round in groups that this is a group of: then its own sum is not released either.
        """
        if self.outcome is None:
            return {}
        return {peer: over_step(self.round_id, failure or self._failure_of(peer)) for peer in self._peers}

    # --- what the framework's process tells ---------------------------------------------------------------------------

    def name_model(self, model_digest: bytes) -> None:
        """Say which model the round is about, where its configuration leaves that for later (`model_later`). Until then
        `steps` gives nothing once keys and shares are exchanged.

        Args:
            model_digest: 32 bytes, from `digest_model`.

        Raises:
            ConfigError: the configuration names the model, another one was named before, or this is no digest.
        """
        if self.outcome is None:
            self._perform(lambda: self._engine.name_model(model_digest, self._clock()))

    def take(self, peer: Peer, step: Step) -> None:
        """Take a peer's answer. A step that is not allowed drops the peer, with the reason in `dropped`. Whoever is not
        asked now is not heard: its answer came twice, or too late.
        """
        if peer not in self._asked:  # check: not-asked
            return
        self._asked.discard(peer)
        try:
            self._take(peer, step)
        except (RemoteError, NotInRoundError) as error:
            self._drop(peer, str(error))

    def lost(self, peer: Peer, reason: str) -> None:
        """The framework says that a peer is gone, or that it answered with an error.

        Args:
            peer: which one.
            reason: why, for the log; may be a peer's own words.
        """
        if self.outcome is None and peer in self._peers and peer not in self.dropped:
            self._drop(peer, reason)

    def close(self) -> None:
        """The exchange is over: whoever was asked and has not answered is gone, and the phase closes."""
        silent, self._asked = [peer for peer in self._peers if peer in self._asked], set()
        for peer in silent:
            self.dropped[peer] = f"did not answer in {self.phase}"
        if silent:
            self._perform(partial(self._exclude, [self._names[peer] for peer in silent if peer in self._names]))

    def abort(self, reason: AbortReason, message: str) -> None:
        """End the round without a sum, unless it is over."""
        if self.outcome is None:
            self._perform(lambda: self._engine.abort(reason, message))

    # --- taking answers -----------------------------------------------------------------------------------------------

    def _take(self, peer: Peer, step: Step) -> None:
        if step.round_id != self.round_id:  # check: another-rounds-step
            raise ProtocolViolation(f"a step of another round came: {step.round_id[:16].hex()}", culprit=peer)
        if step.kind == LEAVE:
            leave, told = read_leave(step)
            self.dropped[peer] = printable(told, MAX_REASON_CHARS)
            name = self._names.get(peer)
            self._perform(lambda: [] if name is None else self._engine.receive(name, leave, self._clock()))
            return
        phase = self.phase
        if phase is None or step.kind != str(phase):  # check: another-phases-step
            raise ProtocolViolation(f"{step.kind[:40]!r} came where {phase} was expected", culprit=peer)
        call = CALL_OF[phase]
        if call.transfer is Transfer.CHUNKS:
            self._take_vector(peer, step, phase)
            return
        check_size(step, call.request_bytes)
        message = whole(call.brings, step.parts, MAX_FIELDS)
        if isinstance(message, AdvertiseKeys):
            self._join(peer, message)
        else:
            self._perform(partial(self._engine.receive, self._names[peer], message, self._clock()))

    def _take_vector(self, peer: Peer, step: Step, phase: Phase) -> None:
        """A vector comes whole, each of its chunks a part."""
        name, brings = self._names[peer], CALL_OF[phase].brings
        for part in step.parts:
            if self.outcome is not None:  # an earlier chunk was the last that was missing, and ended the round
                return
            if len(part) > MAX_STREAM_MESSAGE_BYTES:  # check: longer-than-any-chunk
                raise DecodeError(f"a chunk of {len(part)} bytes is longer than {MAX_STREAM_MESSAGE_BYTES}")
            chunk = brings.decode(parse(brings.kind, part))
            self._perform(partial(self._engine.receive, name, chunk, self._clock()))
        if self._at[name] is not phase:  # check: whole-vector
            raise ProtocolViolation(f"{name} sent {len(step.parts)} chunks of {phase}, and more belong to it")

    def _join(self, peer: Peer, keys: AdvertiseKeys) -> None:
        name = self._name_of(peer, keys)
        if name in self._taken:  # check: two-peers-of-one-name
            raise ProtocolViolation(f"another peer takes part as {name} already", culprit=name)
        self._names[peer], self._peer_of[name] = name, peer
        self._taken.add(name)
        try:
            self._perform(partial(self._engine.receive, name, keys, self._clock()))
        except (RemoteError, NotInRoundError):
            del self._names[peer], self._peer_of[name]
            self._taken.discard(name)
            raise

    def _name_of(self, peer: Peer, keys: AdvertiseKeys) -> ParticipantId:
        """Where keys are signed, the name in the certificate, which the engine verifies; else the peer's address."""
        if not self.config.signed:
            return ParticipantId(peer)
        try:
            return ParticipantId(participant_id_of(parse_der_chain(keys.certificates)[0]))
        except CertificateError as error:
            raise AuthenticationError(f"its certificate: {error}", culprit=peer) from None

    # --- going on -----------------------------------------------------------------------------------------------------

    def _awaited(self) -> list[Peer]:
        """Whose answer is awaited, in the order of `peers`."""
        phase = self.phase
        if phase is None:
            return []
        if phase is Phase.ADVERTISE_KEYS:
            return [peer for peer in self._peers if peer not in self._names and peer not in self.dropped]
        before = self._order[self._order.index(phase) - 1]
        return [
            peer
            for peer, name in self._names.items()
            if peer not in self.dropped and self._at[name] is before and self._engine.ready(name, before)
        ]

    def _step(self, peer: Peer) -> Step:
        phase = self._engine.phase
        if phase is None or phase is Phase.ADVERTISE_KEYS:
            return self._offer
        before = self._order[self._order.index(phase) - 1]
        return Step(self.round_id, str(before), self._parts(before, self._names[peer]))

    def _parts(self, closed: Phase, name: ParticipantId) -> tuple[bytes, ...]:
        """What closed a phase, serialised. What is the same for everyone is serialised once, for it may be long."""
        call, message = CALL_OF[closed], self._engine.answer(name, closed)
        key = closed if call.shared else message
        if self._shared is None or self._shared[0] is not key:
            self._shared = key, serialised(call.answers.parts(message))
        return self._shared[1]

    def _drop(self, peer: Peer, reason: str) -> None:
        self._asked.discard(peer)
        self.dropped[peer] = printable(reason, MAX_REASON_CHARS)
        self._perform(partial(self._exclude, [self._names[peer]] if peer in self._names else []))

    def _exclude(self, names: list[ParticipantId]) -> list[Event]:
        return self._engine.exclude(names, self._clock()) if names else []

    def _perform(self, step: Callable[[], list[Event]]) -> None:
        """One step of the engine, and what follows from it."""
        phase = self._engine.phase
        self._note(step())
        if self._engine.phase is Phase.ADVERTISE_KEYS and not self._awaited():
            self._note(self._close_joining())
        if self._engine.over and self.outcome is None:
            self._end(phase)

    def _close_joining(self) -> list[Event]:
        """Everybody has answered, or is gone."""
        names = frozenset(name for peer, name in self._names.items() if peer not in self.dropped)
        if len(names) >= (least := self.config.fewest_members):
            return self._engine.expect(names, self._clock())
        why = "; ".join(f"{peer}: {reason}" for peer, reason in list(self.dropped.items())[:5])
        return self._engine.abort(
            AbortReason.BELOW_THRESHOLD,
            f"{len(names)} of {len(self._peers)} participants came, fewer than the threshold {least} ({why})",
        )

    def _note(self, events: list[Event]) -> None:
        for event in events:
            self.events.append(event)
            match event:
                case MessageAccepted(phase, name):
                    self._at[name] = phase
                case ParticipantDropped(phase, name, reason):
                    self.dropped.setdefault(self._peer_of[name], f"dropped out in {phase}: {reason.name.lower()}")

    def _end(self, phase: Phase | None) -> None:
        engine = self._engine
        outcome: Outcome | None = engine.failure or engine.aggregate
        if outcome is None:
            raise ValueError("a round that is over has an outcome")
        try:
            if self._charge is not None:
                self._charge.settle(outcome, phase)
        except LedgerError as error:
            outcome = RoundAborted(AbortReason.INTERNAL, f"the sum is not released: {error}")
        released = not isinstance(outcome, RoundAborted)
        self._releases.settle(self.round_id, released=released, may_be_open=engine.may_be_open)
        engine.forget()
        self._asked.clear()  # whatever still comes is not heard
        self._shared = None
        self.outcome = outcome

    def _failure_of(self, peer: Peer) -> SecAggError | None:
        """Why the peer's input is in no sum; None if it is in the sum."""
        if isinstance(self.outcome, RoundAborted):
            return self.outcome
        if self.outcome is not None and self._names.get(peer) in self.outcome.survivors:
            return None
        return NotInRoundError("the round ended with a sum of the others")


def _check(config: RoundConfig, peers: Sequence[Peer]) -> None:
    if config.groups is not None and not config.groups.number:
        raise ConfigError("the configuration asks for groups: use CarriedGroups")
    if len(set(peers)) < len(peers):
        raise ConfigError("a peer stands twice; name each one once")
    if not config.fewest_members <= len(peers) <= config.max_participants:
        raise ConfigError(
            f"{len(peers)} peers are asked; the round needs {config.fewest_members} and admits "
            f"{config.max_participants}"
        )
    if config.certify:
        raise ConfigError("there is no receipt on a framework's channel, so nothing to certify: leave certify out")
    if not config.release_to_coordinator:
        raise ConfigError("a framework's server works with the sum, so it must have it: set release_to_coordinator")
    if config.signed:
        return
    for peer in peers:
        try:
            decode_participant_id(peer)
        except DecodeError as error:
            raise ConfigError(f"a peer's address is its participant id here: {error}") from None
