"""What only a store that outlives the process promises: whatever it said is safe is there again, after anything."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random

import pytest
from secagg_server.storage.records import Certified, Entry, Released
from secagg_server.storage.sqlite import counting, remembered
from secagg_server.storage.sqlite import database as connections
from secagg_server.storage.sqlite import journal as journals
from secagg_server.storage.sqlite import store as stores
from secagg_server.storage.sqlite.store import BROKEN_OFF, KEYLESS, SqliteStore
from secagg_server.storage.store import KeptRound, LostRound

from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.errors import ConfigError, StoreError
from secagg.messages import ConsistencyProof, Index, Phase
from secagg.programs.disk import exchange
from secagg.rounds.releases import Release
from secagg.tools.faults.disk import Kind, VirtualDisk
from secagg.tools.redteam.self_test.patches import without_check
from tests.stores import (
    ENTRIES,
    NAMES,
    ONE,
    SEED,
    SHARE,
    THREE,
    TWO,
    ended,
    filled,
    found,
    kept_in,
    opened,
    outcomes,
    plain,
    record,
    released,
)

MASKED, OWNER, OTHER = Phase.MASKED_INPUT, Index(1), Index(2)
STATE = Path("/state")
MODEL = b"m" * 32
CLAIM = Release(MODEL, frozenset(NAMES[:3]), 2)
EXPOSING = Release(MODEL, frozenset(NAMES[:4]), 2)
PROOF = Certified(30.0, ConsistencyProof({Index(1): b"signature", Index(3): b"another"}))


class Machine:
    """A machine with a disk that can fail, and one coordinator at a time."""

    def __init__(self, seed: int = 0) -> None:
        self.disk = VirtualDisk(Random(seed))  # noqa: S311 - a seed replays
        self._rng = SeededRng(seed.to_bytes(32, "big"))

    @contextmanager
    def coordinator(self) -> Iterator[SqliteStore]:
        with kept_in(STATE, self.disk.mount(), self._rng) as store:
            yield store

    def file(self, round_id: RoundId, folder: str) -> list[Path]:
        return [path for path in self.disk.files() if path.parent.name == folder and path.stem == round_id.hex()]


@pytest.fixture
def machine() -> Machine:
    return Machine()


# --- what comes back --------------------------------------------------------------------------------------------------


def test_an_open_round_comes_back_with_its_journal_and_goes_on(machine: Machine) -> None:
    with machine.coordinator() as store:
        journal = filled(store)
        for owner, payload in ((OWNER, b"one"), (OTHER, b"other"), (OWNER, b"two")):
            journal.spool.append(MASKED, owner, payload)
        journal.flush()
    with machine.coordinator() as store:
        (kept,) = found(store)
        assert (kept.record, kept.ended, kept.fetched) == (record(), None, False)
        assert kept.record.noise_seed == SEED
        assert tuple(kept.entries()) == ENTRIES
        assert list(kept.journal.spool.take(MASKED, OWNER)) == [b"one", b"two"]
        kept.journal.spool.append(MASKED, OWNER, b"three")
        kept.journal.append(ENTRIES[0])
        kept.journal.flush()
    with machine.coordinator() as store:
        (kept,) = found(store)
        assert tuple(kept.entries()) == (*ENTRIES, ENTRIES[0])
        assert list(kept.journal.spool.take(MASKED, OWNER)) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("outcome", outcomes())
def test_an_end_comes_back_until_it_is_forgotten(machine: Machine, outcome: str) -> None:
    given = ended(outcomes()[outcome])
    with machine.coordinator() as store:
        journal = filled(store)
        journal.spool.append(MASKED, OWNER, b"one")
        journal.flush()
        journal.finish(given)
        journal.flush()
        journal.append(PROOF)
        journal.flush()
        store.fetched(ONE)
        opened(store, TWO)  # the next commit
    for _ in range(2):
        with machine.coordinator() as store:
            kept, other = found(store)
            assert kept.ended is not None
            assert plain(kept.ended) == plain(ended(outcomes()[outcome]))
            assert (tuple(kept.entries()), kept.fetched, other.fetched) == ((PROOF,), True, False)
    with machine.coordinator() as store:
        store.forget_rounds([ONE])
        (other,) = found(store)
        assert other.record.round_id == TWO
    with machine.coordinator() as store:
        assert len(found(store)) == 1
        assert machine.file(ONE, "sums") == []


def test_rounds_come_back_in_the_order_of_opening(machine: Machine) -> None:
    with machine.coordinator() as store:
        store.open_rounds([record(THREE), record(ONE)])
        opened(store, TWO)
    with machine.coordinator() as store:
        assert [kept.record.round_id for kept in found(store)] == [THREE, ONE, TWO]


def test_claims_come_back_with_what_became_of_them(machine: Machine) -> None:
    question = CLAIM.question
    with machine.coordinator() as store:
        assert store.claim_release(ONE, CLAIM) == frozenset()
    with machine.coordinator() as store:
        assert store.claim_release(TWO, EXPOSING) == {NAMES[3]}
        assert store.claim_release(ONE, CLAIM) == frozenset()  # a round that is built again claims again
        store.settle_release(ONE, released=False, may_be_open=True)
        opened(store, THREE)
    with machine.coordinator() as store:
        assert not store.admits(question, NAMES[3])
        store.settle_release(ONE, released=False, may_be_open=False)
    with machine.coordinator() as store:
        assert store.admits(question, NAMES[3])
        assert store.claim_release(TWO, EXPOSING) == frozenset()


def test_fewer_sums_are_remembered_when_the_setting_says_so(machine: Machine) -> None:
    with machine.coordinator() as store:
        for number, round_id in enumerate((ONE, TWO, THREE)):
            store.claim_release(round_id, Release(bytes([number]) * 32, frozenset(NAMES[:3]), 2))
    with kept_in(STATE, machine.disk.mount(), releases=2) as store:
        opened(store)
    with kept_in(STATE, machine.disk.mount(), releases=3) as store:
        assert store.claim_release(ONE, Release(bytes(32), frozenset(NAMES[:4]), 2)) == frozenset()


def test_an_identity_that_was_seen_is_not_new_after_a_restart(machine: Machine) -> None:
    with machine.coordinator() as store:
        assert store.see_identity(NAMES[0], "ab")
    with machine.coordinator() as store:
        assert [store.see_identity(NAMES[0], print_) for print_ in ("ab", "cd")] == [False, True]


def test_a_real_disk_keeps_it_too_and_for_its_owner_alone(tmp_path: Path) -> None:
    with kept_in(tmp_path / "state") as store:
        journal = filled(store)
        journal.spool.append(MASKED, OWNER, b"one")
        journal.flush()
        filled(store, TWO).finish(ended(released()))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*")}
    folders = {"spool", "sums", "keys"}
    assert {mode for name, mode in modes.items() if name not in folders} == {0o600}
    assert {mode for name, mode in modes.items() if name in folders} == {0o700}
    assert {"state.sqlite", "lock", *folders} < set(modes)
    with kept_in(tmp_path / "state") as store:
        one, two = found(store)
        assert tuple(one.entries()) == ENTRIES
        assert two.ended is not None
        assert plain(two.ended) == plain(ended(released()))


# --- secrets ----------------------------------------------------------------------------------------------------------


def shown(machine: Machine, secret: bytes) -> list[str]:
    return [str(path) for path, content in machine.disk.files().items() if secret in content]


def test_no_file_shows_a_secret_and_the_key_that_would_is_gone_with_the_round(machine: Machine) -> None:
    with machine.coordinator() as store:
        journal = filled(store)
        (key_file,) = machine.file(ONE, "keys")
        key = machine.disk.files()[key_file]
        assert [shown(machine, secret) for secret in (SHARE.expose(), SEED.expose())] == [[], []]
        assert shown(machine, key) == [str(key_file)]
        journal.finish(ended(released()))
        assert shown(machine, key) == []
    with machine.coordinator() as store:
        (kept,) = found(store)
        assert kept.record.noise_seed is None
        broken = filled(store, TWO)
        key = machine.disk.files()[machine.file(TWO, "keys")[0]]
        broken.break_off()
        assert shown(machine, key) == []


def test_the_twin_without_a_seal_shows_shares(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "encode_entry", _in_clear)
    with machine.coordinator() as store:
        filled(store)
        assert shown(machine, SHARE.expose()) != []


def _in_clear(number: int, entry: Entry, _: object) -> object:
    from secagg_server.storage.sqlite.entries import encode_entry
    from secagg_server.storage.sqlite.seals import PlainEnvelope

    return encode_entry(number, entry, PlainEnvelope(ONE))


def test_without_its_key_a_round_is_lost_by_name(machine: Machine) -> None:
    """As in a copy of everything but the keys."""
    with machine.coordinator() as store:
        filled(store)
        filled(store, TWO)
    machine.disk.mount().unlink(machine.file(ONE, "keys")[0])
    with machine.coordinator() as store:
        lost, kept = store.kept()
        assert isinstance(lost, LostRound)
        assert (lost.round_id, lost.why) == (ONE, KEYLESS)
        assert lost.record is not None
        assert lost.record.config_bytes == record().config_bytes
        assert isinstance(kept, KeptRound)


def test_keys_that_changed_places_open_nothing(machine: Machine) -> None:
    with machine.coordinator() as store:
        filled(store)
        filled(store, TWO)
    mount = machine.disk.mount()
    (one,), (two,) = (machine.file(each, "keys") for each in (ONE, TWO))
    mount.rename(one, one.with_suffix(".moved"))
    mount.rename(two, one)
    mount.rename(one.with_suffix(".moved"), two)
    with machine.coordinator() as store:
        for lost in store.kept():
            assert isinstance(lost, LostRound)
            assert "the seed of the round's noise was changed on the disk, or its key was" in lost.why


# --- rounds that are broken off ---------------------------------------------------------------------------------------


def test_a_round_that_was_broken_off_is_never_gone_on_with(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with machine.coordinator() as store:
        filled(store).break_off()
    with machine.coordinator() as store:
        (lost,) = store.kept()
        assert isinstance(lost, LostRound)
        assert lost.why == BROKEN_OFF
        assert lost.record is not None  # so that it is still listed, with its task
        assert machine.file(ONE, "spool") == []
        store.forget_rounds([ONE])
        assert list(store.kept()) == []
        assert machine.file(ONE, "keys") == []
        filled(store, TWO).finish(ended(released()))
        (kept,) = found(store)
        kept.journal.break_off()  # who was told that the end could not be kept tells nobody of it
    with machine.coordinator() as store:
        assert [type(each) for each in store.kept()] == [LostRound]
        without_check(monkeypatch, SqliteStore, "_kept", "broken-off")
        assert [type(each) for each in store.kept()] == [KeptRound]  # the twin: a sum that nobody was told of


# --- crashes at any point ---------------------------------------------------------------------------------------------


class Falling:
    """The machine loses its power, or the process dies, before one operation of the disk."""

    def __init__(self, at: int, fall: Callable[[], None]) -> None:
        self._at, self._fall = at, fall

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        del kind, path
        if number == self._at:
            self._fall()

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        del number, kind, path
        return False


class Told:
    """What a life of a coordinator was promised, and what it had asked for when it ended."""

    def __init__(self) -> None:
        self.opened: list[RoundId] = []
        self.entries = 0
        self.chunks = 0
        self.asked = 0
        self.finishing = self.finished = self.claimed = self.forgetting = False


def lived(store: SqliteStore, told: Told) -> None:
    """A life in which everything happens once."""
    one, two = store.open_rounds([record(ONE), record(TWO)])
    told.opened += [ONE, TWO]
    for start, stop in ((0, 2), (2, len(ENTRIES))):
        for entry in ENTRIES[start:stop]:
            one.append(entry)
        one.spool.append(MASKED, OWNER, b"%d" % start * 50)
        told.asked = stop
        one.flush()
        told.entries, told.chunks = stop, told.chunks + 1
    assert store.claim_release(ONE, CLAIM) == frozenset()
    told.claimed = True
    two.append(ENTRIES[0])
    told.finishing = True
    one.finish(ended(released(100)))
    told.finished = True
    told.forgetting = True  # which is no promise: a round that is there again is forgotten again
    store.forget_rounds([TWO])


def judge(store: SqliteStore, told: Told) -> None:
    kept = {each.record.round_id: each for each in found(store)}
    assert set(told.opened) <= set(kept) | ({TWO} if told.forgetting else set())
    assert set(kept) <= {ONE, TWO}
    assert bool(kept) == (len(kept) == 2) or told.forgetting  # all or none
    if told.claimed:
        assert store.claim_release(THREE, EXPOSING) == {NAMES[3]}
    one = kept.get(ONE)
    if one is None:
        return
    if one.ended is not None:
        assert told.finishing
        assert plain(one.ended) == plain(ended(released(100)))
        assert tuple(one.entries()) == ()
        return
    assert not told.finished
    entries = tuple(one.entries())
    assert entries == ENTRIES[: len(entries)]
    assert told.entries <= len(entries) <= told.asked
    chunks = list(one.journal.spool.take(MASKED, OWNER))
    assert chunks == [b"0" * 50, b"2" * 50][: len(chunks)]
    assert told.chunks <= len(chunks)
    if len(entries) == len(ENTRIES):
        assert len(chunks) == 2


def crashed(at: int, power: bool) -> tuple[Machine, Told]:
    machine, told = Machine(abs(at)), Told()
    fall = machine.disk.cut_power if power else machine.disk.kill
    machine.disk.mischief = Falling(at, fall)
    with suppress(StoreError, ConfigError), machine.coordinator() as store:
        lived(store, told)
    machine.disk.kill()
    machine.disk.mischief = VirtualDisk(Random(0)).mischief  # noqa: S311
    return machine, told


def operations() -> int:
    machine, told = crashed(-1, power=False)
    with machine.coordinator() as store:
        judge(store, told)
        assert [each.record.round_id for each in found(store)] == [ONE]
    return machine.disk.changes


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_what_was_promised_is_there_wherever_a_life_ends(power: bool) -> None:
    last = operations()
    assert last > 80
    for at in range(1, last + 1):
        machine, told = crashed(at, power)
        if not power or at % 2:
            machine.disk.cut_power()  # again, while nobody runs
        for _ in range(2):  # and once more: what is put right at a start stays right
            with machine.coordinator() as store:
                judge(store, told)


def test_the_twin_promises_before_it_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_PRAGMAS", tuple(each.replace("FULL", "OFF") for each in connections._PRAGMAS))
    with pytest.raises((AssertionError, StoreError)):  # the count of commits knows that something is missing
        test_what_was_promised_is_there_wherever_a_life_ends(power=True)


def test_flushes_of_a_round_are_few(machine: Machine) -> None:
    """As docs/operate.md says: messages that wait cost none."""
    with machine.coordinator() as store:
        journal = opened(store)
        before = machine.disk.flushes
        for entry in ENTRIES:
            journal.append(entry)
        journal.spool.append(MASKED, OWNER, b"one")
        store.see_identity(NAMES[0], "ab")
        store.settle_release(ONE, released=True, may_be_open=False)
        assert machine.disk.flushes == before
        journal.flush()
        assert machine.disk.flushes == before + 4  # spool, the spool's name, database, count
        journal.append(ENTRIES[0])
        journal.flush()
        journal.flush()
        assert machine.disk.flushes == before + 6


# --- a disk that is full, or changes what it has ----------------------------------------------------------------------


def test_a_full_disk_ends_what_needs_room_and_lets_it_go_on_later(machine: Machine) -> None:
    with machine.coordinator() as store:
        one, two = filled(store), filled(store, TWO)
        machine.disk.room = sum(map(len, machine.disk.files().values()))
        with pytest.raises(StoreError, match="the state cannot be kept: No space left on device"):
            opened(store, THREE)
        with pytest.raises(StoreError, match="cannot be written: No space left on device"):
            one.spool.append(MASKED, OWNER, b"x" * 5000)
        with pytest.raises(StoreError, match="the state cannot be kept: No space left on device"):
            one.finish(ended(released()))
        one.append(ENTRIES[0])
        with pytest.raises(StoreError, match="the state cannot be kept: the disk is full"):
            one.flush()
        with pytest.raises(StoreError, match="the disk is full"):
            store.claim_release(ONE, CLAIM)
        store.forget_rounds([THREE])
        one.break_off()
        machine.disk.room = None
        two.append(ENTRIES[0])
        two.flush()
        opened(store, THREE)
    with machine.coordinator() as store:
        lost, kept, new = store.kept()
        assert isinstance(lost, LostRound)
        assert isinstance(kept, KeptRound)
        assert tuple(kept.entries()) == (*ENTRIES, ENTRIES[0])
        assert isinstance(new, KeptRound)
        assert store.claim_release(TWO, EXPOSING) == {NAMES[3]}  # what could not be written counts all the same


def test_a_round_that_is_forgotten_on_a_full_disk_takes_no_file_of_its_successor(machine: Machine) -> None:
    with machine.coordinator() as store:
        filled(store)
        machine.disk.room = 0
        store.forget_rounds([ONE])
        machine.disk.room = None
        filled(store)
    with machine.coordinator() as store:
        (kept,) = found(store)
        assert tuple(kept.entries()) == ENTRIES


class Refusing:
    """The count of commits cannot be flushed, which comes behind the commit itself."""

    def befalls(self, number: int, kind: Kind, path: Path) -> None:
        del number
        if kind is Kind.FLUSH and path.name == "commits":
            raise OSError(errno.EIO, "Input/output error")

    def lies(self, number: int, kind: Kind, path: Path) -> bool:
        del number, kind, path
        return False


def test_a_round_whose_opening_failed_on_the_disk_is_opened_anew(machine: Machine) -> None:
    """The commit may be there although it failed, and nobody was told of the round."""
    with machine.coordinator() as store:
        filled(store, TWO)
        usual, machine.disk.mischief = machine.disk.mischief, Refusing()
        with pytest.raises(StoreError):
            opened(store, ONE)
        machine.disk.mischief = usual
        opened(store, ONE)
    with machine.coordinator() as store:
        assert [type(each) for each in store.kept()] == [KeptRound, KeptRound]


def changed(machine: Machine, statement: str, *values: object) -> None:
    """What a disk may do to a row, without damage to the pages around it."""
    with closing(sqlite3.connect(machine.disk.mount().database(STATE / "state.sqlite"), uri=True)) as connection:
        connection.execute(statement, values)
        connection.commit()


DAMAGE = {
    "UPDATE rounds SET config = x'00' WHERE number = 1": "how the round was opened was changed",
    "UPDATE rounds SET opened_s = 11 WHERE number = 1": "how the round was opened was changed",
    "UPDATE rounds SET noise_seed = NULL WHERE number = 1": "how the round was opened was changed",
    "UPDATE progress SET entries = 1 WHERE round = 1": "how far the round was kept was changed",
    "UPDATE progress SET spooled = 1 WHERE round = 1": "how far the round was kept was changed",
    "DELETE FROM progress WHERE round = 1": "how far the round was kept was changed",
}
ENTRY_DAMAGE = {
    "UPDATE entries SET sender = 'site-5' WHERE round = 1 AND number = 1": "entry 1 of the journal was changed",
    "UPDATE entries SET number = 9 WHERE round = 1 AND number = 2": "entry 2 of the journal is missing",
    "UPDATE entries SET number = 9 WHERE round = 1 AND number = 5": "entry 5 of the journal is missing",
    "DELETE FROM entries WHERE round = 1 AND number = 0": "entry 0 of the journal is missing",
    "DELETE FROM entries WHERE round = 1 AND number = 5": "the journal has 5 entries and had 6",
    "INSERT INTO entries SELECT 1, 6, kind, time_s, sender, what, body FROM entries WHERE round = 1 AND number = 0": (
        "entry 6 of the journal was changed"
    ),
}
END_DAMAGE = {
    "UPDATE ends SET outcome = x'00'": "how the round ended was changed",
    "UPDATE ends SET opened = 0": "how the round ended was changed",
    "UPDATE ends SET time_s = 0.0": "how the round ended was changed",
}


@pytest.mark.parametrize("statement", [*DAMAGE, *ENTRY_DAMAGE])
def test_damage_to_an_open_round_ends_that_round_by_name_and_no_other(machine: Machine, statement: str) -> None:
    with machine.coordinator() as store:
        filled(store)
        filled(store, TWO)
    changed(machine, statement)
    with machine.coordinator() as store:
        one, two = store.kept()
        assert isinstance(two, KeptRound)
        assert tuple(two.entries()) == ENTRIES
        if isinstance(one, LostRound):
            assert DAMAGE[statement] in one.why
        else:
            with pytest.raises(StoreError, match=ENTRY_DAMAGE[statement]):
                list(one.entries())


@pytest.mark.parametrize("statement", END_DAMAGE)
def test_damage_to_an_end_is_found(machine: Machine, statement: str) -> None:
    with machine.coordinator() as store:
        filled(store).finish(ended(released()))
        filled(store, TWO)
    changed(machine, statement)
    with machine.coordinator() as store:
        one, two = store.kept()
        assert isinstance(two, KeptRound)
        assert isinstance(one, LostRound)
        assert END_DAMAGE[statement] in one.why


def test_a_spool_or_a_sum_that_the_disk_changed_is_found(machine: Machine) -> None:
    with machine.coordinator() as store:
        journal = filled(store)
        journal.spool.append(MASKED, OWNER, b"one" * 100)
        journal.flush()
        filled(store, TWO).finish(ended(released()))
        filled(store, THREE).finish(ended(released()))
    mount = machine.disk.mount()
    with mount.open(machine.file(ONE, "spool")[0]) as file:
        file.write_at(200, b"x")
    with mount.open(machine.file(TWO, "sums")[0]) as file:
        file.write_at(5000, b"\xff")
    mount.unlink(machine.file(THREE, "sums")[0])
    with machine.coordinator() as store:
        one, two, three = store.kept()
        assert isinstance(one, KeptRound)
        with pytest.raises(StoreError, match="piece 0 was changed on the disk"):
            list(one.journal.spool.take(MASKED, OWNER))
        assert isinstance(two, KeptRound)
        assert two.ended is not None
        assert isinstance(two.ended.outcome, Released)
        with pytest.raises(StoreError, match=r"\.sum: piece 0 was changed on the disk"):
            list(two.ended.outcome.payloads)
        assert isinstance(three, LostRound)
        assert "a finished sum, cannot be read: No such file" in three.why


def test_a_claim_that_the_disk_changed_keeps_the_coordinator_from_starting(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with machine.coordinator() as store:
        store.claim_release(ONE, CLAIM)
    changed(machine, "UPDATE releases SET model_digest = zeroblob(32)")
    with pytest.raises(StoreError, match="a row of the sums that are out was changed"), machine.coordinator():
        pass
    without_check(monkeypatch, remembered, "_read", "release-checksum")
    with machine.coordinator() as store:
        assert store.claim_release(TWO, EXPOSING) == frozenset()  # the twin: one update more, and it shows


def test_a_database_that_is_gone_is_missed(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with machine.coordinator() as store:
        store.claim_release(ONE, CLAIM)
    machine.disk.mount().unlink(STATE / "state.sqlite")
    told = r"state\.sqlite is gone, so nobody knows which sums are out"
    with pytest.raises(StoreError, match=told), machine.coordinator():
        pass
    machine.disk.mount().unlink(STATE / "commits")
    without_check(monkeypatch, stores, "_opened", "database-gone")
    with machine.coordinator() as store:
        assert store.claim_release(TWO, EXPOSING) == frozenset()  # the twin forgets without a word


def test_pages_that_do_not_fit_together_are_found_at_the_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index says another thing than its table, so a sum that is out would be looked for in vain."""
    with machine.coordinator() as store:
        store.claim_release(ONE, CLAIM)
        (((page,),), ((size,),)) = (
            store._database.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_releases_1'"),
            store._database.rows("PRAGMA page_size"),
        )
        assert isinstance(page, int)
        assert isinstance(size, int)
    path = STATE / "state.sqlite"
    at = machine.disk.files()[path].index(ONE, (page - 1) * size)
    with machine.disk.mount().open(path) as file:
        file.write_at(at, b"\xee")
    with pytest.raises(StoreError, match=r"state\.sqlite is damaged: .*missing from index"), machine.coordinator():
        pass
    without_check(monkeypatch, stores, "check_whole", "database-whole")
    with machine.coordinator():
        pass  # the twin


