"""A hosted round without a network: what is written before it is told, replayed, timed, repeated and logged."""

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import structlog
from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.calls.statuses import STATUS
from secagg_server.notifier import Notifier
from secagg_server.observability.logs import LogListener, only_plain_values
from secagg_server.observability.observer import Observer
from secagg_server.rounds import processes
from secagg_server.rounds.grouped import GroupedRound
from secagg_server.rounds.hosted import TOLD_EVERY_S, HostedRound
from secagg_server.rounds.processes import Processes
from secagg_server.rounds.unmasking import Unmasking
from secagg_server.storage.memory import MemoryJournal, MemoryStore
from secagg_server.storage.records import (
    Aborted,
    DeadlinePassed,
    Ended,
    Entry,
    Excluded,
    Expected,
    Received,
    Rejoined,
    Released,
    RoundRecord,
    SeedReceived,
    UploadCompleted,
)

from secagg import errors
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng, SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, LocalError, NotInRoundError, ProtocolViolation, RoundAborted, SecAggError
from secagg.events import DropReason, Event, ParticipantDropped, RoundFailed
from secagg.lattice.parameters import Custody, Scheme
from secagg.masked import scheme as masked
from secagg.masked.ranges import Workers, one_after_the_other
from secagg.masked.vector import MaskedVector
from secagg.messages import (
    AdvertiseKeys,
    Index,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    ParticipantId,
    ParticipantMessage,
    Phase,
    ShareKeys,
    SurvivorSet,
    Unmask,
)
from secagg.rounds.certification import Certification, Result
from secagg.rounds.engine import Engine
from secagg.tools.simulation.cohort import Contribution, set_up
from secagg.tools.simulation.network import Run
from secagg.wire.configuration import encode_config
from secagg.wire.progress import encode_event, watched
from secagg.wire.results import decode_aggregate
from tests.encrypted_rounds import encrypted_config, prepare
from tests.rounds import deployment
from tests.serving import NAMES, PATIENCE_S, SEMI_HONEST, make_config

NOW = 1_700_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)
PEOPLE = NAMES[:4]


class KeepingSpool:
    """A spool that forgets nothing, as one on disk would until the round is over."""

    def __init__(self) -> None:
        self.chunks: dict[tuple[Phase, Index], list[bytes]] = {}

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        self.chunks.setdefault((phase, owner), []).append(payload)

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        yield from self.chunks.get((phase, owner), [])

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        pass


RECORD = RoundRecord(RoundId(bytes(16)), b"", NOW)


@dataclass
class KeepingJournal:
    """A journal that remembers everything, can be held up and can fail."""

    spool: KeepingSpool = field(default_factory=KeepingSpool)
    entries: list[Entry] = field(default_factory=list)
    ended: Ended | None = None
    gate: threading.Event = field(default_factory=threading.Event)
    full: bool = False
    broken_off: bool = False

    def append(self, entry: Entry) -> None:
        assert self.gate.wait(PATIENCE_S)
        if self.full:
            raise OSError(28, "No space left on device")
        self.entries.append(entry)

    def flush(self) -> None:
        pass

    def finish(self, ended: Ended) -> Ended:
        self.ended = MemoryJournal(RECORD).finish(ended)
        return self.ended

    def break_off(self) -> None:
        self.broken_off = True


