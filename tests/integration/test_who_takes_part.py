"""Who takes part, at a running coordinator: who is expected, excluded, interrupted, or started twice."""

import asyncio
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncControlClient, ControlClient
from secagg_client.participation.session import Participation
from secagg_server.rounds.grouped import GroupedRound
from secagg_server.rounds.processes import Processes

from secagg.config import RoundConfig
from secagg.errors import ConfigError, NotInRoundError, ProtocolViolation, RoundAborted
from secagg.events import DropReason, MessageAccepted, ParticipantDropped
from secagg.messages import Leave, LeaveReason, ParticipantId
from secagg.programs.arrayfiles import write_arrays
from secagg.robust.grouping import Groups
from secagg.sparse.ring import Ring
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.limits import MAX_NAMES
from secagg.wire.progress import InGroup
from tests.serving import CROWD, NAMES, PATIENCE_S, Stage, make_config, site, stage
from tests.taking_part import QUICK, check_result, drops, in_thread, take_part

CONFIG = replace(make_config(4, threshold=3, deadlines={"join_s": 20.0}), max_colluding=1)


async def sum_of(s: Stage, config: RoundConfig, round_id: bytes, names: list[ParticipantId], **options: Any) -> None:
    people = [take_part(s.server.data_address, n, config, round_id=round_id, **options) for n in names]
    for result in await asyncio.gather(*people):
        check_result(config, result, names)


@pytest.mark.parametrize("synchronous", [True, False])
async def test_an_fl_server_says_who_comes_and_who_is_gone(tmp_path: Path, synchronous: bool) -> None:
    async with stage(tmp_path) as s:
        target = s.server.control_address
        with ControlClient(target, retry=QUICK) as plain:
            async with AsyncControlClient(target, retry=QUICK) as other:

                async def call(name: str, *arguments: Any) -> None:
                    if synchronous:
                        await in_thread(getattr(plain, name), *arguments)
                    else:
                        await getattr(other, name)(*arguments)

                round_id = await other.open_round(CONFIG)
                await call("expect", round_id, NAMES[:4])
                await call("exclude", round_id, [NAMES[3]])
                with pytest.raises(NotInRoundError, match="was excluded"):
                    await take_part(s.server.data_address, NAMES[3], CONFIG, round_id=round_id)
                await sum_of(s, CONFIG, round_id, NAMES[:3])
                assert s.server.rounds._ended == {round_id: True}  # participants have the sum: it may be forgotten
                with pytest.raises(ProtocolViolation, match="the list of members is closed"):
                    await call("expect", round_id, NAMES[:4])
                await call("exclude", round_id, [NAMES[0]])  # the sum is out: nothing changes
                with pytest.raises(ConfigError, match="is no participant id"):
                    await call("exclude", round_id, ["nobody/at all"])
                assert drops(await s.director.watch(round_id)) == {NAMES[3]: DropReason.EXCLUDED}


async def test_from_the_command_line(tmp_path: Path) -> None:
    from tests.integration.test_client_cli import run, succeed

    write_arrays(tmp_path / "model.npz", {"values": np.zeros(50, np.float32)})
    async with stage(tmp_path) as s:
        control = ("--control", s.server.control_address)
        options = ("--model", tmp_path / "model.npz", "-n", "4", "--clip", "1", "--threshold", "3", "--join", "3600")
        round_id = (await succeed("round", "open", "--task", "t", *options, *control)).strip()
        hosted = s.server.rounds.find(bytes.fromhex(round_id))
        assert hosted.config.deadlines.join_s == 3600
        told = json.loads(await succeed("round", "expect", round_id, *NAMES[:4], "--json", *control))
        assert told == {"round": round_id, "expected": NAMES[:4]}
        await succeed("round", "exclude", round_id, NAMES[3], *control)
        assert hosted._engine._joining.expected == set(NAMES[:4])
        assert hosted._engine._dropouts.excluded == {NAMES[3]}
        code, _, err = await run("round", "expect", round_id, NAMES[0], *control)
        assert code == 1
        assert "1 participants are expected; the round needs 3" in err


