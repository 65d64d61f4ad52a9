"""The coordinator's machine: what keeps a sidecar with these settings from starting, and what will go wrong later.

Beside a sidecar that runs, what it has taken is its own, and it is asked how it is.
"""

import os
import shlex
import shutil
import socket
from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Final

from secagg.cli.certificate_summary import CertificateSummary
from secagg.cli.doctor import machine
from secagg.cli.doctor.findings import (
    SET_CLOCK,
    Finding,
    Level,
    Validity,
    clock,
    expiry,
    fine,
    moment,
    or_else,
    refused,
)
from secagg.cli.doctor.participant import answers, authorities, summaries
from secagg.cli.doctor.suites import suites
from secagg.errors import ConfigError, LedgerError, MissingExtraError, SecAggError
from secagg.transport.addresses import TcpAddress, UnixAddress, parse_control, parse_tcp

if TYPE_CHECKING:
    from secagg_server.settings import Settings

LITTLE_DISK_BYTES: Final = 256 << 20
"""Less room than this below the ledgers is worth a warning: logs and other programs fill it in days."""

LITTLE_MEMORY_BYTES: Final = 256 << 20
"""A sidecar takes about 50 MiB at rest and some hundred in a round."""

_ASK_S: Final = 5.0


def examine(config: Path | None, address: TcpAddress | None, now: float | None = None) -> Iterator[Finding]:
    """Look at everything that the sidecar needs, whatever is wrong with the rest.

    Args:
        config: settings file; the environment comes before it, as for `secagg-server`.
        address: under which participants reach the sidecar; None if that is not known.
        now: seconds since 1970; this machine's clock if None.
    """
    try:
        from secagg_server.settings import Settings, load_settings
    except ModuleNotFoundError:
        error = MissingExtraError("the coordinator's side", "server")
        yield Finding("extra", Level.ERROR, str(error), "pip install '.[server]'")
        return
    now = time() if now is None else now
    try:
        settings = load_settings(config, {})
    except (SecAggError, OSError) as error:
        yield refused("settings", error)
        return
    named = len(settings.model_fields_set)
    yield fine("settings", f"{named} of {len(Settings.model_fields)} are set, the others have their defaults")
    yield _user(settings, config)
    yield from _certificates(settings, address, now)
    told = _asked(settings) if _listens(settings) else []
    yield from told
    running = bool(told) and told[0].level is not Level.ERROR
    yield _control(settings, running=running)
    yield _port(settings.listen, "listen", running=running)
    if settings.status is not None:
        yield _port(settings.status, "status", running=running)
    if settings.gateway is not None:
        yield from _gateway(settings, now)
        yield _port(settings.gateway, "gateway", running=running)
    yield _open_files(settings)
    yield _state(settings, running=running)
    yield from _ledger(settings, now, running=running)
    yield _accounting(settings)
    yield _memory()
    yield suites()


def _user(settings: "Settings", config: Path | None) -> Finding:
    """Root may do what the sidecar's user may not, so root finds less. Another user finds too much."""
    user = os.geteuid()
    try:
        owner = settings.key.stat().st_uid
    except OSError:
        owner = user
    if user == 0 != owner:
        text = f"root may do what the sidecar's user, {owner}, may not: run the doctor as that user"
    elif user != owner != 0:
        text = (
            f"this is user {user}, and the key belongs to {owner}: if the sidecar runs as {owner}, run the doctor as "
            "that user, and no command below that gives files to this one"
        )
    else:
        return fine("user", f"user {user}; the sidecar must run as the same")
    again = "" if config is None else f" --config {shlex.quote(str(config))}"
    return Finding("user", Level.WARNING, text, f"sudo --preserve-env -u '#{owner}' secagg doctor{again}")


