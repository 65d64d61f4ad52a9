"""`secagg participate --state`: a process that is killed and started again with the same command is in the sum."""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncClient, RetryPolicy, RoundResult, StateFolder

from secagg.cli.participate import participate
from secagg.errors import ConfigError, SavedStateError, TransportError
from secagg.messages import ParticipantId, Phase
from secagg.phases import phases
from secagg.programs.arrayfiles import read_arrays, write_arrays
from secagg.robust.grouping import Groups
from tests.integration.test_client_cli import identity_files
from tests.serving import CROWD, NAMES, PATIENCE_S, make_config, site, stage
from tests.taking_part import NOBODY, QUICK, async_client, lenient, take_part, update_of, weight_of, wire

PROGRAM = "from secagg.cli.main import main; main()"
KILLED_IN = {Phase.ADVERTISE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK}


async def test_killed_in_three_phases_it_is_in_the_sum(tmp_path: Path) -> None:
    config, mine = make_config(3), np.full(50, 0.7, np.float32)
    options = identity_files(tmp_path, 0)
    write_arrays(tmp_path / "p0" / "update.npz", {"values": mine})
    command = (
        *("participate", "--update", tmp_path / "p0" / "update.npz", *options, "--model-digest", "00" * 32),
        *("--state", tmp_path / "state", "--out", tmp_path / "mean.npz", "--json", "--min-colluding-share", "0"),
    )
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        others = [s.players[name] for name in NAMES[1:3]]
        await asyncio.gather(*(one.join(round_id) for one in others))

        async def started() -> asyncio.subprocess.Process:
            given = map(str, (*command, s.server.data_address, "--round", round_id.hex()))
            return await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, *given, stdout=-1, stderr=-1)

        process, hosted = await started(), s.server.rounds.find(round_id)
        async with asyncio.timeout(4 * PATIENCE_S):  # four programs start, one after the other
            for phase in phases(config):
                while not hosted.delivered(CROWD[0], phase):
                    await asyncio.sleep(0.02)
                    assert process.returncode is None, (await process.communicate())[1].decode()
                if phase in KILLED_IN:
                    process.kill()
                    await process.wait()
                    process = await started()
                await asyncio.gather(*(one.say() for one in others))
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        report = json.loads(out)
        assert (report["round"], report["survivors"]) == (round_id.hex(), list(NAMES[:3]))
        mean = read_arrays(tmp_path / "mean.npz")["values"]
        values = [mine, *(np.full(50, one.value) for one in others)]
        np.testing.assert_allclose(mean, np.mean(values, axis=0), atol=200 / 2**16)  # one step
        assert {path.name.split(".")[0] for path in (tmp_path / "state").iterdir()} == {"lock", "state", "key"}

        process = await started()  # for the same round once more
        _, err = await process.communicate()
        assert process.returncode == 1
        assert b"was joined before with the state in" in err


@pytest.mark.parametrize("synchronous", [True, False])
async def test_where_the_coordinator_is_away_for_too_long_the_next_call_goes_on(
    tmp_path: Path, synchronous: bool
) -> None:
    config, name = make_config(3, size=1_800_000), NAMES[0]
    given: dict[str, Any] = {
        "state": tmp_path / "state",
        "memory": tmp_path / "sums",
        "synchronous": synchronous,
        "policy": lenient(config),
    }
    async with stage(tmp_path) as s, wire(s.server.data_address) as relay:
        given["round_id"] = await s.director.open(config)
        relay.cut_at = [3_000_000]  # amid the upload

        async def taking_part() -> RoundResult:
            hasty = RetryPolicy(attempts=2, first_delay_s=0.01, max_delay_s=0.1)
            going = asyncio.ensure_future(take_part(relay.address, name, config, retry=hasty, **given))
            async with asyncio.timeout(PATIENCE_S):
                while relay.cuts == 0:
                    await asyncio.sleep(0.005)
            relay.down = True
            with pytest.raises(TransportError):
                await going
            relay.down = False
            if synchronous:
                with pytest.raises(SavedStateError, match="another update or weight"):
                    await take_part(relay.address, name, config, weight=weight_of(name) + 1, **given)
            return await take_part(relay.address, name, config, retry=QUICK, **given)

        direct = (take_part(s.server.data_address, n, config, round_id=given["round_id"]) for n in NAMES[1:3])
        result, *others = await asyncio.gather(taking_part(), *direct)
        assert result.survivors == tuple(NAMES[:3])
        assert result.aggregate is not None
        assert others[0].aggregate is not None
        np.testing.assert_array_equal(result.aggregate.sums, others[0].aggregate.sums)
        assert result.bytes_sent < 4_100_000  # the upload went on where it was cut


