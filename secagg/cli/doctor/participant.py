"""The connection to the coordinator from a participant's machine: files, name, port, TLS, and a call of our own."""

import os
import shlex
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Final, Protocol

from secagg import __version__
from secagg.cli.certificate_summary import CertificateSummary, summarise
from secagg.cli.doctor.findings import (
    SET_CLOCK,
    Finding,
    Level,
    Validity,
    clock,
    expiry,
    fine,
    length,
    moment,
    refused,
    tried,
)
from secagg.cli.doctor.suites import suites
from secagg.errors import ProtocolViolation, SecAggError, printable
from secagg.transport.addresses import TcpAddress

if TYPE_CHECKING:
    from secagg.crypto.identity import Identity, TrustAnchors
    from secagg.wire.describing import Description

APART_S: Final = 60.0
"""Clocks that differ by more than this many seconds are worth a warning."""

FAR_APART_S: Final = 3600.0
"""From here on it is an error: one end may refuse certificates that are valid."""

_WRONG_HOST: Final = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH of OpenSSL
_PROXIES: Final = ("grpc_proxy", "https_proxy", "http_proxy")  # variables that gRPC reads, in its order
_MOST_ADDRESSES: Final = 4  # of one name, that are tried
_MOST_NAMES: Final = 5  # of one certificate, that are shown


@dataclass(frozen=True, slots=True)
class Participant:
    """What a participant connects with.

    Attributes:
        address: of the coordinator's data plane.
        certificate: file of the participant's certificate, PEM.
        key: file of its key, PEM.
        ca: file of the deployment's CA, PEM.
        server_name: the name in the coordinator's certificate, if it is not the host of `address`.
        timeout_s: longest wait for each answer.
        clock: seconds since 1970.
    """

    address: TcpAddress
    certificate: Path
    key: Path
    ca: Path
    server_name: str | None = None
    timeout_s: float = 10.0
    clock: Callable[[], float] = time

    @property
    def host(self) -> str:
        """The host of the address, IPv6 without its brackets."""
        return self.address.host.strip("[]")

    @property
    def now(self) -> datetime:
        """The time of this machine."""
        return moment(self.clock())


class Describing(Protocol):
    """A client of either plane."""

    def describe(self, *, timeout_s: float | None = None) -> "Description":
        """Versions and time of the other end."""
        ...

    def serves(self, *, timeout_s: float | None = None) -> bool:
        """Whether the other end serves."""
        ...


def examine(one: Participant) -> Iterator[Finding]:
    """Look at one thing after the other. What makes no sense after an error is left out."""
    yield suites()
    own, findings = _files(one)
    yield from findings
    addresses, found = _resolved(one)
    yield found
    proxy = _proxy(one)
    if proxy is not None:
        yield proxy
    reached = _reached(one, addresses) if addresses else None
    if reached is not None:
        yield reached
    known = [_validity(summary) for path in (one.certificate, one.ca) for summary in summaries(path)]
    if own is None or reached is None or reached.level is Level.ERROR:
        yield clock(known, one.now)
        return
    shown = _shown(one)
    valid = all(finding.level is not Level.ERROR for finding in findings)
    handshake = _handshake(one, own[1], shown, valid=valid)
    yield handshake
    yield clock([*known, *map(_validity, [shown] if shown else [])], one.now)
    if handshake.level is not Level.ERROR:
        from secagg_client import Client, RetryPolicy

        with Client(
            str(one.address),
            identity=own[0],
            trust=own[1],
            retry=RetryPolicy(attempts=1),
            server_name=one.server_name,
        ) as client:
            yield from answers(client, one.timeout_s, one.clock, who="coordinator")


