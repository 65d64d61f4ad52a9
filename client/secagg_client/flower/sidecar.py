"""The transport "sidecar": rounds run at a coordinator of their own, and Flower carries the training alone.

The server app opens rounds at the coordinator beside it, and names them in the strategy's own message. A node trains
when that message comes, and then takes part over its own connection. So a round costs one exchange of Flower, as in
plain, and large vectors do not pass Flower's channel. Once a job, before it is sent a model, each node is asked who it
is: an app that lacks the mod is found out before it could answer in plain.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId, bind
from secagg.errors import AbortReason, DecodeError, RoundAborted, SecAggError, TransportError, UnknownRoundError
from secagg.transport.addresses import checked_local_target, checked_target
from secagg.wire.configuration import encode_config
from secagg.wire.fields import decode_participant_id
from secagg_client.carried.steps import Step
from secagg_client.flower.channel import Answer, Channel, Letter, Refusal, Silence
from secagg_client.flower.notes import MAYBE_NO_MOD, explained
from secagg_client.flower.records import Packet
from secagg_client.sidecar.rounds import Peer, SidecarRound
from secagg_client.sync.control import ControlClient

MEET: Final = "meet"
"""Kind of step. Server: who are you? Node: its participant id."""

COME: Final = "come"
"""Kind of step. Server: train, and take part in this round at the address in the step. Node: it takes part, or has."""

LEFT: Final = "left"
"""Kind of step. Node: it was in this round and is so no more, or could not reach the coordinator."""

NO_ROUND: Final = RoundId(bytes(ROUND_ID_SIZE))
"""The round id of steps that belong to no round."""

JOINING_S: Final = 60.0
"""How long a node may take to join after it said that it will."""

REPLY_S: Final = 10.0
"""How long replies are waited for when the rounds are over; all who were in them reply now."""

Clock = Callable[[], float]
"""Seconds, of any origin."""


class Write(Protocol):
    """Makes the letter for one node."""

    def __call__(self, node: int, steps: list[dict[Peer, Step]], *, with_input: bool) -> Letter:
        """Args:
        node: its id.
        steps: of all rounds, for all nodes.
        with_input: whether the strategy's message goes along.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sidecar:
    """Where the coordinator is: `SecAgg(strategy, transport=Sidecar("unix:/run/secagg/control.sock", "host:8443"))`.

    Attributes:
        control: address of its control plane, on this machine: "unix:/path" or "127.0.0.1:port".
        participants: address of its data plane as the nodes reach it, "host:port".
    """

    control: str
    participants: str

    def __post_init__(self) -> None:
        checked_local_target(self.control)
        checked_target(self.participants)


@dataclass(slots=True)
class SidecarBundle:
    """Rounds of one cohort that answer one question of the strategy, as `Bundle` holds those on Flower's channel.

    Attributes:
        rounds: by purpose.
        peers: who is asked to take part.
    """

    rounds: Mapping[str, "HeldRound"]
    peers: frozenset[Peer]
    _lost: dict[Peer, str] = field(default_factory=dict, init=False)

    @property
    def over(self) -> bool:
        """Whether all of them have ended."""
        return all(one.over for one in self.rounds.values())

    @property
    def fewest(self) -> int:
        """How many nodes all of them need."""
        return max(one.fewest for one in self.rounds.values())

    def fail(self, why: str) -> None:
        """All of them end without a sum."""
        for one in self.rounds.values():
            one.fail(RoundAborted(AbortReason.BELOW_THRESHOLD, why))

    def steps(self, address: str) -> list[dict[Peer, Step]]:
        """What to send to whom, with the training message."""
        parts = (address.encode(),)
        return [
            {peer: Step(one.round_id, COME, parts) for peer in self.peers - self._lost.keys()}
            for one in self.rounds.values()
        ]

    def take(self, peer: Peer, steps: Sequence[Step], why: str) -> None:
        """A node's answer: the rounds in which it takes part. From the others it is gone, and says why."""
        there = {step.round_id for step in steps if step.kind == COME}
        for one in self.rounds.values():
            if one.round_id not in there:
                one.lost(peer, why or "it does not take part; its own log says more")

    def lost(self, peer: Peer, reason: str) -> None:
        """A node is gone from all rounds."""
        self._lost.setdefault(peer, reason)
        for one in self.rounds.values():
            one.lost(peer, reason)

    def dropped(self) -> dict[Peer, str]:
        """Who is out of one of the rounds, and why."""
        return {peer: reason for one in self.rounds.values() for peer, reason in one.dropped().items()} | self._lost