class Scene:
    """A hosted round of four, its journal, a clock that the test moves, and participants without a network."""

    def __init__(self, workers: Workers = one_after_the_other, *, durable: bool = False, **deadlines: float) -> None:
        unmasking = Unmasking(workers)
        made = make_config(4, SEMI_HONEST, size=500_000, threshold=3, deadlines=deadlines)
        update = {"values": np.full(500_000, 0.25, np.float32)}
        self.run: Run = set_up(made, {n: Contribution(update) for n in PEOPLE}, rng=SeededRng(bytes(32)), now=NOW)
        round_ = self.run.coordinator.round
        self.now = NOW
        self.journal = KeepingJournal()
        self.journal.gate.set()
        self.record = RoundRecord(round_.round_id, encode_config(made), NOW)
        self.ended = 0
        engine = masked.coordinator(round_, now=NOW, spool=self.journal.spool, workers=unmasking)
        self.hosted = HostedRound(
            self.record,
            engine,
            self.journal,
            lambda: self.now,
            on_end=self.on_end,
            on_room=lambda _: None,
            identity=lambda: deployment().coordinator,
            observer=Observer(LogListener()),
            settle=lambda **_: None,
            audit=CoordinatorAudit(None, lambda: self.now).round(self.record, made),
            durable=durable,
            unmasking=unmasking,
        )
        self.hosted.start()
        self.next: dict[ParticipantId, object] = {n: p.advertisement for n, p in self.run.participants.items()}

    def on_end(self) -> None:
        self.ended += 1

    def messages(self, name: ParticipantId) -> list[ParticipantMessage]:
        said = self.next[name]
        if isinstance(said, MaskedVector):
            return list(said)
        assert isinstance(said, AdvertiseKeys | ShareKeys | Unmask)
        return [said]

    async def speak(self, name: ParticipantId) -> None:
        self.now += 0.01
        for message in self.messages(name):
            if isinstance(message, MaskedInputChunk):
                await self.hosted.receive_chunk(name, self.hosted.claim_upload(name), message)
            else:
                await self.hosted.receive(name, message)

    async def listen(self, name: ParticipantId, phase: Phase) -> None:
        answer = await self.hosted.answer(name, phase)
        self.next[name] = self.run.participants[name].receive(answer, NOW)

    async def phase(self, phase: Phase, speakers: list[ParticipantId], listeners: list[ParticipantId]) -> None:
        for name in speakers:
            await self.speak(name)
        if phase is not Phase.UNMASK:
            for name in listeners:
                await self.listen(name, phase)

    async def pass_deadline(self) -> None:
        self.now = self.hosted._engine.deadline
        await self.hosted._on_deadline()


async def with_a_dropout(scene: Scene) -> Released:
    """The third uploads the first of two chunks and falls silent; the fourth leaves after its input."""
    first, second, third, fourth = PEOPLE
    await scene.phase(Phase.ADVERTISE_KEYS, PEOPLE, PEOPLE)
    await scene.phase(Phase.SHARE_KEYS, PEOPLE, PEOPLE)
    half = scene.messages(third)[0]
    assert isinstance(half, MaskedInputChunk)
    await scene.hosted.receive_chunk(third, scene.hosted.claim_upload(third), half)
    for name in (first, second, fourth):
        await scene.speak(name)
    await scene.pass_deadline()
    for name in (first, second, fourth):
        await scene.listen(name, Phase.MASKED_INPUT)
    for name in (first, second, fourth):
        await scene.speak(name)
    return await scene.hosted.released()


def replay(scene: Scene) -> Engine:
    """A fresh engine, fed with nothing but the record, the journal and the spooled chunks."""
    spooled = dict(scene.journal.spool.chunks)
    engine = masked.coordinator(scene.run.coordinator.round, now=scene.record.opened_s, spool=KeepingSpool())
    events: list[tuple[float, Event]] = [(scene.record.opened_s, engine.started())]
    for entry in scene.journal.entries:
        match entry:
            case Received(at, sender, message):
                news = engine.receive(sender, message, at)
            case UploadCompleted(at, sender, phase):
                chunks = spooled[phase, engine._members.index[sender]]
                news = [e for i, c in enumerate(chunks) for e in engine.receive(sender, MaskedInputChunk(i, c), at)]
            case SeedReceived():
                raise AssertionError("a masked round has no seeds")
            case DeadlinePassed(at):
                news = engine.tick(at)
            case Rejoined(at, sender, keys):
                news = engine.rejoin(sender, keys, at)
            case Expected(at, participants):
                news = engine.expect(participants, at)
            case Excluded(at, participants):
                news = engine.exclude(participants, at)
            case Aborted(at, reason, message):
                news = engine.abort(reason, message)
        events += [(at, event) for event in news]
    digest = scene.hosted.outcome.digest if isinstance(scene.hosted.outcome, Released) else b""
    told = [encode_event(watched(event, digest), at) for at, event in events]
    assert told == [encode_event(event, at) for at, event in scene.hosted.events]
    return engine