def _certificates(settings: "Settings", address: TcpAddress | None, now: float) -> Iterator[Finding]:
    from secagg_server.certificates.files import read_denied, read_identity, read_trust

    moment_ = moment(now)
    try:
        trust = read_trust(settings, now)
        yield from authorities(settings.participant_ca, moment_)
    except (SecAggError, OSError) as error:
        trust = None
        copy = f"install -m 644 secagg-ca/ca.pem {shlex.quote(str(settings.participant_ca))}"
        known = summaries(settings.participant_ca)
        expired = bool(known) and all(one.role == "ca" and one.not_after < moment_ for one in known)
        yield or_else(
            refused("CA", error), _of_time(known, moment_, "secagg ca init --dir secagg-ca-2" if expired else copy)
        )
    try:
        read_denied(settings)
    except (SecAggError, OSError) as error:
        yield refused("deny list", error)
    shown = summaries(settings.certificate)
    renew = f"secagg ca issue server {_hosts(shown[0].hosts if shown else ())}"
    try:
        identity = read_identity(settings, now)
    except (SecAggError, OSError) as error:
        yield or_else(refused("certificate", error), _of_time(shown, moment_, renew))
    else:
        leaf = shown[0]
        yield expiry("certificate", Validity(leaf.name, leaf.not_before, leaf.not_after), moment_, renew)
        if trust is not None:
            try:
                trust.verify_coordinator(identity.chain, moment_)
                yield fine("chain", "the certificate is of a CA that participants must have too")
            except SecAggError as error:
                text = f"{error}: participants who trust that CA alone refuse the sidecar"
                yield Finding("chain", Level.WARNING, text, renew)
        yield _names(settings, leaf, address)
    yield clock([_validity(one) for one in (*shown, *summaries(settings.participant_ca))], moment_)


def _gateway(settings: "Settings", now: float) -> Iterator[Finding]:
    """Its keys of tokens, its certificate where it has one of its own, and who may call."""
    from secagg_server.certificates.files import read_gateway

    check = "gateway files"
    try:
        files = read_gateway(settings, now)
    except (SecAggError, OSError) as error:
        yield refused(check, error)
        return
    keys = 0 if files is None else len(files.token_keys)
    yield fine(check, f"{keys} key{'' if keys == 1 else 's'} of tokens")
    own = settings.gateway_certificate
    if own is None:
        text = "the gateway shows the coordinator's certificate, which no browser believes unless it was told to"
        yield Finding(check, Level.WARNING if settings.gateway_origins else Level.OK, text)
        return
    leaf = summaries(own)[0]
    name = f"the gateway's certificate for {', '.join(leaf.hosts)}"
    look = f"openssl x509 -noout -enddate -issuer -in {shlex.quote(str(own))}"
    yield expiry(check, Validity(name, leaf.not_before, leaf.not_after), moment(now), look)


def _of_time(shown: list[CertificateSummary], now: datetime, otherwise: str) -> str:
    """The command for certificates that are refused: a new one is of no use to a clock that is behind."""
    return SET_CLOCK if any(now < one.not_before for one in shown) else otherwise


def _names(settings: "Settings", leaf: CertificateSummary, address: TcpAddress | None) -> Finding:
    """Whether participants find the name that they connect to in the certificate."""
    names = ", ".join(leaf.hosts)
    if address is not None:
        host = address.host.strip("[]")
        if any(_covers(name, host) for name in leaf.hosts):
            return fine("names", f"the certificate is for {host}, as participants write it")
        text = f"participants connect to {host}, and the certificate is for {names}"
        return Finding("names", Level.ERROR, text, f"secagg ca issue server {_hosts((host, *leaf.hosts))}")
    if all(map(_of_this_machine, leaf.hosts)) and not _of_this_machine(parse_tcp(settings.listen).host.strip("[]")):
        text = f"the certificate is for {names} alone, so participants on other machines refuse it"
        return Finding(
            "names", Level.WARNING, text, f"secagg ca issue server --host $(hostname -f) {_hosts(leaf.hosts)}"
        )
    return fine("names", f"the certificate is for {names}; name the address that participants use with --address")


def _covers(name: str, host: str) -> bool:
    name, host = name.lower(), host.lower()
    first, _, rest = host.partition(".")
    return name == host or (name.startswith("*.") and bool(first) and name[2:] == rest)


def _of_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listens(settings: "Settings") -> bool:
    """Whether somebody listens on the control plane."""
    from secagg_server.network.listening import Occupied, look_at

    try:
        place = parse_control(settings.control)
        if isinstance(place, UnixAddress):
            return look_at(place.path) is Occupied.TAKEN
        return place.port != 0 and _connects(place)
    except (SecAggError, OSError):
        return False


def _connects(address: TcpAddress) -> bool:
    """Whether somebody listens at the address, or on the whole machine."""
    host = address.host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104, a comparison
    try:
        socket.create_connection((host, address.port), 2.0).close()
    except OSError:
        return False
    return True


def _asked(settings: "Settings") -> list[Finding]:
    """What whoever listens on the control plane answers; the first finding is whether that is a sidecar."""
    from secagg_client import ControlClient, RetryPolicy

    with ControlClient(settings.control, retry=RetryPolicy(attempts=1)) as client:
        told = list(answers(client, _ASK_S, time, who="sidecar"))
    if told[0].level is Level.ERROR:
        text = f"somebody listens on {settings.control}, and that is no sidecar that works: {told[0].text}"
        return [Finding("running", Level.ERROR, text, "ss -lptn; ss -lpxn")]
    return [fine("running", f"a sidecar runs on {settings.control}; what it has taken is its own"), *told]