class HeldRound:
    """One round at the coordinator, as the job reads it: `config`, `context` and `outcome` as `CarriedRound` has them.

    Attributes:
        config: as it was opened; before, as it was wanted.
        outcome: how it ended; None before.
    """

    def __init__(self, config: RoundConfig) -> None:
        self.config = config
        self.outcome: Aggregate | GroupedAggregate | RoundAborted | None = None
        self._names: Mapping[Peer, str] = {}
        self._opened: SidecarRound | None = None
        self._dropped: dict[Peer, str] = {}

    @property
    def round_id(self) -> RoundId:
        """Its id; `NO_ROUND` before it is opened."""
        return NO_ROUND if self._opened is None else self._opened.round_id

    @property
    def context(self) -> bytes:
        """What every key of the round is bound to."""
        return bind(self.round_id, encode_config(self.config), self.config.model_digest)

    @property
    def over(self) -> bool:
        """Whether it has ended, or was never opened."""
        return self._opened is None or self._opened.over

    @property
    def fewest(self) -> int:
        """How many participants it needs."""
        return self.config.threshold * (1 if self.config.groups is None else self.config.groups.count)

    def open(self, control: ControlClient, names: Mapping[Peer, str], patience_s: float) -> None:
        """Open it for these. Errors as of `SidecarRound`."""
        self._names = names
        self._opened = SidecarRound(control, self.config, names, patience_s=patience_s)
        self.config = self._opened.config

    def lost(self, peer: Peer, reason: str) -> None:
        """A node is gone."""
        self._dropped.setdefault(peer, reason)
        if self._opened is not None:
            self._opened.lost(peer, reason)

    def fail(self, failure: RoundAborted) -> None:
        """It ends without a sum."""
        self.outcome = failure
        if self._opened is not None:
            self._opened.abort(str(failure))

    def conclude(self) -> None:
        """Wait for its end: everybody has answered or is gone, so from here on the phases' own time limits count."""
        if self._opened is None or self.outcome is not None:
            return
        limits = self.config.deadlines
        rest_s = limits.share_keys_s + limits.masked_input_s + limits.consistency_check_s + 2 * limits.unmask_s
        try:
            self.outcome = self._opened.result(JOINING_S + rest_s)
        except RoundAborted as failure:
            self.outcome = failure
        except (TransportError, UnknownRoundError) as error:  # the coordinator is gone, or was started anew
            self.outcome = RoundAborted(AbortReason.INTERNAL, f"the coordinator has lost the round: {error}")

    def dropped(self) -> dict[Peer, str]:
        """Who is in no sum, and why."""
        left_out: dict[Peer, str] = {}
        if isinstance(self.outcome, Aggregate | GroupedAggregate):
            there = set(self.outcome.survivors)
            left_out = {
                peer: "it left the round, or did not come in time; its own log says more"
                for peer, name in self._names.items()
                if name not in there
            }
        return left_out | self._dropped


class Roll:
    """Which participant each node is, as it says itself. The coordinator goes by certificates, whatever this says."""

    def __init__(self) -> None:
        self._names: dict[Peer, str] = {}

    def strangers(self, peers: frozenset[Peer]) -> frozenset[Peer]:
        """Those who have not been met."""
        return peers - self._names.keys()

    def names(self, peers: frozenset[Peer]) -> dict[Peer, str]:
        """The participant ids of those who have been met."""
        return {peer: self._names[peer] for peer in sorted(peers) if peer in self._names}

    def meet(self, peer: Peer, steps: Sequence[Step], cohort: frozenset[Peer]) -> None:
        """Take what a node answers when it is asked who it is.

        Raises:
            DecodeError: no participant id, or that of another node of this cohort.
        """
        told = [step for step in steps if step.kind == MEET and len(step.parts) == 1]
        if len(told) != 1:
            raise DecodeError("it does not say who it is")
        try:
            name = str(decode_participant_id(told[0].parts[0].decode()))
        except UnicodeDecodeError:
            raise DecodeError("its participant id is no UTF-8") from None
        other = next((known for known, taken in self._names.items() if taken == name), None)
        if other in cohort:  # check: one-node-a-certificate
            raise DecodeError(f"its certificate is that of node {other}: each node needs one of its own")
        if other is not None:  # it has come back under a new number
            del self._names[other]
        self._names[peer] = name