async def test_the_journal_gives_the_round_again() -> None:
    scene = Scene()
    released = await with_a_dropout(scene)
    assert released.survivors == tuple(n for n in PEOPLE if n != PEOPLE[2])
    engine = replay(scene)
    assert engine.aggregate is not None
    aggregate = decode_aggregate(released.parts(), scene.hosted.config)
    np.testing.assert_array_equal(engine.aggregate.sums, aggregate.sums)
    counted = [scene.run.vectors[ParticipantId(n)].read(0, 500_001, np.dtype(np.uint64)) for n in released.survivors]
    np.testing.assert_array_equal(aggregate.sums, np.sum(counted, axis=0))
    assert scene.journal.ended is not None
    assert scene.journal.ended.outcome is released
    assert scene.ended == 1


@pytest.mark.parametrize("length", range(0, 15, 2))
async def test_the_first_part_of_a_journal_gives_the_state_of_then(length: int) -> None:
    """A crash: whatever was in the journal by then comes out the same, survivor set and all."""
    scene = Scene()
    await with_a_dropout(scene)
    whole = list(scene.hosted.events)
    scene.journal.entries = scene.journal.entries[:length]
    last = scene.journal.entries[-1].time_s if length else NOW
    scene.hosted.events = [e for e in whole if e[0] <= last]
    engine = replay(scene)
    assert engine.phase is not None


async def test_a_left_round_and_an_aborted_one_are_replayed() -> None:
    scene = Scene()
    await scene.phase(Phase.ADVERTISE_KEYS, PEOPLE, PEOPLE)
    await scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.REFUSED))
    await scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.REFUSED))
    await scene.hosted.abort(AbortReason.CANCELLED, "enough")
    engine = replay(scene)
    assert engine.failure is not None
    assert str(engine.failure) == "enough"
    left = [e for _, e in scene.hosted.events if isinstance(e, ParticipantDropped)]
    assert left == [ParticipantDropped(Phase.SHARE_KEYS, PEOPLE[0], DropReason.REFUSED)]


