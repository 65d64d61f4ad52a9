"""`secagg ca`: a deployment's certificate authority in one folder."""

import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography import x509

from secagg.cli.certificate_summary import CertificateSummary, summarise
from secagg.cli.options import AsJson
from secagg.crypto.authority import (
    LIST_VALIDITY,
    Authority,
    IssuedCertificate,
    create_authority,
    issue_participant,
    issue_revocation_list,
    issue_server,
)
from secagg.crypto.certificates import CertificateError, parse_pem_chain, show_name
from secagg.crypto.revocation import RevocationList
from secagg.errors import IdentityError
from secagg.programs.disk import REAL_DISK, exchange
from secagg.programs.keyfiles import NewFile, read_private, read_public, write_new

PASSPHRASE_VARIABLE: Final = "SECAGG_CA_PASSPHRASE"  # noqa: S105, the name of a variable
CA_CERTIFICATE: Final = "ca.pem"
CA_KEY: Final = "ca.key"
CA_LIST: Final = "crl.pem"
CERTIFICATE: Final = "cert.pem"
KEY: Final = "key.pem"

HELP: Final = """Make a deployment CA and the identities of participants and coordinators.

Participants trust this CA and not the coordinator. Whoever holds [bold]ca.key[/bold] decides
who takes part, so keep that file away from the coordinator's machine.

[bold]A new deployment[/bold]

  secagg ca init --name "Heart study"

  secagg ca issue server --host aggregator.example.org

  secagg ca issue participant clinic-7 --organisation "Clinic Seven"

Each identity is one folder (cert.pem, key.pem, ca.pem). Give it to its owner in a way that
nobody else can read, then delete it here.

[bold]Rotation[/bold]

  Make a new CA in another folder, and let everybody trust both CAs for a while:

  cat secagg-ca/ca.pem new-ca/ca.pem > trusted.pem

  Then issue new identities to everybody from the new CA, and stop trusting the old one.

[bold]A participant that leaves, or lost its key[/bold]

  secagg ca revoke clinic-7

  Copy crl.pem to where the coordinator's setting crl says; it is read again by itself.

[bold]What expires when[/bold]

  secagg ca show
"""

app = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode="rich")
issue = typer.Typer(help="Issue the identity of a participant or of a coordinator.", no_args_is_help=True)
app.add_typer(issue, name="issue")

Folder = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The folder that holds the CA.")]
Days = Annotated[int, typer.Option("--days", min=1, max=36500, help="The number of days until it expires.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The folder for the new identity.", show_default=False)
]


@app.command()
def init(
    folder: Folder = Path("secagg-ca"),
    name: Annotated[str, typer.Option(help="The name of the CA, as errors show it.")] = "secagg deployment CA",
    days: Days = 3650,
    encrypt: Annotated[
        bool, typer.Option("--encrypt", help=f"Encrypt ca.key; asks, or takes ${PASSPHRASE_VARIABLE}.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new CA: ca.pem for everybody, and ca.key (mode 0600), which must stay secret.

    Example: secagg ca init --dir heart-study-ca --name "Heart study" --encrypt
    """
    passphrase = _passphrase(confirm=True) if encrypt or PASSPHRASE_VARIABLE in os.environ else None
    issued = create_authority(name=name, now=_now(), validity=timedelta(days=days), passphrase=passphrase)
    certificate, key = folder / CA_CERTIFICATE, folder / CA_KEY
    write_new([NewFile(certificate, issued.certificate_pem), NewFile(key, issued.key_pem)])
    _report(summarise(certificate, issued.certificate_pem)[0], key, as_json)


@issue.command()
def participant(
    participant_id: Annotated[
        str, typer.Argument(metavar="ID", help="The participant's id: 1 to 64 of A-Z a-z 0-9 . _ -")
    ],
    *,
    organisation: Annotated[str, typer.Option("--organisation", help="The organisation that runs this participant.")],
    folder: Folder = Path("secagg-ca"),
    out: Out = None,
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Issue one participant's identity, by default into DIR/participants/ID.

    An identity is never overwritten. To renew one, issue it into another folder with --out.

    Example: secagg ca issue participant clinic-7 --organisation "Clinic Seven"
    """
    issued = issue_participant(
        _authority(folder),
        participant_id=participant_id,
        organisation=organisation,
        now=_now(),
        validity=timedelta(days=days),
    )
    _write_identity(issued, folder, out or folder / "participants" / participant_id, as_json)


@issue.command()
def server(
    hosts: Annotated[
        list[str],
        typer.Option("--host", help="A DNS name or an IP address that participants connect to. May be repeated."),
    ],
    folder: Folder = Path("secagg-ca"),
    out: Out = None,
    days: Days = 365,
    as_json: AsJson = False,
) -> None:
    """Issue a coordinator's TLS certificate, by default into DIR/servers/FIRST-HOST.

    Example: secagg ca issue server --host aggregator.example.org --host 10.0.0.5
    """
    issued = issue_server(_authority(folder), hosts=hosts, now=_now(), validity=timedelta(days=days))
    _write_identity(issued, folder, out or folder / "servers" / hosts[0], as_json)


@app.command()
def revoke(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID|FILE]...",
            help="Participants of the CA's folder, or certificate files. Without any, the list is only renewed.",
        ),
    ] = None,
    folder: Folder = Path("secagg-ca"),
    days: Annotated[
        int, typer.Option("--days", min=1, max=3650, help="Days until the next list comes at the latest.")
    ] = (LIST_VALIDITY.days),
    as_json: AsJson = False,
) -> None:
    """Take certificates back: write DIR/crl.pem, the list of all that this CA took back.

    The coordinator refuses them once its setting crl names a copy of that file. Renew the list before it ends.

    Example: secagg ca revoke clinic-7
    """
    authority, place, now = _authority(folder), folder / CA_LIST, _now()
    known = RevocationList.all_in(read_public(place)) if place.exists() else ()
    if known and not known[0].signed_by([authority.certificate]):
        raise IdentityError(f"{place} is not of the CA in {folder}; move it away")
    serials = dict(known[0].entries) if known else {}
    for name in names or ():
        certificate = _certificate_of(name, folder)
        if certificate.issuer != authority.certificate.subject:
            raise IdentityError(f"{name}: another CA issued it: {show_name(certificate.issuer)}")
        serials.setdefault(certificate.serial_number, now)
    number = known[0].number + 1 if known else 1
    written = issue_revocation_list(
        authority, list(serials.items()), number=number, now=now, validity=timedelta(days=days)
    )
    exchange(REAL_DISK, place, written)
    place.chmod(0o644)
    until = now + timedelta(days=days)
    if as_json:
        told = {"path": str(place), "number": number, "revoked": len(serials), "next_update": until.isoformat()}
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(f"revocation list {number}: {len(serials)} certificates; the next one is due before {until:%Y-%m-%d}")
    typer.echo(f"  list  {place}")