def answers(client: Describing, timeout_s: float, clock: Callable[[], float], *, who: str) -> Iterator[Finding]:
    """What the other end says of itself, in calls of our own: whether it serves, its versions and its time.

    Args:
        client: of either plane.
        timeout_s: longest wait for each answer.
        clock: seconds since 1970.
        who: what to call the other end.
    """
    try:
        serves = client.serves(timeout_s=timeout_s)
    except SecAggError as error:
        yield Finding("own call", Level.ERROR, f"the {who} does not answer: {error}")
        return
    if not serves:
        yield Finding("health", Level.WARNING, f"the {who} answers and shuts down; try again after its restart")
        return
    yield fine("health", f"the {who} serves")
    before = clock()
    try:
        told = client.describe(timeout_s=timeout_s)
    except ProtocolViolation:
        text = (
            f"the {who} does not know the call Describe, so its release is older than {__version__} here, and its "
            f"clock cannot be compared; upgrade the {who}"
        )
        yield Finding("versions", Level.WARNING, text)
        return
    except SecAggError as error:
        yield refused("versions", error)
        return
    yield versions(told, who)
    yield difference(told.time_ms / 1000, before, clock(), who)


def versions(told: "Description", who: str) -> Finding:
    """Whether both ends speak one version of the protocol, and who must be upgraded if they do not."""
    from secagg.wire.describing import PROTOCOLS

    both = f"secagg {told.version} at the {who}, {__version__} here"
    common = sorted(set(told.protocols) & set(PROTOCOLS))
    if common:
        return fine("versions", f"{both}; both speak version {common[-1]} of the protocol")
    older = "this machine" if max(told.protocols) > max(PROTOCOLS) else f"the {who}"
    theirs, ours = (", ".join(map(str, some)) for some in (told.protocols, PROTOCOLS))
    text = (
        f"{both}; the {who} speaks version {theirs} of the protocol, and this machine {ours}: upgrade secagg on {older}"
    )
    return Finding("versions", Level.ERROR, text)


def difference(theirs: float, before: float, after: float, who: str) -> Finding:
    """How far the clocks of both ends are apart.

    Args:
        theirs: what the other end's clock said, in seconds since 1970.
        before: what ours said before it was asked.
        after: and when the answer had come.
        who: what to call the other end.
    """
    apart = theirs - (before + after) / 2
    unsure = (after - before) / 2
    far, where = length(timedelta(seconds=abs(apart))), "ahead of" if apart > 0 else "behind"
    text = f"the {who}'s clock is {far} {where} this machine's (within {unsure:.1f} s)"
    if abs(apart) - unsure <= APART_S:
        return fine("clocks", text)
    level = Level.ERROR if abs(apart) - unsure > FAR_APART_S else Level.WARNING
    return Finding(
        "clocks",
        level,
        f"{text}: set the one that is wrong; this one says {moment(after):%Y-%m-%d %H:%M:%S} UTC",
        SET_CLOCK,
    )


def _files(one: Participant) -> tuple[tuple["Identity", "TrustAnchors"] | None, list[Finding]]:
    """Our identity and the CA, if both can be used, and what was found."""
    from secagg.crypto.identity import Identity, TrustAnchors
    from secagg.programs.keyfiles import read_private, read_public

    identity = trust = None
    findings: list[Finding] = []
    try:
        identity = Identity.from_pem(read_public(one.certificate), read_private(one.key).expose())
        identity.check_validity(one.now)
        name, also = identity.participant_id, f" of {identity.organisation}"
        known = Validity(name, identity.not_valid_before, identity.not_valid_after)
        renew = f"secagg ca issue participant {name} --organisation {shlex.quote(identity.organisation)}"
        findings.append(expiry("certificate", known, one.now, renew, also=also))
    except (SecAggError, OSError) as error:
        findings.append(refused("certificate", error))
    try:
        trust = TrustAnchors.from_pem(read_public(one.ca))
        trust.check_validity(one.now)
        findings += authorities(one.ca, one.now)
    except (SecAggError, OSError) as error:
        findings.append(refused("CA", error))
    if identity is None or trust is None:
        return None, findings
    if all(finding.level is not Level.ERROR for finding in findings):
        findings.append(tried("chain", lambda: _chained(identity, trust, one.now)))
    return (identity, trust), findings


def _chained(identity: "Identity", trust: "TrustAnchors", now: datetime) -> str:
    trust.verify_participant(identity.chain, now)
    return "the certificate is of this CA"