async def test_it_goes_on_in_its_group(tmp_path: Path) -> None:
    config = replace(make_config(3), groups=Groups.parse(3, "mean"))
    given: dict[str, Any] = {"state": tmp_path / "state", "memory": tmp_path / "sums", "policy": lenient(config)}
    async with stage(tmp_path) as s, wire(s.server.data_address) as relay:
        given["round_id"] = await s.director.open(config)
        hasty = RetryPolicy(attempts=1)
        going = asyncio.ensure_future(take_part(relay.address, NAMES[0], config, retry=hasty, **given))
        async with asyncio.timeout(PATIENCE_S):
            while not any(one.delivered(NAMES[0], Phase.ADVERTISE_KEYS) for one in s.server.rounds._rounds.values()):
                await asyncio.sleep(0.01)
        relay.cut()
        with pytest.raises(TransportError):
            await going
        terms: dict[str, Any] = {
            "round_id": given["round_id"],
            "model_digest": config.model_digest,
            "timeout_s": PATIENCE_S,
        }

        async def beside(other: ParticipantId) -> RoundResult:
            async with async_client(s.server.data_address, other, policy=lenient(config)) as one:
                return await one.participate(update_of(config, NAMES[0]), **terms)

        direct = map(beside, CROWD[1:9])
        result, *_ = await asyncio.gather(take_part(relay.address, NAMES[0], config, **given), *direct)
        assert NAMES[0] in result.survivors
        assert result.groups is not None
        assert len(result.groups.groups) == 3


async def test_two_participations_with_one_state_are_not_possible(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "identity": site().identity(NAMES[0]),
        "trust": site().trust,
        "memory": tmp_path / "sums",
    }
    config = make_config(3)
    given: dict[str, Any] = {
        "task": config.task,
        "model_digest": config.model_digest,
        "weight": weight_of(NAMES[0]),
        "state": tmp_path / "state",
        "timeout_s": 0.5,
    }
    async with stage(tmp_path) as s, AsyncClient(s.server.data_address, **options) as one:
        both = (one.participate(update_of(config, NAMES[0]), **given) for _ in range(2))
        errors = await asyncio.gather(*both, return_exceptions=True)
    assert {type(error) for error in errors} >= {SavedStateError}
    assert "is in use" in str(next(error for error in errors if isinstance(error, SavedStateError)))


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"carried": Path("c.npz")}, "leave out --carried"),
        ({"no_memory": True}, "no --no-memory"),
    ],
)
def test_what_does_not_go_with_a_state_is_refused(tmp_path: Path, other: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        participate(NOBODY, update=tmp_path / "u.npz", task="digits", state=tmp_path / "state", **other)


async def test_a_state_needs_a_memory_of_sums_that_lasts_as_long(tmp_path: Path) -> None:
    options: dict[str, Any] = {"identity": site().identity(NAMES[0]), "trust": site().trust}
    given: dict[str, Any] = {"task": "digits", "model_digest": bytes(32), "state": tmp_path / "state"}
    async with AsyncClient(NOBODY, **options) as one:
        with pytest.raises(ConfigError, match="give the client a file for it"):
            await one.participate(np.zeros(3, np.float32), **given)


def test_the_command_holds_the_folder_until_the_result_is_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    identity_files(tmp_path, 0)
    home, held = tmp_path / "p0", list[str]()

    def check_held(what: str) -> bytes:
        with pytest.raises(SavedStateError, match="is in use"):
            StateFolder(tmp_path / "state").__enter__()
        held.append(what)
        return b""

    def played(*_: Any, state: object, **__: Any) -> Any:
        assert isinstance(state, StateFolder)
        check_held("round")
        return SimpleNamespace(mean=None, receipt=SimpleNamespace(export=lambda: check_held("receipt")))

    monkeypatch.setattr("secagg_client.Client.participate", played)
    monkeypatch.setattr("secagg.cli.participate._report", lambda *_: None)
    monkeypatch.setattr(os, "fsync", lambda _: held.append("flushed") if "receipt" in held else None)
    files = {"certificate": home / "cert.pem", "key": home / "key.pem", "ca": home / "ca.pem"}
    given: dict[str, Any] = {"task": "digits", "model_digest": "00" * 32, **files}
    participate(NOBODY, update=home / "update.npz", state=tmp_path / "state", receipt=tmp_path / "receipt", **given)
    assert held == ["round", "receipt", "flushed", "flushed"]  # the file and its name
