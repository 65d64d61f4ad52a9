"""What becomes of the rounds that an earlier process left, before this one takes calls.

A round that was open is built again: the engine makes the steps that its journal tells, with the times that it tells,
and takes vectors from the spool. So every survivor set, every event and every sum comes out as before. Then the open
phase gets its time anew, since its participants may have to come back first. A round that was over answers as before.
A round that is damaged fails by name, and the others go on.

A round that was stored, and whose cost was not planned when the process ended, was never told to anybody: it is
forgotten.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import AbortReason, IdentityError, LedgerError, LimitError, RemoteError, RoundAborted, StoreError
from secagg.messages import Phase
from secagg.programs.ledgers.budgets import Charge
from secagg.wire.configuration import decode_config
from secagg.wire.grouping import GroupedRoundId
from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.limits.capacity import Capacity
from secagg_server.observability.facts import RoundLost
from secagg_server.observability.observer import Observer
from secagg_server.rounds.grouped import OpenedRound
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.opening import RoundOpener
from secagg_server.storage.memory import MemoryJournal
from secagg_server.storage.records import Combined, Ended, RoundRecord
from secagg_server.storage.store import KeptRound, LostRound, Store


@dataclass(frozen=True, slots=True)
class Found:
    """A round that was kept, and can at least be named.

    Attributes:
        record: its opening.
        config: decoded.
        kept: what there is of it; None if it is lost.
        why: it is lost.
        groups: of a round in groups, by number.
    """

    record: RoundRecord
    config: RoundConfig
    kept: KeptRound | None
    why: str = ""
    groups: dict[int, "Found"] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it was open when the earlier process ended."""
        return self.kept is not None and self.kept.ended is None

    @property
    def ids(self) -> list[RoundId]:
        """Its own id and those of its groups."""
        return [self.record.round_id, *(group.record.round_id for group in self.groups.values())]


def check_suites(kept: Iterable[KeptRound | LostRound]) -> None:
    """Find out whether `Recovery.run` could go on with what was kept, where no round may be taken up.

    Raises:
        MissingExtraError: nothing here can make the masks of a round that was open.
        ConfigError: nothing here has the primitives of its suite.
    """
    for one in kept:
        if isinstance(one, KeptRound) and one.ended is None:
            with suppress(RemoteError):  # a round that cannot be read is lost, and keeps nothing from starting
                decode_config(one.record.config_bytes).suite.require()


class Add(Protocol):
    """Takes a round."""

    def __call__(self, opened: OpenedRound, /, *, fetched: bool) -> None:
        """Take it; `fetched` is whether somebody has its sum."""


