"""Every round that the coordinator knows: opened, offered, and forgotten some time after its end."""

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial

import structlog

from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, Round, RoundId, bind
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.rng import Rng
from secagg.errors import (
    AbortReason,
    ConfigError,
    DecodeError,
    LimitError,
    ProtocolViolation,
    RoundAborted,
    UnknownRoundError,
)
from secagg.masked.accumulator import Parallel
from secagg.messages import ParticipantId
from secagg.schemes import coordinate
from secagg.wire.configuration import decode_config
from secagg_server.bell import Bell
from secagg_server.hosting import Clock, HostedRound
from secagg_server.memory import GIVE_BACK_AFTER_S, give_back
from secagg_server.settings import Settings
from secagg_server.store import RoundRecord, Store

SHUTDOWN = "the coordinator is shutting down"


class Rounds:
    """The registry."""

    def __init__(
        self, settings: Settings, trust: TrustAnchors, store: Store, *, parallel: Parallel, clock: Clock, rng: Rng
    ) -> None:
        """Args:
        settings: limits.
        trust: the CA of participants.
        store: what must not be forgotten.
        parallel: unmasks over ranges.
        clock: seconds since 1970.
        rng: round ids come from it.
        """
        self._settings = settings
        self._trust = trust
        self._store = store
        self._parallel = parallel
        self._clock = clock
        self._rng = rng
        self._rounds: dict[RoundId, HostedRound] = {}  # oldest first
        self._opening = 0
        self._opened = Bell()
        self._closed = False
        self._log = structlog.get_logger()

    async def open(self, config_bytes: bytes) -> HostedRound:
        """Start a round with this configuration.

        Raises:
            ConfigError: it is unsafe; the message says what to change.
            DecodeError: it is no configuration.
            LimitError: too many rounds are under way.
            RoundAborted: the coordinator shuts down.
        """
        self._check_serving()
        if sum(1 for r in self._rounds.values() if r.outcome is None) + self._opening >= self._settings.max_open_rounds:
            raise LimitError(f"{self._settings.max_open_rounds} rounds are under way; wait for one to end or abort one")
        self._opening += 1
        try:
            hosted = await asyncio.to_thread(self._prepare, config_bytes)
        finally:
            self._opening -= 1
        round_ = hosted()
        self._rounds[round_.record.round_id] = round_
        self._opened.ring()
        return round_

    def _prepare(self, config_bytes: bytes) -> Callable[[], HostedRound]:
        """Parse, check and store a round in a thread; what it returns starts it on the event loop."""
        config = self._checked(config_bytes)
        record = RoundRecord(RoundId(self._rng.token(ROUND_ID_SIZE)), config_bytes, self._clock())
        context = bind(record.round_id, config_bytes, config.model_digest)
        round_ = Round(record.round_id, config, context)
        journal = self._store.open_round(record)
        try:
            engine = coordinate(
                round_,
                now=record.opened_s,
                trust=self._trust,
                spool=journal.spool,
                parallel=self._parallel,
                claim=partial(self._store.claim_release, record.round_id),
            )
        except MemoryError:
            self._store.forget_round(record.round_id)
            raise LimitError(f"no memory for a sum of {config.vector_len} coordinates") from None
        return lambda: HostedRound(record, engine, journal, self._clock, lambda: self._round_ended(record.round_id))

    @staticmethod
    def _checked(config_bytes: bytes) -> RoundConfig:
        try:
            return decode_config(config_bytes)
        except ProtocolViolation as error:  # the wording for participants; here the caller itself chose the parameters
            raise ConfigError(str(error)) from None

    def find(self, round_id: bytes) -> HostedRound:
        """The round of this id.

        Raises:
            DecodeError: that is no id.
            UnknownRoundError: there is none, or none any more.
        """
        if len(round_id) != ROUND_ID_SIZE:
            raise DecodeError(f"a round id has {ROUND_ID_SIZE} bytes, not {len(round_id)}")
        found = self._rounds.get(RoundId(round_id))
        if found is None:
            raise UnknownRoundError(f"no round {round_id.hex()}; finished rounds are forgotten after a while")
        return found

    async def next_offer(self, task: str, participant: ParticipantId, seen: Collection[bytes]) -> HostedRound:
        """Wait for a round of the task that the participant can join, the oldest first."""
        while True:
            self._check_serving()
            for hosted in self._rounds.values():
                if hosted.config.task == task and hosted.record.round_id not in seen and hosted.offered_to(participant):
                    return hosted
            await self._opened.wait()

    def newest_first(self) -> Iterator[HostedRound]:
        """Every round, open or over."""
        return iter(list(reversed(self._rounds.values())))

    async def shut_down(self) -> None:
        """Abort every open round by name; open no further one."""
        self._closed = True
        self._opened.ring()
        await asyncio.gather(*(self._shut_down(hosted) for hosted in self._rounds.values()))

    @staticmethod
    async def _shut_down(hosted: HostedRound) -> None:
        with suppress(RoundAborted):  # it ended by itself meanwhile
            await hosted.abort(AbortReason.COORDINATOR_SHUTDOWN, SHUTDOWN)

    def _check_serving(self) -> None:
        if self._closed:
            raise RoundAborted(AbortReason.COORDINATOR_SHUTDOWN, SHUTDOWN)

    def _round_ended(self, round_id: RoundId) -> None:
        if isinstance(self._rounds[round_id].outcome, RoundAborted):
            self._store.withdraw_release(round_id)
        loop = asyncio.get_running_loop()
        loop.call_later(GIVE_BACK_AFTER_S, give_back)
        loop.call_later(self._settings.keep_finished_s, self._forget, round_id)
        over = [r.record.round_id for r in self._rounds.values() if r.outcome is not None]
        for oldest in over[: max(0, len(over) - self._settings.keep_finished_rounds)]:
            self._forget(oldest)

    def _forget(self, round_id: RoundId) -> None:
        if self._rounds.pop(round_id, None) is not None:
            self._store.forget_round(round_id)
            self._log.debug("round_forgotten", round_id=round_id.hex())
