"""Privacy budgets over real connections: refused before anyone is offered a round, charged before a sum is released."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from secagg_client import AsyncControlClient

from secagg.config import RoundConfig
from secagg.encoding.pipeline import Pipeline
from secagg.errors import AbortReason, BudgetExceeded, ConfigError, LedgerError, RoundAborted
from secagg.messages import Phase
from secagg.privacy.ledger import Budget, Ledger, follow
from secagg.programs.ledgers.budgets import Charge
from tests.serving import TASK, Player, Stage, make_config, stage, true_sum

NOISY = replace(
    make_config(5), encoding=Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0)")
)
PLAIN_ELSEWHERE = make_config(5, task="elsewhere")


def cost(rounds: int) -> float:
    """ε of so many rounds of `NOISY`."""
    ledger = Ledger.open(TASK, Budget(1000.0))
    for number in range(rounds):
        ledger = ledger.plan(number.to_bytes(16, "big"), NOISY)
    return ledger.epsilon


BUDGET = {"budgets": {TASK: {"epsilon": cost(2) * 1.0001}}}


CENTRAL = replace(
    make_config(5, size=500),
    encoding=Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0, by=coordinator)"),
)


@asynccontextmanager
async def scene(folder: Path, **changes: Any) -> AsyncIterator[tuple[Stage, AsyncControlClient]]:
    settings = {"ledger_dir": folder / "ledger", **BUDGET, **changes}
    async with stage(folder, **settings) as s, AsyncControlClient(s.server.control_address) as control:
        yield s, control


async def play(s: Stage, control: AsyncControlClient, config: RoundConfig = NOISY) -> list[Player]:
    """A whole round; whoever took part."""
    round_id = await control.open_round(config)
    people = s.some(5)
    await asyncio.gather(*(p.join(round_id) for p in people))
    for player in people:
        player.receipt = None
    await asyncio.gather(*(p.play() for p in people))
    aggregate = await control.fetch(round_id)
    np.testing.assert_array_equal(aggregate.sums.astype(np.uint64), true_sum(people) % 2**config.ring_bits)
    return people


async def command(*arguments: str) -> str:
    """What `secagg ledger` prints."""
    program = "from secagg.cli.main import main; main()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, "ledger", *arguments, stdout=-1)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def files(folder: Path) -> tuple[Path, Path]:
    (entries,) = (folder / "ledger").glob("*.jsonl")
    return entries, entries.with_suffix(".head")


async def test_a_budget_for_two_rounds_has_no_third(tmp_path: Path) -> None:
    async with scene(tmp_path) as (s, control):
        await play(s, control)
        people = await play(s, control)
        with pytest.raises(BudgetExceeded, match=rf"would bring task '{TASK}' to ε = .*left: .*; "):
            await control.open_round(NOISY)
        assert len(await control.list_rounds()) == 2
        with pytest.raises(TimeoutError):  # nobody is offered anything
            async with asyncio.timeout(0.3):
                await people[0].find(task=TASK)
        told = await control.ledger(TASK)
        assert told.epsilon == pytest.approx(cost(2))
        assert [c.survivors for c in told.ledger.charges.values()] == [5, 5]
        assert told.ledger.head.entries == 5
        with pytest.raises(ConfigError, match="has a privacy budget"):
            await control.open_round(make_config(5))
        with pytest.raises(ConfigError, match="no privacy ledger"):
            await control.ledger("elsewhere")
        asked = ("--task", TASK, "--control", s.server.control_address)
        assert "released" in await command("show", *asked)
        assert "whole" in await command("verify", *asked, "--head", told.ledger.head.text)


async def test_an_aborted_round_is_given_back_until_sums_can_be_known(tmp_path: Path) -> None:
    async with scene(tmp_path) as (s, control):
        for phase in (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK):
            round_id = await control.open_round(NOISY)
            people = s.some(5)
            await asyncio.gather(*(p.join(round_id) for p in people))
            for _ in range(phase.value):
                await asyncio.gather(*(p.say() for p in people))
            assert (await control.ledger(TASK)).epsilon > 0
            await control.abort(round_id, "no")
            assert (await control.ledger(TASK)).epsilon == 0
        round_id = await control.open_round(NOISY)
        await asyncio.gather(*(p.join(round_id) for p in people))
        for _ in range(Phase.UNMASK.value):
            await asyncio.gather(*(p.say() for p in people))
        await control.abort(round_id, "too late")
        assert (await control.ledger(TASK)).epsilon == pytest.approx(cost(1))


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, shutdown_grace_s=0.1) as (s, control):
        await play(s, control)
        round_id = await control.open_round(NOISY)
        people = s.some(5)
        await asyncio.gather(*(p.join(round_id) for p in people))
        for _ in range(Phase.UNMASK.value):
            await asyncio.gather(*(p.say() for p in people))
        before = (await control.ledger(TASK)).ledger
    async with scene(tmp_path) as (s, control):
        after = await control.ledger(TASK)
        assert after.ledger == before
        assert set(after.ledger.charges) - after.ledger.released == {round_id.hex()}
        with pytest.raises(BudgetExceeded):
            await control.open_round(NOISY)
    with pytest.raises(LedgerError, match="has the budget"):
        async with scene(tmp_path, budgets={}) as (_, control):
            await control.open_round(NOISY)


@pytest.mark.parametrize("damage", ["truncated", "edited", "rolled back"])
async def test_damage_stops_the_task_by_name_and_no_other(tmp_path: Path, damage: str) -> None:
    async with scene(tmp_path) as (s, control):
        await play(s, control)
        entries, head = files(tmp_path)
        seen, lines = (await control.ledger(TASK)).ledger.head, entries.read_bytes().splitlines(keepends=True)
    match damage:
        case "truncated":
            entries.write_bytes(b"".join(lines[:-1]))
        case "edited":
            entries.write_bytes(b"".join(lines).replace(b'"survivors":5', b'"survivors":6'))
        case _:  # as a whole, with its head: consistent in itself
            entries.write_bytes(lines[0])
            head.write_text(follow(lines[0][:-1], None, TASK).text + "\n")
    async with scene(tmp_path) as (s, control):
        if damage == "rolled back":  # only whoever kept the head that was published can tell
            with pytest.raises(LedgerError, match="was rolled back"):
                (await control.ledger(TASK)).ledger.check_head(seen)
        else:
            for call in (control.open_round(NOISY), control.ledger(TASK)):
                with pytest.raises(LedgerError, match=f"privacy ledger of task '{TASK}'"):
                    await call
        await play(s, control, PLAIN_ELSEWHERE)


async def test_a_sum_whose_charge_cannot_be_kept_is_not_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async with scene(tmp_path) as (s, control):
        round_id = await control.open_round(NOISY)
        people = s.some(5)
        await asyncio.gather(*(p.join(round_id) for p in people))
        for _ in range(Phase.UNMASK.value):
            await asyncio.gather(*(p.say() for p in people))
        monkeypatch.setattr("secagg.programs.ledgers.files.append", full)
        ends = await asyncio.gather(*(p.say() for p in people), return_exceptions=True)
        assert all(isinstance(end, grpc.aio.AioRpcError) for end in ends)
        with pytest.raises(RoundAborted, match=r"the sum is not released.*ledger of task .*No space left") as failure:
            await control.fetch(round_id)
        assert failure.value.reason is AbortReason.INTERNAL
        with pytest.raises(LedgerError, match="No space left"):
            await control.open_round(NOISY)
        await play(s, control, PLAIN_ELSEWHERE)
        monkeypatch.undo()
        assert (await control.ledger(TASK)).epsilon == pytest.approx(cost(1))


async def test_such_a_sum_is_released_without_the_charge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a coordinator that does not wait for its ledger releases more than it can account for."""
    monkeypatch.setattr(Charge, "settle", lambda *_: None)
    async with scene(tmp_path) as (s, control):
        await play(s, control)
        assert (await control.ledger(TASK)).ledger.released == frozenset()


async def test_noise_of_the_coordinator_is_in_every_sum_that_leaves_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as (s, control):
        round_id = await control.open_round(CENTRAL)
        people = s.some(5)
        await asyncio.gather(*(p.join(round_id) for p in people))
        await asyncio.gather(*(p.play() for p in people))
        aggregate = await control.fetch(round_id)
        for player in people:
            assert player.receipt is not None
            np.testing.assert_array_equal((await player.aggregate()).sums, aggregate.sums)
        exact = true_sum(people).astype(np.uint16)
        noise = (aggregate.sums - exact).astype(np.int16)
        assert CENTRAL.code.calibration is not None
        assert abs(noise.std() / float(CENTRAL.code.calibration.variance) ** 0.5 - 1) < 0.2
        (charge,) = (await control.ledger(TASK)).ledger.charges.values()
        assert (charge.honest, charge.survivors) == (1, 5)
