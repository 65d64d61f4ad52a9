"""Rounds of a coordinator whose process ends at any moment: a store that tells what is safe from what is not, and
participants that go on with the next process.

What a process keeps is safe in steps: opening, flush, end, claim, entry of a ledger. The process can be made to end
before one of them, right after it, or in the middle of a flush; nobody hears anything from it then. The next process
begins with what was safe.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from secagg_server.observability.facts import Fact
from secagg_server.observability.observer import Observer
from secagg_server.rounds.grouped import GroupedRound, OpenedRound
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.settings import Settings
from secagg_server.storage.records import Ended, Entry, Released, RoundRecord, Withheld
from secagg_server.storage.sqlite.folder import held
from secagg_server.storage.sqlite.store import SqliteStore
from secagg_server.storage.store import KeptRound, LostRound

from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.rng import SeededRng, SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.vector import EncodedUpdate
from secagg.errors import AbortReason, LedgerError, NotInRoundError, RemoteError, RoundAborted, SecAggError, StoreError
from secagg.events import MessageAccepted
from secagg.lattice.jobs import Desk
from secagg.masked.ranges import one_after_the_other
from secagg.messages import (
    SENT_IN,
    CoordinatorMessage,
    Index,
    Leave,
    LeaveReason,
    ParticipantId,
    ParticipantMessage,
    Phase,
    ReleaseOrder,
    Roster,
    ShareDelivery,
    Unmask,
)
from secagg.privacy.ledger import Head
from secagg.programs.disk import REAL_DISK
from secagg.receipts import Receipt
from secagg.rounds.certification import Result
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.schemes import Participant, Upload, take_part
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.progress import WatchedEvent, encode_event
from secagg.wire.results import PackedGroups, decode_aggregate
from secagg.wire.strikes import Strike
from tests.encrypted_rounds import TOLERANT
from tests.rounds import NOW, deployment, random_update
from tests.serving import ROOMY, make_settings

ROUND = RoundId(bytes(range(16)))


class Died(BaseException):
    """The process has ended: no code of ours may go on with this."""


class Death(Enum):
    """When the process ends."""

    BEFORE = auto()
    """A step was about to become safe; everything that follows from the step before may be known to everybody."""
    WITHIN = auto()
    """A flush had written all chunks and the first entries."""
    AFTER = auto()
    """A step is safe, and nobody heard of it."""


Chunks = dict[tuple[Phase, Index], tuple[bytes, ...]]


@dataclass
class SafeRound:
    """What is safe of one round."""

    record: RoundRecord
    entries: tuple[Entry, ...] = ()
    chunks: Chunks = field(default_factory=dict)
    ended: Ended | None = None
    broken_off: bool = False
    fetched: bool = False


@dataclass
class Safe:
    """What outlives a process."""

    rounds: dict[RoundId, SafeRound] = field(default_factory=dict)
    releases: ReleaseMemory = field(default_factory=lambda: ReleaseMemory(200))
    ledgers: dict[str, tuple[tuple[bytes, ...], Head]] = field(default_factory=dict)


class Life:
    """One process's time, counted in steps that become safe."""

    def __init__(self, until: int = 0, death: Death = Death.BEFORE) -> None:
        """Args:
        until: the step at which it ends; never if 0.
        death: how.
        """
        self.steps = 0
        self.flushes = 0
        self.refuses_from = 0
        self.breaks_off = True
        self.over = False
        self._until, self._death = until, death
        self._later: list[Callable[[], object]] = []

    def check(self) -> None:
        if self.over:
            raise Died

    def write(self) -> None:
        """A flush, or an end, is about to be written."""
        self.flushes += 1
        if self.refuses_from and self.flushes >= self.refuses_from:
            raise StoreError("No space left on device")

    def later(self, effect: Callable[[], object]) -> None:
        """Becomes safe with the next step."""
        self.check()
        self._later.append(effect)

    def step(self, *effects: Callable[[], object], torn: Callable[[], object] = lambda: None) -> None:
        """These become safe together."""
        self.check()
        self.steps += 1
        self.over = self.steps == self._until
        if self.over and self._death is Death.WITHIN:
            torn()
        if not self.over or self._death is Death.AFTER:
            for effect in [*self._later, *effects]:
                effect()
            self._later.clear()
        self.check()


