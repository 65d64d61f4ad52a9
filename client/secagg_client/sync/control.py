# Made of secagg_client/aio/control.py by `make sync`: change that file, not this one.
"""What an FL server tells its sidecar from plain code: open a round, watch it, fetch the sum."""

from collections import Counter
from collections.abc import Collection, Generator
from contextlib import closing
from time import monotonic
from types import TracebackType
from typing import Self

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import RoundConfig
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.crypto.rng import Rng, SystemRng
from secagg.messages import ParticipantId
from secagg.transport.addresses import checked_local_target
from secagg.wire.describing import Description
from secagg.wire.ledgers import TaskLedger
from secagg.wire.progress import WatchedEvent
from secagg.wire.rounds import RoundSummary
from secagg.wire.strikes import Record
from secagg_client.calls.arrivals import Arrival
from secagg_client.calls.call import PreparedCall, ResponseT_co
from secagg_client.calls.control_plane import (
    AbortRound,
    DescribeSidecar,
    Exclude,
    Expect,
    FetchGroupSums,
    FetchResult,
    ForgiveStrikes,
    GetLedger,
    KeepResult,
    ListRounds,
    ListStrikes,
    OpenRound,
    WatchRound,
)
from secagg_client.calls.health import CheckHealth
from secagg_client.fetched import Fetched, written, written_groups
from secagg_client.opened_rounds import OpenedRounds, end_of, ends
from secagg_client.participation.outputs import Out, output_of
from secagg_client.retry import RETRYABLE, Attempts, RetryPolicy
from secagg_client.sync.connection import Connection
from secagg_client.transport import channels
from secagg_client.transport.sync import Channel, compute


