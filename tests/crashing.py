"""A participant whose process ends at any moment of a round and is started again, without a network.

Its moments are numbered: each operation that changes its disk, and each point between two of its steps. A `Life` ends
the process at some of them, by a kill or by a power cut.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from secagg_client import Memory
from secagg_client.calls.call import PreparedCall
from secagg_client.calls.data_plane import FindRound, UploadCall
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.participation.session import Participation
from secagg_client.participation.state_folder import StateFolder
from secagg_client.participation.terms import Contribution, Terms

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.rng import SeededRng
from secagg.errors import SavedStateError, SecAggError
from secagg.messages import ParticipantId, Phase
from secagg.policy import Policy
from secagg.schemes import coordinate
from secagg.tools.faults.disk import CHANGES, Kind, VirtualDisk
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.calls import Call
from secagg.wire.configuration import encode_config
from secagg.wire.receipts import RECEIPT, encode_receipt
from secagg.wire.results import PackedAggregate
from tests.carrying import ClosableDesk
from tests.conversing import LENIENT, Conversation, in_bytes, make_terms
from tests.rounds import NOW, deployment

FOLDER = Path("/state")


class Dies(Exception):
    """The process ends here."""


class Stopped(Exception):
    """The round was to stop here."""


@dataclass
class Life:
    """One participant's processes, one after the other, on one disk.

    Attributes:
        dies_at: moments at which a process ends.
        cuts_power: whether all that was not flushed is lost then.
        sent: what left it, by call and chunk.
        twice: what left it in two versions.
        memory: of released sums, which outlives processes.
        encoded: the inputs that it masked in each round.
        feedback: that of its client, which is not used.
    """

    name: ParticipantId
    memory: Memory
    make: Callable[[], Contribution]
    dies_at: Collection[int] = ()
    cuts_power: bool = False
    seed: int = 0
    sent: dict[tuple[str, int], bytes] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    moments: int = 0
    processes: int = 0
    policy: Policy = LENIENT
    encoded: dict[RoundId, list[Any]] = field(default_factory=dict)
    feedback: Feedback = field(default_factory=Feedback)

    def __post_init__(self) -> None:
        self.disk = VirtualDisk(Random(self.seed))  # noqa: S311 - of what a power cut loses
        self.disk.mischief = self
        self.folder = StateFolder(FOLDER, disk=self.disk.mount())

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        del number, path
        if kind in CHANGES:
            with suppress(Dies):
                self.moment()

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        del number, kind, path
        return False

    def moment(self) -> None:
        """The process may end here."""
        self.moments += 1
        if self.moments in self.dies_at:
            if self.cuts_power:
                self.disk.cut_power()
            else:
                self.disk.kill()
            self.alive = False
            raise Dies

    def process(self, find: FindRound | Offer) -> Participation:
        """A new process, started by the same command."""
        while True:
            self.processes += 1
            self.disk.kill()  # the one before is gone
            self.alive = True
            self.folder = StateFolder(FOLDER, disk=self.disk.mount())
            try:
                self.folder.__enter__()
                break
            except SavedStateError:
                if self.alive:
                    raise
        made = deployment()
        # Each process draws the same: if what it must not draw anew were drawn anew, it would not show otherwise.
        rng = SeededRng(bytes([self.seed % 256, self.processes]) + bytes(30))
        terms = Terms(
            made.identities[self.name], made.trust, self.policy, rng, lambda: NOW, memory=self.memory,
            backend=ClosableDesk, feedback=self.feedback,
        )  # fmt: skip
        return Participation(terms, self.make(), find, self.folder)

    def note(self, call: PreparedCall[Any], part: int, data: bytes) -> None:
        if isinstance(call, FindRound):
            return
        of_round = getattr(call, "round_id", b"").hex()
        if self.sent.setdefault((of_round + call.method, part), data) != data:
            self.twice.append(f"{call.method} {part}")


class Crashing(Conversation):
    """A round of any scheme in which one participant crashes.

    Attributes:
        handed: the result that the caller of that one had last.
        stops_at: the call of that one before which the test stops the round.
        looks_for_another: whether it looks for another round, because this one is over for it.
    """

    def __init__(self, life: Life, config: RoundConfig, bring: Callable[[int], Contribution], **options: Any) -> None:
        """Args:
        life: of the one that crashes.
        config: of the round.
        bring: what each participant brings, by its number from 0 on.
        options: as of `Conversation`.
        """
        self.life = life
        self.handed: RoundResult | None = None  # to the caller of the one that crashes
        self.looks_for_another = False
        self.stops_at = ""
        self.bring = bring
        super().__init__(config, **options)

    def __post_init__(self) -> None:
        data = self.offered = self.offered or encode_config(self.config)
        round_ = Round(self.round_id, self.config, bind(self.round_id, data, self.config.model_digest))
        self.coordinator = coordinate(round_, now=NOW, trust=deployment().trust)

    def play(self, people: dict[ParticipantId, Participation] | None = None) -> None:
        find = FindRound(task=self.config.task)
        names = participant_names(self.config.max_participants)
        self.all = people or {
            name: Participation(replace(make_terms(name), backend=ClosableDesk), self.bring(i), find)
            for i, name in enumerate(names)
            if name != self.life.name
        }
        self.all[self.life.name] = self.life.process(find)
        super().play(self.all)

    def _advance(
        self, name: ParticipantId, participation: Participation, answer: Any, waiting: dict[Any, PreparedCall[Any]]
    ) -> None:
        if name != self.life.name:
            super()._advance(name, participation, answer, waiting)
            return
        try:
            self.life.moment()  # the answer is there
            super()._advance(name, participation, answer, waiting)
            if name in self.results and self.life.alive:
                self.handed = self.results[name]
                self.life.moment()  # the result is with the caller
                self.life.folder.__exit__(None, None, None)
            self._check_alive()
            call = waiting.get(name)
            if isinstance(call, FindRound) and self.round_id in call.seen:
                del waiting[name]  # the round is over for it, and no other one will be offered
                self.looks_for_another = True
            self.life.moment()  # the call is with the coordinator
        except (Dies, SavedStateError):
            if self.life.alive:
                raise
            self._again(name, waiting)

    def _check_alive(self) -> None:
        if not self.life.alive:
            raise Dies

    def _again(self, name: ParticipantId, waiting: dict[Any, PreparedCall[Any]]) -> None:
        for known in (waiting, self.results, self.errors):
            known.pop(name, None)
        self.all[name] = self.life.process(FindRound(task=self.config.task))
        self._advance(name, self.all[name], None, waiting)

    def _give_up(self, name: ParticipantId, participation: Participation, error: SecAggError) -> None:
        if name == self.life.name:
            self._check_alive()
        super()._give_up(name, participation, error)
        if name == self.life.name:
            self._check_alive()
            self.life.folder.__exit__(type(error), error, None)

    def _deliver(self, name: ParticipantId, call: PreparedCall[Any]) -> None:
        if name != self.life.name:
            super()._deliver(name, call)
            return
        self._check_alive()
        if call.method == self.stops_at:
            raise Stopped
        self.life.moment()  # nothing was sent yet
        if isinstance(call, UploadCall) and call.vector.phase is Phase.MASKED_INPUT:
            vector = self.all[name]._input.encoded  # type: ignore[union-attr]
            read = vector.read(0, self.config.vector_len, self.config.ring_dtype)
            self.life.encoded.setdefault(self.round_id, []).append(read)
        if isinstance(call, UploadCall):
            if call.begun:
                call = call.resumed(self.coordinator.received_chunks(name))
            for number in range(call.start, call.vector.chunks):
                chunk = UploadCall(call.round_id, call.config, call.row, One(call.vector, number))
                self.life.note(call, number, b"".join(chunk.requests()))
                super()._deliver(name, chunk)
                self.life.moment()
        else:
            for part, data in enumerate(call.requests()):
                self.life.note(call, part, data)
            super()._deliver(name, call)

    def _ending(self, call: PreparedCall[Any], aggregate: Aggregate) -> Any:
        row: Call[Any] = call.row
        if row.answers is RECEIPT:
            packed = PackedAggregate.of(aggregate, self.config)
            return in_bytes([encode_receipt(self.receipt(packed.survivors, packed.digest))])
        return super()._ending(call, aggregate)


@dataclass
class One:
    """One chunk of an upload, as an upload."""

    upload: Any
    number: int
    chunks: int = 1

    @property
    def phase(self) -> Any:
        return self.upload.phase

    def chunk(self, number: int) -> Any:
        del number
        return self.upload.chunk(self.number)

    def __iter__(self) -> Any:
        return iter((self.chunk(0),))