async def test_a_round_that_is_over_holds_its_packed_sum_and_little_else() -> None:
    scene = Scene()
    gc.collect()
    tracemalloc.start()
    released = await with_a_dropout(scene)
    size = sum(map(len, released.payloads))
    assert size == -(-500_001 * scene.hosted.config.ring_bits // 8)
    scene.next.clear()
    scene.run.participants.clear()
    scene.run.vectors = {}
    scene.journal.spool.chunks.clear()
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < kept < 1.2 * size  # the sum itself, in words, would be twice that
    assert scene.journal.ended is not None
    assert isinstance(scene.journal.ended.outcome, Released)


async def test_who_repeats_its_last_message_after_the_end_is_answered_alike() -> None:
    scene = Scene()
    await with_a_dropout(scene)
    entries = len(scene.journal.entries)
    await scene.speak(PEOPLE[0])
    assert len(scene.journal.entries) == entries
    with pytest.raises(NotInRoundError):
        await scene.hosted.answer(PEOPLE[0], Phase.SHARE_KEYS)  # too late for anything that would follow
    assert isinstance(await scene.hosted.answer(PEOPLE[0], Phase.MASKED_INPUT), SurvivorSet)
    with pytest.raises(NotInRoundError):
        await scene.hosted.receive(PEOPLE[2], Unmask({}))  # dropped long before


async def test_nobody_is_answered_before_the_journal_has_it() -> None:
    scene = Scene()
    for name in PEOPLE[:3]:
        await scene.speak(name)
    scene.journal.gate.clear()
    closing = asyncio.create_task(scene.speak(PEOPLE[3]))
    waiting = asyncio.create_task(scene.hosted.answer(PEOPLE[0], Phase.ADVERTISE_KEYS))
    await asyncio.sleep(0.1)
    assert scene.hosted._engine.phase is Phase.SHARE_KEYS  # decided, and not told
    assert scene.hosted.phase is Phase.ADVERTISE_KEYS
    over = asyncio.create_task(scene.hosted.over(PEOPLE[0], Phase.ADVERTISE_KEYS))  # asks now
    await asyncio.sleep(0.05)
    assert not over.done()
    assert not closing.done()
    assert not waiting.done()
    assert len(scene.journal.entries) == 3
    scene.journal.gate.set()
    await asyncio.gather(closing, waiting, over)
    assert len(scene.journal.entries) == 4


async def test_a_cancelled_call_does_not_cut_a_step_short() -> None:
    scene = Scene()
    scene.journal.gate.clear()
    speaking = asyncio.create_task(scene.speak(PEOPLE[0]))
    await asyncio.sleep(0.05)
    speaking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await speaking
    scene.journal.gate.set()
    await scene.speak(PEOPLE[1])  # waits for its turn
    assert scene.hosted.delivered(PEOPLE[0], Phase.ADVERTISE_KEYS)
    assert [e.sender for e in scene.journal.entries if isinstance(e, Received)] == PEOPLE[:2]


async def test_a_full_disk_ends_the_round_by_name() -> None:
    scene = Scene()
    await scene.speak(PEOPLE[0])
    scene.journal.full = True
    with pytest.raises(RoundAborted) as caught:
        await scene.speak(PEOPLE[1])
    assert caught.value.reason is AbortReason.INTERNAL
    with pytest.raises(RoundAborted):
        await scene.hosted.ended()
    assert isinstance(scene.hosted.events[-1][1], RoundFailed)
    assert scene.hosted._engine.failure is not None
    assert scene.journal.broken_off  # no later process goes on with it
    assert scene.ended == 1


async def test_repeats_leave_no_trace_in_the_journal() -> None:
    scene = Scene()
    await scene.speak(PEOPLE[0])
    for _ in range(3):
        await scene.speak(PEOPLE[0])
    assert len(scene.journal.entries) == 1
    for _ in range(2):
        await scene.hosted.leave(PEOPLE[1], Leave(LeaveReason.CANCELLED))  # never came, and says that it will not
    assert len(scene.journal.entries) == 2


async def test_the_clock_closes_phases_without_anyone_calling() -> None:
    scene = Scene(advertise_keys_s=0.2)
    for name in PEOPLE[:3]:
        await scene.speak(name)
    scene.now = NOW + 0.2  # the wall clock; the loop's own runs by itself
    async with asyncio.timeout(PATIENCE_S):
        await scene.hosted.answer(PEOPLE[0], Phase.ADVERTISE_KEYS)
    assert isinstance(scene.journal.entries[-1], DeadlinePassed)


async def test_a_clock_that_lags_is_waited_for() -> None:
    """The loop's timer fires, the wall clock says that there is time left: the phase stays open."""
    scene = Scene(advertise_keys_s=0.1)
    for name in PEOPLE[:3]:
        await scene.speak(name)
    scene.now = NOW
    await asyncio.sleep(0.3)
    assert scene.hosted.phase is Phase.ADVERTISE_KEYS
    scene.now = NOW + 0.1
    async with asyncio.timeout(PATIENCE_S):
        await scene.hosted.answer(PEOPLE[0], Phase.ADVERTISE_KEYS)


async def test_an_older_upload_is_superseded() -> None:
    scene = Scene()
    await scene.phase(Phase.ADVERTISE_KEYS, PEOPLE, PEOPLE)
    await scene.phase(Phase.SHARE_KEYS, PEOPLE, PEOPLE)
    first, second = scene.messages(PEOPLE[0])
    assert isinstance(first, MaskedInputChunk)
    assert isinstance(second, MaskedInputChunk)
    old = scene.hosted.claim_upload(PEOPLE[0])
    await scene.hosted.receive_chunk(PEOPLE[0], old, first)
    assert await scene.hosted.upload_progress(PEOPLE[0]) == 1
    with pytest.raises(ProtocolViolation, match="took over"):
        await scene.hosted.receive_chunk(PEOPLE[0], old, second)
    await scene.hosted.receive_chunk(PEOPLE[0], scene.hosted.claim_upload(PEOPLE[0]), second)
    assert scene.hosted.delivered(PEOPLE[0], Phase.MASKED_INPUT)


def test_the_store_in_memory() -> None:
    store = MemoryStore()
    [journal] = store.open_rounds([RECORD])
    journal.append(DeadlinePassed(NOW))
    failure = RoundAborted(AbortReason.CANCELLED, "x")
    ended = Ended(NOW, failure)
    journal.finish(ended)
    assert store.journals[RECORD.round_id].ended is ended
    store.forget_rounds([RECORD.round_id])
    assert store.journals == {}
    seen = [store.see_identity(PEOPLE[0], print_) for print_ in ("a", "b", "a")]
    assert seen == [True, True, False]


def test_every_error_has_a_status() -> None:
    """Whatever a peer can cause; the rest are our own bugs and end as INTERNAL."""
    ours = {errors.PolicyViolation, errors.RemoteError, errors.TransportError, SecAggError, errors.LocalError}
    ours |= {errors.InputError, errors.IdentityError, errors.MissingExtraError, errors.WorkerError}
    ours |= {errors.ModelMismatch, errors.RoundTimeoutError, errors.ParticipationCancelled, errors.MemoryFileError}
    ours |= {errors.SavedStateError}
    every = {v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, SecAggError)}
    assert every - ours == set(STATUS)