def log_of_writes(machine: Machine) -> bytes:
    return machine.disk.files()[STATE / "state.sqlite-wal"]


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
def test_a_byte_that_changed_in_the_log_of_writes_is_no_step_back(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, power: bool
) -> None:
    """SQLite takes it for the end of its log, and another set of survivors could be shown."""
    context = machine.coordinator()
    store = context.__enter__()
    filled(store)
    before = len(log_of_writes(machine))
    assert store.claim_release(ONE, CLAIM) == frozenset()
    (machine.disk.cut_power if power else machine.disk.kill)()
    with machine.disk.mount().open(STATE / "state.sqlite-wal") as file:
        file.write_at(before + 100, b"\xee")
    told = r"state\.sqlite has \d commits and had \d: the disk changed it"
    with pytest.raises(StoreError, match=told), machine.coordinator():
        pass
    without_check(monkeypatch, counting.CommitCount, "__init__", "database-went-back")
    with machine.coordinator() as later:
        assert later.claim_release(TWO, EXPOSING) == frozenset()  # the twin


def test_an_older_copy_of_the_database_is_noticed(machine: Machine) -> None:
    with machine.coordinator() as store:
        filled(store)
    older = machine.disk.files()[STATE / "state.sqlite"]
    with machine.coordinator() as store:
        store.claim_release(ONE, CLAIM)
    exchange(machine.disk.mount(), STATE / "state.sqlite", older)
    with pytest.raises(StoreError, match="an older copy was put in its place"), machine.coordinator():
        pass