def _control(settings: "Settings", *, running: bool) -> Finding:
    from secagg_server.network.listening import Occupied, check_socket, look_at

    try:
        place = parse_control(settings.control)
        if isinstance(place, TcpAddress):
            return _port(settings.control, "control", running=running)
        found = look_at(place.path)
        if found is Occupied.FREE:
            check_socket(place.path)
    except (SecAggError, OSError) as error:
        return refused("control", error)
    folder = place.path.parent
    mode = folder.stat().st_mode
    if mode & 0o002 and not mode & 0o1000:
        text = f"everybody may exchange the socket in {folder} (mode {mode & 0o7777:04o})"
        return Finding("control", Level.WARNING, text, f"chmod 700 {shlex.quote(str(folder))}")
    said = {
        Occupied.FREE: f"{place.path} can be made",
        Occupied.STALE: f"{place.path} was left by a sidecar that died; the next start replaces it",
        Occupied.TAKEN: f"{place.path} is that of the running sidecar",
    }
    return fine("control", said[found])


def _port(text: str, setting: str, *, running: bool) -> Finding:
    from secagg_server.network.listening import tcp_listener

    check = setting if setting != "listen" else "data plane"
    try:
        address = parse_tcp(text)
        if not running:
            tcp_listener(address, setting).close()
            return fine(check, f"{address} is free")
    except (SecAggError, OSError) as error:
        found = refused(check, error)
        who = machine.listener(address.port) if "another program" in found.text else ""
        return Finding(check, found.level, f"{found.text} ({who})" if who else found.text, found.mend)
    if address.port == 0 or _connects(address):
        return fine(check, f"{address} is that of the running sidecar")
    wrong = f"nothing listens on {address}: the running sidecar was started with other settings; start it again"
    return Finding(check, Level.WARNING, wrong, "secagg-server check-config --files-only")


def _open_files(settings: "Settings") -> Finding:
    from secagg_server.limits.open_files import ENOUGH, raised
    from secagg_server.observability.http import MAX_CONNECTIONS

    try:
        status = 0 if settings.status is None else MAX_CONNECTIONS
        gateway = 0 if settings.gateway is None else settings.gateway_connections
        files, connections = raised(status + gateway)
    except ConfigError as error:
        return refused("open files", error)
    text = f"{files} files may be open here, which is {connections} connections"
    if connections < ENOUGH:
        text += "; more participants need a higher hard limit (LimitNOFILE of systemd, --ulimit nofile of docker)"
        return Finding("open files", Level.WARNING, text, "ulimit -Hn")
    return fine("open files", text)