async def test_groups_on_a_ring_wait_for_as_many_as_it_is_made_for(tmp_path: Path) -> None:
    """7 survivors are enough; the ring needs 8 members."""
    ring = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)
    config = replace(make_config(10, size=20, threshold=7), max_colluding=0, graph=ring)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(replace(config, groups=Groups.parse(3, "median")))
        opened = s.server.rounds.find_opened(round_id)
        assert isinstance(opened, GroupedRound)
        with pytest.raises(ConfigError, match="each group needs 8 and admits 10"):
            await control.expect(round_id, participant_names(23))
        assert all(not hosted._engine._joining.expected for hosted in opened.groups.values())


async def test_groups_wait_for_their_own(tmp_path: Path) -> None:
    config = replace(make_config(4, size=20, threshold=3), groups=Groups.parse(3, "median"))
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        opened = s.server.rounds.find_opened(round_id)
        assert isinstance(opened, GroupedRound)
        with pytest.raises(ConfigError, match="each group needs 3 and admits 4"):
            await control.expect(round_id, CROWD[:8])
        assert all(not hosted._engine._joining.expected for hosted in opened.groups.values())
        await control.expect(round_id, CROWD[:12])
        expected = [hosted._engine._joining.expected for hosted in opened.groups.values()]
        assert set().union(*expected) == set(CROWD[:12])
        assert [len(names) for names in expected] == [4, 4, 4]
        gone = sorted(expected[0])[:2]
        await control.exclude(
            round_id, gone
        )  # two are left in the first group: it ends at once, and the others with it
        events = await s.director.watch(round_id)
        inner = [event.event for event in events if isinstance(event, InGroup)]
        dropped = {event.participant for event in inner if isinstance(event, ParticipantDropped)}
        assert dropped == set(gone)


async def test_a_sum_may_be_forgotten_once_the_fl_server_has_it(tmp_path: Path) -> None:
    config = replace(CONFIG, max_participants=3, release_to_participants=False)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        people = (take_part(s.server.data_address, n, config, round_id=round_id) for n in NAMES[:3])
        await asyncio.gather(*people)
        assert s.server.rounds._ended == {round_id: False}
        await s.director.aggregate(round_id, config)
        assert s.server.rounds._ended == {round_id: True}


# --- started twice ----------------------------------------------------------------------------------------------------


async def started_twice(s: Stage, synchronous: bool) -> None:
    round_id = await s.director.open(CONFIG)
    first = asyncio.create_task(take_part(s.server.data_address, NAMES[0], CONFIG, round_id=round_id))
    async for _, event in s.server.rounds.find(round_id).follow():
        if isinstance(event, MessageAccepted):
            break
    with pytest.raises(ProtocolViolation, match="another process with its certificate takes part"):
        await take_part(s.server.data_address, NAMES[0], CONFIG, round_id=round_id, synchronous=synchronous)
    await s.server.rounds.find(round_id).expect(frozenset(NAMES[:3]))
    others = (take_part(s.server.data_address, n, CONFIG, round_id=round_id) for n in NAMES[1:3])
    for result in await asyncio.gather(first, *others):
        check_result(CONFIG, result, NAMES[:3])


@pytest.mark.parametrize("synchronous", [True, False])
async def test_of_one_identity_started_twice_the_first_goes_on(tmp_path: Path, synchronous: bool) -> None:
    async with stage(tmp_path) as s:
        await started_twice(s, synchronous)


