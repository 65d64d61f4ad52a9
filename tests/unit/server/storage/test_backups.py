"""Backups: what they hold, what they leave out, and what a restored coordinator no longer knows."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from secagg_server.cli import main
from secagg_server.settings import Settings
from secagg_server.storage import backups
from secagg_server.storage.backups import MANIFEST, Contents, Restored, back_up, read_backup, restore
from secagg_server.storage.records import Released, RoundRecord
from secagg_server.storage.sqlite import store as stores
from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.folder import StateFolder
from secagg_server.storage.sqlite.schema import STEPS, migrate
from secagg_server.storage.sqlite.store import KEYLESS, SqliteStore
from secagg_server.storage.store import KeptRound, LostRound

from secagg.context import RoundId
from secagg.errors import ConfigError, LedgerError, StoreError
from secagg.messages import Index, Phase
from secagg.privacy.ledger import Budget, Head, Ledger, LedgerBook
from secagg.programs.disk import REAL_DISK
from secagg.programs.ledgers.files import LedgerFolder, read_ledger
from secagg.rounds.releases import Release
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.configuration import encode_config
from tests.stores import (
    CONFIG,
    ENTRIES,
    NAMES,
    ONE,
    SEED,
    SHARE,
    THREE,
    TWO,
    ended,
    kept_in,
    plain,
    record,
    released,
)
from tests.unit.privacy.test_ledger import TASK, filled
from tests.unit.server.test_ledger_files import kept as kept_ledger

NOW = 1_700_000_000.5
OTHER_MODEL = b"o" * 32
CLAIM = Release(OTHER_MODEL, frozenset(NAMES[:3]), 2)
LEDGER = filled(1)


FOUR = RoundId(b"\4" * 16)
"""Under whose id no sum is on record."""


def real(round_id: RoundId) -> RoundRecord:
    return replace(record(), round_id=round_id, config_bytes=encode_config(CONFIG))


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    """A state with an open round, one that is over, a claim of a forgotten one, a ledger and an audit log."""
    with kept_in(tmp_path / "state") as store:
        fill(store)
    folder = StateFolder(tmp_path / "state")
    folder.ledgers.mkdir()
    kept_ledger(folder.ledgers, LEDGER)
    (folder.audit).mkdir()
    (folder.audit / "000000000000001.jsonl").write_bytes(b"{}\n")
    (folder.audit / "head").write_bytes(b"1:ab\n")
    return folder


def fill(store: SqliteStore) -> None:
    one, two = store.open_rounds([real(ONE), real(TWO)])
    for entry in ENTRIES:
        one.append(entry)
    one.spool.append(Phase.MASKED_INPUT, Index(1), b"vector" * 100)
    one.flush()
    two.finish(ended(released()))
    store.claim_release(THREE, CLAIM)
    store.see_identity(NAMES[0], "ab")


def backed_up(state: StateFolder, name: str = "backup") -> Path:
    back_up(state, state.ledgers, state.path.parent / name, NOW)
    return state.path.parent / name


def restored(backup: Path, heads: Mapping[str, str] = {}, *, nothing_since: bool = False) -> tuple[Path, Restored]:
    folder = StateFolder(backup.parent / "restored")
    given = {task: Head.parse(text) for task, text in heads.items()}
    done = restore(backup, folder, folder.ledgers, heads=given, nothing_since=nothing_since, now=NOW + 3600)
    return folder.path, done


# --- what a backup holds ----------------------------------------------------------------------------------------------


def test_a_backup_says_what_it_holds(state: StateFolder) -> None:
    contents = back_up(state, state.ledgers, state.path.parent / "backup", NOW)
    assert contents == read_backup(state.path.parent / "backup")
    assert (contents.made_ms, contents.open_rounds, contents.finished_rounds) == (1_700_000_000_500, 1, 1)
    assert contents.heads == {TASK: LEDGER.head.text}
    folders = {name.split("/")[0] for name in contents.files}
    assert folders == {"state.sqlite", "sums", "ledgers", "audit"}
    modes = {path.stat().st_mode & 0o777 for path in (state.path.parent / "backup").rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert (state.path.parent / "backup").stat().st_mode & 0o777 == 0o700


def test_a_backup_shows_no_secret_not_even_with_the_keys(state: StateFolder) -> None:
    (key,) = state.keys.iterdir()
    backup = backed_up(state)
    everything = b"".join(path.read_bytes() for path in backup.rglob("*") if path.is_file())
    for secret in (SHARE.expose(), SEED.expose(), key.read_bytes(), b"vector" * 100):
        assert secret not in everything
    with closing(sqlite3.connect(backup / "state.sqlite")) as copy:
        assert copy.execute("SELECT count(*) FROM entries").fetchone() == (0,)


def test_a_backup_is_made_while_a_coordinator_writes(tmp_path: Path) -> None:
    with kept_in(tmp_path / "state") as store:
        fill(store)
        backup = backed_up(StateFolder(tmp_path / "state"))
        (one, two) = store.kept()
        assert isinstance(one, KeptRound)
        assert tuple(one.entries()) == ENTRIES  # the coordinator lost nothing by it
        one.journal.append(ENTRIES[0])
        one.journal.flush()
        assert isinstance(two, KeptRound)
    assert read_backup(backup).open_rounds == 1


def test_a_sum_that_is_forgotten_meanwhile_is_forgotten_in_the_copy_too(state: StateFolder) -> None:
    for path in state.sums.iterdir():
        path.unlink()
    assert back_up(state, state.ledgers, state.path.parent / "backup", NOW).finished_rounds == 0


def test_a_ledger_that_changes_while_it_is_copied_is_copied_again(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry comes between the copies of its two files."""
    book, copy, waiting = LedgerBook(LedgerFolder(state.ledgers)), backups._copy, [True]

    def meanwhile(source: Path, destination: Path) -> None:
        copy(source, destination)
        if source.suffix == ".head" and waiting:
            waiting.clear()
            kept = book.find(TASK)
            assert kept is not None
            for number in (77, 78):
                kept = kept.plan(bytes([number]) * 16, _noisy())  # type: ignore[arg-type]
                book.keep(kept)

    monkeypatch.setattr(backups, "_copy", meanwhile)
    contents = back_up(state, state.ledgers, state.path.parent / "backup", NOW)
    assert Head.parse(contents.heads[TASK]).entries == LEDGER.head.entries + 2


