"""Certificate, key and CA are read again when their files change; broken ones change nothing; expiry is told ahead."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from secagg_server.certificates import renewal
from secagg_server.certificates.files import Loaded, load
from secagg_server.certificates.renewal import Renewal
from structlog.testing import capture_logs

from secagg.crypto.authority import (
    Authority,
    IssuedCertificate,
    create_authority,
    issue_revocation_list,
    issue_server,
)
from secagg.errors import IdentityError
from tests.kubelet import Volume
from tests.serving import make_settings

NOW = 1_700_000_000.0
DAY = 86_400.0


class Place:
    """A folder with the three files, and what looks at them."""

    def __init__(self, folder: Path, *, days: float = 365.0, ca_days: float = 3650.0) -> None:
        self.settings = make_settings(folder)
        self.now = NOW
        at = datetime.fromtimestamp(NOW, UTC)
        self.ca = create_authority(name="one CA", now=at, validity=timedelta(days=ca_days))
        self.settings.participant_ca.write_bytes(self.ca.certificate_pem)
        self.put(self.issue(days))
        self.applied: list[Loaded] = []
        self.renewal = Renewal(self.settings, load(self.settings, NOW), lambda: self.now, self._apply)

    async def _apply(self, loaded: Loaded) -> None:
        self.applied.append(loaded)

    def issue(self, days: float = 365.0) -> IssuedCertificate:
        authority = Authority.from_pem(self.ca.certificate_pem, self.ca.key_pem.expose())
        at = datetime.fromtimestamp(self.now, UTC)
        return issue_server(authority, hosts=["localhost"], now=at, validity=timedelta(days=days))

    def put(self, made: IssuedCertificate, *, key: bool = True) -> None:
        """Each by a rename, as certbot and cert-manager do."""
        replace(self.settings.certificate, made.certificate_pem)
        if key:
            replace(self.settings.key, made.key_pem.expose())

    async def look(self, times: int = 2) -> list[str]:
        """What is logged meanwhile."""
        with capture_logs() as logs:
            for _ in range(times):
                await self.renewal.look()
        return [line["event"] for line in logs]


def replace(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(data)
    fresh.replace(path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


async def test_new_files_are_in_force_once_they_have_come_to_rest(place: Place) -> None:
    before = place.renewal.loaded
    assert await place.look(3) == []
    place.put(place.issue())
    assert await place.look(1) == []
    assert await place.look(1) == ["credentials_renewed"]
    assert await place.look(3) == []
    (applied,) = place.applied
    assert applied is place.renewal.loaded
    assert applied.identity.chain != before.identity.chain


async def test_grpc_is_given_new_files_and_asked_no_more(place: Place) -> None:
    assert place.renewal._changed() is None
    place.put(place.issue())
    await place.look()
    assert place.renewal._changed() is not None
    assert place.renewal._changed() is None


async def test_a_certificate_whose_key_comes_later_is_no_trouble(place: Place) -> None:
    made = place.issue()
    place.put(made, key=False)
    assert await place.look(1) == []
    place.put(made)
    assert await place.look() == ["credentials_renewed"]


async def test_files_that_are_read_at_once_are_met_half_renewed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: without waiting, the certificate is met with the old key."""
    monkeypatch.setattr(Renewal, "look", lambda self: self._renew())
    place.put(place.issue(), key=False)
    assert await place.look(1) == ["credentials_kept"]


def broken(place: Place) -> dict[str, Any]:
    return {
        "no certificate": lambda: replace(place.settings.certificate, b"nonsense"),
        "certificate gone": place.settings.certificate.unlink,
        "another key": lambda: replace(place.settings.key, place.issue().key_pem.expose()),
        "key that others can read": lambda: place.settings.key.chmod(0o644),
        "no CA": lambda: replace(place.settings.participant_ca, b""),
        "expired": lambda: place.put(expired(place)),
    }


def expired(place: Place) -> IssuedCertificate:
    made = place.issue(1)
    place.now += 2 * DAY
    return made


@pytest.mark.parametrize(
    "how", ["no certificate", "certificate gone", "another key", "key that others can read", "no CA", "expired"]
)
async def test_broken_files_leave_the_old_ones_in_force(place: Place, how: str) -> None:
    before = place.renewal.loaded
    broken(place)[how]()
    place.renewal.wake()  # a change of mode alone is no change of a file
    assert await place.look(4) == ["credentials_kept"]
    assert place.renewal.loaded is before
    assert "have changed and are not used: " in place.renewal.fault
    assert place.applied == []
    place.put(place.issue())
    place.settings.key.chmod(0o600)
    replace(place.settings.participant_ca, place.ca.certificate_pem)
    assert await place.look() == ["credentials_renewed"]
    assert place.renewal.fault == ""