class Journal:
    """A journal and its spool; `flush` copies into what is safe."""

    def __init__(self, safe: SafeRound, life: Life) -> None:
        self._safe, self._life = safe, life
        self._pending: list[Entry] = []
        self._chunks = {place: list(chunks) for place, chunks in safe.chunks.items()}
        self._grown: set[tuple[Phase, Index]] = set()  # what is cut off stays where it is safe, until more comes

    @property
    def spool(self) -> "Journal":
        return self

    def append(self, *taken: Any) -> None:
        """An entry of the journal, or a chunk of the spool."""
        self._life.check()
        if len(taken) == 1:
            self._pending.append(taken[0])
        else:
            phase, owner, payload = taken
            self._chunks.setdefault((phase, owner), []).append(payload)
            self._grown.add((phase, owner))

    def take(self, phase: Phase, owner: Index) -> Iterator[bytes]:
        yield from list(self._chunks.get((phase, owner), []))

    def cut(self, phase: Phase, owner: Index, chunks: int) -> None:
        del self._chunks.get((phase, owner), [])[chunks:]

    def flush(self) -> None:
        self._life.write()
        self._life.step(
            partial(self._write, len(self._pending)), torn=partial(self._write, (len(self._pending) + 1) // 2)
        )
        self._pending.clear()

    def _write(self, entries: int) -> None:
        self._safe.chunks = self._safe.chunks | {place: tuple(self._chunks[place]) for place in self._grown}
        self._grown.clear()
        self._safe.entries += tuple(self._pending[:entries])

    def finish(self, ended: Ended) -> Ended:
        self._life.write()
        self._life.step(partial(self._end, _kept(ended)))
        self._pending.clear()
        return ended

    def _end(self, ended: Ended) -> None:
        self._safe.ended, self._safe.entries, self._safe.chunks = ended, (), {}

    def break_off(self) -> None:
        if not self._life.breaks_off:
            raise StoreError("Input/output error")
        self._life.step(lambda: setattr(self._safe, "broken_off", True))


def _kept(ended: Ended) -> Ended:
    """The end as one reads it again: the sum is of its own."""
    outcome = ended.outcome
    if isinstance(outcome, Released):
        outcome = Released(outcome.survivors, tuple(bytes(payload) for payload in outcome.payloads), outcome.digest)
    return Ended(ended.time_s, outcome, ended.receipt, ended.events, ended.last, ended.opened)


class Ledgers:
    """Privacy ledgers that outlive the process."""

    durable = True

    def __init__(self, safe: Safe, life: Life) -> None:
        self._safe, self._life = safe, life

    def tasks(self) -> Sequence[str]:
        return list(self._safe.ledgers)

    def read(self, task: str) -> tuple[Sequence[bytes], Head | None]:
        return self._safe.ledgers.get(task, ((), None))

    def append(self, task: str, entry: bytes, head: Head) -> None:
        lines = (*self.read(task)[0], entry)
        self._life.step(lambda: self._safe.ledgers.update({task: (lines, head)}))


class MortalStore:
    """A store whose process may end at any step."""

    durable = True

    def __init__(self, safe: Safe, life: Life) -> None:
        self._safe, self._life = safe, life
        self.ledgers = Ledgers(safe, life)

    def open_rounds(self, records: Sequence[RoundRecord]) -> Sequence[Journal]:
        made = {record.round_id: SafeRound(record) for record in records}
        self._life.step(lambda: self._safe.rounds.update(made))
        return [Journal(one, self._life) for one in made.values()]

    def kept(self) -> Iterable[KeptRound | LostRound]:
        for round_id, one in self._safe.rounds.items():
            if one.broken_off:
                yield LostRound(round_id, "it was broken off", one.record)
            else:
                entries = one.entries
                yield KeptRound(one.record, Journal(one, self._life), partial(iter, entries), one.ended, one.fetched)

    def fetched(self, round_id: RoundId) -> None:
        self._life.later(lambda: setattr(self._safe.rounds[round_id], "fetched", True))

    def forget_rounds(self, round_ids: Iterable[RoundId]) -> None:
        ids = list(round_ids)
        self._life.step(lambda: [self._safe.rounds.pop(round_id) for round_id in ids])

    def claim_release(self, round_id: RoundId, release: Release) -> frozenset[ParticipantId]:
        exposed = self._safe.releases.exposed(round_id, release)
        if not exposed:
            self._life.step(lambda: self._safe.releases.claim(round_id, release))
        return exposed

    def settle_release(self, round_id: RoundId, *, released: bool, may_be_open: bool) -> None:
        settle = self._safe.releases.settle
        self._life.later(partial(settle, round_id, released=released, may_be_open=may_be_open))

    def admits(self, question: tuple[bytes, str], participant: ParticipantId) -> bool:
        return self._safe.releases.admits(question, participant)

    def strikes(self) -> Sequence[Strike]:
        return ()

    def strike(self, strike: Strike) -> None:
        del strike

    def forgive(self, participant: ParticipantId) -> None:
        del participant

    def see_identity(self, participant: ParticipantId, fingerprint: str) -> bool:
        del participant, fingerprint
        return False


class Guarded:
    """A store or a journal of another kind, as a process that may end before or after each of its steps uses it."""

    def __init__(self, inner: Any, life: Life, ledgers: Ledgers | None = None) -> None:
        self._inner, self._life = inner, life
        if ledgers is not None:
            self.ledgers = ledgers

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return partial(self._made, found) if name in _SAFE_STEPS else found

    def _made(self, step: Callable[..., Any], *arguments: Any) -> Any:
        results: list[Any] = []
        self._life.step(lambda: results.append(step(*arguments)))
        return results[0]

    def open_rounds(self, records: Sequence[RoundRecord]) -> Any:
        return [Guarded(journal, self._life) for journal in self._made(self._inner.open_rounds, records)]

    def kept(self) -> Iterator[Any]:
        for one in self._inner.kept():
            guarded = Guarded(one.journal, self._life) if isinstance(one, KeptRound) else None
            yield one if guarded is None else replace(one, journal=guarded)


_SAFE_STEPS = {"flush", "finish", "break_off", "claim_release"}


@dataclass(frozen=True)
class Scenario:
    """A round, and who does not see it through.

    Attributes:
        name: of the test.
        config: of the round.
        people: who takes part.
        silent: sends nothing from this phase on (of a vector: all but the last chunk), until the process ends.
        leaves: leaves before it sends in this phase.
        expects: whether the FL server says who will come.
        one_sum: whether the sum is the same whenever the process ends.
    """

    name: str
    config: RoundConfig
    people: tuple[ParticipantId, ...]
    silent: tuple[ParticipantId, Phase] | None = None
    leaves: tuple[ParticipantId, Phase] | None = None
    expects: bool = False
    one_sum: bool = False


class Player:
    """One participant through all lives of the coordinator: it repeats what it is not sure has arrived."""

    def __init__(self, name: ParticipantId, world: "World") -> None:
        self.name = name
        self._world = world
        self.round: Round | None = None
        self.error: SecAggError | None = None
        self.sent = False  # to the process that lives
        self.receipt: Receipt | None = None
        self.proof: Any = None
        self._session: Participant | None = None
        self._said: ParticipantMessage | Upload | None = None
        self._told: CoordinatorMessage | None = None
        self.vector: EncodedUpdate | None = None
        self.lies_once = False
        self.signs = True

    def forget_the_end(self) -> None:
        """It did not hear how the round ended, and asks again."""
        self.receipt, self.sent = None, False

    async def join(self, rounds: Rounds) -> None:
        """Find the round, once; later lives know it."""
        if self.round is not None:
            return
        record = (await rounds.find_for(self.name, ROUND)).record
        self._world.check()
        config = decode_config(record.config_bytes)
        self.round = Round(record.round_id, config, bind(record.round_id, record.config_bytes, config.model_digest))
        made, number = deployment(), int(self.name.rsplit("-", 1)[1])
        update = config.schema.check(random_update(config.schema, number))
        self.vector = config.code.encode(update, 1, Secret(bytes([number]) * 32), self.round.context)
        credentials = Credentials(made.identities[self.name], made.trust) if config.signed else None
        policy = self._world.policy(config)
        rng = SeededRng(bytes([number]) * 32)
        self._session = take_part(Membership(self.round, self.name, policy, rng, credentials), self.vector, Desk)
        self._said = self._session.advertisement

    @property
    def session(self) -> Participant:
        assert self._session is not None
        return self._session

    @property
    def done(self) -> bool:
        return self.error is not None or self.receipt is not None

    async def speak(self, hosted: HostedRound) -> bool:
        """Send what comes next, if this process has not got it. Whether anything was done."""
        if self.done or self.sent:
            return False
        self.sent = True
        said, scenario = self._said, self._world.scenario
        phase = self._phase_of(said)
        if scenario.leaves == (self.name, phase):
            await hosted.leave(self.name, Leave(LeaveReason.CANCELLED))
            self._world.check()
            self.error = NotInRoundError("left")
            return True
        silent = self._world.first_life and scenario.silent == (self.name, phase)
        try:
            if said is None:
                return False
            if isinstance(said, ParticipantMessage):
                if self.lies_once and isinstance(said, Unmask):
                    self.lies_once = False
                    with suppress(RemoteError):
                        await hosted.receive(self.name, _with_a_wrong_share(said))
                    self._world.check()
                if not silent:
                    await hosted.receive(self.name, said)
            else:
                await self._upload(hosted, said, silent)
        except (RemoteError, NotInRoundError, RoundAborted) as error:
            self._world.check()
            self.error = error
        self._world.check()
        return True

    async def _upload(self, hosted: HostedRound, said: Upload, silent: bool) -> None:
        at = await hosted.upload_progress(self.name)
        self._world.check()
        acknowledged = self._world.acknowledged.get((self.name, said.phase), 0)
        if hosted.phase is said.phase:
            assert at >= acknowledged, f"{acknowledged} chunks were acknowledged, and {at} are there"
        claim = hosted.claim_upload(self.name)
        for number in range(at, said.chunks - silent):
            await hosted.receive_chunk(self.name, claim, said.chunk(number))
            self._world.check()
        if silent:
            there = await hosted.upload_progress(self.name)
            self._world.check()
            self._world.acknowledged[self.name, said.phase] = there

    def _phase_of(self, said: ParticipantMessage | Upload | None) -> Phase | None:
        if said is None:
            return None
        return SENT_IN[type(said)] if isinstance(said, ParticipantMessage) else said.phase

    async def listen(self, hosted: HostedRound) -> bool:
        """Take the answer, if it is there. Whether it was."""
        if self.done:
            return False
        phase = self.session.awaits
        try:
            if phase is None:
                return await self._end(hosted)
            if not await hosted._is_over(self.name, phase):
                return False
            answer = await hosted.answer(self.name, phase)
        except (RemoteError, NotInRoundError, RoundAborted) as error:
            self._world.check()
            self.error = error
            return True
        self._world.check()
        self._world.tell(hosted.record.round_id, phase, self.name, answer)
        self._said, self.sent = self.session.receive(answer, NOW), False
        return True

    async def _end(self, hosted: HostedRound) -> bool:
        if hosted.outcome is None:
            return False
        receipt = await hosted.signed_receipt()
        self._world.check()
        self._world.tell(hosted.record.round_id, None, self.name, receipt)
        self.receipt = receipt
        return True

    async def certify(self, hosted: HostedRound) -> Any:
        """Sign the result; the signatures of all."""
        assert self.round is not None
        roster = hosted._engine.roster
        assert self.receipt is not None
        statement = self.receipt.statement
        result = Result.of(self.round, roster, statement.survivors, statement.sums_digest)
        return await hosted.certify(self.name, result.signature(self.name, deployment().identities[self.name].sign))


class World:
    """A scenario, what is safe, and what everybody has been told so far."""

    def __init__(self, scenario: Scenario, folder: Path, *, state: Path | None = None) -> None:
        """Args:
        scenario: what is played.
        folder: for certificates.
        state: the folder of a real store; None for one that only the test can see into.
        """
        self.scenario = scenario
        self.safe = Safe()
        self.now = NOW
        self.first_life = True
        self.acknowledged: dict[tuple[ParticipantId, Phase], int] = {}
        self.told: dict[tuple[object, ...], Any] = {}
        self.watched: list[bytes] = []
        self.players = [Player(name, self) for name in scenario.people]
        self.life = Life()
        self.rounds: Rounds
        self.opened: OpenedRound | None = None
        self.opened_told = False
        self._settings: Settings = make_settings(folder, max_open_rounds=8, budget={"epsilon": 1e9, "delta": 1e-5})
        self._observer: Callable[[Fact], None] = lambda _: None
        self._refuses = (0, True)
        self._state = state
        self._open = ExitStack()
        self._lives = 0  # each draws other random numbers

    def policy(self, config: RoundConfig) -> Any:
        return replace(TOLERANT, threat_models=frozenset({config.threat_model}))

    def check(self) -> None:
        """Nobody hears anything of a process that has ended."""
        self.life.check()

    def tell(self, round_id: RoundId, phase: Phase | None, name: ParticipantId, answer: Any) -> None:
        """Nobody is ever told something else than before."""
        if isinstance(answer, ReleaseOrder):
            return  # whose turn it is changes
        own = isinstance(answer, ShareDelivery) or (isinstance(answer, Roster) and answer.listing is not None)
        place = (round_id, phase, name) if own else (round_id, phase)
        assert self.told.setdefault(place, answer) == answer, f"two answers for {phase}"

    async def live(self, until: int = 0, death: Death = Death.BEFORE) -> bool:
        """One process: to the end of the round, or to its own. Whether it came to the end of the round."""
        self._begin(Life(until, death))
        try:
            await self._live()
        except Died:
            return False
        except BaseExceptionGroup as group:  # of groups that end together
            if group.subgroup(Died) is None:
                raise
            return False
        finally:
            self.first_life = False
            await self._bury()
        return True

    async def begin(self) -> None:
        """A process that takes up what there is, and waits."""
        self._begin(Life())
        await self.rounds.recover()
        self.opened = self.rounds.find_opened(ROUND)

    def _store(self, life: Life) -> Any:
        if self._state is None:
            return MortalStore(self.safe, life)
        folder = self._open.enter_context(held(self._state, REAL_DISK))
        inner = SqliteStore(folder, REAL_DISK, SystemRng())
        self._open.callback(inner._database.close)  # nothing that waits is written: the process is gone
        return Guarded(inner, life, Ledgers(self.safe, life))

    def refuse(self, *, from_flush: int, breaks_off: bool = True) -> None:
        """In the lives that follow the disk refuses this flush and those after it; none if 0."""
        self._refuses = from_flush, breaks_off

    def add_listener(self, listener: Callable[[Fact], None]) -> None:
        """Hears the facts of the lives that follow."""
        self._observer = listener

    def _begin(self, life: Life) -> None:
        self.life = life
        self._lives += 1
        life.refuses_from, life.breaks_off = self._refuses
        for player in self.players:
            player.sent = False
        self.rounds = Rounds(
            self._settings,
            deployment().trust,
            self._store(life),
            lambda: deployment().coordinator,
            workers=one_after_the_other,
            clock=lambda: self.now,
            rng=SeededRng(bytes([self._lives]) * 32),
            observer=Observer(self._observer),
            capacity=ROOMY,
        )

    async def _live(self) -> None:
        await self.rounds.recover()
        self.check()
        try:
            self.opened = await self.rounds.open(ROUND, encode_config(self.scenario.config))
        except StoreError:
            self.check()
            raise
        self.check()
        self.opened_told = True
        if self.scenario.expects and self.opened.phase is Phase.ADVERTISE_KEYS:
            await self.opened.expect(frozenset(self.scenario.people))
            self.check()
        self._watch()
        while self.opened.outcome is None or not all(player.done for player in self.players):
            if not await self._turn():
                await self._wait()
        self._watch()
        await self._certify()

    async def _turn(self) -> bool:
        moved = False
        for player in self.players:
            if player.done:
                continue
            try:
                await player.join(self.rounds)
            except NotInRoundError as error:
                player.error = error
                continue
            self.now += 0.01
            moved |= await player.speak(await self._joined(player))
            self._watch()
        for player in self.players:
            if player.round is not None:
                moved |= await player.listen(self._hosted(player))
        self.check()
        return moved

    async def _joined(self, player: Player) -> HostedRound:
        """The round that the player speaks in; as a call with keys finds it."""
        hosted = self._hosted(player)
        if hosted.phase is Phase.ADVERTISE_KEYS:
            found = await self.rounds.find_for(player.name, hosted.record.round_id)
            self.check()
            assert found is hosted, f"{player.name} was given another group"
        return hosted

    def _hosted(self, player: Player) -> HostedRound:
        assert player.round is not None
        return self.rounds.find(player.round.round_id)

    async def _wait(self) -> None:
        """Nothing is under way: the deadline of whoever is open comes."""
        parts = self.opened.groups.values() if isinstance(self.opened, GroupedRound) else [self.opened]
        still = [one for one in parts if isinstance(one, HostedRound) and one.outcome is None]
        if not still:
            await asyncio.sleep(0)
            self.check()
            return
        self.now = max(self.now, min(one._engine.deadline for one in still))
        for one in still:
            await one._on_deadline()
            self.check()
        self._watch()

    def _watch(self) -> None:
        """What the FL server sees: everything but acceptances stays as it was seen once."""
        self.check()
        if self.opened is None or isinstance(self.opened, GroupedRound):
            return
        outcome = self.opened.outcome
        if isinstance(outcome, RoundAborted) and outcome.reason is AbortReason.INTERNAL:
            return  # nothing but its end is known of a round that is lost
        lasting = [encode_event(event, at).SerializeToString() for at, event in self.opened.events if _lasts(event)]
        assert lasting[: len(self.watched)] == self.watched, "an event that was seen is not there any more"
        self.watched = lasting

    async def _certify(self) -> None:
        if not self.scenario.config.certify or not isinstance(self.opened, HostedRound):
            return
        if not isinstance(self.opened.outcome, Released | Withheld):
            return
        having = [p for p in self.players if p.receipt is not None and p.name in self.opened.outcome.survivors]
        signing = [p for p in having if p.signs]
        proofs = await asyncio.gather(*(p.certify(self.opened) for p in signing))
        self.check()
        for player, proof in zip(signing, proofs, strict=True):
            before = self.told.setdefault((ROUND, "signatures"), proof)
            assert before == proof, f"{player.name} got other signatures than the others"

    async def _bury(self) -> None:
        """Nothing of the process goes on."""
        self.life.over = True
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open.close()

    @property
    def digest(self) -> bytes:
        """Of the sum; empty if there is none."""
        outcome = None if self.opened is None else self.opened.outcome
        return b"" if outcome is None or isinstance(outcome, RoundAborted) else outcome.digest

    @property
    def seed(self) -> Secret | None:
        """Of the coordinator's noise."""
        return self.safe.rounds[ROUND].record.noise_seed

    # --- what must have come of it ------------------------------------------------------------------------------------

    def check_end(self) -> bool:
        """The sum is exact or the round failed by name, and it was charged once. Whether there is a sum."""
        opened = self.opened
        assert opened is not None
        outcome = opened.outcome
        if isinstance(outcome, PackedGroups) and isinstance(opened, GroupedRound):
            for number, released in outcome.groups.items():
                self._check_sum(released, opened.groups[number].config)
        elif isinstance(outcome, Released):
            self._check_sum(outcome, opened.config)
        else:
            assert isinstance(outcome, RoundAborted | Withheld)
        self._check_charge(has_sum=not isinstance(outcome, RoundAborted))
        return not isinstance(outcome, RoundAborted)

    def _check_sum(self, released: Released, config: RoundConfig) -> None:
        sums = decode_aggregate(released.parts(), config).sums
        if config.noise is not None or (config.homomorphic is not None and "CKKS" in str(config.homomorphic)):
            return  # compared by digest, in what was told
        vectors = [player.vector for player in self.players if player.name in released.survivors]
        total = np.zeros(config.vector_len, np.uint64)
        for vector in vectors:
            assert vector is not None
            total += vector.read(0, config.vector_len, config.ring_dtype).astype(np.uint64)
        np.testing.assert_array_equal(sums.astype(np.uint64), total & np.uint64((1 << config.ring_bits) - 1))

    def _check_charge(self, *, has_sum: bool) -> None:
        config = self.scenario.config
        if config.noise is None:
            return
        try:
            ledger = self.rounds.opener.budgets.read(config.task)
        except LedgerError as error:
            raise AssertionError("the ledger is damaged") from error
        every = ("planned", "released", "withdrawn")
        kinds = [kind for line in ledger.lines for kind in every if f'"{kind}"'.encode() in line]
        assert kinds.count("planned") == 1
        assert kinds.count("released") + kinds.count("withdrawn") <= 1
        if has_sum:
            assert kinds == ["planned", "released"]


def _with_a_wrong_share(said: Unmask) -> Unmask:
    """Of somebody else the share of another one."""
    first, second = sorted(said.shares)[:2]
    shares = dict(said.shares)
    shares[first], shares[second] = shares[second], shares[first]
    return Unmask(shares)


def _lasts(event: WatchedEvent) -> bool:
    return not isinstance(event, MessageAccepted)