def _noisy() -> object:
    from tests.unit.privacy.test_ledger import CONFIG as NOISY

    return NOISY


def test_no_backup_is_made_of_what_is_damaged_or_in_place_of_another(state: StateFolder) -> None:
    backup = backed_up(state)
    with pytest.raises(ConfigError, match="is not empty; name a folder that is not there yet"):
        back_up(state, state.ledgers, backup, NOW)
    with pytest.raises(ConfigError, match="holds no state of a coordinator"):
        back_up(StateFolder(state.path.parent), state.ledgers, backup, NOW)
    (entries,) = state.ledgers.glob("*.jsonl")
    entries.write_bytes(entries.read_bytes()[:-40])
    with pytest.raises(LedgerError):
        backed_up(state, "second")
    assert not (state.path.parent / "second" / MANIFEST).exists()


def test_a_state_of_an_older_release_is_backed_up_as_it_is_and_migrated_by_the_restore(tmp_path: Path) -> None:
    older = StateFolder(tmp_path / "older")
    older.path.mkdir(mode=0o700)
    with closing(Database(REAL_DISK, older.database)) as database:
        migrate(database, STEPS[:1])
        with database.writing() as connection:
            connection.execute("INSERT INTO identities VALUES ('site-1', 'ab')")
    assert back_up(older, older.ledgers, tmp_path / "backup", NOW).schema == 1
    path, _ = restored(tmp_path / "backup")
    with kept_in(path) as store:
        assert not store.see_identity(NAMES[0], "ab")


# --- what a restore brings back ---------------------------------------------------------------------------------------


def test_a_restored_coordinator_has_its_sums_and_fails_open_rounds_by_name(state: StateFolder) -> None:
    backup = backed_up(state)
    path, _ = restored(backup)
    assert path.stat().st_mode & 0o777 == 0o700
    with kept_in(path) as store:
        one, two = store.kept()
        assert isinstance(one, LostRound)
        assert (one.why, one.record is not None) == (KEYLESS, True)
        assert isinstance(two, KeptRound)
        assert two.ended is not None
        assert isinstance(two.ended.outcome, Released)
        assert plain(two.ended) == plain(ended(released()))
        assert store.claim_release(ONE, replace(CLAIM, survivors=frozenset(NAMES[:4]))) == {NAMES[3]}
        assert not store.see_identity(NAMES[0], "ab")
    assert (path / "audit" / "head").read_bytes() == b"1:ab\n"