def authorities(ca: Path, now: datetime) -> Iterator[Finding]:
    """How long each CA of a file is still valid. During a rotation one of them may have expired."""
    for summary in summaries(ca):
        known = _validity(summary)
        if known.end < now:
            yield fine("CA", f"{summary.subject}: expired on {known.end:%Y-%m-%d}; another one is valid")
        else:
            yield expiry("CA", replace(known, name=summary.subject), now, "secagg ca init --dir secagg-ca-2")


def summaries(path: Path) -> list[CertificateSummary]:
    """The certificates of a file; none if it cannot be read, which is told elsewhere."""
    try:
        return summarise(path, path.read_bytes())
    except (SecAggError, OSError, ValueError):
        return []


def _validity(summary: CertificateSummary) -> Validity:
    whose = {"ca": "the certificate of the CA", "server": "the coordinator's certificate"}.get(summary.role)
    return Validity(whose or f"the certificate of {summary.name}", summary.not_before, summary.not_after)


def _resolved(one: Participant) -> tuple[list[str], Finding]:
    """The addresses of the coordinator's host."""
    try:
        found = socket.getaddrinfo(one.host, one.address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        text = f"no address is known for {one.host}: {getattr(error, 'strerror', None) or error}"
        return [], Finding("name", Level.ERROR, text, f"getent hosts {shlex.quote(one.host)}")
    addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))[:_MOST_ADDRESSES]
    if addresses == [one.host]:
        return addresses, fine("name", f"{one.host} is an address")
    return addresses, fine("name", f"{one.host} is {', '.join(addresses)}")


def _proxy(one: Participant) -> Finding | None:
    """Whether gRPC goes through a proxy, where the doctor's own connections do not. Its address may hold a password."""
    used = next((name for name in _PROXIES if os.environ.get(name)), None)
    without = ",".join(filter(None, map(os.environ.get, ("no_grpc_proxy", "no_proxy"))))
    spared = any(name and one.host.endswith(name) for name in without.split(","))
    if used is None or spared:
        return None
    text = f"gRPC goes through the proxy in {used}, which must pass TLS through; to go straight to the coordinator"
    return Finding("proxy", Level.WARNING, text, f"export no_proxy={shlex.quote(one.host)}")


def _reached(one: Participant, addresses: list[str]) -> Finding:
    """Whether the port takes connections, at each address."""
    port, troubles = one.address.port, []
    for address in addresses:
        try:
            socket.create_connection((address, port), one.timeout_s).close()
        except TimeoutError:
            troubles.append(f"{address} does not answer on port {port} within {one.timeout_s:g} s: a firewall, perhaps")
        except ConnectionRefusedError:
            troubles.append(f"nothing listens on port {port} of {address}: is the coordinator running?")
        except OSError as error:
            troubles.append(f"{address}, port {port}: {error.strerror or error}")
    if not troubles:
        return fine("port", f"port {port} takes connections")
    level = Level.ERROR if len(troubles) == len(addresses) else Level.WARNING
    return Finding("port", level, "; ".join(troubles), f"ip route get {addresses[0]}")


def _context(one: Participant, trust: "TrustAnchors") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=trust.pem.decode())
    context.load_cert_chain(one.certificate, one.key)
    return context