async def test_the_second_throws_the_first_out_without_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: it says that it leaves, and the coordinator believes it."""

    async def believed(*_: object) -> None: ...

    def leave_call(self: Participation, error: BaseException) -> object:
        from secagg_client.calls.data_plane import LeaveRound

        if not isinstance(error, ProtocolViolation) or self._offer is None:
            return None
        return LeaveRound(self._offer.round_id, self._offer.config, Leave(LeaveReason.FAILED))

    monkeypatch.setattr(Participation, "leave_call", leave_call)
    monkeypatch.setattr(Processes, "check_hung_up", believed)
    async with stage(tmp_path) as s:
        with pytest.raises(RoundAborted, match="2 participants are left"):
            await started_twice(s, False)
        (hosted,) = s.server.rounds._rounds.values()
        assert NAMES[0] in hosted._engine._dropouts.dropped


async def test_as_many_are_named_as_the_sidecar_takes(tmp_path: Path) -> None:
    names = [f"{number:064}" for number in range(MAX_NAMES + 1)]
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address) as control:
        round_id = await control.open_round(CONFIG)
        with pytest.raises(ConfigError, match="40000 participants are expected; the round needs 3"):  # so it was read
            await control.expect(round_id, names[:MAX_NAMES])
        with pytest.raises(ConfigError, match="40001 participants are named, more than 40000 in one call"):
            await control.expect(round_id, names)


@pytest.mark.parametrize("ends", ["its call ends", "it says that it leaves"])
async def test_who_waits_for_a_round_is_given_the_place_of_its_earlier_process(tmp_path: Path, ends: str) -> None:
    """A machine that lost its power and is up again before the coordinator has noticed."""
    async with stage(tmp_path) as s:
        round_id, (first, *_) = await s.open(CONFIG)
        joined = asyncio.create_task(first.say())
        async for _, event in s.server.rounds.find(round_id).follow():
            if isinstance(event, MessageAccepted):
                break
        waiting = asyncio.create_task(s.server.rounds.next_offer(CONFIG.task, NAMES[0], ()))
        stranger = asyncio.create_task(s.server.rounds.next_offer("another task", NAMES[1], ()))
        await asyncio.sleep(0)
        assert not waiting.done()
        if ends == "its call ends":
            joined.cancel()
        else:
            leaving = asyncio.create_task(first.leave())
            await asyncio.sleep(0.05)
            joined.cancel()
            await leaving
        assert (await asyncio.wait_for(waiting, PATIENCE_S)).record.round_id == round_id
        stranger.cancel()
        await asyncio.wait([stranger])
        del waiting, stranger
        assert not s.server.rounds._waiting


# --- interrupted ------------------------------------------------------------------------------------------------------

SYNCHRONOUS = """
from secagg_client import Client
with Client.from_files({address!r}, certificate="cert.pem", key="key.pem", ca="ca.pem") as client:
    client.participate(np.zeros(50, np.float32), round_id=bytes.fromhex({round_id!r}), model_digest=bytes(32))
"""
ASYNCHRONOUS = """
import asyncio
from secagg_client import AsyncClient
async def main():
    async with AsyncClient.from_files({address!r}, certificate="cert.pem", key="key.pem", ca="ca.pem") as client:
        await client.participate(
            np.zeros(50, np.float32), round_id=bytes.fromhex({round_id!r}), model_digest=bytes(32)
        )
asyncio.run(main())
"""


COMMAND = """
from secagg.cli.main import main
np.savez("u.npz", values=np.zeros(50, np.float32))
main(["participate", {address!r}, "--update", "u.npz", "--round", {round_id!r}, "--model-digest", "00" * 32, *{more!r}])
"""
INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.mark.parametrize(
    ("program", "number", "more"),
    [
        (SYNCHRONOUS, INT, []),
        (ASYNCHRONOUS, INT, []),
        (COMMAND, INT, []),
        (COMMAND, TERM, []),
        (COMMAND, TERM, ["--json"]),
    ],
)
async def test_an_interrupted_program_is_not_waited_for(
    tmp_path: Path, program: str, number: signal.Signals, more: list[str]
) -> None:
    """Control-C, as a terminal sends it, and what stops a service or a container."""
    config = replace(make_config(4, threshold=3), max_colluding=1)
    made = site().people[NAMES[0]]
    async with stage(tmp_path) as s:
        for name, data in {"cert": made.certificate_pem, "key": made.key_pem.expose(), "ca": site().ca_pem}.items():
            (tmp_path / f"{name}.pem").touch(mode=0o600)
            (tmp_path / f"{name}.pem").write_bytes(data)
        round_id = await s.director.open(config)
        # Who runs the tests in the background may have them ignore Control-C, and children inherit that.
        listening = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        code = (
            listening
            + "import numpy as np\n"
            + program.format(address=s.server.data_address, round_id=round_id.hex(), more=more)
        )
        with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stderr=subprocess.PIPE) as child:
            async for _, event in s.server.rounds.find(round_id).follow():
                if isinstance(event, MessageAccepted):
                    break
            child.send_signal(number)
            _, told = await asyncio.to_thread(child.communicate)
        if number is TERM:
            assert (child.returncode, told) == (128 + TERM, b"")
        hosted = s.server.rounds.find(round_id)
        assert hosted._engine._dropouts.dropped[NAMES[0]].reason is DropReason.CANCELLED
        people = [take_part(s.server.data_address, n, config, round_id=round_id) for n in NAMES[1:4]]
        for result in await asyncio.gather(*people):
            check_result(config, result, NAMES[1:4])
