"""Tables and their versions: a new database has the newest, an older one gets there in one step or not at all."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from secagg_server.storage.sqlite import schema
from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.schema import APPLICATION_ID, STEPS, check_version, migrate, version_of

from secagg.errors import StoreError
from secagg.programs.disk import REAL_DISK
from secagg.tools.redteam.self_test.patches import without_check


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(REAL_DISK, tmp_path / "state.sqlite")) as opened:
        yield opened


def tables(database: Database) -> list[object]:
    return [sql for (sql,) in database.rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")]


def test_a_new_database_gets_every_table_and_our_name(tmp_path: Path, database: Database) -> None:
    assert version_of(database) == 0
    assert migrate(database) == (0, len(STEPS))
    check_version(database, tmp_path)
    assert database.rows("PRAGMA application_id") == [(APPLICATION_ID,)]
    assert all("STRICT" in str(sql) for sql in tables(database))
    assert migrate(database) == (len(STEPS), len(STEPS))
    assert (tmp_path / "state.sqlite").stat().st_mode & 0o777 == 0o600


def test_what_is_committed_is_flushed(database: Database) -> None:
    assert database.rows("PRAGMA journal_mode") == [("wal",)]
    assert database.rows("PRAGMA synchronous") == [(2,)]  # FULL


ADDED = ("ALTER TABLE identities ADD COLUMN organisation TEXT NOT NULL DEFAULT ''", "CREATE TABLE more (a INT) STRICT")
LATER = (*STEPS, ADDED)
NEWEST = len(STEPS)


def test_an_older_database_takes_the_steps_that_it_lacks_and_keeps_its_rows(tmp_path: Path, database: Database) -> None:
    migrate(database)
    with database.writing() as connection:
        connection.execute("INSERT INTO identities VALUES ('site', 'ab12')")
    told = rf"version {NEWEST}, .* has version {NEWEST + 1}: make a backup.*secagg-server migrate"
    with pytest.raises(StoreError, match=told):
        check_version(database, tmp_path, LATER)
    assert migrate(database, LATER) == (NEWEST, NEWEST + 1)
    check_version(database, tmp_path, LATER)
    assert database.rows("SELECT * FROM identities") == [("site", "ab12", "")]
    assert database.rows("SELECT * FROM more") == []


def test_a_step_that_fails_leaves_the_database_as_it_was(database: Database) -> None:
    migrate(database)
    before = tables(database)
    with pytest.raises(StoreError, match="no such table"):
        migrate(database, (*LATER, ("INSERT INTO nowhere VALUES (1)",)))
    assert (tables(database), version_of(database)) == (before, NEWEST)


def test_a_newer_database_is_refused_and_left_alone(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(database, LATER)
    told = rf"has version {NEWEST + 1}, .* up to {NEWEST}; start the release that wrote it"
    with pytest.raises(StoreError, match=told):
        check_version(database, tmp_path)
    with pytest.raises(StoreError, match=f"has version {NEWEST + 1}"):
        migrate(database)
    assert version_of(database) == NEWEST + 1
    without_check(monkeypatch, schema, "check_newer", "newer-schema")
    check_version(database, tmp_path)  # the twin: it reads tables that it does not know


def test_another_programs_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as other:
        other.execute("CREATE TABLE theirs (a)")
    with closing(Database(REAL_DISK, tmp_path / "state.sqlite")) as database:
        for refusing in (version_of, migrate):
            with pytest.raises(StoreError, match="is no state of a coordinator"):
                refusing(database)
        without_check(monkeypatch, schema, "version_of", "our-database")
        migrate(database)  # the twin
        assert len(tables(database)) > 1


def test_no_database_at_all_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.sqlite").write_bytes(b"this is no database, but it is long enough to be read as one" * 20)
    with pytest.raises(StoreError, match=r"state\.sqlite is damaged: file is not a database"):
        Database(REAL_DISK, tmp_path / "state.sqlite")