def test_a_count_that_the_disk_changed_shows_nothing_and_is_made_anew(machine: Machine) -> None:
    with machine.coordinator() as store:
        filled(store)
    for content in (b"\xff" * 16, b"", b"\x00"):
        exchange(machine.disk.mount(), STATE / "commits", content)
        with machine.coordinator() as store:
            assert len(found(store)) == 1
        assert len(machine.disk.files()[STATE / "commits"]) == 16


def test_files_that_no_row_names_are_removed(machine: Machine) -> None:
    with machine.coordinator() as store:
        filled(store)
    mount = machine.disk.mount()
    for path in ("keys/" + "9" * 32 + ".key", "spool/" + "9" * 32 + ".chunks", "sums/" + "9" * 32 + ".sum"):
        mount.open(STATE / path, make=True).close()
    with machine.coordinator():
        assert not [path for path in machine.disk.files() if path.stem == "9" * 32]
        assert machine.file(ONE, "keys") != []


def test_errors_of_sqlite_have_our_names() -> None:
    assert "Input/output error" in str(connections.named(OSError(errno.EIO, "Input/output error")))
    assert "cannot be used: locked" in str(connections.named(sqlite3.OperationalError("locked")))


def test_files_of_a_forgotten_round_go_before_its_id_can_be_used_again(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the key of the new round could go with them."""
    remove, waited = SqliteStore._remove_files, list[bool]()

    def noted(store: SqliteStore, round_id: RoundId) -> None:
        waited.append(round_id in store._forgotten)
        remove(store, round_id)

    monkeypatch.setattr(SqliteStore, "_remove_files", noted)
    with machine.coordinator() as store:
        filled(store)
        store.forget_rounds([ONE])
        assert waited == [True]
        assert not store._forgotten