def _state(settings: "Settings", *, running: bool) -> Finding:
    """Whether a coordinator can take up what an earlier one left. Opens no database: that writes beside it."""
    from secagg_server.storage.sqlite.folder import StateFolder, check_ledgers, check_private, check_room, is_held
    from secagg_server.storage.sqlite.schema import check_file

    from secagg.programs.disk import REAL_DISK

    if settings.state_dir is None:
        return fine("state", "state_dir is not set, so a restart ends open rounds and forgets finished sums")
    folder = StateFolder(settings.state_dir)
    above = machine.nearest(folder.path)
    if above != folder.path:
        if os.path.lexists(folder.path):
            text = f"{folder.path} is no folder; choose another with the setting state_dir"
            return Finding("state", Level.ERROR, text)
        if not os.access(above, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            make = f"sudo install -d -m 700 -o $(id -u) {shlex.quote(str(folder.path))}"
            return Finding("state", Level.ERROR, f"{folder.path} does not exist, and this user may not make it", make)
        return fine("state", f"{folder.path} is made at the first start")
    try:
        check_private(folder.path, REAL_DISK)
        check_ledgers(folder, settings.ledgers or folder.ledgers, REAL_DISK)
        if is_held(folder.path, REAL_DISK) and not running:
            raise ConfigError(f"the state folder {folder.path} belongs to a coordinator that is running")
        check_room(folder.path, REAL_DISK)
        version = check_file(folder)
    except (SecAggError, OSError) as error:
        return refused("state", error)
    return fine("state", f"{folder.path} has {f'a state of version {version}' if version else 'no state yet'}")


def _ledger(settings: "Settings", now: float, *, running: bool) -> Iterator[Finding]:
    from secagg.programs.ledgers.files import check_clock, check_format, check_privacy, check_room, is_locked

    folder = settings.ledgers
    if folder is None:
        text = "no state_dir or ledger_dir is set, so a restart forgets what was spent; rounds without noise need none"
        yield Finding("ledger", Level.WARNING if settings.budgets else Level.OK, text)
        return
    above, quoted = machine.nearest(folder), shlex.quote(str(folder))
    if above != folder:
        if os.path.lexists(folder):
            yield Finding("ledger", Level.ERROR, f"{folder} is no folder; choose another with the setting ledger_dir")
        elif not os.access(above, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            make = f"sudo install -d -m 700 -o $(id -u) {quoted}"
            yield Finding("ledger", Level.ERROR, f"{folder} does not exist, and this user may not make it", make)
        else:
            yield fine("ledger", f"{folder} is made at the first start")
            try:
                check_room(above)
            except ConfigError as error:
                yield refused("disk", error)
                return
        yield _disk(above)
        return
    try:
        check_privacy(folder)
        check_format(folder)
        if is_locked(folder) and not running:
            yield refused("ledger", ConfigError(f"{folder} belongs to a coordinator or job that is running"))
        else:
            yield from _ledgers(folder, settings)
    except (SecAggError, OSError) as error:
        yield refused("ledger", error)
    try:
        check_clock(folder, now)
        yield fine("ledger clock", "no ledger was written in the future")
    except (SecAggError, OSError) as error:
        yield refused("ledger clock", error)
    try:
        check_room(folder)
        yield _disk(folder)
    except (SecAggError, OSError) as error:
        yield refused("disk", error)


def _ledgers(folder: Path, settings: "Settings") -> Iterator[Finding]:
    """Whether each ledger is whole, and has the budget of the settings.

    One that a running sidecar wrote to between two looks at it is read again.
    """
    from secagg.programs.ledgers.files import entries_files, read_ledger

    whole, damaged = [], []
    for path in entries_files(folder):
        for again in (True, False):
            try:
                whole.append(read_ledger(path))
                break
            except LedgerError as error:
                if not again:
                    damaged.append(f"{path.name}: {error}")
    count = len(whole) + len(damaged)
    if damaged:
        text = (
            f"{len(damaged)} of {count} ledgers damaged, so rounds with noise of these tasks are refused: {damaged[0]}"
        )
        yield Finding("ledger", Level.ERROR, text, f"secagg ledger verify {shlex.quote(str(folder))}")
    else:
        yield fine("ledger", f"{folder} has the ledgers of {count} task{'' if count == 1 else 's'}, and they are whole")
    for ledger in whole:
        now, begun = settings.budgets.get(ledger.task, settings.budget).value, ledger.budget
        if now != begun:
            text = (
                f"task {ledger.task} began with ε = {begun.epsilon:g}, δ = {begun.delta:g}, and the settings say ε = "
                f"{now.epsilon:g}, δ = {now.delta:g}: its rounds with noise are refused until the setting budgets "
                "gives it the old budget. If the task is over, nothing is wrong"
            )
            yield Finding("budget", Level.WARNING, text)


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / (1 << 20):,.0f} MiB are free below {folder}"
    if free < LITTLE_DISK_BYTES:
        text += "; when the disk is full, rounds with noise are refused"
        return Finding("disk", Level.WARNING, text, f"du -xh --max-depth=2 {shlex.quote(str(folder))}")
    return fine("disk", text)


def _accounting(settings: "Settings") -> Finding:
    from secagg_server.app import check_accounting

    try:
        check_accounting(settings)
    except MissingExtraError as error:
        return Finding("extra", Level.ERROR, str(error), "pip install '.[server,dp]'")
    return fine("extra", "what these settings need is installed")


def _memory() -> Finding:
    free = machine.free_memory()
    if free is None:
        return fine("memory", "how much is free is not known here")
    text = f"{free / (1 << 20):,.0f} MiB are free"
    if free < LITTLE_MEMORY_BYTES:
        text += "; a sidecar takes 50 MiB at rest and some hundred in a round (Sizing in docs/deployment.md)"
        return Finding("memory", Level.WARNING, text, "ps -eo rss,pid,comm --sort -rss | head")
    return fine("memory", text)


def _validity(summary: CertificateSummary) -> Validity:
    name = "the certificate of the CA" if summary.role == "ca" else "the sidecar's certificate"
    return Validity(name, summary.not_before, summary.not_after)


def _hosts(hosts: tuple[str, ...]) -> str:
    """The names as options; the machine's own name if there are none."""
    return " ".join(f"--host {shlex.quote(host)}" for host in hosts) or "--host $(hostname -f)"
