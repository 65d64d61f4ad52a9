"""A connection that stays open: whose it is was found out once, and each call asks whether that still holds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from secagg_server.certificates.callers import Callers
from secagg_server.certificates.denied import DenyList

from secagg.crypto.authority import Authority, create_authority, issue_participant, issue_revocation_list
from secagg.crypto.certificates import parse_pem_chain
from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuthenticationError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Scene:
    """A CA, two participants, and a coordinator that knows callers."""

    def __init__(self) -> None:
        made = create_authority(name="Study CA", now=NOW)
        self.pem = made.certificate_pem
        self.authority = Authority.from_pem(made.certificate_pem, made.key_pem.expose())
        self.now = NOW
        self.shown = [
            issue_participant(
                self.authority, participant_id=name, organisation="north", now=NOW, validity=30 * DAY
            ).certificate_pem
            for name in ("site-1", "site-2")
        ]
        self.callers = Callers(TrustAnchors.from_pem(self.pem), DenyList(), self.time)

    def time(self) -> float:
        return self.now.timestamp()

    def calls(self, number: int = 0) -> str:
        """A call on the connection of a participant."""
        caller, _ = self.callers.of_shown(self.shown[number])
        return caller.participant

    def expires(self) -> None:
        self.now += 31 * DAY

    def is_revoked(self) -> None:
        serial = parse_pem_chain(self.shown[0])[0].serial_number
        found = issue_revocation_list(self.authority, [(serial, NOW)], number=1, now=NOW)
        assert self.callers.trust(TrustAnchors.from_pem(self.pem + found), DenyList())() == {"site-1"}

    def is_denied(self) -> None:
        denied = DenyList.parse("participant site-1")
        assert self.callers.trust(TrustAnchors.from_pem(self.pem), denied)() == {"site-1"}

    def is_of_another_ca(self) -> None:
        other = create_authority(name="Study CA", now=NOW).certificate_pem
        assert self.callers.trust(TrustAnchors.from_pem(other), DenyList())() == {"site-1", "site-2"}


@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (Scene.expires, "expired"),
        (Scene.is_revoked, "took it back"),
        (Scene.is_denied, "deny list has participant site-1"),
        (Scene.is_of_another_ca, "foreign CA"),
    ],
)
def test_what_happens_while_the_connection_is_open_counts_at_the_next_call(
    happens: Callable[[Scene], None], why: str
) -> None:
    scene = Scene()
    assert [scene.calls(0), scene.calls(1), scene.calls(0)] == ["site-1", "site-2", "site-1"]
    happens(scene)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match=why):
            scene.calls(0)


def test_a_connection_is_one_verification(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, found = Scene(), list[object]()
    genuine = TrustAnchors.verify_participant

    def counted(self: TrustAnchors, chain: tuple[bytes, ...], now: datetime) -> object:
        found.append(chain)
        return genuine(self, chain, now)

    monkeypatch.setattr(TrustAnchors, "verify_participant", counted)
    for _ in range(5):
        assert [scene.calls(0), scene.calls(1)] == ["site-1", "site-2"]
    assert len(found) == 2