async def test_an_error_names_what_is_wrong(place: Place) -> None:
    place.settings.certificate.unlink()
    with capture_logs() as logs:
        place.renewal.wake()
        await place.renewal.look()
    (line,) = logs
    assert line["log_level"] == "error"
    assert str(place.settings.certificate) in line["detail"]
    with pytest.raises(IdentityError):
        load(place.settings, NOW)


async def test_a_signal_reads_files_at_once(place: Place) -> None:
    place.put(place.issue())
    place.renewal.wake()
    assert await place.look(1) == ["credentials_renewed"]
    place.renewal.wake()
    assert await place.look(2) == ["credentials_renewed"]


async def test_a_new_ca_is_trusted(place: Place) -> None:
    other = create_authority(name="another CA", now=datetime.fromtimestamp(NOW, UTC))
    replace(place.settings.participant_ca, place.ca.certificate_pem + other.certificate_pem)
    await place.look()
    assert [name for name, _ in place.renewal.loaded.trust.expiries] == ["CA CN=one CA", "CA CN=another CA"]


# --- a volume of Kubernetes: all files are exchanged at once, by the rename of one link


@pytest.fixture
def mounted(tmp_path: Path) -> tuple[Place, Volume]:
    made = Place(tmp_path)
    volume = Volume(tmp_path / "etc", 0o400)
    volume.write(contents(made, made.issue()))
    names = {"certificate": "cert.pem", "key": "key.pem", "participant_ca": "ca.pem"}
    made.settings = made.settings.model_copy(update={name: volume.folder / file for name, file in names.items()})
    made.renewal = Renewal(made.settings, load(made.settings, NOW), lambda: made.now, made._apply)
    return made, volume


def contents(place: Place, made: IssuedCertificate) -> dict[str, bytes]:
    return {"cert.pem": made.certificate_pem, "key.pem": made.key_pem.expose(), "ca.pem": place.ca.certificate_pem}


async def test_a_mounted_secret_is_renewed_without_a_restart(mounted: tuple[Place, Volume]) -> None:
    place, volume = mounted
    assert await place.look(3) == []
    for _ in range(2):
        fresh = place.issue()
        volume.write(contents(place, fresh))
        assert await place.look(2) == ["credentials_renewed"]
        assert await place.look(2) == []
        assert place.renewal.loaded._certificate_pem == fresh.certificate_pem


async def test_a_file_that_is_mounted_alone_is_never_renewed(mounted: tuple[Place, Volume], tmp_path: Path) -> None:
    """Why the chart mounts the folder: a `subPath` binds the file that the link led to, which never changes."""
    place, volume = mounted
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).unlink()
        os.link((volume.folder / name).resolve(), tmp_path / name)
    alone = place.settings.model_copy(
        update={
            "certificate": tmp_path / "cert.pem",
            "key": tmp_path / "key.pem",
            "participant_ca": tmp_path / "ca.pem",
        }
    )
    place.renewal = Renewal(alone, load(alone, NOW), lambda: place.now, place._apply)
    volume.write(contents(place, place.issue()))
    assert await place.look(4) == []


# --- expiry -----------------------------------------------------------------------------------------------------------


def told(place: Place, at: float) -> list[tuple[str, str]]:
    place.now = at
    with capture_logs() as logs:
        place.renewal.tell_expiry()
        place.renewal.tell_expiry()
    return [(line["event"], line["what"]) for line in logs]


def test_expiry_is_told_14_days_a_day_and_an_hour_ahead_each_once(tmp_path: Path) -> None:
    place, end = Place(tmp_path, days=100.0), NOW + 100 * DAY
    soon = [("expires_soon", "server certificate")]
    for at, lines in (
        (NOW, []),
        (end - 14 * DAY - 1, []),
        (end - 14 * DAY, soon),
        (end - 2 * DAY, []),
        (end - DAY, soon),
        (end - 3601, []),
        (end - 3600, soon),
        (end - 1, []),
        (end, [("expired", "server certificate")]),
        (end + DAY, []),
    ):
        assert told(place, at) == lines, (end - at) / DAY


