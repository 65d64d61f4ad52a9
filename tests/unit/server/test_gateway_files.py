"""The gateway's own certificate, its key, and its keys of tokens: read, refused, renewed, and warned of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from secagg_server.certificates import files
from secagg_server.certificates.files import load, read_gateway
from secagg_server.certificates.renewal import Renewal
from secagg_server.settings import Settings
from structlog.testing import capture_logs

from secagg.crypto.authority import IssuedCertificate, issue_server
from secagg.errors import IdentityError
from secagg.tools.redteam.self_test.patches import without_check
from tests.gateway import with_gateway
from tests.serving import make_settings, site

DAY = 86_400.0
NOW = datetime.now(UTC).timestamp()


def issued(days: float = 30.0, ago: float = 0.0) -> IssuedCertificate:
    begin = datetime.fromtimestamp(NOW - ago * DAY, UTC)
    return issue_server(site().authority, hosts=["app.example"], now=begin, validity=timedelta(days=days))


def put(folder: Path, made: IssuedCertificate) -> None:
    for name, content in (("gateway-cert.pem", made.certificate_pem), ("gateway-key.pem", made.key_pem.expose())):
        (folder / name).touch(mode=0o600)
        (folder / name).write_bytes(content)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    put(tmp_path, issued())
    own = {"gateway_certificate": tmp_path / "gateway-cert.pem", "gateway_key": tmp_path / "gateway-key.pem"}
    return make_settings(tmp_path, **with_gateway(tmp_path, **own))


def test_without_files_of_its_own_it_shows_those_of_the_coordinator(tmp_path: Path) -> None:
    found = read_gateway(make_settings(tmp_path, **with_gateway(tmp_path)), NOW)
    assert found is not None
    assert found.not_valid_after is None
    assert [name for name, _ in load(make_settings(tmp_path), NOW).expiries] == [
        "server certificate",
        "CA CN=the deployment",
    ]
    assert read_gateway(make_settings(tmp_path), NOW) is None


SPOILT = {
    "certificate gone": ("gateway-cert.pem", None, r"No such file or directory \(setting gateway_certificate\)"),
    "no certificate": (
        "gateway-cert.pem",
        b"x",
        r"it is no certificate chain in PEM, .* \(setting gateway_certificate, ",
    ),
    "key gone": ("gateway-key.pem", None, r"No such file or directory \(setting gateway_key\)"),
    "no key": ("gateway-key.pem", b"x", r"gateway-key\.pem is not its key \(setting gateway_certificate, "),
    "keys of tokens gone": ("token.keys", None, r"No such file or directory \(setting gateway_token_key\)"),
    "no keys of tokens": ("token.keys", b"x", r"it holds no keys of tokens.* \(setting gateway_token_key, "),
}


@pytest.mark.parametrize(("file", "content", "wrong"), SPOILT.values(), ids=SPOILT)
def test_each_file_is_named_when_it_is_wrong(
    settings: Settings, tmp_path: Path, file: str, content: bytes | None, wrong: str
) -> None:
    assert read_gateway(settings, NOW) is not None
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(IdentityError, match=wrong):
        load(settings, NOW)


@pytest.mark.parametrize("file", ["gateway-key.pem", "token.keys"])
def test_what_others_can_read_is_refused(settings: Settings, tmp_path: Path, file: str) -> None:
    (tmp_path / file).chmod(0o640)
    with pytest.raises(IdentityError, match=rf"{file} can be read by others \(mode 0640\).*run: chmod 600"):
        load(settings, NOW)


@pytest.mark.parametrize(("later_s", "wrong"), [(31 * DAY, "expired on"), (-DAY, "not valid before")])
def test_a_certificate_that_is_not_valid_now_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, later_s: float, wrong: str
) -> None:
    with pytest.raises(IdentityError, match=rf"the gateway's certificate: {wrong} .*setting gateway_certificate"):
        read_gateway(settings, NOW + later_s)
    without_check(monkeypatch, files, "_valid_until", "gateway-certificate-valid")
    assert files.read_gateway(settings, NOW + later_s) is not None


async def test_new_files_are_in_force_once_they_have_come_to_rest(settings: Settings, tmp_path: Path) -> None:
    async def apply(loaded: files.Loaded) -> None:
        del loaded

    renewal = Renewal(settings, load(settings, NOW), lambda: NOW, apply)
    before = renewal.loaded.gateway
    with capture_logs() as lines:
        with (tmp_path / "gateway-cert.pem").open("ab") as certificate:  # the same key, as some authorities renew
            certificate.write(site().ca_pem)
        for _ in range(2):
            await renewal.look()
    assert [line["event"] for line in lines] == ["credentials_renewed"]
    for number, (made, renewed) in enumerate(((issued(60.0), True), (issued(1.0, ago=2.0), False))):
        with capture_logs() as lines:
            put(tmp_path, made)
            for _ in range(2):
                await renewal.look()
        events = [line["event"] for line in lines]
        assert events == ["credentials_renewed" if renewed else "credentials_kept"], number
    now = renewal.loaded.gateway
    assert before is not None
    assert now is not None
    assert now.tls is not before.tls
    assert now.not_valid_after == datetime.fromtimestamp(int(NOW + 60 * DAY), UTC)
    assert "the gateway's certificate: expired on" in renewal.fault


async def test_it_is_warned_of_before_it_expires(settings: Settings) -> None:
    async def apply(loaded: files.Loaded) -> None:
        del loaded

    now = NOW
    renewal = Renewal(settings, load(settings, NOW), lambda: now, apply)
    found = []
    for left in (15, 13.9, 0.9, 0.04, -1):
        now = NOW + (30 - left) * DAY
        with capture_logs() as lines:
            renewal.tell_expiry()
        found.append([(line["event"], line["what"]) for line in lines])
    soon = [("expires_soon", "gateway certificate")]
    assert found == [[], soon, soon, soon, [("expired", "gateway certificate")]]
