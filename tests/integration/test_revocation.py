"""Who may not take part any more is out of a running coordinator at once, without a restart."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.suspension import Suspended
from structlog.testing import capture_logs

from secagg.crypto.authority import issue_revocation_list
from secagg.crypto.certificates import parse_pem_chain
from secagg.errors import AuthenticationError
from secagg.messages import ParticipantId
from tests.serving import NAMES, make_config, refused, site, stage, write_site


def crl(folder: Path, *names: Any) -> Path:
    now = datetime.now(UTC)
    serials = [(parse_pem_chain(site().people[name].certificate_pem)[0].serial_number, now) for name in names]
    (folder / "crl.pem").write_bytes(issue_revocation_list(site().authority, serials, number=1, now=now))
    return folder / "crl.pem"


def deny(folder: Path, *names: Any) -> Path:
    (folder / "denied").write_text("".join(f"participant {name}\n" for name in names))
    return folder / "denied"


@pytest.mark.parametrize(("setting", "write", "told"), [("crl", crl, "took it back"), ("denied", deny, "deny list")])
async def test_one_that_is_refused_from_now_on_leaves_the_round_to_the_others(
    tmp_path: Path, setting: str, write: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_site(tmp_path)
    async with stage(tmp_path, **{setting: write(tmp_path)}) as s:
        _, people = await s.open(make_config(5, threshold=3))
        gone, *others = people
        await asyncio.gather(*(p.say() for p in people))
        write(tmp_path, gone.name)
        shut_out: list[str] = []
        genuine = s.server.proxy.shut_out

        def noted(name: str) -> None:
            shut_out.append(name)
            genuine(name)

        monkeypatch.setattr(s.server.proxy, "shut_out", noted)
        recorded: list[Any] = []
        monkeypatch.setattr(s.server.rounds.audit, "note", lambda kind, **facts: recorded.append((kind, facts)))
        with capture_logs() as logs:
            await s.server.renewal.look()  # sees that a file changed
            await s.server.renewal.look()  # and that it rests
        assert shut_out == [gone.name]
        assert s.server.renewal.fault == ""
        assert s.server.rounds.opener.trust is s.server.renewal.loaded.trust  # rounds to come go by it, too
        assert [facts["refused"] for kind, facts in recorded if kind == "certificates_changed"] == [[gone.name]]
        assert [line["first"] for line in logs if line["event"] == "participants_expelled"] == [[gone.name]]
        await asyncio.gather(*(p.play() for p in others))
        assert all(p.receipt is not None for p in others)
        error = await refused(gone.find(task="digits"), grpc.StatusCode.UNAUTHENTICATED)
        assert isinstance(error, AuthenticationError)
        assert told in str(error)


async def test_spoilt_lists_leave_what_is_in_force(tmp_path: Path) -> None:
    async with stage(tmp_path, denied=deny(tmp_path, NAMES[0])) as s:
        (tmp_path / "denied").write_text("nobody\n")
        s.server.renewal.wake()
        await s.server.renewal.look()
        assert "line 1 of the deny list names nobody" in s.server.renewal.fault
        assert s.server.renewal.loaded.denied.participants == {NAMES[0]}


async def test_a_round_that_cannot_go_on_keeps_nobody_in_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_site(tmp_path)
    async with stage(tmp_path, denied=deny(tmp_path)) as s:
        hosted = []
        for _ in range(2):
            round_id, people = await s.open(make_config(5, threshold=3))
            await asyncio.gather(*(p.say() for p in people))
            hosted.append(s.server.rounds.find(round_id))
        (stuck, other), excluded, shut_out = hosted, list[HostedRound](), list[str]()
        genuine = HostedRound.exclude

        async def exclude(hosted: HostedRound, participants: frozenset[ParticipantId]) -> None:
            assert shut_out == [NAMES[0]]  # before the first round is waited for
            if hosted is stuck:
                raise Suspended
            await genuine(hosted, participants)
            excluded.append(hosted)

        monkeypatch.setattr(HostedRound, "exclude", exclude)
        monkeypatch.setattr(s.server.proxy, "shut_out", shut_out.append)
        deny(tmp_path, NAMES[0])
        s.server.renewal.wake()
        await s.server.renewal.look()
        assert excluded == [other]
