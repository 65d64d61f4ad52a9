"""Flags before environment before file before defaults; every trouble names its setting."""

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from secagg_server import settings
from secagg_server.app import check_accounting
from secagg_server.cli import build, main
from secagg_server.settings import ENV_PREFIX, Settings, load_settings
from secagg_server.storage.records import Ended
from secagg_server.storage.sqlite.history import RESTORED, Happening, write_history

from secagg.config import Suite
from secagg.errors import AbortReason, ConfigError, MissingExtraError, RoundAborted
from secagg.privacy.ledger import Budget
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.configuration import encode_config
from tests.rounds import make_config
from tests.serving import write_site
from tests.stores import ONE, TWO, filled, found, kept_in, record

FILE = """
certificate = "from-file"
key = "from-file"
participant_ca = "from-file"
listen = "127.0.0.1:1"
max_calls = 5
read_timeout_s = 7.5
"""


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A command logs to the stream that it finds, which pytest closes after the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in Settings.model_fields:
        monkeypatch.delenv(ENV_PREFIX + name.upper(), raising=False)
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    return path


def test_defaults_are_last(file: Path) -> None:
    settings = load_settings(file, {})
    assert settings.max_open_rounds == Settings.model_fields["max_open_rounds"].default
    assert (settings.listen, settings.max_calls, settings.read_timeout_s) == ("127.0.0.1:1", 5, 7.5)


def test_environment_before_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECAGG_SERVER_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("SECAGG_SERVER_MAX_CALLS", "6")
    settings = load_settings(file, {"listen": None})
    assert (settings.listen, settings.max_calls, settings.read_timeout_s) == ("127.0.0.1:2", 6, 7.5)


def test_flags_before_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECAGG_SERVER_LISTEN", "127.0.0.1:2")
    settings = load_settings(file, {"listen": "127.0.0.1:3", "max_calls": "7"})
    assert (settings.listen, settings.max_calls) == ("127.0.0.1:3", 7)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("listn = 'x'", "unknown setting listn"),
        ("max_open_rounds = 0", "setting max_open_rounds: input should be greater than or equal to 1"),
        ("log_format = 'xml'", "setting log_format: input should be 'json' or 'console'"),
        ("keep_finished_s = -1", "setting keep_finished_s: input should be greater than 0"),
        ("[", "settings: "),
    ],
)
def test_trouble_is_named(file: Path, line: str, error: str) -> None:
    file.write_text(FILE + line)
    with pytest.raises(ConfigError, match=error.replace("[", r"\[")):
        load_settings(file, {})


BUDGETS = """
budget = {epsilon = 1.0}
[budgets.digits]
epsilon = 2.0
delta = 1e-6
[budgets."words, all"]
"""


def test_budgets(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(file, {}).budget.value == Budget(2.5, 1e-5)
    file.write_text(FILE + BUDGETS)
    settings = load_settings(file, {})
    assert settings.budget.value == Budget(1.0, 1e-5)
    assert settings.budgets["digits"].value == Budget(2.0, 1e-6)
    assert settings.budgets["words, all"].value == Budget()
    monkeypatch.setenv("SECAGG_SERVER_BUDGET", '{"epsilon": 3}')
    assert load_settings(file, {}).budget.value == Budget(3.0)
    given = load_settings(file, {"budget": '{"delta": 1e-7}', "budgets": '{"a": {"epsilon": 4}}'})
    assert (given.budget.value, given.budgets["a"].value) == (Budget(2.5, 1e-7), Budget(4.0))


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("budget = {epsilon = 0}", "setting budget.epsilon: input should be greater than 0"),
        ("budget = {epsilon = inf}", "setting budget.epsilon: input should be a finite number"),
        ("budgets = {digits = {delta = 1.0}}", "setting budgets.digits.delta: input should be less than 1"),
        ("budgets = {digits = {epsilom = 1.0}}", "unknown setting budgets.digits.epsilom"),
        ("budget = 'x'", "setting budget: .*should be JSON"),
    ],
)
def test_budgets_that_mean_nothing(file: Path, line: str, error: str) -> None:
    file.write_text(FILE + line)
    with pytest.raises(ConfigError, match=error):
        load_settings(file, {})


