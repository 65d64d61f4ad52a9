"""Every round that the coordinator knows: opened, offered, and forgotten some time after its end."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from secagg.config import TRAIN
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.identity import CoordinatorIdentity, TrustAnchors
from secagg.crypto.rng import Rng
from secagg.errors import (
    AbortReason,
    ConfigError,
    DecodeError,
    LimitError,
    NotInRoundError,
    RoundAborted,
    UnknownRoundError,
)
from secagg.masked.ranges import Workers
from secagg.messages import ParticipantId, Phase
from secagg.programs.ledgers.budgets import Budgets
from secagg.rounds.doors import Door
from secagg.wire.results import PackedGroups
from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.ingress.keeper import DoorKeeper, NoDoors
from secagg_server.limits.capacity import Capacity
from secagg_server.limits.memory import GIVE_BACK_AFTER_S, give_back
from secagg_server.limits.quota import Quota, no_quota
from secagg_server.notifier import Notifier
from secagg_server.observability.observer import Observer
from secagg_server.rounds.grouped import GroupedRound, OpenedRound
from secagg_server.rounds.hosted import Clock, HostedRound, lost_round
from secagg_server.rounds.opening import RoundOpener
from secagg_server.rounds.quarantine import Quarantine
from secagg_server.rounds.recovering import Recovery
from secagg_server.rounds.suspension import Suspended
from secagg_server.settings import Settings
from secagg_server.storage.records import Released
from secagg_server.storage.store import Store

FoundT = TypeVar("FoundT")

_NAMED = 5

SHUTDOWN = "the coordinator is shutting down"


class Rounds:
    """Every round by its id.

    Attributes:
        opener: makes rounds of configurations.
        quarantine: who is kept out of rounds.
        audit: writes into the audit log.
    """

    def __init__(
        self,
        settings: Settings,
        trust: TrustAnchors,
        store: Store,
        identity: Callable[[], CoordinatorIdentity],
        *,
        workers: Workers,
        clock: Clock,
        rng: Rng,
        observer: Observer,
        capacity: Capacity,
        audit: CoordinatorAudit | None = None,
        quarantine: Quarantine | None = None,
        quota: Quota | None = None,
        doors: DoorKeeper | None = None,
    ) -> None:
        """Args:
        settings: limits.
        trust: the CA of participants.
        store: what must not be forgotten.
        identity: gives the certificate and key that are in force; receipts are signed with them.
        workers: make the pieces of unmasking.
        clock: seconds since 1970.
        rng: the seeds of noise that the coordinator adds come from it, and the draw of groups.
        observer: hears what happens in rounds.
        capacity: memory and disk for sums and vectors.
        audit: writes into the audit log; nothing is written if None.
        quarantine: who is kept out; nobody if None.
        quota: of organisations in a cohort; there is no limit if None.
        doors: other doors of the coordinator; none if None.
        """
        self._settings = settings
        self.audit = audit or CoordinatorAudit(None, clock)
        self._store = store
        self.quarantine = quarantine or Quarantine(store, 0)
        own = {task: setting.value for task, setting in settings.budgets.items()}
        self.opener = RoundOpener(
            store,
            identity,
            Budgets(store.ledgers, settings.budget.value, own, structlog.get_logger()),
            trust,
            workers=workers,
            clock=clock,
            rng=rng,
            observer=observer,
            audit=self.audit,
            on_cohort_end=self._cohort_ended,
            on_round_end=self._round_ended,
            on_room=self._wake,
            capacity=capacity,
            quota=quota or no_quota(),
            doors=doors or NoDoors(),
        )
        self._capacity = capacity
        self._known: dict[RoundId, OpenedRound] = {}  # by the ids that were given out, oldest first
        self._rounds: dict[RoundId, HostedRound] = {}  # those that participants join: groups, not what they are of
        self._ended: dict[RoundId, bool] = {}  # those that are over, by when they ended: whether no sum waits in them
        self._fetched: set[RoundId] = set()  # those that are over by now, whose sum an earlier process gave somebody
        self._lost: dict[RoundId, str] = {}  # those of which nothing is left but the id: why
        self._forgetting: set[asyncio.Task[None]] = set()  # what the store is about to forget
        self._observer = observer
        self._opening = 0
        self._openings: dict[RoundId, asyncio.Task[OpenedRound]] = {}  # under way
        self._waiting: WeakValueDictionary[ParticipantId, Notifier] = WeakValueDictionary()  # for a round to join
        self._closed = False
        self._log = structlog.get_logger()

    async def recover(self) -> None:
        """Take up what an earlier process left in the store. Before anybody calls.

        Raises:
            StoreError: the store cannot be read.
        """
        recovery = Recovery(
            self._store,
            self.opener,
            self._capacity,
            self._observer,
            self.audit,
            add=self._add,
            add_group=self._add_part,
            lose=self._lose,
        )
        await recovery.run()

    def _add(self, opened: OpenedRound, *, fetched: bool = False) -> None:
        self._known[opened.record.round_id] = opened
        for hosted in _parts_of(opened):
            self._add_part(hosted)
        if fetched:
            self._fetched.add(opened.record.round_id)

    def _add_part(self, hosted: HostedRound) -> None:
        self._rounds[hosted.record.round_id] = hosted

    def _lose(self, round_id: RoundId, why: str) -> None:
        self._lost[round_id] = why
        asyncio.get_running_loop().call_later(self._settings.keep_finished_s, self._forget_lost, round_id)

    def _forget_lost(self, round_id: RoundId) -> None:
        if self._lost.pop(round_id, None) is not None:
            self._forget_kept([round_id])

    async def open(self, round_id: bytes, config_bytes: bytes) -> OpenedRound:
        """Start a round with this id and configuration; in groups, all of them at once. One that was opened with both
        is given again, as it is: the FL server did not hear the answer.

        Raises:
            BudgetExceeded: its noise is too weak for what is left of the task's privacy budget.
            ConfigError: it is unsafe; the message says what to change. Or the id is that of another round.
            LedgerError: the task's privacy ledger is damaged, or cannot be written.
            DecodeError: it is no configuration, or no id.
            LimitError: too many rounds are under way.
            RoundAborted: the coordinator shuts down, or the round of this id is lost.
        """
        self._check_serving()
        own = checked_id(round_id)
        if self._forgetting:  # perhaps one that had this id
            await asyncio.wait(set(self._forgetting))
        while (under_way := self._openings.get(own)) is not None:
            await asyncio.wait({under_way})
        opened = self._known.get(own) or self._rounds.get(own)
        if opened is None:
            self._check_not_lost(own)
            # To its end, even if the call is cancelled: what was planned is given back when the round ends.
            return await asyncio.shield(self._opening_of(own, config_bytes))
        if opened.record.config_bytes != config_bytes:  # check: opened-otherwise
            raise ConfigError(
                f"round {own.hex()} was opened with another configuration; draw a fresh id for each round"
            )
        return opened

    def _opening_of(self, round_id: RoundId, config_bytes: bytes) -> "asyncio.Task[OpenedRound]":
        opening = self._openings[round_id] = asyncio.create_task(self._open(round_id, config_bytes))

        def over(opening: "asyncio.Task[OpenedRound]") -> None:
            del self._openings[round_id]
            if not opening.cancelled():
                opening.exception()  # the call that asked may be gone

        opening.add_done_callback(over)
        return opening

    async def _open(self, round_id: RoundId, config_bytes: bytes) -> OpenedRound:
        config = await asyncio.to_thread(self.opener.read, config_bytes)
        wanted = 1 if config.groups is None else config.groups.count
        under_way = sum(1 for r in self._rounds.values() if r.outcome is None) + self._opening
        if under_way + wanted > self._settings.max_open_rounds:
            raise LimitError(
                f"{under_way} of {self._settings.max_open_rounds} rounds are under way and this takes {wanted}; "
                "wait for one to end, abort one, or raise max_open_rounds"
            )
        self._opening += wanted
        try:
            start = await asyncio.to_thread(self.opener.prepare, round_id, config, config_bytes)
        finally:
            self._opening -= wanted
        opened = start()
        self._add(opened)
        self._wake_all()
        return opened

    def find_opened(self, round_id: bytes) -> OpenedRound:
        """The round of this id, for the FL server: a round in groups is one round.

        Raises:
            DecodeError: that is no id.
            UnknownRoundError: there is none, or none any more.
        """
        return self._found(self._known, round_id)

    def find(self, round_id: bytes) -> HostedRound:
        """The round of this id, for its participants: each group is one. Errors as of `find_opened`."""
        return self._found(self._rounds, round_id)

    async def find_for(self, participant: ParticipantId, round_id: bytes) -> HostedRound:
        """The round of this id that the participant may join; its own group of a round in groups. Nobody picks it.

        Raises:
            DecodeError: that is no id.
            NotInRoundError: the participant belongs to another group, or no group is open.
            UnknownRoundError: there is none, or none any more.
        """
        self.quarantine.check(participant)
        hosted = self._own(participant, round_id)
        hosted.check_place(participant)
        return await self._given(hosted)

    async def find_to_leave(self, participant: ParticipantId, round_id: bytes) -> HostedRound:
        """As `find_for`, also for one that is in quarantine by now: nobody has to wait for it until the deadline."""
        return await self._given(self._own(participant, round_id))

    def _own(self, participant: ParticipantId, round_id: bytes) -> HostedRound:
        """The round of this id, or the participant's group of it, if it may be in it. Raises as `find_for`."""
        grouped = self._known.get(RoundId(round_id))
        hosted = grouped.group_for(participant) if isinstance(grouped, GroupedRound) else self.find(round_id)
        if hosted is None or not self._admits(hosted, participant):
            raise NotInRoundError(
                f"{participant} has no place in round {round_id.hex()}: it belongs to another group, or a round about "
                "this model failed without it, and only those who were in that one can be in the next"
            )
        return hosted

    async def _given(self, hosted: HostedRound) -> HostedRound:
        """The round, once it is safe that it is the group of whoever hears of it now."""
        grouped = self.grouped(hosted)
        if grouped is not None:
            await grouped.keep_assignments()  # check: assignment-kept
        return hosted

    def grouped(self, hosted: HostedRound) -> GroupedRound | None:
        """What `hosted` is a group of, if it is one."""
        if hosted.config.groups is None:
            return None
        found = self._known.get(RoundId(hosted.config.groups.parent))
        return found if isinstance(found, GroupedRound) else None

    def _admits(self, hosted: HostedRound, participant: ParticipantId) -> bool:
        if not self._store.admits((hosted.config.model_digest, hosted.config.purpose), participant):
            return False
        grouped = self.grouped(hosted)
        return grouped is None or grouped.group_for(participant) is hosted

    def _found(self, rounds: Mapping[RoundId, FoundT], round_id: bytes) -> FoundT:
        own = checked_id(round_id)
        found = rounds.get(own)
        if found is None:
            self._check_not_lost(own)
            raise UnknownRoundError(f"no round {round_id.hex()}; finished rounds are forgotten after a while")
        return found

    def _check_not_lost(self, round_id: RoundId) -> None:
        if round_id in self._lost:
            raise lost_round(self._lost[round_id])

    async def next_offer(
        self, task: str, participant: ParticipantId, seen: Collection[bytes], purpose: str = TRAIN
    ) -> HostedRound:
        """Wait for a round of the task, for that purpose, that the participant can join; the oldest first."""
        notifier = self._waiting.setdefault(participant, Notifier())
        while True:
            self._check_serving()
            self.quarantine.check(participant)
            for hosted in self._rounds.values():
                wanted = (hosted.config.task, hosted.config.purpose) == (task, purpose)
                unseen = hosted.record.round_id not in seen
                if wanted and unseen and hosted.offered_to(participant) and self._admits(hosted, participant):
                    return await self._given(hosted)
            await notifier.wait()

    def _wake(self, participant: ParticipantId) -> None:
        """Let one look again: the process that it had in a round is gone."""
        notifier = self._waiting.get(participant)
        if notifier is not None:
            notifier.notify()

    def _wake_all(self) -> None:
        for notifier in list(self._waiting.values()):
            notifier.notify()

    def newest_first(self) -> Iterator[OpenedRound]:
        """Every round, open or over."""
        return iter(list(reversed(self._known.values())))

    async def expel(self, refused: Collection[ParticipantId]) -> None:
        """Do without these in every open round that they are in: they may not take part any more."""
        if refused:
            self._log.warning("participants_expelled", count=len(refused), first=sorted(refused)[:_NAMED])
        for hosted in list(self._rounds.values()):
            members = frozenset(name for name in refused if hosted.delivered(name, Phase.ADVERTISE_KEYS))
            if members and hosted.outcome is None:
                # It ended meanwhile, or too few are left; or the process cannot go on with it. The others are next.
                with suppress(RoundAborted, Suspended):
                    await hosted.exclude(members)

    async def lose_door(self, door: Door) -> None:
        """Do without what that door held of open rounds."""
        for hosted in list(self._rounds.values()):
            # It ended meanwhile, or too few are left; or the process cannot go on with it. The others are next.
            with suppress(Suspended, RoundAborted):
                await hosted.lose_door(door)

    async def forgive(self, participant: ParticipantId) -> int:
        """Let a participant in again whose fault was proven; how many strikes it had.

        Raises:
            ConfigError: it has none.
            StoreError: the disk refuses, and nothing is forgiven.
        """
        strikes = sum(len(record.strikes) for record in self.quarantine.records if record.participant == participant)
        if not strikes:
            raise ConfigError(f"{participant} has no strikes")
        await self.audit.forgive(participant, strikes)  # first: nobody is let in again without a record
        return await asyncio.to_thread(self.quarantine.forgive, participant)

    async def shut_down(self) -> None:
        """Open no further round. End those that are open: the next process goes on with them if the store outlives
        this one; else they are aborted by name.
        """
        self._closed = True
        self._wake_all()
        await asyncio.gather(*(self._shut_down(opened) for opened in self._known.values()))

    async def _shut_down(self, opened: OpenedRound) -> None:
        if self._store.durable:
            await opened.suspend()
            return
        with suppress(RoundAborted):  # it ended by itself meanwhile
            await opened.abort(AbortReason.COORDINATOR_SHUTDOWN, SHUTDOWN)

    def _check_serving(self) -> None:
        if self._closed and self._store.durable:
            raise Suspended
        if self._closed:
            raise RoundAborted(AbortReason.COORDINATOR_SHUTDOWN, SHUTDOWN)

    def _cohort_ended(self, round_id: RoundId) -> None:
        hosted = self._rounds[round_id]
        self._wake_all()  # for those whom the next round about the model admits again
        if hosted.config.groups is None:  # else the round ends with the last of its groups
            self._round_ended(round_id)

    def _round_ended(self, round_id: RoundId) -> None:
        self._capacity.release(round_id)
        loop = asyncio.get_running_loop()
        loop.call_later(GIVE_BACK_AFTER_S, give_back)
        loop.call_later(self._settings.keep_finished_s, self._forget, round_id)
        has_sum = isinstance(self._known[round_id].outcome, Released | PackedGroups)
        self._ended[round_id] = not has_sum or round_id in self._fetched
        self._fetched.discard(round_id)
        surplus = max(0, len(self._ended) - self._settings.keep_finished_rounds)
        for oldest in [known for known, done in self._ended.items() if done][:surplus]:
            self._forget(oldest)

    def fetched(self, opened: OpenedRound) -> None:
        """Somebody has its sum: from now on it may be forgotten when later rounds end."""
        if opened.record.round_id in self._ended:
            self._ended[opened.record.round_id] = True
            self._store.fetched(opened.record.round_id)

    def _forget(self, round_id: RoundId) -> None:
        self._ended.pop(round_id, None)
        opened = self._known.pop(round_id, None)
        if opened is not None:
            ids = [hosted.record.round_id for hosted in _parts_of(opened)]
            for known in ids:
                del self._rounds[known]
            self._forget_kept(dict.fromkeys([round_id, *ids]))
            self._log.debug("round_forgotten", round_id=round_id.hex())

    def _forget_kept(self, round_ids: Iterable[RoundId]) -> None:
        """In a thread: a slow disk, or a sum of gigabytes, holds up no call."""
        task = asyncio.create_task(asyncio.to_thread(self._store.forget_rounds, round_ids))
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)


def _parts_of(opened: OpenedRound) -> Collection[HostedRound]:
    return (opened,) if isinstance(opened, HostedRound) else opened.groups.values()


def checked_id(round_id: bytes) -> RoundId:
    """Raise `DecodeError` unless that can be the id of a round."""
    if len(round_id) != ROUND_ID_SIZE:  # check: round-id-size
        raise DecodeError(f"a round id has {ROUND_ID_SIZE} bytes, not {len(round_id)}")
    return RoundId(round_id)
