"""The commands for a state folder: `backup`, `restore` and `migrate`. They need no coordinator and no certificate."""

import json
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from secagg import __version__
from secagg.errors import ConfigError
from secagg.privacy.ledger import Head
from secagg.programs.disk import REAL_DISK
from secagg_server.storage.backups import Contents, back_up, restore
from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.folder import StateFolder, held
from secagg_server.storage.sqlite.history import MIGRATED, Happening, write_history
from secagg_server.storage.sqlite.schema import STEPS, check_newer, migrate, version_of

StateDir = Annotated[
    Path | None, typer.Option(help="The coordinator's state folder.", envvar="SECAGG_SERVER_STATE_DIR")
]
LedgerDir = Annotated[
    Path | None,
    typer.Option(help="Its privacy ledgers, where they have a folder of their own.", envvar="SECAGG_SERVER_LEDGER_DIR"),
]
Config = Annotated[
    Path | None,
    typer.Option(help="The coordinator's settings file, which may name both.", envvar="SECAGG_SERVER_CONFIG"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def backup(
    destination: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
    *,
    state_dir: StateDir = None,
    ledger_dir: LedgerDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Copy a state folder to DESTINATION, while its coordinator runs or not.

    The backup has finished sums, what is known of sums that are out, privacy ledgers and the audit log. It has no key
    and no secret, and of rounds that are open only that they were: they fail by name after a restore.

    Example: secagg-server backup /backup/monday --state-dir /var/lib/secagg/state
    """
    state, ledgers = _folders(config, state_dir, ledger_dir)
    contents = back_up(state, ledgers, destination, time.time())
    if as_json:
        typer.echo(json.dumps(asdict(contents), indent=2))
        return
    typer.echo(f"{destination} holds {_told(contents)}")
    for task, head in contents.heads.items():
        typer.echo(f"head of the ledger of {task}: {head}")


def restore_backup(
    source: Annotated[Path, typer.Argument(help="The backup.")],
    *,
    state_dir: StateDir = None,
    ledger_dir: LedgerDir = None,
    config: Config = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=NUMBER:DIGEST",
            help="The last head of a privacy ledger that anybody saw (event ledger_head of the log). Once for each "
            "task; without it the ledger counts as rolled back.",
        ),
    ] = None,
    nothing_since: Annotated[
        bool, typer.Option("--nothing-since", help="No coordinator ran with this state since the backup was made.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup into a state folder that is not there yet.

    What was released and spent since the backup is not in it. So no round is opened any more about models that the
    backup knows, and ledgers whose heads you do not give refuse rounds with noise. Rounds that were open fail by name
    when the coordinator starts.

    Example: secagg-server restore /backup/monday --state-dir /var/lib/secagg/state --head heart=12:5f0c…
    """
    state, ledgers = _folders(config, state_dir, ledger_dir)
    done = restore(source, state, ledgers, heads=_heads(head or ()), nothing_since=nothing_since, now=time.time())
    if as_json:
        typer.echo(json.dumps(asdict(done), indent=2))
        return
    typer.echo(f"{state.path} now holds {_told(done.contents)}")
    if done.contents.open_rounds:
        typer.echo(f"{done.contents.open_rounds} rounds were open then: they fail when the coordinator starts")
    if done.closed_models:
        typer.echo(
            f"{len(done.closed_models)} models are closed, because more sums of them may be out: go on with models "
            "that are newer than the backup, and with none about which a round was opened since then"
        )
    for task in done.locked_tasks:
        typer.echo(
            f"the ledger of {task} counts as rolled back, because its last head was not given: its rounds with noise "
            "are refused"
        )
    if done.kept_ledgers:
        typer.echo(f"the privacy ledgers in {ledgers} were there already, and stay as they are")


def migrate_state(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if the state has to be migrated.")
    ] = False,
    state_dir: StateDir = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Bring the state of an older release to the form of this one. Its coordinator must be stopped.

    All of it is done, or nothing. The older release cannot read the state afterwards: make a backup before.

    Example: secagg-server migrate --state-dir /var/lib/secagg/state
    """
    state, _ = _folders(config, state_dir, None)
    if not state.database.is_file():
        raise ConfigError(f"{state.path} holds no state of a coordinator: there is no {state.database.name}")
    if check:
        with closing(Database(REAL_DISK, state.database)) as database:
            before = after = version_of(database)
        check_newer(before)
    else:
        with held(state.path, REAL_DISK), closing(Database(REAL_DISK, state.database)) as database:
            before, after = migrate(database)
            if before != after:
                with database.writing() as connection:
                    write_history(connection, Happening(time.time(), MIGRATED, __version__))
    if as_json:
        typer.echo(json.dumps({"was": before, "is": after, "newest": len(STEPS)}, indent=2))
    elif before != after:
        typer.echo(f"{state.path} had version {before} and has version {after} now")
    elif after == len(STEPS):
        typer.echo(f"{state.path} has version {after}, the newest that this release knows")
    else:
        typer.echo(f"{state.path} has version {after}, and this release needs version {len(STEPS)}: migrate it")
    if after != len(STEPS):
        raise typer.Exit(1)


def _folders(config: Path | None, state_dir: Path | None, ledger_dir: Path | None) -> tuple[StateFolder, Path]:
    """The state folder and the folder of ledgers, from flags or environment, else from the settings file.

    Raises:
        ConfigError: there is no state folder, or the file cannot be read.
    """
    given = _from_file(config)
    folder, ledgers = state_dir or given.get("state_dir"), ledger_dir or given.get("ledger_dir")
    for name, value in (("state_dir", folder), ("ledger_dir", ledgers)):
        if not isinstance(value, str | Path | None):
            raise ConfigError(f"setting {name} in {config} is {value!r}; write a path in quotes")
    if not folder:
        raise ConfigError("name the state folder: --state-dir, or --config with a settings file that has state_dir")
    state = StateFolder(Path(folder))
    return state, Path(ledgers) if ledgers else state.ledgers


def _from_file(config: Path | None) -> Mapping[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except ValueError as error:
        raise ConfigError(f"settings file {config}: {error}") from None


def _heads(given: Sequence[str]) -> dict[str, Head]:
    heads: dict[str, Head] = {}
    for text in given:
        task, equals, head = text.rpartition("=")
        if not equals or not task or task in heads:
            raise ConfigError(f"--head {text!r}: write TASK=NUMBER:DIGEST, once for each task")
        heads[task] = Head.parse(head)
    return heads


def _told(contents: Contents) -> str:
    made = f"{datetime.fromtimestamp(contents.made_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return (
        f"the state of {made}: {contents.finished_rounds} finished rounds, {contents.open_rounds} open ones by name, "
        f"{len(contents.heads)} privacy ledgers, {len(contents.files)} files"
    )