def test_the_coordinator_tells_of_a_restore_once(state: StateFolder) -> None:
    path, _ = restored(backed_up(state))
    with kept_in(path) as store:
        (news,) = store.news()
        assert (news.what, news.detail, news.at_s) == ("restored", "1700000000500", NOW + 3600)
        assert store.news() == []
    with kept_in(path) as store:
        assert store.news() == []


def test_no_round_is_opened_about_a_model_of_which_more_sums_may_be_out(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = restored(backed_up(state))
    assert set(done.closed_models) == {CONFIG.model_digest.hex(), OTHER_MODEL.hex()}
    with kept_in(path) as store:
        for model in (CONFIG.model_digest, OTHER_MODEL):
            again = replace(real(FOUR), config_bytes=encode_config(replace(CONFIG, model_digest=model)))
            with pytest.raises(ConfigError, match=r"sums of this model may be out that the backup does not know of"):
                store.open_rounds([again])
        newer = replace(real(FOUR), config_bytes=encode_config(replace(CONFIG, model_digest=b"n" * 32)))
        store.open_rounds([newer])
        without_check(monkeypatch, SqliteStore, "_check_model", "closed-model")
        store.forget_rounds([ONE])
        store.open_rounds([real(ONE)])  # the twin: with a sum that is out, it may show one participant


def test_who_knows_that_nothing_ran_since_closes_and_locks_nothing(state: StateFolder) -> None:
    path, done = restored(backed_up(state), nothing_since=True)
    assert (done.closed_models, done.locked_tasks) == ((), ())
    assert read_ledger(next((path / "ledgers").glob("*.jsonl"))) == LEDGER
    with kept_in(path) as store:
        store.open_rounds([real(FOUR)])


def test_a_closed_model_that_the_disk_changed_is_missed(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = restored(backed_up(state))
    with closing(sqlite3.connect(path / "state.sqlite")) as database:
        database.execute("UPDATE closed SET model_digest = x'00' WHERE model_digest = ?", (OTHER_MODEL,))
        database.commit()
    with pytest.raises(StoreError, match="a row of the models that a restore closed was changed"), kept_in(path):
        pass
    without_check(monkeypatch, stores, "read_closed", "closed-checksum")
    with kept_in(path) as store:  # the twin
        store.open_rounds([replace(real(FOUR), config_bytes=encode_config(replace(CONFIG, model_digest=OTHER_MODEL)))])


def test_a_ledger_without_its_last_head_counts_as_rolled_back(state: StateFolder) -> None:
    backup = backed_up(state)
    path, done = restored(backup)
    assert done.locked_tasks == (TASK,)
    with pytest.raises(LedgerError, match="was rolled back"):
        read_ledger(next((path / "ledgers").glob("*.jsonl")))
    shutil.rmtree(path)
    path, done = restored(backup, {TASK: LEDGER.head.text})
    assert done.locked_tasks == ()
    assert read_ledger(next((path / "ledgers").glob("*.jsonl"))) == LEDGER


def test_a_ledger_that_is_behind_the_head_that_was_seen_is_refused(state: StateFolder) -> None:
    backup = backed_up(state)
    ahead = Head(LEDGER.head.entries + 3, bytes(32)).text
    with pytest.raises(LedgerError, match="was rolled back"):
        restored(backup, {TASK: ahead})
    with pytest.raises(ConfigError, match=f"no privacy ledger of task 'other'; it has those of: {TASK}"):
        restored(backup, {"other": ahead})
    assert not (backup.parent / "restored").exists()


def test_ledgers_that_are_there_already_are_newer_and_stay(state: StateFolder) -> None:
    backup = backed_up(state)
    own = state.path.parent / "own"
    own.mkdir()
    kept_ledger(own, filled(2))
    folder = StateFolder(state.path.parent / "restored")
    done = restore(backup, folder, own, heads={}, nothing_since=False, now=NOW)
    assert (done.kept_ledgers, done.locked_tasks) == (True, ())
    assert read_ledger(next(own.glob("*.jsonl"))) == filled(2)


def test_a_ledger_that_is_there_already_and_is_older_is_refused(state: StateFolder) -> None:
    backup = backed_up(state)
    own = state.path.parent / "own"
    own.mkdir()
    kept_ledger(own, filled(0))
    with pytest.raises(LedgerError, match="was rolled back"):
        restore(backup, StateFolder(backup.parent / "restored"), own, heads={}, nothing_since=False, now=NOW)


def test_the_head_that_was_seen_is_held_against_the_ledger_that_stays(state: StateFolder) -> None:
    backup = backed_up(state)
    own, folder = state.path.parent / "own", StateFolder(state.path.parent / "restored")
    own.mkdir()
    kept_ledger(own, filled(2))
    with pytest.raises(LedgerError, match="was rolled back"):
        restore(backup, folder, own, heads={TASK: filled(3).head}, nothing_since=False, now=NOW)
    restore(backup, folder, own, heads={TASK: filled(2).head}, nothing_since=False, now=NOW)


def test_a_restore_that_was_broken_off_leaves_no_ledger_that_was_rolled_back_and_looks_whole(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledgers have a folder of their own, and whoever restores again finds there what the first time left."""
    other = Ledger.open("other", Budget())
    LedgerFolder(state.ledgers).append("other", other.lines[0], other.head)
    backup, told = backed_up(state), []
    for survived in range(5):
        own, left = state.path.parent / f"own-{survived}", [None] * survived
        with monkeypatch.context() as killed:
            for name, at in (("_copy", 1), ("exchange", 1)):
                killed.setattr(backups, name, mortal(getattr(backups, name), own, at, left))
            with suppress(IndexError):
                restore_into(backup, own, f"first-{survived}")
        try:
            restore_into(backup, own, f"second-{survived}")
        except ConfigError as error:
            told.append(str(error))
            continue
        for task in (TASK, "other"):
            with pytest.raises(LedgerError):
                LedgerBook(LedgerFolder(own)).find(task)
    assert len(told) == 1
    assert "as a restore leaves it that was broken off" in told[0]


def mortal(write: Callable[..., None], folder: Path, at: int, left: list[None]) -> Callable[..., None]:
    """`write`, whose argument `at` is where it writes; in `folder` it works as often as `left` is long."""

    def made(*arguments: Any) -> None:
        if arguments[at].parent == folder:
            left.pop()
        write(*arguments)

    return made


def restore_into(backup: Path, ledgers: Path, name: str) -> None:
    restore(backup, StateFolder(backup.parent / name), ledgers, heads={}, nothing_since=False, now=NOW)


# --- what a restore refuses -------------------------------------------------------------------------------------------


def spoilt_digest(backup: Path) -> str:
    (next((backup / "sums").iterdir())).write_bytes(b"x")
    return r"the backup .* is damaged: sums/.* was changed"


def a_missing_file(backup: Path) -> str:
    (next((backup / "sums").iterdir())).unlink()
    return "the backup .* lacks sums/.*: No such file"


def no_list(backup: Path) -> str:
    (backup / MANIFEST).unlink()
    return "is no backup, or one that was not finished: it has no backup.json"


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def edit(backup: Path) -> None:
        found = json.loads((backup / MANIFEST).read_text())
        change(found)
        (backup / MANIFEST).write_text(json.dumps(found))

    return edit


def a_newer_schema(backup: Path) -> str:
    edited(lambda found: found.update(schema=len(STEPS) + 1))(backup)
    return f"has version {len(STEPS) + 1}, and this release of secagg knows versions up to {len(STEPS)}"


def a_newer_list(backup: Path) -> str:
    edited(lambda found: found.update(version=2))(backup)
    return "this release of secagg cannot read backup.json"


def a_name_that_leads_elsewhere(backup: Path) -> str:
    edited(lambda found: found.update(files={"state.sqlite": "0" * 64, "../state/keys/x": "0" * 64}))(backup)
    return "backup.json is not well-formed"


def no_database(backup: Path) -> str:
    edited(lambda found: found.update(files={}))(backup)
    return "backup.json is not well-formed"


def no_json(backup: Path) -> str:
    (backup / MANIFEST).write_text("[" * 100_000)
    return "backup.json is not well-formed"


def more_facts(backup: Path) -> str:
    edited(lambda found: found.update(more=1))(backup)
    return "backup.json is not well-formed"


SPOILT = (
    spoilt_digest,
    a_missing_file,
    no_list,
    a_newer_schema,
    a_newer_list,
    a_name_that_leads_elsewhere,
    no_database,
    no_json,
    more_facts,
)


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_what_is_no_whole_backup_is_refused_before_anything_is_written(
    state: StateFolder, spoil: Callable[[Path], str]
) -> None:
    backup = backed_up(state)
    told = spoil(backup)
    with pytest.raises((ConfigError, StoreError), match=told):
        restored(backup)
    assert not (backup.parent / "restored").exists()


def test_the_twin_restores_what_was_changed(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = backed_up(state)
    spoilt_digest(backup)
    without_check(monkeypatch, backups, "read_backup", "backup-digest")
    restored(backup)


def test_nothing_is_restored_over_a_state_that_is_there(state: StateFolder) -> None:
    backup = backed_up(state)
    with pytest.raises(ConfigError, match="is not empty: restore into another folder"):
        restore(backup, state, state.ledgers, heads={}, nothing_since=True, now=NOW)


def test_half_a_restore_is_taken_for_no_new_state(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    backup = backed_up(state)
    monkeypatch.setattr(backups, "_restore_database", full)
    with pytest.raises(StoreError, match="No space left on device"):
        restored(backup)
    with pytest.raises(StoreError, match=r"state\.sqlite is gone"), kept_in(state.path.parent / "restored"):
        pass


# --- commands ---------------------------------------------------------------------------------------------------------


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended_with:
        main([str(argument) for argument in arguments])
    return int(str(ended_with.value.code))


def test_the_commands_back_up_and_restore(state: StateFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = state.path.parent
    assert run("backup", folder / "one", "--state-dir", state.path) == 0
    told = capsys.readouterr().out
    assert "the state of 20" in told
    assert "1 finished rounds, 1 open ones by name, 1 privacy ledgers" in told
    assert f"head of the ledger of {TASK}: {LEDGER.head.text}" in told
    assert run("backup", folder / "two", "--state-dir", state.path, "--json") == 0
    assert Contents(**json.loads(capsys.readouterr().out)) == read_backup(folder / "two")
    assert run("restore", folder / "one", "--state-dir", folder / "new") == 0
    told = capsys.readouterr().out
    assert "1 rounds were open then: they fail when the coordinator starts" in told
    assert "2 models are closed" in told
    assert f"the ledger of {TASK} counts as rolled back" in told
    head = ("--head", f"{TASK}={LEDGER.head.text}")
    assert run("restore", folder / "one", "--state-dir", folder / "newer", *head, "--json") == 0
    assert json.loads(capsys.readouterr().out)["locked_tasks"] == []
    for wrong in ("no head", f"{TASK}=5", f"={LEDGER.head.text}"):
        assert run("restore", folder / "one", "--state-dir", folder / "newest", "--head", wrong) == 1
    assert not (folder / "newest").exists()


def test_the_commands_take_folders_from_a_settings_file(
    state: StateFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = state.path.parent
    settings = folder / "settings.toml"
    settings.write_text(f'state_dir = "{state.path}"\nledger_dir = "{folder}/none"\n')
    assert run("backup", folder / "one", "--config", settings) == 0
    assert read_backup(folder / "one").heads == {}
    monkeypatch.setenv("SECAGG_SERVER_STATE_DIR", str(state.path))
    assert run("backup", folder / "two") == 0
    monkeypatch.delenv("SECAGG_SERVER_STATE_DIR")
    for text, told in (("state_dir = 5\n", "setting state_dir"), ("state_dir = \n", "settings file"), ("", "name the")):
        settings.write_text(text)
        assert run("backup", folder / "three", "--config", settings) == 1
        assert told in capsys.readouterr().err
    assert {"state_dir", "ledger_dir"} <= set(Settings.model_fields)


def test_the_command_migrates_and_says_whether_it_must(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    older = StateFolder(tmp_path / "older")
    older.path.mkdir(mode=0o700)
    with closing(Database(REAL_DISK, older.database)) as database:
        migrate(database, STEPS[:1])
    with pytest.raises(StoreError, match=r"has version 1, .*: make a backup"), kept_in(older.path):
        pass
    where = ("--state-dir", older.path)
    assert run("migrate", "--check", *where) == 1
    assert f"has version 1, and this release needs version {len(STEPS)}" in capsys.readouterr().out
    assert run("migrate", *where) == 0
    assert f"had version 1 and has version {len(STEPS)} now" in capsys.readouterr().out
    assert run("migrate", "--check", *where, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"was": 2, "is": 2, "newest": len(STEPS)}
    with kept_in(older.path) as store:
        assert [news.what for news in store.news()] == ["migrated"]
        assert run("migrate", *where) == 1
        assert "belongs to a coordinator that is running" in capsys.readouterr().err
    with closing(Database(REAL_DISK, older.database)) as database:
        migrate(database, (*STEPS, ("CREATE TABLE later (a INT) STRICT",)))
    assert run("migrate", "--check", *where) == 1
    assert "start the release that wrote it" in capsys.readouterr().err
    assert run("migrate", "--state-dir", tmp_path / "nowhere") == 1
    assert "holds no state of a coordinator" in capsys.readouterr().err
