"""What both programs do around their commands: errors, exit codes, encodings, completion, and help that is complete."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import typer

from secagg.cli.main import build, main
from secagg.cli.main import commands as known_commands
from secagg.errors import AbortReason, AuthenticationError, ConfigError, Exhibit, InputError, RoundAborted
from secagg.programs import program
from secagg.programs.folders import check_writable


def ended(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command below `group`, by its whole name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


EVERY = dict(commands(typer.main.get_command(build([]))))


def test_every_command_is_looked_at() -> None:
    assert {name.split()[0] for name in EVERY} == set(known_commands())
    assert len(EVERY) > 20


@pytest.mark.parametrize("name", EVERY)
def test_every_command_speaks_json_and_gives_an_example(name: str) -> None:
    options = [option for parameter in EVERY[name].params for option in parameter.opts]
    assert "--json" in options
    assert "Example" in EVERY[name].help


def test_an_error_is_one_line_or_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended("round", "open", "--task", "t", "--model", "none.npz", "-n", "3", "--clip", "1") == 1
    assert capsys.readouterr() == ("", "error: none.npz: No such file or directory\n")
    assert ended("round", "open", "--task", "t", "--model", "none.npz", "-n", "3", "--clip", "1", "--json") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err) == {
        "error": "FileNotFoundError",
        "message": "none.npz: No such file or directory",
    }


@pytest.mark.parametrize("arguments", [("nonsense",), ("plan",), ("round", "fetch", "--nothing")])
def test_a_wrong_command_line_is_exit_code_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(*arguments) == 2
    assert "Usage" in capsys.readouterr().err
    assert ended(*arguments, "--json") == 2
    told = json.loads(capsys.readouterr().err)
    assert told["error"] == "UsageError"
    assert told["message"]


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (AuthenticationError("altered", culprit="site-2"), {"culprit": "site-2"}),
        (InputError("not finite", array="w", index=(1, 2)), {"array": "w", "index": [1, 2]}),
        (
            RoundAborted(AbortReason.WRONG_SHARES, "over", culprits=("a", "b")).accusing(("c",)),
            {"reason": "wrong_shares", "culprits": ["a", "b"], "accused": ["c"]},
        ),
        (
            AuthenticationError("altered").about(Exhibit("site-2", b"\1" * 32)),
            {"exhibit": {"sender": "site-2", "digest": "01" * 32}},
        ),
    ],
)
def test_what_an_error_knows_is_in_its_json(
    error: Exception, more: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    app = program.application("test", "Help.")

    @app.command()
    def fails(as_json: bool = typer.Option(False, "--json")) -> NoReturn:
        raise error

    with pytest.raises(SystemExit):
        program.run(app, "program", ["fails", "--json"])
    told = json.loads(capsys.readouterr().err)
    assert told == {"error": type(error).__name__, "message": str(error), **more}


def test_an_error_of_the_red_team_proves_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Its exit code 1 says that something leaked."""
    assert ended("redteam", "report", "--out", str(tmp_path / "missing")) == 2
    assert "error: " in capsys.readouterr().err


def test_an_exit_code_survives_json(capsys: pytest.CaptureFixture[str]) -> None:
    app = program.application("test", "Help.")

    @app.command()
    def three(as_json: bool = typer.Option(False, "--json")) -> NoReturn:
        raise typer.Exit(3)

    for arguments in ([], ["--json"]):
        with pytest.raises(SystemExit) as caught:
            program.run(app, "program", ["three", *arguments])
        assert caught.value.code == 3


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_signs_that_a_terminal_lacks_are_written_in_letters(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bottom = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bottom, encoding=encoding))
    program.show_on_every_terminal()
    print("ε ≤ 2.5, é, 漢")  # noqa: T201
    sys.stdout.flush()
    expected = {"cp1252": "epsilon <= 2.5, é, ?", "ascii": "epsilon <= 2.5, ?, ?", "utf-8": "ε ≤ 2.5, é, 漢"}
    assert bottom.getvalue().decode(encoding).strip() == expected[encoding]


def test_without_that_the_terminal_ends_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin."""
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    with pytest.raises(UnicodeEncodeError):
        print("ε")  # noqa: T201


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_plan_on_a_console_without_greek_letters() -> None:
    plan = ["-m", "secagg", "plan", "--values", "650", "--participants", "700", "--rounds", "2"]
    done = python(*plan, PYTHONIOENCODING="cp1252", PYTHONUTF8="0")
    assert (done.returncode, done.stderr) == (0, "")


def test_both_programs_run_as_modules() -> None:
    assert python("-m", "secagg", "--version").stdout.startswith("secagg ")
    assert python("-m", "secagg_server", "--version").stdout.startswith("secagg-server ")


@pytest.mark.parametrize("missing", ["structlog", "pydantic_settings"])
def test_a_server_without_its_extra_names_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from secagg_server.__main__ import main; main()"
    done = python("-c", code)
    assert done.returncode == 1
    assert done.stderr == (
        "error: secagg-server needs the extra server; in a checkout of secagg: pip install '.[server]'\n"
    )


def test_a_fault_of_the_server_is_no_missing_extra() -> None:
    """The twin: only what the extra brings counts."""
    missing = "secagg_server.rounds.registry"
    code = f"import sys; sys.modules[{missing!r}] = None; from secagg_server.__main__ import main; main()"
    done = python("-c", code)
    assert "Traceback" in done.stderr
    assert ".[server]" not in done.stderr


def test_a_client_needs_nothing_that_only_some_systems_have() -> None:
    code = (
        "import sys\nfor name in ('resource', 'fcntl', 'pwd', 'grp'): sys.modules[name] = None\n"
        "import secagg_client\nfrom secagg.cli.main import main\nmain(['participate', '--help'])"
    )
    done = python("-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_shells_complete_commands() -> None:
    """What bash asks when somebody presses the tabulator behind `secagg pa`."""
    asked = {"_SECAGG_COMPLETE": "complete_bash", "COMP_WORDS": "secagg pa", "COMP_CWORD": "1"}
    assert python("-m", "secagg", **asked).stdout.split() == ["participate"]


def test_a_place_that_can_be_written(tmp_path: Path) -> None:
    there = tmp_path / "there.npz"
    there.write_bytes(b"kept")
    check_writable(there, tmp_path / "new.npz", None)
    assert there.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize("name", ["missing/mean.npz", ".", "file/mean.npz"])
def test_a_place_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        check_writable(tmp_path / name)


WRITING = [
    ["demo", "--report"],
    ["bench", "privacy", "--accuracy", "--report"],
    ["plan", "--values", "9", "--participants", "9", "--rounds", "1", "--draw"],
    ["redteam", "benchmark", "--out"],
    ["participate", "localhost:1", "--update", "u.npz", "--out"],
    ["participate", "localhost:1", "--update", "u.npz", "--task", "t", "--carried"],
]


@pytest.mark.parametrize("arguments", WRITING, ids=lambda given: " ".join(given[:2]))
def test_commands_look_where_they_will_write_before_they_work(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(*arguments, str(tmp_path / "missing" / "file")) in {1, 2}
    assert "cannot be written" in capsys.readouterr().err