def test_bytes_and_secrets_never_reach_the_log() -> None:
    event = {"event": "x", "key": b"secret", "share": Secret(b"secret"), "sums": np.ones(3), "n": 3, "who": ("a", b"b")}
    assert only_plain_values(None, "info", dict(event)) == {
        "event": "x",
        "key": "<bytes>",
        "share": "<Secret>",
        "sums": "<ndarray>",
        "n": 3,
        "who": ["a", "<bytes>"],
    }


async def test_what_comes_while_the_round_ends_is_not_in_its_journal() -> None:
    """The last step holds the round; an abort and a leave wait for their turn, and find it over."""
    scene = Scene()
    for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT):
        await scene.phase(phase, PEOPLE, PEOPLE)
    for name in PEOPLE[:3]:
        await scene.speak(name)
    scene.journal.gate.clear()
    last = asyncio.create_task(scene.speak(PEOPLE[3]))
    await asyncio.sleep(0.05)
    late = [
        asyncio.create_task(scene.hosted.abort(AbortReason.CANCELLED, "too late")),
        asyncio.create_task(scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.CANCELLED))),
    ]
    await asyncio.sleep(0.05)
    assert scene.hosted.outcome is None
    scene.journal.gate.set()
    await asyncio.gather(last, *late)
    assert isinstance(await scene.hosted.released(), Released)
    assert not [e for e in scene.journal.entries if isinstance(e, Aborted)]
    assert not [e for e in scene.journal.entries if isinstance(e, Received) and isinstance(e.message, Leave)]


async def test_a_sum_that_was_released_stays_released(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    await with_a_dropout(scene)

    def broken(*_: object) -> list[Event]:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Engine, "receive", broken)
    with pytest.raises(RoundAborted):
        await scene.speak(PEOPLE[0])
    assert isinstance(await scene.hosted.released(), Released)
    assert scene.ended == 1


@pytest.mark.parametrize("error", [LocalError("a bug"), ProtocolViolation("a bug")])
async def test_a_deadline_that_cannot_be_handled_ends_the_round(
    monkeypatch: pytest.MonkeyPatch, error: SecAggError
) -> None:
    """There is nobody to refuse; left alone, the round would wait for ever."""
    scene = Scene()
    await scene.phase(Phase.ADVERTISE_KEYS, PEOPLE, PEOPLE)

    def broken(*_: object) -> list[Event]:
        raise error

    monkeypatch.setattr(Engine, "_close", broken)
    await scene.pass_deadline()
    with pytest.raises(RoundAborted) as caught:
        await scene.hosted.ended()
    assert caught.value.reason is AbortReason.INTERNAL


async def test_asking_whether_a_phase_is_over_while_a_step_ends_the_round() -> None:
    """The event loop asks; the step is in a thread. Whatever it has changed so far, the answer is yes or no."""
    scene = Scene()
    engine = scene.hosted._engine
    ended: list[Phase] = []

    class Order(tuple[Phase, ...]):
        __slots__ = ()

        def index(self, phase: Phase, *_: object) -> int:
            ended.append(phase)
            engine.phase = None
            return super().index(phase)

    engine._order = Order(engine._order)
    assert not engine.ready(PEOPLE[0], Phase.ADVERTISE_KEYS)
    assert ended
    assert engine.ready(PEOPLE[0], Phase.ADVERTISE_KEYS)