def _shown(one: Participant) -> CertificateSummary | None:
    """The certificate that is shown to anybody, unchecked and without showing ours; None if there is none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((one.host, one.address.port), one.timeout_s) as raw,
            context.wrap_socket(raw, server_hostname=one.server_name or one.host) as link,
        ):
            der = link.getpeercert(binary_form=True) or b""
            return summarise(Path("the coordinator's certificate"), ssl.DER_cert_to_PEM_cert(der).encode())[0]
    except (OSError, SecAggError, ValueError):
        return None


def _handshake(one: Participant, trust: "TrustAnchors", shown: CertificateSummary | None, *, valid: bool) -> Finding:
    """Shake hands as gRPC does, and wait for the first byte: until then a server may still refuse our certificate.

    Args:
        one: see there.
        trust: the CA.
        shown: what the coordinator shows to anybody.
        valid: whether nothing is wrong with our own files.
    """
    name = one.server_name or one.host
    try:
        with (
            socket.create_connection((one.host, one.address.port), one.timeout_s) as raw,
            _context(one, trust).wrap_socket(raw, server_hostname=name) as link,
        ):
            version, protocol, first = link.version(), link.selected_alpn_protocol(), link.recv(1)
    except ssl.SSLCertVerificationError as error:
        return _untrusted(one, name, shown, error)
    except OSError as error:
        return Finding("TLS", Level.ERROR, _broken(one, error), _openssl(one))
    if protocol != "h2":
        text = f"{version}, but the other end speaks no HTTP/2: a proxy that ends TLS? It must pass TCP through"
        return Finding("TLS", Level.ERROR, text, _openssl(one))
    if not first and not valid:
        text = "the coordinator's certificate is right; it closed the connection when it saw ours, for the reason above"
        return Finding("TLS", Level.ERROR, text)
    if not first:
        text = (
            "the coordinator's certificate is right, and it closed the connection when it saw ours: its CA (setting "
            "participant_ca) is another, or its clock is wrong. On its machine, see the log (tls_refused), "
            "and run the doctor there"
        )
        return Finding("TLS", Level.ERROR, text, "secagg doctor --config /etc/secagg/secagg-server.toml")
    return fine("TLS", f"{version}; the certificate is for {name} and of the trusted CA; ours was accepted")


def _broken(one: Participant, error: OSError) -> str:
    """What became of a handshake that came to no end."""
    if isinstance(error, TimeoutError):
        return (
            f"{one.address} took the connection and did not shake hands within {one.timeout_s:g} s: the coordinator "
            "hangs or has too much to do, or another program listens there"
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or not isinstance(error, ssl.SSLError):
        reason = "" if isinstance(error, ssl.SSLError) else f" ({error.strerror or error})"
        return (
            f"the connection was closed in the handshake{reason}: something on the way cuts TLS, or is no coordinator"
        )
    return f"{one.address} speaks no TLS 1.3 as a coordinator does ({error.reason or error}): is it the data plane?"


def _untrusted(
    one: Participant, name: str, shown: CertificateSummary | None, error: ssl.SSLCertVerificationError
) -> Finding:
    """Why the coordinator's certificate is refused, and what to do.

    Nobody vouches for `shown`: what it says is in no command but in the text alone.
    """
    issue = f"secagg ca issue server --host {shlex.quote(name)}"
    wrong = f"the coordinator's certificate is refused: {error.verify_message.rstrip('.')}"
    if shown is None:
        return Finding("TLS", Level.ERROR, wrong, _openssl(one))
    if error.verify_code in _WRONG_HOST:
        hosts = printable(", ".join(shown.hosts[:_MOST_NAMES]) or "no host", 200)
        text = (
            f"the coordinator's certificate is for {hosts}, and not for {name}: use a name that it has "
            "(--server-name), or issue it for this one too"
        )
        return Finding("TLS", Level.ERROR, text, issue)
    now = one.now
    if not shown.not_before <= now <= shown.not_after:
        text = (
            f"the coordinator's certificate is valid from {shown.not_before:%Y-%m-%d %H:%M} to "
            f"{shown.not_after:%Y-%m-%d %H:%M} UTC, and this machine's clock says {now:%Y-%m-%d %H:%M} UTC"
        )
        return Finding("TLS", Level.ERROR, text, issue if now > shown.not_after else SET_CLOCK)
    text = f"the certificate that {one.address} shows is not of the CA in {one.ca} ({error.verify_message})"
    return Finding("TLS", Level.ERROR, text, f"secagg ca show {shlex.quote(str(one.ca))}")


def _openssl(one: Participant) -> str:
    """The command that shows the handshake itself."""
    return f"openssl s_client -connect {one.address} -tls1_3 -alpn h2 -CAfile {shlex.quote(str(one.ca))} </dev/null"