class Recovery:
    """Takes up the rounds that a store kept."""

    def __init__(
        self,
        store: Store,
        opener: RoundOpener,
        capacity: Capacity,
        observer: Observer,
        audit: CoordinatorAudit,
        *,
        add: Add,
        add_group: Callable[[HostedRound], None],
        lose: Callable[[RoundId, str], None],
    ) -> None:
        """Args:
        store: has them.
        opener: makes rounds.
        capacity: what open rounds take of this machine.
        observer: hears what is lost.
        audit: is told what is lost.
        add: takes each round that was given out before it goes on, and whether somebody has its sum.
        add_group: takes each group.
        lose: takes what can only be named.
        """
        self._store = store
        self._opener = opener
        self._capacity = capacity
        self._observer = observer
        self._audit = audit
        self._add = add
        self._lose = lose
        self._add_group = add_group

    async def run(self) -> None:
        """Take up every round, the oldest first.

        Raises:
            MissingExtraError: nothing here can make the masks of a round that was open. It stays as it was.
            StoreError: the store itself cannot be read.
        """
        kept = await asyncio.to_thread(lambda: list(self._store.kept()))
        await asyncio.to_thread(self._audit.recall, [_id_of(one) for one in kept])
        for found in self._sorted(kept):
            if await asyncio.to_thread(self._never_told, found):
                self._store.forget_rounds(found.ids)
                continue
            if found.open:
                self._capacity.hold(found.record.round_id, self._opener.demand(found.config))
            charge = self._opener.budgets.resume(found.record.round_id, found.config)
            if found.config.groups is None:
                fetched = found.kept is not None and found.kept.fetched
                await self._take_up(found, charge, partial(self._add, fetched=fetched))
            else:
                await self._take_up_groups(found, charge)
        self._audit.recalled()

    # --- what there is ------------------------------------------------------------------------------------------------

    def _sorted(self, kept: Iterable[KeptRound | LostRound]) -> list[Found]:
        """Rounds in the order of their opening, with their groups."""
        tops: dict[RoundId, Found] = {}
        groups: dict[RoundId, Found] = {}
        nameless: dict[RoundId, str] = {}  # why they are lost
        for one in kept:
            found = self._named(one, nameless)
            if found is None:
                continue
            of = found.config.groups
            (groups if of is not None and of.number else tops)[found.record.round_id] = found
        for top in tops.values():
            if top.config.groups is not None:
                top.groups.update(self._groups_of(top, top.config.groups.count, groups, nameless))
        for orphan in groups.values():
            self._give_up(orphan.record.round_id, "the round that it is a group of is not there", orphan.kept)
        for round_id, why in nameless.items():
            self._give_up(round_id, why, None)
        return list(tops.values())

    @staticmethod
    def _groups_of(
        parent: Found, count: int, groups: dict[RoundId, Found], nameless: dict[RoundId, str]
    ) -> dict[int, Found]:
        """The groups of a round, taken from `groups`. One that is not there, or cannot be read, is lost alone: its id
        and its configuration follow from the parent's.
        """
        record, ids = parent.record, GroupedRoundId(parent.record.round_id, parent.record.config_bytes)
        found: dict[int, Found] = {}
        for number in range(1, count + 1):
            round_id, config_bytes = ids.round_id(number), ids.group_config(number)
            there = groups.pop(round_id, None)
            why = nameless.pop(round_id, "nothing of it is there")
            if there is None:
                lost = RoundRecord(round_id, config_bytes, record.opened_s, record.trust_pem)
                there = Found(lost, decode_config(config_bytes), None, why)
            found[number] = there
        return found

    def _named(self, one: KeptRound | LostRound, nameless: dict[RoundId, str]) -> Found | None:
        record, why = one.record, one.why if isinstance(one, LostRound) else ""
        kept = one if isinstance(one, KeptRound) else None
        if record is None:
            nameless[_id_of(one)] = why
            return None
        try:
            return Found(record, decode_config(record.config_bytes), kept, why)
        except RemoteError as error:
            self._give_up(record.round_id, f"its configuration cannot be read: {error}", kept)
            return None

    def _give_up(self, round_id: RoundId, why: str, kept: KeptRound | None) -> None:
        self._observer.tell(RoundLost(round_id, why))
        self._audit.lost(round_id, why)
        self._lose(round_id, why)
        if kept is not None and kept.ended is None:
            kept.journal.break_off()

    def _never_told(self, found: Found) -> bool:
        """Whether the process ended between storing the round and planning its cost."""
        parts = [found, *found.groups.values()]
        if found.config.noise is None or not all(part.open for part in parts):
            return False
        try:
            if any(True for part in parts if part.kept is not None for _ in part.kept.entries()):
                return False
            return not self._opener.budgets.knows(found.record.round_id, found.config)
        except (StoreError, LedgerError):
            return False  # what is wrong shows when the round is taken up, or when it ends

    # --- taking it up -------------------------------------------------------------------------------------------------

    async def _take_up(self, found: Found, charge: Charge | None, add: Callable[[HostedRound], None]) -> HostedRound:
        """A round of one cohort. `charge` is None if nothing is charged for it any more."""
        record, config, kept = found.record, found.config, found.kept
        if kept is None:
            return await self._lost(found, charge, add)
        if kept.ended is not None:
            return await self._restored(found, kept, kept.ended, charge, add)
        try:
            make = await asyncio.to_thread(self._opener.again, record, config, kept.journal, charge)
        except (LimitError, IdentityError) as error:
            await asyncio.to_thread(kept.journal.break_off)
            return await self._lost(replace(found, why=str(error)), charge, add)
        hosted = make()
        add(hosted)
        await hosted.recover(kept.entries)
        return hosted

    async def _restored(
        self, found: Found, kept: KeptRound, ended: Ended, charge: Charge | None, add: Callable[[HostedRound], None]
    ) -> HostedRound:
        try:
            after = list(kept.entries())
        except StoreError as error:
            return await self._lost(replace(found, why=str(error)), charge, add)
        if charge is not None and not isinstance(ended.outcome, Combined):
            await asyncio.to_thread(charge.settle, ended.outcome, _OPENED if ended.opened else None)
        hosted = self._opener.over(found.record, found.config, kept.journal, ended)
        add(hosted)
        hosted.restore(ended, after)
        return hosted

    async def _lost(self, found: Found, charge: Charge | None, add: Callable[[HostedRound], None]) -> HostedRound:
        """What nobody knows counts as shown: it stays charged, and on record."""
        if charge is not None:
            failure = RoundAborted(AbortReason.INTERNAL, found.why)
            await asyncio.to_thread(charge.settle, failure, _OPENED)
        self._store.settle_release(found.record.round_id, released=False, may_be_open=True)
        await asyncio.to_thread(self._audit.lost, found.record.round_id, found.why)
        hosted = self._opener.over(found.record, found.config, MemoryJournal(found.record), None)
        add(hosted)
        hosted.lose(found.why)
        return hosted

    async def _take_up_groups(self, found: Found, charge: Charge | None) -> None:
        kept = found.kept
        groups: dict[int, HostedRound] = {}
        shared = charge if found.open else None  # else it is settled
        for number, group in sorted(found.groups.items()):
            groups[number] = await self._take_up(group, shared, self._add_group)
        if kept is None:
            grouped = self._opener.in_groups(found.record, found.config, groups, MemoryJournal(found.record))
            self._add(grouped, fetched=False)
            for hosted in groups.values():
                if hosted.outcome is None:
                    await hosted.abort(AbortReason.INTERNAL, f"the round is lost: {found.why}")
            grouped.lose(found.why)
            return
        grouped = self._opener.in_groups(found.record, found.config, groups, kept.journal)
        self._add(grouped, fetched=kept.fetched)
        try:
            grouped.recover(kept.ended, await asyncio.to_thread(lambda: list(kept.entries())))
        except StoreError as error:
            grouped.lose(str(error))


def _id_of(one: KeptRound | LostRound) -> RoundId:
    return one.record.round_id if isinstance(one, KeptRound) else one.round_id


_OPENED = Phase.UNMASK
"""A phase in which a round that fails is charged all the same."""