async def test_asking_a_round_that_lets_its_last_candidate_go() -> None:
    """Between the last candidate and the failure that follows there is nobody whose turn it is to hand in the sum."""
    engine = prepare(encrypted_config(Scheme.BFV, Custody.PARTICIPANTS)).coordinator
    engine.phase, engine._going_on = Phase.RELEASE_SUM, []
    assert not engine.ready(PEOPLE[0], Phase.REPORT_SUM)


async def test_a_mistake_of_our_own_is_not_taken_for_the_senders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `LocalError` in the middle of a step leaves a state that nobody knows; the round must not go on with it."""
    scene = Scene()
    for name in PEOPLE[:3]:
        await scene.speak(name)

    def broken(*_: object) -> list[Event]:
        raise LocalError("nothing was added")

    monkeypatch.setattr(Engine, "_open", broken)
    with pytest.raises(RoundAborted):
        await scene.speak(PEOPLE[3])
    with pytest.raises(RoundAborted) as caught:
        await scene.hosted.ended()
    assert caught.value.reason is AbortReason.INTERNAL


async def test_an_embedded_coordinator_logs_no_local_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody called `configure_logs`: structlog's own way with exceptions shows what every variable held."""
    structlog.reset_defaults()
    scene = Scene()

    def broken(*_: object) -> list[Event]:
        revealed = "a share of " + "somebody's secret"
        raise RuntimeError("a bug", len(revealed))

    monkeypatch.setattr(Engine, "receive", broken)
    with pytest.raises(RoundAborted):
        await scene.speak(PEOPLE[0])
    said = capsys.readouterr()
    assert "a bug" in said.out + said.err
    assert "a share of somebody" not in said.out + said.err


def other_keys(name: ParticipantId) -> AdvertiseKeys:
    """What another process of the participant makes."""
    update = {"values": np.zeros(500_000, np.float32)}
    again = set_up(Scene().hosted.config, {name: Contribution(update)}, rng=SystemRng(), now=NOW)
    return again.participants[name].advertisement


async def settled(scene: Scene) -> None:
    """A leave is answered before its step has had its turn."""
    await asyncio.gather(*scene.hosted._steps)


async def test_a_second_process_neither_takes_the_place_of_the_first_nor_says_good_bye_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "LEAVE_PATIENCE_S", 0.05)
    scene, other = Scene(), other_keys(PEOPLE[0])
    first = scene.run.participants[PEOPLE[0]].advertisement
    async with scene.hosted.joining(PEOPLE[0], first):
        with pytest.raises(ProtocolViolation, match="another process"):
            async with scene.hosted.joining(PEOPLE[0], other):
                raise AssertionError
        with pytest.raises(ProtocolViolation, match="so it stays in it"):
            await scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.REFUSED))
        async with scene.hosted.joining(PEOPLE[0], first):  # its own retry, while the broken call seems to wait
            assert not scene.hosted.offered_to(PEOPLE[0])
    assert scene.hosted._engine._joining.advertised[PEOPLE[0]] == first
    assert scene.hosted._processes._waiting[PEOPLE[0]] == 0


