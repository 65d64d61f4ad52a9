"""A round in groups on the running server: which group a participant is offered, and one result of their sums.

Each group is a whole round with an engine of its own, and the result follows from theirs. What is kept of the whole is
who was given which group, whether it was aborted, and how it ended. An assignment is safe before a participant hears
of it: nobody is ever given a second group.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from math import inf, isfinite

from secagg.aggregates import norm_of, plan_of, too_few
from secagg.config import RoundConfig
from secagg.crypto.rng import Rng
from secagg.errors import AbortReason, ConfigError, ProtocolViolation, RoundAborted, StoreError
from secagg.events import RoundFailed
from secagg.messages import ParticipantId, Phase
from secagg.phases import phases
from secagg.robust.combining import Anomaly, anomalies
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.progress import InGroup, ResultReady, WatchedEvent
from secagg.wire.results import PackedGroups
from secagg_server.audit.rounds import RoundAudit
from secagg_server.notifier import Notifier
from secagg_server.observability.facts import (
    GroupAnomaly,
    GroupsCombined,
    GroupsOpened,
    GroupsResumed,
    RoundBroken,
    RoundEvent,
    RoundLost,
)
from secagg_server.observability.logs import plain_traceback
from secagg_server.observability.observer import Observer
from secagg_server.rounds.hosted import INTERNAL, TOLD_EVERY_S, Clock, HostedRound, lost_round, name_of
from secagg_server.rounds.suspension import Suspended
from secagg_server.storage.records import Aborted, Assigned, Combined, Ended, Entry, Released, RoundRecord
from secagg_server.storage.store import Journal

_DRAW_BYTES = 8  # of randomness for one choice among at most a thousand groups


class GroupedRound:
    """A round in groups while it runs, and its result.

    Attributes:
        record: its id, its configuration as it was opened, and when.
        config: decoded.
        groups: the rounds that its groups are, by number.
        outcome: how it ended; None while it runs.
        events: what happened in the groups and in the whole, with times in seconds since 1970.
    """

    def __init__(
        self,
        record: RoundRecord,
        config: RoundConfig,
        groups: Mapping[int, HostedRound],
        journal: Journal,
        audit: RoundAudit,
        *,
        rng: Rng,
        clock: Clock,
        observer: Observer,
        on_end: Callable[[], None],
    ) -> None:
        """What is made needs one of `start` and `recover` before anything else.

        Args:
            record: its opening.
            config: decoded.
            groups: rounds of one cohort, by number.
            journal: of the whole.
            audit: writes into the audit log.
            rng: draws groups.
            clock: seconds since 1970.
            observer: hears what happens.
            on_end: called when the round is over.
        """
        self.record = record
        self.config = config
        self.groups = groups
        self.outcome: PackedGroups | RoundAborted | None = None
        self.events: list[tuple[float, WatchedEvent]] = []
        self._journal = journal
        self._audit = audit
        self._plan = plan_of(config)
        self._rng = rng
        self._clock = clock
        self._on_end = on_end
        self._news = Notifier()
        self._group_of: dict[ParticipantId, int] = {}
        self._sizes = dict.fromkeys(groups, 0)
        self._stopped: RoundAborted | None = None
        self._observer = observer
        self._name = name_of(record, config)
        self._unsafe: list[Assigned] = []
        self._writing = asyncio.Lock()
        self._suspended = False
        self._work: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The round is new."""
        ids = tuple(hosted.record.round_id for hosted in self.groups.values())
        self._observer.tell(GroupsOpened(self._name, self.record.opened_s, self._plan.text, ids))
        self._work = asyncio.create_task(self._run())

    def recover(self, ended: Ended | None, entries: Iterable[Entry]) -> None:
        """An earlier process opened the round, and its groups are recovered: go on, or answer as that process did.

        Args:
            ended: how it ended; None if it was open.
            entries: what was kept of it, oldest first.

        Raises:
            StoreError: they cannot have been written here.
        """
        for entry in entries:
            match entry:
                case Assigned(_, participant, number) if number in self.groups:
                    self._assign(participant, number)
                case Aborted(_, reason, message):
                    self._stopped = RoundAborted(reason, message)
                case _:
                    raise StoreError("the journal of a round in groups has an entry of another kind of round")
        told = [(at, InGroup(n, event)) for n, hosted in self.groups.items() for at, event in hosted.events]
        self.events += sorted(told, key=lambda happened: happened[0])
        if ended is None:
            self._observer.tell(GroupsResumed(self._name, self.record.opened_s, self.config))
            known = {number: len(hosted.events) for number, hosted in self.groups.items()}
            self._work = asyncio.create_task(self._run(known))
            return
        self.events += [(at, event) for at, event in ended.events if not isinstance(event, InGroup)]
        self.outcome = self._restored(ended)
        self._on_end()

    def _restored(self, ended: Ended) -> PackedGroups | RoundAborted:
        if isinstance(ended.outcome, RoundAborted):
            return ended.outcome
        numbers = ended.outcome.groups if isinstance(ended.outcome, Combined) else ()
        sums = {n: hosted.outcome for n, hosted in self.groups.items() if isinstance(hosted.outcome, Released)}
        if not numbers or not sums.keys() >= set(numbers):
            return lost_round("the sum of a group is missing")
        return PackedGroups({number: sums[number] for number in numbers})

    def lose(self, why: str) -> None:
        """Nobody can go on with the round; that is kept already."""
        self._observer.tell(RoundLost(self.record.round_id, why))
        failure = lost_round(why)
        self._tell_end(failure, self._ended(failure, ()))

    @property
    def phase(self) -> Phase | None:
        """The earliest phase that a group is in; None once the round is over."""
        if self.outcome is not None:
            return None
        order = phases(self.config)
        under_way = {hosted.phase for hosted in self.groups.values()}
        return next((phase for phase in order if phase in under_way), order[-1])

    def group_for(self, participant: ParticipantId) -> HostedRound | None:
        """The one group that the participant may join, the same whenever it asks: a random one of the smallest that
        are open for keys when it first asks. None if none was.
        """
        number = self._number_for(participant)
        return None if number is None else self.groups[number]

    def _number_for(self, participant: ParticipantId) -> int | None:
        if participant not in self._group_of:
            open_ = self._open_for_keys()
            if not open_:
                return None
            fewest = min(self._sizes[n] for n in open_)
            smallest = [n for n in open_ if self._sizes[n] == fewest]
            number = smallest[int.from_bytes(self._rng.token(_DRAW_BYTES)) % len(smallest)]
            self._assign(participant, number)
            self._unsafe.append(Assigned(self._clock(), participant, number))
        return self._group_of[participant]

    def _assign(self, participant: ParticipantId, number: int) -> None:
        self._group_of[participant] = number
        self._sizes[number] += 1

    async def keep_assignments(self) -> None:
        """Return when every group that was given out so far is safe.

        Raises:
            Suspended: it cannot be kept now.
        """
        async with self._writing:  # also waits for those who write just now
            taken, self._unsafe = self._unsafe, []
            try:
                await self._keep(taken)
            except StoreError:
                self._unsafe = taken + self._unsafe  # kept twice, it is the same
                raise Suspended from None

    async def _keep(self, entries: Sequence[Entry]) -> None:
        if entries:
            await asyncio.to_thread(self._write, entries)

    def _write(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._journal.append(entry)
        self._journal.flush()

    def _open_for_keys(self) -> list[int]:
        return [n for n, hosted in self.groups.items() if hosted.phase is Phase.ADVERTISE_KEYS]

    async def expect(self, participants: frozenset[ParticipantId]) -> None:
        """Draw a group for each of them; each group then waits for its own. See `Engine.expect`.

        Raises:
            ConfigError: too few or too many for the groups; none of them expects anybody new then.
            ProtocolViolation: no group is open for keys.
        """
        open_ = self._open_for_keys()
        if not open_:
            raise ProtocolViolation("no group is open for keys; say who will come right after opening the round")
        named = self._by_group(participants)
        for number in open_:
            count = len(named.get(number, ()))
            if not self.config.fewest_members <= count <= self.config.max_participants:
                raise ConfigError(
                    f"{len(participants)} participants are expected, {count} of them in group {number}; each group "
                    f"needs {self.config.fewest_members} and admits {self.config.max_participants}"
                )
        await self.keep_assignments()
        for number in open_:
            await self.groups[number].expect(named[number])

    async def exclude(self, participants: frozenset[ParticipantId]) -> None:
        """Do without these in the groups that they are in, or would be. See `Engine.exclude`."""
        named = self._by_group(participants)
        await self.keep_assignments()
        for number, names in named.items():
            if not isinstance(self.groups[number].outcome, RoundAborted):  # one with a sum may wait for signatures
                await self.groups[number].exclude(names)

    def _by_group(self, participants: frozenset[ParticipantId]) -> dict[int, frozenset[ParticipantId]]:
        named: dict[int, set[ParticipantId]] = {}
        for name in sorted(participants):
            number = self._number_for(name)
            if number is not None:
                named.setdefault(number, set()).add(name)
        return {number: frozenset(names) for number, names in named.items()}

    async def released(self) -> PackedGroups:
        """Wait for the end of all groups.

        Raises:
            RoundAborted: too few have a sum.
        """
        while self.outcome is None:
            self._check_suspended()
            await self._news.wait()
        if isinstance(self.outcome, RoundAborted):
            ended = self.outcome
            raise RoundAborted(ended.reason, str(ended), culprits=ended.culprits).accusing(ended.accused)
        return self.outcome

    def watch(self) -> AsyncIterator[Sequence[tuple[float, WatchedEvent]]]:
        """All events, from the first to the last; those that come shortly one after the other together."""
        return self._news.several(self.events, self._watched, pause_s=TOLD_EVERY_S)

    def _watched(self) -> bool:
        """Whether nothing more will happen."""
        if self.outcome is None:
            self._check_suspended()
        return self.outcome is not None

    def _check_suspended(self) -> None:
        if self._suspended:
            raise Suspended

    async def suspend(self) -> None:
        """The process stops, and the next one goes on."""
        for hosted in self.groups.values():
            await hosted.suspend()
        self._let_go()

    def _let_go(self) -> None:
        self._suspended = True
        self._news.notify()

    async def abort(self, reason: AbortReason, message: str) -> None:
        """End the groups that are under way, and the round without a result, unless it is over."""
        if self.outcome is None and self._work is not None:
            self._check_suspended()
            async with self._writing:
                try:
                    await self._keep([Aborted(self._clock(), reason, message)])
                except StoreError:
                    raise Suspended from None
            await self._stop(RoundAborted(reason, message))
            await asyncio.shield(self._work)

    # --- from the groups to the result --------------------------------------------------------------------------------

    async def _run(self, known: Mapping[int, int] | None = None) -> None:
        """Args: known: how many events of each group were told before, if not none."""
        ending: tuple[PackedGroups | RoundAborted, list[Anomaly]] | None
        try:
            if self._stopped is not None:
                await self._stop(self._stopped)
            async with asyncio.TaskGroup() as following:
                for number, hosted in self.groups.items():
                    following.create_task(self._follow(number, hosted, (known or {}).get(number, 0)))
            ending = await asyncio.to_thread(self._conclude)
        except* Suspended:
            ending = None
        except* Exception:  # a bug; nobody would learn of the end
            self._observer.tell(RoundBroken(self._name, plain_traceback()))
            ending = RoundAborted(AbortReason.INTERNAL, INTERNAL), []
        if ending is None:
            self._let_go()
        else:
            await self._end(*ending)

    async def _follow(self, number: int, hosted: HostedRound, known: int) -> None:
        async for at, event in hosted.follow(known):
            self.events.append((at, InGroup(number, event)))
            self._news.notify()
        fallen = self._fallen()
        if self._stopped is None and len(self.groups) - len(fallen) < self._plan.fewest:
            await self._stop(self._too_few(fallen))  # no sum of the others is worth telling

    async def _stop(self, failure: RoundAborted) -> None:
        self._stopped = failure
        for hosted in self.groups.values():
            try:
                await hosted.abort(failure.reason, str(failure))
            except RoundAborted:
                continue  # it ended by itself meanwhile

    def _fallen(self) -> list[int]:
        return [number for number, hosted in self.groups.items() if isinstance(hosted.outcome, RoundAborted)]

    def _too_few(self, fallen: Sequence[int]) -> RoundAborted:
        return too_few(self._plan, {number: self.groups[number].outcome for number in fallen})

    def _conclude(self) -> tuple[PackedGroups | RoundAborted, list[Anomaly]]:
        """The sums of the groups that have one, each read once to see how long it is. Runs in a thread."""
        if self._stopped is not None:
            return self._stopped, []
        sums = {n: hosted.outcome for n, hosted in self.groups.items() if isinstance(hosted.outcome, Released)}
        norms = {number: self._norm(number, released) for number, released in sums.items()}
        lost = [number for number in self.groups if not isfinite(norms.get(number, inf))]
        if len(self.groups) - len(lost) < self._plan.fewest:
            return self._too_few(lost), []  # how long a sum is that is not released, nobody learns
        return PackedGroups(sums), anomalies(norms)

    def _norm(self, number: int, released: Released) -> float:
        ids = GroupedRoundId(self.record.round_id, self.record.config_bytes)
        context = ids.context(number, self.config.model_digest)
        config = self.groups[number].config
        return norm_of(released.sums(config), len(released.survivors), config, context)

    async def _end(self, outcome: PackedGroups | RoundAborted, found: Sequence[Anomaly]) -> None:
        ended = self._ended(outcome, found)
        try:
            async with self._writing:
                await asyncio.to_thread(self._finish, ended, outcome)
        except StoreError:  # the groups are over and kept: the next process comes to the same end
            self._observer.tell(RoundBroken(self._name, plain_traceback()))
            self._let_go()
            return
        self._tell_end(outcome, ended)

    def _ended(self, outcome: PackedGroups | RoundAborted, found: Iterable[Anomaly]) -> Ended:
        """The end as it is kept. Its events are those that come from the whole, and not from a group."""
        now = self._clock()
        own: list[tuple[float, WatchedEvent]] = [(now, anomaly) for anomaly in found]
        if isinstance(outcome, RoundAborted):
            return Ended(now, outcome, events=(*own, (now, RoundFailed(outcome))))
        ready = ResultReady(outcome.survivors, outcome.digest)
        return Ended(now, Combined(tuple(outcome.groups)), events=(*own, (now, ready)))

    def _finish(self, ended: Ended, outcome: PackedGroups | RoundAborted) -> None:
        """In a thread. The audit log has it first, as of a round of one cohort."""
        if isinstance(outcome, RoundAborted):
            self._audit.failed(ended.time_s, outcome)
        else:
            self._audit.combined(ended.time_s, outcome.groups, outcome.survivors)
        self._audit.write()
        self._journal.finish(ended)

    def _tell_end(self, outcome: PackedGroups | RoundAborted, ended: Ended) -> None:
        for _, event in ended.events:
            if isinstance(event, Anomaly):
                self._observer.tell(GroupAnomaly(self._name, event))
        if isinstance(outcome, RoundAborted):
            self._observer.tell(RoundEvent(self._name, ended.time_s, RoundFailed(outcome)))
        else:
            self._observer.tell(GroupsCombined(self._name, ended.time_s, tuple(outcome.groups), outcome.survivors))
        self.events += ended.events
        self.outcome = outcome
        self._news.notify()
        self._on_end()


OpenedRound = HostedRound | GroupedRound
"""What an FL server opened."""