def test_a_ca_is_told_too_and_what_is_near_at_the_start_is_told_once(tmp_path: Path) -> None:
    place = Place(tmp_path, days=0.5, ca_days=10.0)
    assert told(place, NOW) == [("expires_soon", "server certificate"), ("expires_soon", "CA CN=one CA")]


async def test_a_renewed_certificate_is_told_anew(tmp_path: Path) -> None:
    place = Place(tmp_path, days=13.0)
    assert len(told(place, NOW)) == 1
    place.put(place.issue(12.0))
    assert await place.look() == ["credentials_renewed", "expires_soon"]


def test_the_warnings_are_those_that_the_documents_name() -> None:
    assert renewal.WARN_AHEAD_S == (14 * DAY, DAY, 3600.0, 0.0)


# --- who is refused ---------------------------------------------------------------------------------------------------


def listed(place: Place, at: float = NOW, *, number: int = 1) -> bytes:
    authority = Authority.from_pem(place.ca.certificate_pem, place.ca.key_pem.expose())
    return issue_revocation_list(authority, (), number=number, now=datetime.fromtimestamp(at, UTC))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"crl.pem: No such file or directory \(setting crl\)"),
        (lambda place: place.ca.certificate_pem, "it holds no PEM revocation list"),
        (lambda place: listed(place, NOW - 40 * DAY), "its revocation list ended on"),
        (lambda place: listed(Place(place.settings.key.parent / "other")), "no trusted CA signed the revocation list"),
    ],
)
def test_a_revocation_list_that_cannot_count_is_refused_at_the_start(
    tmp_path: Path, content: Callable[[Place], bytes] | None, told: str
) -> None:
    place = Place(tmp_path)
    path = tmp_path / "crl.pem"
    (tmp_path / "other").mkdir()
    settings = place.settings.model_copy(update={"crl": path})
    if content is not None:
        path.write_bytes(content(place))
    with pytest.raises(IdentityError, match=told):
        load(settings, NOW)
    path.write_bytes(listed(place))
    assert [name for name, _ in load(settings, NOW).expiries][-1] == "revocation list of CN=one CA"


async def test_the_end_of_a_revocation_list_is_told_before_it_comes(tmp_path: Path) -> None:
    place = Place(tmp_path)
    path = tmp_path / "crl.pem"
    path.write_bytes(listed(place))
    settings = place.settings.model_copy(update={"crl": path})
    place.renewal = Renewal(settings, load(settings, NOW), lambda: place.now, place._apply)
    place.now += 20 * DAY
    assert await place.look() == ["expires_soon"]
    place.now += 11 * DAY
    assert await place.look() == ["expired"]
    assert place.renewal.loaded.trust is not None


async def test_an_older_revocation_list_leaves_the_newer_one_in_force(tmp_path: Path) -> None:
    place = Place(tmp_path)
    path = tmp_path / "crl.pem"
    path.write_bytes(listed(place, number=2))
    settings = place.settings.model_copy(update={"crl": path})
    before = load(settings, NOW)
    place.renewal = Renewal(settings, before, lambda: place.now, place._apply)
    replace(path, listed(place, number=1))
    assert await place.look() == ["credentials_kept"]
    assert "give the newest one" in place.renewal.fault
    assert place.renewal.loaded is before


async def test_the_deny_list_counts_whatever_is_wrong_with_the_other_files(tmp_path: Path) -> None:
    place = Place(tmp_path)
    lists = {"crl": tmp_path / "crl.pem", "denied": tmp_path / "denied"}
    lists["crl"].write_bytes(listed(place))
    lists["denied"].write_text("")
    settings = place.settings.model_copy(update=lists)
    place.renewal = Renewal(settings, load(settings, NOW), lambda: place.now, place._apply)
    place.now += 40 * DAY  # the revocation list has ended, and nobody made another one
    replace(lists["denied"], b"participant a\n")
    assert "credentials_kept" in await place.look()
    assert place.renewal.loaded.denied.participants == {"a"}
    assert [applied.denied for applied in place.applied] == [place.renewal.loaded.denied]
    assert "its revocation list ended" in place.renewal.fault
    replace(lists["denied"], b"nobody\n")
    await place.look()
    assert place.renewal.loaded.denied.participants == {"a"}
    assert len(place.applied) == 1