class ControlClient:
    """The FL server's connection to the coordinator beside it. Safe to use from several threads.

    Examples:
        >>> with ControlClient("unix:/run/secagg/control.sock") as control:
        ...     round_id = control.open_round(config)
        ...     mean = control.result(round_id).mean(config)
    """

    def __init__(self, target: str, *, retry: RetryPolicy | None = None, rng: Rng | None = None) -> None:
        """The connection is made when it is first needed. It has no TLS, and never leaves the machine.

        Args:
            target: address of the control plane, "unix:/path" or "127.0.0.1:port".
            retry: when a call that broke is made again.
            rng: source of the ids of rounds. The default is the operating system's.
        """
        self._retry = retry or RetryPolicy()
        self._rng = rng or SystemRng()
        channel = Channel(checked_local_target(target), channels.local_options(self._retry))
        self._connection = Connection(channel, self._retry)
        self._opened = OpenedRounds()

    def open_round(
        self, config: RoundConfig, *, round_id: RoundId | None = None, timeout_s: float | None = None
    ) -> RoundId:
        """Open a round and give its id. Participants who wait for the task are offered it at once.

        A call that breaks is made again under the same id: no second round is opened, and no budget is charged twice.

        Args:
            config: describes the round.
            round_id: 16 bytes of a CSPRNG that were never used for another round. By default they are drawn. Who keeps
                them before this call can make it again in another process: if the round was opened, it is not opened
                again.
            timeout_s: longest time; no limit if None.

        Raises:
            BudgetExceeded: its noise is too weak for what is left of the task's privacy budget.
            ConfigError: the sidecar refuses the configuration, or has a round of this id with another one.
            LedgerError: the task's privacy ledger is damaged, or cannot be written.
            LimitError: as many rounds are under way as the sidecar allows.
            TransportError: the sidecar cannot be reached. If the connection broke under way, the round may be open.
        """
        asked = RoundId(self._rng.token(ROUND_ID_SIZE)) if round_id is None else round_id
        round_id = self._call(OpenRound(asked, config), timeout_s)
        self._opened.remember(round_id, config)
        return round_id

    def watch(
        self, round_id: RoundId, *, timeout_s: float | None = None
    ) -> Generator[tuple[float, WatchedEvent], None, None]:
        """The events of a round from its beginning until it is over, each with its time in seconds since 1970.

        After a broken connection it goes on where it was. A coordinator that was restarted tells again what it told,
        but not of each message that it had accepted in the phase that was open then.

        Args:
            round_id: id of the round.
            timeout_s: longest time; no limit if None.

        Raises:
            UnknownRoundError: there is no such round.
        """
        call, told = WatchRound(round_id), Counter[bytes]()
        attempts = Attempts(self._retry)
        with self._connection.scope(timeout_s) as scope:
            while True:
                attempts.begin(monotonic())
                try:
                    with closing(self._connection.stream(call, scope)) as parts:
                        repeated = told.copy()
                        for part in parts:
                            for known_by, event in call.events(part):
                                if repeated[known_by]:
                                    repeated[known_by] -= 1
                                    continue
                                told[known_by] += 1
                                attempts.progressed()
                                yield event
                    return
                except RETRYABLE as error:
                    scope.wait(attempts.delay_after(error, monotonic()))

    def fetch(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> Aggregate:
        """The exact sum of a round that is over, checked against its digest.

        Args:
            round_id: id of the round.
            config: needed only for a round that this client did not open.
            timeout_s: longest time; no limit if None.

        Raises:
            RoundAborted: there is none.
            ProtocolViolation: only the participants know it, because `release_to_coordinator` is off.
        """
        return self._call(FetchResult(round_id, self._opened.config(round_id, config)), timeout_s)

    def result(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> Aggregate:
        """Wait for the end of the round, then do as `fetch` does."""
        config = self._opened.config(round_id, config)
        left_s = self._wait(round_id, timeout_s)
        return self.fetch(round_id, config, timeout_s=left_s)

    def fetch_into(
        self, out: Out, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> Fetched:
        """As `fetch` and `mean`, or `totals` in a round of integers, without the sum ever being whole in memory.

        The sum waits in a temporary file until all of it is checked. Of a round in groups this is the combination of
        all groups, which are in memory first.

        Args:
            out: arrays of the round's shapes and dtypes (int64 for sums of integers), in memory or mapped, or the path
                of an .npz file, or of a .npy file for one array. What is in arrays after an error means nothing; a file
                is what it was.
            round_id: id of the round.
            config: needed only for a round that this client did not open.
            timeout_s: longest time; no limit if None.

        Raises:
            ConfigError: the aggregate has no place in `out`.
            RoundAborted: there is none.
            ProtocolViolation: only the participants know it, because `release_to_coordinator` is off.
        """
        config, output = self._opened.config(round_id, config), output_of(out)
        output.check(config)
        if config.groups is not None:
            groups = self.fetch_groups(round_id, config, timeout_s=timeout_s)
            return compute(written_groups, output, groups, config)
        with closing(Arrival(config)) as arrival:
            packed = self._call(KeepResult(round_id, config, arrival), timeout_s)
            return compute(written, output, packed, round_id, config)

    def result_into(
        self, out: Out, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> Fetched:
        """Wait for the end of the round, then do as `fetch_into` does."""
        config = self._opened.config(round_id, config)
        output_of(out).check(config)
        left_s = self._wait(round_id, timeout_s)
        return self.fetch_into(out, round_id, config, timeout_s=left_s)

    def fetch_groups(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> GroupedAggregate:
        """The exact sums of a round in groups that is over. Arguments and errors are those of `fetch`."""
        return self._call(FetchGroupSums(round_id, self._opened.config(round_id, config)), timeout_s)

    def result_groups(
        self, round_id: RoundId, config: RoundConfig | None = None, *, timeout_s: float | None = None
    ) -> GroupedAggregate:
        """Wait for the end of a round in groups, then do as `fetch_groups` does."""
        config = self._opened.config(round_id, config)
        left_s = self._wait(round_id, timeout_s)
        return self.fetch_groups(round_id, config, timeout_s=left_s)

    def _wait(self, round_id: RoundId, timeout_s: float | None) -> float | None:
        """Wait for the end of the round; gives the time that is left."""
        began, last = monotonic(), None
        with closing(self.watch(round_id, timeout_s=timeout_s)) as events:
            for _, last in events:
                if ends(last):
                    break
        end_of(last, round_id)
        return None if timeout_s is None else timeout_s - (monotonic() - began)

    def expect(self, round_id: RoundId, participants: Collection[str], *, timeout_s: float | None = None) -> None:
        """Say who will come: participants advertise keys until all of them have, and not longer, up to the deadline.
        Call it right after `open_round`, and again with the whole list when it changes.

        Others are admitted only where that leaves room for all who are expected. Of a round in groups, each of
        `participants` is drawn into a group.

        Args:
            round_id: id of the round.
            participants: ids: at least the threshold, at most max_participants; as many in each group.
            timeout_s: longest time; no limit if None.

        Raises:
            ConfigError: too few, too many, or no id.
            ProtocolViolation: the list of members is closed.
            RoundAborted: the round is over without a sum.
        """
        self._call(Expect(round_id, participants), timeout_s)

    def exclude(self, round_id: RoundId, participants: Collection[str], *, timeout_s: float | None = None) -> None:
        """Say who is gone, in any phase: nobody waits for them any more, and if they call they are told so. What one
        has delivered in the open phase stands. If fewer than the threshold are left, the round ends at once.

        Args:
            round_id: id of the round.
            participants: ids.
            timeout_s: longest time; no limit if None.

        Raises:
            ConfigError: no id.
            RoundAborted: the round is over without a sum.
        """
        self._call(Exclude(round_id, participants), timeout_s)

    def abort(self, round_id: RoundId, reason: str, *, timeout_s: float | None = None) -> None:
        """End a round without a sum.

        Args:
            round_id: id of the round.
            reason: shown to participants; at most 1,000 bytes of UTF-8.
            timeout_s: longest time; no limit if None.
        """
        self._call(AbortRound(round_id, reason), timeout_s)

    def list_rounds(self, task: str | None = None, *, timeout_s: float | None = None) -> tuple[RoundSummary, ...]:
        """The rounds that the coordinator remembers, newest first; of one task, if one is named."""
        return self._call(ListRounds(task or ""), timeout_s)

    def ledger(self, task: str, *, timeout_s: float | None = None) -> TaskLedger:
        """What a task has spent of its privacy budget, entry by entry. Keep its head: `Ledger.check_head` tells with it
        whether a later ledger continues from this one.

        Raises:
            ConfigError: the task has no ledger.
            LedgerError: it is corrupt or was rolled back.
        """
        return self._call(GetLedger(task), timeout_s)

    def strikes(self, *, timeout_s: float | None = None) -> tuple[Record, ...]:
        """Participants whose fault was proven, in which rounds, and whether they are kept out of rounds.

        Args:
            timeout_s: longest time; no limit if None.
        """
        return self._call(ListStrikes(), timeout_s)

    def forgive(self, participant_id: str, *, timeout_s: float | None = None) -> int:
        """Forgive a participant all of its strikes, so that it may take part again; how many it had.

        Args:
            participant_id: who.
            timeout_s: longest time; no limit if None.

        Raises:
            ConfigError: this is no id of a participant, or it has no strikes.
        """
        return self._call(ForgiveStrikes(ParticipantId(participant_id)), timeout_s)

    def describe(self, *, timeout_s: float | None = None) -> Description:
        """The sidecar's release of secagg, the versions of the protocol that it speaks, and its clock.

        Args:
            timeout_s: longest time; no limit if None.

        Raises:
            ProtocolViolation: the sidecar is of a release before this call.
            TransportError: the sidecar cannot be reached.
        """
        return self._call(DescribeSidecar(), timeout_s)

    def serves(self, *, timeout_s: float | None = None) -> bool:
        """Whether the sidecar serves: not while it shuts down. Arguments and errors are those of `describe`."""
        return self._call(CheckHealth(), timeout_s)

    def close(self) -> None:
        """End what is under way and close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, call: PreparedCall[ResponseT_co], timeout_s: float | None) -> ResponseT_co:
        with self._connection.scope(timeout_s) as scope:
            return call.read(self._connection.perform(call, scope))