def test_budgets_without_the_means_to_keep_them(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.privacy.accountant.find_spec", lambda _: None)
    file.write_text(FILE)
    check_accounting(load_settings(file, {}))
    for flags in ({"ledger_dir": str(tmp_path)}, {"budgets": '{"digits": {}}'}):
        with pytest.raises(MissingExtraError, match=r"pip install '\.\[dp\]'"):
            check_accounting(load_settings(file, flags))


def test_what_is_missing_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match="setting key is missing: give --key, SECAGG_SERVER_KEY or a line"):
        load_settings(None, {"certificate": "c", "participant_ca": "p"})
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(file.parent / "nowhere.toml", {})


def test_every_setting_is_described_and_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert all(field.description for field in Settings.model_fields.values())
    commands = build().registered_commands
    without = {"health", "backup", "restore", "migrate", "token"}
    assert {command.name for command in commands} == {"serve", "check-config"} | without
    switches = {"serve": set(), "check-config": {"files_only", "as_json"}}
    for command in commands:
        assert command.callback is not None
        assert command.name is not None
        if command.name in without:
            continue
        options = {"config", *Settings.model_fields, *switches[command.name]}
        assert set(command.callback.__annotations__) == options


def test_check_config_prints_a_settings_file(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECAGG_SERVER_CONFIG", str(file))
    given = [item for name, path in write_site(tmp_path).items() for item in (f"--{name.replace('_', '-')}", str(path))]
    with pytest.raises(SystemExit) as caught:
        main(
            ["check-config", "--files-only", *given, "--max-calls", "9", "--budgets", '{"words, all": {"delta": 1e-6}}']
        )
    assert caught.value.code in {None, 0}
    printed = capsys.readouterr().out
    assert "max_calls = 9" in printed
    file.write_text(printed)
    again = load_settings(file, {})
    assert json.loads(again.model_dump_json())["max_calls"] == 9
    assert again.budgets["words, all"].value == Budget(2.5, 1e-6)


def test_a_port_of_the_control_plane_has_no_group(file: Path) -> None:
    assert load_settings(file, {"control_access": "group"}).control_access == "group"
    with pytest.raises(ConfigError, match=r"for a socket file, and control is 127\.0\.0\.1:7444"):
        load_settings(file, {"control_access": "group", "control": "127.0.0.1:7444"})


GATEWAY = {"gateway": "127.0.0.1:8443", "gateway_token_key": "token.keys"}


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"gateway": "127.0.0.1:8443"}, "gateway and gateway_token_key go together"),
        ({"gateway_token_key": "token.keys"}, "gateway and gateway_token_key go together"),
        ({**GATEWAY, "gateway_certificate": "c.pem"}, "gateway_certificate and gateway_key go together"),
        ({**GATEWAY, "gateway_key": "k.pem"}, "gateway_certificate and gateway_key go together"),
        ({**GATEWAY, "gateway": "127.0.0.1:7443", "listen": "127.0.0.1:7443"}, "listen and gateway have the same port"),
    ],
)
def test_half_a_gateway_is_refused(file: Path, given: dict[str, str], wrong: str) -> None:
    assert load_settings(file, GATEWAY).gateway_origins == []
    with pytest.raises(ConfigError, match=wrong):
        load_settings(file, given)


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "", "app.example", "https://", "https://app.example/", "https://APP.example", "https://*.example"],
)
def test_an_origin_is_what_a_browser_writes(file: Path, monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    """What no browser writes never fits, and whoever writes it believes that it does."""
    good = '["https://app.example", "http://localhost:8080", "https://[::1]:8443"]'
    assert load_settings(file, {**GATEWAY, "gateway_origins": good}).gateway_origins == json.loads(good)
    given = {**GATEWAY, "gateway_origins": json.dumps(["https://app.example", origin])}
    with pytest.raises(ConfigError, match="should be origins as browsers write them"):
        load_settings(file, given)

    # Pydantic bound the validators when the class was made, so another class is made without the check.
    without_check(monkeypatch, settings.Settings, "_are_origins", "gateway-origins")
    unchecked = type("Unchecked", (Settings,), {"_are_origins": vars(Settings)["_are_origins"]})
    monkeypatch.setattr(settings, "Settings", unchecked)
    assert load_settings(file, given).gateway_origins == ["https://app.example", origin]


@pytest.mark.parametrize(("listen", "status"), [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:7443", "127.0.0.2:7443")])
def test_ports_that_only_look_the_same(file: Path, listen: str, status: str) -> None:
    """Port 0 is any free one, and each address of the machine has its own ports."""
    assert load_settings(file, {"listen": listen, "status": status}).status == status


def test_a_key_that_others_can_read_is_refused(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = write_site(tmp_path)
    files["key"].chmod(0o644)
    given = [item for name, path in files.items() for item in (f"--{name.replace('_', '-')}", str(path))]
    with pytest.raises(SystemExit) as caught:
        main(["check-config", "--files-only", *given])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "can be read by others" in error


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("SECAGG_SERVER_LISEN", "did you mean SECAGG_SERVER_LISTEN?"),
        ("secagg_server_certificat", "did you mean SECAGG_SERVER_CERTIFICATE?"),
        ("SECAGG_SERVER_QQQ", "names no setting"),
    ],
)
def test_a_misspelt_variable_is_refused(file: Path, variable: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "x")
    with pytest.raises(ConfigError, match=f"variable {variable} names no setting") as caught:
        load_settings(file, {})
    assert hint in str(caught.value)


def test_what_kubernetes_sets_for_a_service_of_our_name_is_no_misspelling(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PORT", "SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT_7443_TCP", "PORT_7443_TCP_ADDR"):
        monkeypatch.setenv(f"SECAGG_SERVER_{name}", "tcp://10.0.0.1:7443")
    load_settings(file, {})


def checked(tmp_path: Path, *more: str) -> int | str | None:
    given = [item for name, path in write_site(tmp_path).items() for item in (f"--{name.replace('_', '-')}", str(path))]
    with pytest.raises(SystemExit) as caught:
        main(["check-config", *given, *more])
    return caught.value.code


def test_check_config_finds_what_serve_would_trip_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    control = ("--control", f"unix:{tmp_path / 'control.sock'}")
    assert checked(tmp_path, "--listen", "127.0.0.1:0", *control, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["listen"] == "127.0.0.1:0"
    assert not (tmp_path / "control.sock").exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = ("--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        assert checked(tmp_path, *listen, *control) == 1
        assert "cannot listen on " in capsys.readouterr().err
        assert checked(tmp_path, *listen, *control, "--files-only") == 0
        assert checked(tmp_path, "--listen", "127.0.0.1:0", *control, "--status", listen[1]) == 1
        assert "(setting status): another program listens there" in capsys.readouterr().err
    assert checked(tmp_path, *control, "--status", "9464", "--files-only") == 1
    assert "'9464' is no address" in capsys.readouterr().err
    capsys.readouterr()
    nowhere = ("--control", f"unix:{tmp_path / 'missing' / 'control.sock'}")
    assert checked(tmp_path, "--listen", "127.0.0.1:0", *nowhere) == 1
    assert "its folder does not exist" in capsys.readouterr().err


def test_check_config_goes_on_with_no_round_and_tells_no_news(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    with kept_in(state) as store:
        filled(store)  # its journal fits no configuration: whoever takes it up breaks it off
        with store._writing() as connection:
            write_history(connection, Happening(1.0, RESTORED, "1"))
    (key,) = (state / "keys").iterdir()
    given = ("--listen", "127.0.0.1:0", "--control", f"unix:{tmp_path / 'control.sock'}", "--state-dir", str(state))
    assert checked(tmp_path, *given) == 0
    assert "restored" not in capsys.readouterr().err
    assert list((state / "keys").iterdir()) == [key]
    assert b"restored" not in b"".join(path.read_bytes() for path in (state / "audit").iterdir())
    with kept_in(state) as store:
        assert [happening.what for happening in store.news()] == [RESTORED]
        (kept,) = found(store)
        assert kept.ended is None


def test_check_config_finds_that_an_open_round_needs_an_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    config = replace(make_config(3), suite=Suite.X25519_SHA256_AEGIS128X4)
    opened, over = (replace(record(number), config_bytes=encode_config(config)) for number in (ONE, TWO))
    with kept_in(state) as store:
        _, journal = store.open_rounds([opened, over])
        journal.finish(Ended(20.0, RoundAborted(AbortReason.BELOW_THRESHOLD, "too few")))
    given = ("--listen", "127.0.0.1:0", "--control", f"unix:{tmp_path / 'control.sock'}", "--state-dir", str(state))
    monkeypatch.setitem(sys.modules, "aeg.aegis128x4", None)  # importing it fails
    assert checked(tmp_path, *given) == 1
    assert "needs the extra fast" in capsys.readouterr().err
    with kept_in(state) as store:
        one, two = found(store)
        assert (one.ended, two.ended is None) == (None, False)  # it stays as it was
        one.journal.finish(Ended(21.0, RoundAborted(AbortReason.BELOW_THRESHOLD, "too few")))
    assert checked(tmp_path, *given) == 0  # what is over needs nothing