class SidecarRuns:
    """Holds the rounds of a job at the coordinator."""

    def __init__(self, sidecar: Sidecar, channel: Channel, *, clock: Clock) -> None:
        self._sidecar = sidecar
        self._channel = channel
        self._clock = clock
        self._roll = Roll()
        self._control = ControlClient(sidecar.control)

    def close(self) -> None:
        """Close the connection to the coordinator."""
        self._control.close()

    def run(self, bundle: SidecarBundle, write: Write, until: float) -> frozenset[Peer]:
        """Hold all rounds of a bundle, to their end.

        Args:
            bundle: the rounds. Its nodes have to be met before they can be expected.
            write: makes the letter for a node out of the steps of all nodes.
            until: on the clock; when training is over.

        Returns:
            the nodes that took part, as far as they say.

        Raises:
            BudgetExceeded: a round costs more than is left of the privacy budget.
            ConfigError: the coordinator refuses the configuration of a round.
            LedgerError: the privacy ledger of the task is damaged, or cannot be written.
            TransportError: the coordinator cannot be reached.
        """
        self._meet(bundle, write)
        names = self._roll.names(bundle.peers)
        if len(names) < bundle.fewest:
            bundle.fail(f"{len(names)} nodes said who they are, and the round needs {bundle.fewest} at least")
            return frozenset(names)
        try:
            for one in bundle.rounds.values():
                one.open(self._control, names, patience_s=until - self._clock())
        except SecAggError as error:
            bundle.fail(f"a round could not be opened: {error}")
            raise
        present = self._train(bundle, write)
        for one in bundle.rounds.values():
            one.conclude()
        return present

    def _meet(self, bundle: SidecarBundle, write: Write) -> None:
        """Ask those who they are who have not been asked before."""
        strangers = self._roll.strangers(bundle.peers)
        asked = [{peer: Step(NO_ROUND, MEET, ()) for peer in strangers}]
        letters = {int(peer): write(int(peer), asked, with_input=False) for peer in sorted(strangers)}
        for node, answer in self._channel.exchange(letters).items():
            peer = str(node)
            match answer:
                case Packet(steps, notes):
                    try:
                        self._roll.meet(peer, steps, bundle.peers)
                    except DecodeError as error:
                        bundle.lost(peer, explained(notes) or str(error))
                case Refusal(reason, named=False):
                    bundle.lost(peer, f"{reason} {MAYBE_NO_MOD}")
                case Silence(reason) | Refusal(reason):
                    bundle.lost(peer, reason)

    def _train(self, bundle: SidecarBundle, write: Write) -> frozenset[Peer]:
        """Send the training message, and tell the coordinator at once who is gone."""
        steps = bundle.steps(self._sidecar.participants)
        present: set[Peer] = set()
        ended_at: list[float] = []

        def hear(node: int, answer: Answer) -> None:
            match answer:
                case Packet(taken, notes):
                    bundle.take(str(node), taken, explained(notes))
                    if any(step.kind in {COME, LEFT} for step in taken):
                        present.add(str(node))
                case Silence(reason) | Refusal(reason):
                    bundle.lost(str(node), reason)

        def enough() -> bool:
            """Rounds that are over need no replies; whoever was in them replies now."""
            if bundle.over and not ended_at:
                ended_at.append(self._clock())
            return bool(ended_at) and self._clock() - ended_at[0] >= REPLY_S

        peers = sorted({peer for each in steps for peer in each}, key=int)
        letters = {int(peer): write(int(peer), steps, with_input=True) for peer in peers}
        for node, answer in self._channel.exchange(letters, hear=hear, enough=enough).items():
            if isinstance(answer, Silence):  # `hear` was called for all who answered
                bundle.lost(str(node), answer.reason)
        return frozenset(present)
