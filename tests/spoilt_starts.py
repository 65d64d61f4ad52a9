"""Starts of a coordinator that cannot go well, each broken by something real on this machine."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from secagg_server.storage.sqlite.database import Database
from secagg_server.storage.sqlite.folder import StateFolder
from secagg_server.storage.sqlite.schema import STEPS, migrate

from secagg.crypto.authority import create_authority, issue_server
from secagg.programs.disk import REAL_DISK
from secagg.programs.ledgers.files import ENTRIES, MARKER, locked
from tests.serving import PATIENCE_S, site, write_site

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


@dataclass
class Start:
    """A start that would succeed, to be spoilt.

    Attributes:
        folder: has the files; nothing else uses it.
        flags: by the names of settings.
        environment: more variables.
        limit: of the size of every file that the program writes, in KiB.
    """

    folder: Path
    flags: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    limit: int | None = None

    def __post_init__(self) -> None:
        run = self.folder / "run"
        run.mkdir()
        (self.folder / "settings.toml").write_text("max_calls = 500\n")
        self.flags = {
            "config": str(self.folder / "settings.toml"),
            "listen": "127.0.0.1:0",
            "control": f"unix:{run}/control.sock",
            "ledger_dir": str(self.folder / "ledger"),
            **{name: str(path) for name, path in write_site(self.folder).items()},
        }

    @property
    def arguments(self) -> list[str]:
        return [item for name, value in self.flags.items() for item in (f"--{name.replace('_', '-')}", value)]

    @property
    def ledger(self) -> Path:
        """The ledger folder, as an earlier start left it."""
        with locked(self.folder / "ledger"):
            pass
        return self.folder / "ledger"

    @cached_property
    def state(self) -> StateFolder:
        """A state folder, which this start uses from now on."""
        folder = StateFolder(self.folder / "state")
        folder.path.mkdir(mode=0o700)
        self.flags["state_dir"] = str(folder.path)
        return folder

    def certificate(self, now: datetime, validity: timedelta = timedelta(days=30)) -> None:
        made = issue_server(site().authority, hosts=["localhost"], now=now, validity=validity)
        Path(self.flags["certificate"]).write_bytes(made.certificate_pem)
        Path(self.flags["key"]).write_bytes(made.key_pem.expose())

    def gateway(self, now: datetime = NOW, validity: timedelta = timedelta(days=30)) -> dict[str, str]:
        """Give the start a gateway with a certificate of its own, valid from `now`; the flags."""
        made = issue_server(site().authority, hosts=["app.example"], now=now, validity=validity)
        contents = {
            "gateway_token_key": ("token.keys", b"01" * 32),
            "gateway_certificate": ("gateway-cert.pem", made.certificate_pem),
            "gateway_key": ("gateway-key.pem", made.key_pem.expose()),
        }
        self.flags["gateway"] = "127.0.0.1:0"
        for name, (file, content) in contents.items():
            path = self.folder / file
            path.touch(mode=0o600)
            path.write_bytes(content)
            self.flags[name] = str(path)
        return self.flags

    def serve(self) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "secagg_server", "serve", *self.arguments]
        limited = ["bash", "-c", f"ulimit -f {self.limit}; exec {shlex.join(program)}"] if self.limit else program
        environment = os.environ | self.environment
        return subprocess.run(limited, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


Situation = Callable[[Start], str]
SITUATIONS: list[Situation] = []
"""Each breaks a start, and returns what the line says, as a regular expression."""


def situation(spoil: Situation) -> Situation:
    SITUATIONS.append(spoil)
    return spoil


@situation
def no_certificate(start: Start) -> str:
    Path(start.flags["certificate"]).unlink()
    return r"cert\.pem: No such file or directory \(setting certificate\)"


@situation
def folder_for_a_certificate(start: Start) -> str:
    start.flags["certificate"] = str(start.folder)
    return r": Is a directory \(setting certificate\)"


@situation
def no_key(start: Start) -> str:
    Path(start.flags["key"]).unlink()
    return r"key\.pem: No such file or directory \(setting key\)"


@situation
def key_of_everybody(start: Start) -> str:
    Path(start.flags["key"]).chmod(0o644)
    return r"key\.pem can be read by others \(mode 0644\) \(setting key\); run: chmod 600 \S*key\.pem$"


@situation
def key_of_another(start: Start) -> str:
    Path(start.flags["key"]).write_bytes(site().another_server().key_pem.expose())
    return r"the certificate and the private key do not belong together \(setting certificate, \S*cert\.pem\)"


@situation
def half_a_key_of_tokens(start: Start) -> str:
    Path(start.gateway()["gateway_token_key"]).write_text("00" * 16)
    return r"1 to 4 lines of 64 hexadecimal digits \(setting gateway_token_key, \S*\.keys\); run: openssl rand -hex 32"


@situation
def gateway_key_of_another(start: Start) -> str:
    Path(start.gateway()["gateway_key"]).write_bytes(site().another_server().key_pem.expose())
    return r"gateway-key\.pem is not its key \(setting gateway_certificate, \S*gateway-cert\.pem\)"


@situation
def gateway_certificate_that_expired(start: Start) -> str:
    start.gateway(NOW - timedelta(days=40))
    return r"the gateway's certificate: expired on \S+ \S+ UTC \(the clock says .*\(setting gateway_certificate"


@situation
def no_ca(start: Start) -> str:
    Path(start.flags["participant_ca"]).unlink()
    return r"ca\.pem: No such file or directory \(setting participant_ca\)"


@situation
def key_for_a_ca(start: Start) -> str:
    start.flags["participant_ca"] = start.flags["key"]
    return r"trusted CA file: no readable PEM certificate \(setting participant_ca, \S*key\.pem\)"


@situation
def ca_that_expired(start: Start) -> str:
    old = create_authority(name="old", now=NOW - timedelta(days=30), validity=timedelta(days=29))
    Path(start.flags["participant_ca"]).write_bytes(old.certificate_pem)
    return r"CA CN=old: expired on \S+ \S+ UTC \(the clock says 20\S+ \S+ UTC\) \(setting participant_ca, \S*ca\.pem\)"


@situation
def clock_behind_the_certificate(start: Start) -> str:
    start.certificate(NOW + 5 * HOUR)
    return r"server certificate: not valid before \S+ \S+ UTC \(the clock says 20\S+ \S+ UTC\) \(setting certificate"


@situation
def clock_behind_the_ca(start: Start) -> str:
    young = create_authority(name="young", now=NOW + 5 * HOUR)
    Path(start.flags["participant_ca"]).write_bytes(young.certificate_pem)
    return r"CA CN=young: not valid before \S+ \S+ UTC \(the clock says 20\S+ \S+ UTC\) \(setting participant_ca"


@situation
def clock_ahead_of_the_certificate(start: Start) -> str:
    start.certificate(NOW - 5 * HOUR, validity=HOUR)
    return r"server certificate: expired on \S+ \S+ UTC \(the clock says 20\S+ \S+ UTC\) \(setting certificate"


@situation
def clock_behind_the_ledger(start: Start) -> str:
    later = time.time() + 3 * 3600
    os.utime(start.ledger / MARKER, (later, later))
    return (
        r"this machine's clock says 20\S+ \S+ UTC, and \S+/format was written at 20\S+ \S+ UTC: set the clock; .*"
        r"\(touch \S+/ledger/\*\); run: sudo timedatectl set-ntp true$"
    )


@situation
def no_socket_folder(start: Start) -> str:
    start.flags["control"] = f"unix:{start.folder}/missing/control.sock"
    return r"control socket \S+: its folder does not exist; run: install -d -m 700 \S+/missing$"


@situation
def file_for_a_socket_folder(start: Start) -> str:
    start.flags["control"] = f"unix:{start.flags['config']}/control.sock"
    return r"control socket \S+: \S+settings\.toml is no folder; choose another with the setting control"


@situation
def file_below_a_socket_folder(start: Start) -> str:
    start.flags["control"] = f"unix:{start.flags['config']}/below/control.sock"
    return r"control socket \S+: its folder: Not a directory; choose another with the setting control"


@situation
def file_for_a_socket(start: Start) -> str:
    (start.folder / "run" / "control.sock").touch()
    return r"control socket \S+: the path exists and is no socket; move it away; run: mv \S+ \S+\.old$"


@situation
def socket_path_too_long(start: Start) -> str:
    start.flags["control"] = f"unix:{start.folder}/{'x' * 100}/control.sock"
    return r"control socket path \S+ is longer than 107 bytes; shorten it"


@situation
def address_of_no_machine(start: Start) -> str:
    start.flags["listen"] = "192.0.2.1:7443"
    return (
        r"cannot listen on 192\.0\.2\.1:7443 \(setting listen\): it is not an address of this machine; 0\.0\.0\.0 "
        r"stands for all of them; run: ip -brief address$"
    )


@situation
def name_of_no_machine(start: Start) -> str:
    start.flags["listen"] = "nowhere.invalid:7443"
    return r"cannot listen on nowhere\.invalid:7443 \(setting listen\): no machine has the name nowhere\.invalid"


@situation
def one_port_for_two(start: Start) -> str:
    start.flags["listen"] = start.flags["status"] = "127.0.0.1:7443"
    return r"settings: listen and status have the same port, 7443: give each its own$"


@situation
def one_port_on_all_addresses(start: Start) -> str:
    start.flags["control"], start.flags["status"] = "127.0.0.1:7443", "[::]:7443"
    return r"settings: control and status have the same port, 7443: give each its own$"


@situation
def unknown_in_the_file(start: Start) -> str:
    Path(start.flags["config"]).write_text("lisen = '127.0.0.1:1'\n")
    return r"unknown setting lisen in \S+settings\.toml; did you mean listen\?$"


@situation
def unknown_in_a_table_of_the_file(start: Start) -> str:
    Path(start.flags["config"]).write_text("[budgets.digits]\nepsilom = 1.0\n")
    return r"unknown setting budgets\.digits\.epsilom in \S+settings\.toml$"


@situation
def unknown_in_the_environment(start: Start) -> str:
    start.environment["SECAGG_SERVER_LISTN"] = "127.0.0.1:1"
    return r"the environment variable SECAGG_SERVER_LISTN names no setting; did you mean SECAGG_SERVER_LISTEN\?$"


@situation
def no_settings_file(start: Start) -> str:
    start.flags["config"] = "missing.toml"
    return r"settings file missing\.toml does not exist"


@situation
def no_toml(start: Start) -> str:
    Path(start.flags["config"]).write_text("= =\n")
    return r"settings: .* \(file \S+settings\.toml\)$"


@situation
def folder_of_a_later_release(start: Start) -> str:
    (start.ledger / MARKER).write_text("2\n")
    return (
        r"the ledger folder \S+ has format 2, and this release of secagg knows format 1 alone; start the release that "
        r"wrote it, or a later one$"
    )


@situation
def folder_of_no_format(start: Start) -> str:
    (start.ledger / MARKER).write_bytes(b"\xff")
    return r"the ledger folder \S+: its file format holds no number; restore it from a backup$"


@situation
def folder_that_others_write(start: Start) -> str:
    start.ledger.chmod(0o777)
    return r"the ledger folder \S+ can be written by others; run: chmod 700 \S+$"


@situation
def state_that_others_read(start: Start) -> str:
    start.state.path.chmod(0o750)
    return r"the state folder \S+ can be read or written by others \(mode 0750\); run: chmod 700 \S+$"


@situation
def state_of_a_later_release(start: Start) -> str:
    with closing(Database(REAL_DISK, start.state.database)) as database:
        migrate(database, (*STEPS, ("CREATE TABLE later (a INT) STRICT",)))
    return r"the state has version \d+, and this release of secagg knows versions up to \d+; start the release"


@situation
def state_of_an_older_release(start: Start) -> str:
    with closing(Database(REAL_DISK, start.state.database)) as database:
        migrate(database, STEPS[:1])
    return r"has version 1, .*: make a backup, .* and migrate it; run: secagg-server migrate --state-dir \S+$"


@situation
def state_that_is_no_database(start: Start) -> str:
    start.state.database.write_bytes(b"this is no database " * 100)
    return r"state\.sqlite is damaged: file is not a database"


@situation
def state_on_top_of_ledgers(start: Start) -> str:
    del start.flags["ledger_dir"]
    start.flags["state_dir"] = str(start.folder / "ledger")
    (start.ledger / f"heart-0123{ENTRIES}").touch()
    return r"\S+/ledger has privacy ledgers, and this coordinator would look for them in \S+/ledger/ledgers, and forget"


@situation
def ledgers_of_the_state_passed_over(start: Start) -> str:
    with locked(start.state.ledgers):
        (start.state.ledgers / f"heart-0123{ENTRIES}").touch()
    return r"\S+/state/ledgers has privacy ledgers, and this coordinator would look for them in \S+/ledger, and forget"


@situation
def one_folder_for_state_and_ledgers(start: Start) -> str:
    start.flags["state_dir"] = start.flags["ledger_dir"]
    return r"settings: state_dir and ledger_dir are both \S+/ledger: give ledgers a folder of their own"


@situation
def empty_variable_for_the_state(start: Start) -> str:
    start.environment["SECAGG_SERVER_STATE_DIR"] = ""
    return "setting state_dir: value error, should name a folder, or be left out"


@situation
def file_for_a_ledger_folder(start: Start) -> str:
    (start.folder / "ledger").touch()
    return r"the ledger folder \S+: File exists"
