"""Quarantine and the quota of organisations, at a running coordinator."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from secagg_client import AsyncControlClient
from secagg_server.observability.facts import RoundEvent, RoundName
from secagg_server.rounds.hosted import HostedRound
from typer.testing import CliRunner

from secagg.cli.main import build
from secagg.context import RoundId
from secagg.errors import AuditError, ConfigError, NotInRoundError, StoreError
from secagg.events import WrongShares
from secagg.messages import ParticipantId, Phase
from secagg.wire.strikes import Strike
from tests.serving import NAMES, make_config, refused, stage

GONE = grpc.StatusCode.PERMISSION_DENIED


async def test_one_in_quarantine_is_kept_out_until_it_is_released(tmp_path: Path) -> None:
    async with stage(tmp_path, quarantine_after=2) as s:
        for number in (1, 2):
            strike = Strike(NAMES[0], RoundId(bytes([number]) * 16), float(number), "wrong shares")
            s.server.rounds.quarantine._strikes.setdefault(NAMES[0], {})[strike.round_id] = strike
        control = f"unix:{tmp_path}/control.sock"
        round_id = await s.director.open(make_config(3))
        one, other = s.players[NAMES[0]], s.players[NAMES[1]]
        error = await refused(one.find(round_id=round_id), GONE)
        assert isinstance(error, NotInRoundError)
        assert "is kept out of rounds: its fault was proven in 2 of them" in str(error)
        assert isinstance(await refused(one.find(task="digits"), GONE), NotInRoundError)
        await other.find(round_id=round_id)

        def run(*arguments: str) -> str:
            result = CliRunner().invoke(build(arguments), [*arguments, "--control", control])
            assert result.exit_code == 0, result.output
            return result.output

        listed = await asyncio.to_thread(run, "quarantine", "list")
        assert f"{NAMES[0]}: 2 strikes, kept out of rounds" in listed
        assert "wrong shares" in listed
        assert "may take part again; 2 strikes" in await asyncio.to_thread(run, "quarantine", "release", NAMES[0])
        assert "no participant has a strike" in await asyncio.to_thread(run, "quarantine", "list")
        await one.find(round_id=round_id)
        async with AsyncControlClient(control) as client:
            with pytest.raises(ConfigError, match="has no strikes"):
                await client.forgive(NAMES[0])
            with pytest.raises(ConfigError, match="no id of a participant"):
                await client.forgive("a b")


async def test_an_organisation_has_so_many_places_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody in these tests is of one organisation."""
    async with stage(tmp_path, max_per_organisation=3) as s:
        round_id, people = await s.open(make_config(5, threshold=3))
        waiting = [asyncio.create_task(p.say()) for p in people[:3]]
        hosted = s.server.rounds.find(round_id)
        assert hosted.offered_to(people[3].name)
        while len([p for p in people if hosted.delivered(p.name, Phase.ADVERTISE_KEYS)]) < 3:
            await asyncio.sleep(0.01)
        assert not hosted.offered_to(people[3].name)
        error = await refused(people[3].say(), GONE)
        assert isinstance(error, NotInRoundError)
        assert "3 of north are in it" in str(error)
        # The same when it had been let through before the others were there.
        monkeypatch.setattr(HostedRound, "check_place", lambda *_: None)
        assert "3 of north are in it" in str(await refused(people[4].say(), GONE))
        for task in waiting:
            task.cancel()


async def test_another_certificate_of_a_member_takes_no_place_away(tmp_path: Path) -> None:
    """It joined for one organisation, and calls with a certificate of another one then."""
    async with stage(tmp_path, max_per_organisation=1) as s:
        round_id, people = await s.open(make_config(5, threshold=3))
        waiting = asyncio.create_task(people[0].say())
        hosted = s.server.rounds.find(round_id)
        while not hosted.delivered(people[0].name, Phase.ADVERTISE_KEYS):
            await asyncio.sleep(0.01)
        known, name = hosted._quota.organisation_of, people[0].name
        hosted._quota.organisation_of = lambda who: "south" if who == name else known(who)
        assert "1 of north are in it" in str(await refused(people[1].say(), GONE))
        waiting.cancel()


async def test_one_in_quarantine_may_leave_the_rounds_that_it_is_in(tmp_path: Path) -> None:
    async with stage(tmp_path, quarantine_after=1) as s:
        _, people = await s.open(make_config(5, threshold=3))
        await asyncio.gather(*(p.say() for p in people))
        gone, *others = people
        strike = Strike(gone.name, RoundId(bytes(16)), 1.0, "wrong shares")
        s.server.rounds.quarantine._strikes[gone.name] = {strike.round_id: strike}
        assert isinstance(await refused(gone.find(task="digits"), GONE), NotInRoundError)
        await gone.leave()
        await asyncio.gather(*(p.play() for p in others))
        assert all(p.receipt is not None for p in others)


async def test_what_becomes_of_one_with_strikes_is_on_record_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path, quarantine_after=1) as s:
        rounds, noted = s.server.rounds, list[tuple[str, dict[str, Any]]]()
        monkeypatch.setattr(rounds.audit, "note", lambda kind, **facts: noted.append((kind, facts)))
        name = RoundName(RoundId(bytes(16)), "digits", "masked", None)
        rounds.quarantine(RoundEvent(name, 1.0, WrongShares(NAMES[0], ())))
        assert noted == [("quarantined", {"participant": NAMES[0], "strikes": 1})]

        async def full(participant: ParticipantId, forgiven: int) -> None:
            assert (participant, forgiven) == (NAMES[0], 1)
            raise AuditError("the disk is full")

        with monkeypatch.context() as disk:
            disk.setattr(rounds.audit, "forgive", full)
            async with AsyncControlClient(f"unix:{tmp_path}/control.sock") as client:
                with pytest.raises(StoreError, match="the disk is full"):
                    await client.forgive(NAMES[0])
        assert rounds.quarantine.holds(NAMES[0])
        assert await rounds.forgive(NAMES[0]) == 1
        assert not rounds.quarantine.holds(NAMES[0])