def _certificate_of(name: str, folder: Path) -> x509.Certificate:
    path = Path(name) if Path(name).is_file() else folder / "participants" / name / CERTIFICATE
    if not path.is_file():
        raise IdentityError(f"{name} is no certificate file, and {path} does not exist")
    try:
        return parse_pem_chain(read_public(path))[0]
    except CertificateError as error:
        raise IdentityError(f"{path}: {error}") from error


@app.command()
def show(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Certificate files. Without any, every certificate in the folder of the CA is listed.",
        ),
    ] = None,
    folder: Folder = Path("secagg-ca"),
    as_json: AsJson = False,
) -> None:
    """List certificates: role, name, organisation, when they expire, SHA-256 fingerprint.

    Example: secagg ca show secagg-ca/participants/clinic-7/cert.pem
    """
    now = _now()
    found = [summary for path in files or _certificates_in(folder) for summary in summarise(path, read_public(path))]
    if as_json:
        typer.echo(json.dumps([summary.as_json(now) for summary in found], indent=2))
        return
    rows = [(s.role, s.name, s.organisation or "-", s.expiry(now), s.sha256[:16]) for s in found]
    _print_table([("ROLE", "NAME", "ORGANISATION", "EXPIRY", "SHA-256"), *rows])


def _now() -> datetime:
    return datetime.now(UTC)


def _authority(folder: Path) -> Authority:
    if not (folder / CA_KEY).exists():
        raise IdentityError(f"no CA in {folder}; make one with: secagg ca init --dir {folder}")
    key_pem = read_private(folder / CA_KEY).expose()
    passphrase = _passphrase(confirm=False) if b"ENCRYPTED" in key_pem else None
    return Authority.from_pem(read_public(folder / CA_CERTIFICATE), key_pem, passphrase=passphrase)


def _passphrase(*, confirm: bool) -> bytes:
    """The passphrase, from the environment or the terminal; never from the arguments, which every process can read."""
    text = os.environ.get(PASSPHRASE_VARIABLE)
    if text is None:
        if not sys.stdin.isatty():
            raise IdentityError(f"the CA key needs a passphrase and there is no terminal: set {PASSPHRASE_VARIABLE}")
        text = str(typer.prompt("Passphrase of the CA key", hide_input=True, confirmation_prompt=confirm, err=True))
    if not text:
        raise IdentityError("the passphrase of the CA key is empty")
    return text.encode()


def _write_identity(issued: IssuedCertificate, folder: Path, out: Path, as_json: bool) -> None:
    write_new(
        [
            NewFile(out / CA_CERTIFICATE, read_public(folder / CA_CERTIFICATE)),
            NewFile(out / CERTIFICATE, issued.certificate_pem),
            NewFile(out / KEY, issued.key_pem),
        ]
    )
    _report(summarise(out / CERTIFICATE, issued.certificate_pem)[0], out / KEY, as_json)


def _certificates_in(folder: Path) -> list[Path]:
    if not (folder / CA_CERTIFICATE).exists():
        raise IdentityError(f"no CA in {folder}; make one with: secagg ca init --dir {folder}")
    return [
        folder / CA_CERTIFICATE,
        *sorted(folder.glob(f"participants/*/{CERTIFICATE}")),
        *sorted(folder.glob(f"servers/*/{CERTIFICATE}")),
    ]


def _report(summary: CertificateSummary, key: Path, as_json: bool) -> None:
    """What was made and where."""
    now = _now()
    if as_json:
        typer.echo(json.dumps({**summary.as_json(now), "key_path": str(key)}, indent=2))
        return
    typer.echo(f"{summary.role} {summary.name}: {summary.expiry(now)}")
    typer.echo(f"  certificate  {summary.path}")
    typer.echo(f"  private key  {key} (mode 0600)")


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