async def test_a_good_bye_throws_the_first_process_out_without_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin."""

    async def believed(*_: object) -> None: ...

    monkeypatch.setattr(Processes, "check_hung_up", believed)
    scene = Scene()
    async with scene.hosted.joining(PEOPLE[0], scene.run.participants[PEOPLE[0]].advertisement):
        await scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.REFUSED))
    await settled(scene)
    assert PEOPLE[0] not in scene.hosted._engine._joining.advertised


async def test_a_good_bye_may_overtake_the_end_of_its_own_call() -> None:
    scene = Scene()
    joined = asyncio.Event()

    async def wait_for_the_roster() -> None:
        async with scene.hosted.joining(PEOPLE[0], scene.run.participants[PEOPLE[0]].advertisement):
            joined.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait_for_the_roster())
    await joined.wait()
    leaving = asyncio.create_task(scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.CANCELLED)))
    await asyncio.sleep(0)
    waiting.cancel()
    await leaving
    await settled(scene)
    assert PEOPLE[0] not in scene.hosted._engine._joining.advertised
    assert scene.hosted.offered_to(PEOPLE[0])  # interrupted, and perhaps started again


async def test_a_restarted_process_joins_with_new_keys_once_the_first_is_gone() -> None:
    scene, other = Scene(), other_keys(PEOPLE[0])
    await scene.hosted.expect(frozenset(PEOPLE))
    async with scene.hosted.joining(PEOPLE[0], scene.run.participants[PEOPLE[0]].advertisement):
        pass  # its call ended: it crashed
    assert scene.hosted.offered_to(PEOPLE[0])
    async with scene.hosted.joining(PEOPLE[0], other):
        assert not scene.hosted.offered_to(PEOPLE[0])
    await scene.hosted.leave(PEOPLE[0], Leave(LeaveReason.REFUSED))
    await settled(scene)
    assert not scene.hosted.offered_to(PEOPLE[0])
    async with scene.hosted.joining(PEOPLE[0], other_keys(PEOPLE[0])):
        pass
    await scene.hosted.exclude(frozenset({PEOPLE[3]}))
    await scene.phase(Phase.ADVERTISE_KEYS, PEOPLE[1:3], [])
    assert scene.hosted.phase is Phase.SHARE_KEYS
    replay(scene)
    kinds = [type(entry) for entry in scene.journal.entries]
    assert kinds == [Expected, Received, Rejoined, Received, Received, Excluded, Received, Received]


@pytest.mark.parametrize("in_groups", [False, True])
async def test_nobody_waits_for_the_signature_of_the_excluded(in_groups: bool) -> None:
    """The sum is out, and its survivors sign it: all but one, whose FL server says that it is gone."""
    scene = Scene()
    outcome = await with_a_dropout(scene)
    made = deployment()
    verified = {name: made.trust.verify_participant(made.identities[name].chain, AT) for name in PEOPLE}
    signers = {Index(i): (name, verified[name].public_key) for i, name in enumerate(PEOPLE, start=1)}
    scene.hosted.certifying.certification = Certification(Result(outcome.digest, signers, 3), signers)
    signing = [
        asyncio.create_task(scene.hosted.certify(name, made.identities[name].sign(outcome.digest)))
        for name in PEOPLE[:3]
    ]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in signing)
    if in_groups:
        grouped = object.__new__(GroupedRound)
        grouped.groups, grouped._group_of = {1: scene.hosted}, dict.fromkeys(PEOPLE, 1)
        grouped._unsafe, grouped._writing = [], asyncio.Lock()
        await grouped.exclude(frozenset({PEOPLE[3]}))
    else:
        await scene.hosted.exclude(frozenset({PEOPLE[3]}))
    async with asyncio.timeout(PATIENCE_S):
        proofs = await asyncio.gather(*signing)
    assert [sorted(proof.signatures) for proof in proofs] == [[1, 2, 3]] * 3


def test_who_left_is_refused_until_another_process_of_it_has_joined() -> None:
    there = Processes(lambda _: None)
    with there.leaving_for(PEOPLE[0], LeaveReason.CANCELLED):
        there.check_there(PEOPLE[0])  # its step has not been made yet
    with pytest.raises(NotInRoundError, match="left this round"):
        there.check_there(PEOPLE[0])
    there.check_there(PEOPLE[1])
    there.came_back(PEOPLE[0])
    there.check_there(PEOPLE[0])


async def test_who_watches_is_told_together_what_comes_shortly_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twin of it: without the pause each message of a large cohort would wake everybody who watches."""
    pauses: list[float] = []
    several = Notifier.several

    def noting(self: Notifier, items: Any, over: Any, seen: int = 0, pause_s: float = 0.0) -> Any:
        pauses.append(pause_s)
        return several(self, items, over, seen, pause_s)

    monkeypatch.setattr(Notifier, "several", noting)
    scene = Scene()
    scene.hosted.watch()
    assert pauses == [TOLD_EVERY_S]
    assert TOLD_EVERY_S > 0
