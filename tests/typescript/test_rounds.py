"""Rounds of participants in TypeScript and in Python together, with dropouts on both sides."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secagg.config import RoundConfig, Suite, ThreatModel
from secagg.encoding.integers import Integers
from secagg.encoding.schema import ArraySpec, Schema
from secagg.events import DropReason
from secagg.messages import Phase
from secagg.sparse.ring import Ring
from tests.serving import ACTIVE, NAMES, SEMI_HONEST, make_config, stage
from tests.taking_part import check_result, drops, in_thread, lenient, take_part, update_of, weight_of
from tests.typescript.people import person, scene

SCHEMA = Schema((ArraySpec("w", (7, 3)), ArraySpec("b", (3,), "float64"), ArraySpec("scale", ())))
COUNTS = Schema((ArraySpec("n", (40,), "int64"),))
OURS, THEIRS = NAMES[:3], NAMES[3:]
"""Who runs on Node, and who on Python."""


def check_mean(config: RoundConfig, told: dict[str, Any], names: list[Any]) -> None:
    """The weighted mean of the named, as `check_result` says of a result in Python."""
    total = sum(map(weight_of, names))
    assert told["weight"] == total
    for array in config.schema.arrays:
        mean = np.sum([update_of(config, n)[array.name].astype(float) * weight_of(n) for n in names], axis=0) / total
        got = np.frombuffer(bytes.fromhex(told["arrays"][array.name]), array.dtype).reshape(array.shape)
        np.testing.assert_allclose(got, mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
async def test_three_of_each_get_the_same_sum(tmp_path: Path, threat_model: ThreatModel) -> None:
    config = replace(make_config(6, threat_model), schema=SCHEMA, certify=threat_model is ACTIVE)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        theirs = [
            take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config), synchronous=False)
            for n in THEIRS
        ]
        ours = [person(tmp_path, n, config) for n in OURS]
        told, *results = await asyncio.gather(
            scene(s.server.data_address, tmp_path, ours, round_id=round_id.hex()), *theirs
        )
        for result in results:
            check_result(config, result, NAMES)
            assert result.certified == config.certify
        for one in told:
            assert one.get("error") is None, one
            assert one["survivors"] == sorted(NAMES)
            assert one["sums_digest"] == results[0].receipt.sums_digest.hex()
            assert one["certified"] == config.certify
            check_mean(config, one, NAMES)


SIGNED_RING = Ring(degree=4, neighbour_threshold=4, committee=3, committee_threshold=2, min_participants=6)
"""Four of five members of a neighbourhood must stay."""

RING = Ring(degree=4, neighbour_threshold=3, min_participants=6)
"""Three of five must stay."""


@pytest.mark.parametrize(
    ("threat_model", "kind", "leaving"),
    [
        (ACTIVE, {"graph": SIGNED_RING}, 1),
        (SEMI_HONEST, {"graph": RING}, 2),
        (ACTIVE, {"suite": Suite.XWING_SHA256_AES256}, 2),
    ],
    ids=["signed ring", "ring", "hybrid"],
)
async def test_who_drops_out_of_a_round_of_another_kind_takes_its_masks_along(
    tmp_path: Path, threat_model: ThreatModel, kind: dict[str, Any], leaving: int
) -> None:
    """On a ring, and in the hybrid suite: one on Node leaves with its input, and in some rounds one on Python, too."""
    ours, theirs = NAMES[:3], NAMES[3:]
    gone = [ours[0], theirs[0]][:leaving]
    config = replace(make_config(6, threat_model, threshold=4), **kind)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        leavers = [s.players[n] for n in theirs if n in gone]
        await asyncio.gather(*(leaver.join(round_id) for leaver in leavers))
        given: dict[str, Any] = {"round_id": round_id, "policy": lenient(config), "synchronous": False}
        staying = [n for n in theirs if n not in gone]
        people = [
            person(tmp_path, ours[0], config, leaves="SendInput"),
            *(person(tmp_path, n, config) for n in ours[1:]),
        ]
        told, _, *results = await asyncio.gather(
            scene(s.server.data_address, tmp_path, people, round_id=round_id.hex()),
            asyncio.gather(*(leaver.play(leave_before=Phase.MASKED_INPUT) for leaver in leavers)),
            *(take_part(s.server.data_address, n, config, **given) for n in staying),
        )
        summed = sorted([*ours[1:], *staying])
        for one in told:
            if one["id"] != ours[0]:
                assert one.get("error") is None, one
                assert one["survivors"] == summed
                check_mean(config, one, summed)
        assert {one["sums_digest"] for one in told if "sums_digest" in one} == {
            r.receipt.sums_digest.hex() for r in results
        }


async def test_whole_numbers_add_up_exactly_by_task(tmp_path: Path) -> None:
    config = replace(make_config(6), schema=COUNTS, encoding=Integers(min=-(2**40), max=2**40))
    rng = np.random.default_rng(7)
    counts = {n: rng.integers(-(2**40), 2**40, 40, dtype=np.int64) for n in NAMES}
    async with stage(tmp_path) as s:
        await s.director.open(config)
        given: dict[str, Any] = {"task": config.task, "policy": lenient(config), "synchronous": False, "weight": 1}
        theirs = [take_part(s.server.data_address, n, config, update={"n": counts[n]}, **given) for n in THEIRS]
        ours = [
            {**person(tmp_path, n, config), "arrays": {"n": {"dtype": "int64", "data": counts[n].tobytes().hex()}}}
            for n in OURS
        ]
        told, *results = await asyncio.gather(scene(s.server.data_address, tmp_path, ours, task=config.task), *theirs)
        total = np.sum(list(counts.values()), axis=0)
        for result in results:
            np.testing.assert_array_equal(result.totals.arrays["n"], total)
        for one in told:
            np.testing.assert_array_equal(np.frombuffer(bytes.fromhex(one["arrays"]["n"]), np.int64), total)


OF_CALL = {
    "Share": Phase.SHARE_KEYS,
    "SendInput": Phase.MASKED_INPUT,
    "Check": Phase.CONSISTENCY_CHECK,
    "Reveal": Phase.UNMASK,
}


@pytest.mark.parametrize("call", OF_CALL)
async def test_one_of_each_drops_out(tmp_path: Path, call: str) -> None:
    """One on Node leaves, and one on Python: the others get the sum of those whose inputs came."""
    config = make_config(6, threshold=4)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        leaver = s.players[THEIRS[0]]
        await leaver.join(round_id)
        theirs = [
            take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config), synchronous=False)
            for n in THEIRS[1:]
        ]
        ours = [person(tmp_path, OURS[0], config, leaves=call), *(person(tmp_path, n, config) for n in OURS[1:])]
        told, _, *results = await asyncio.gather(
            scene(s.server.data_address, tmp_path, ours, round_id=round_id.hex()),
            leaver.play(leave_before=OF_CALL[call]),
            *theirs,
        )
        gone = {OURS[0], THEIRS[0]} if call in {"Share", "SendInput"} else set[Any]()
        summed = [n for n in NAMES if n not in gone]
        by_id = {one["id"]: one for one in told}
        assert by_id[OURS[0]]["error"] == "Cancelled"
        for name in OURS[1:]:
            assert by_id[name].get("error") is None, by_id[name]
            assert by_id[name]["survivors"] == sorted(summed)
        assert {one["sums_digest"] for one in told if "sums_digest" in one} == {
            r.receipt.sums_digest.hex() for r in results
        }
        left = drops(await s.director.watch(round_id))
        assert left == {OURS[0]: DropReason.CANCELLED, THEIRS[0]: DropReason.CANCELLED}


async def test_a_process_that_is_killed_and_one_that_is_silent_are_dropped_at_the_deadline(tmp_path: Path) -> None:
    config = replace(make_config(6, threshold=4, deadlines={"masked_input_s": 5.0}), schema=SCHEMA)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        theirs = [
            take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config), synchronous=False)
            for n in THEIRS
        ]
        given: dict[str, Any] = {"round_id": round_id.hex()}
        dead, told, *results = await asyncio.gather(
            scene(
                s.server.data_address,
                tmp_path,
                [person(tmp_path, OURS[0], config, dies="SendInput")],
                expect=0,
                **given,
            ),
            scene(
                s.server.data_address,
                tmp_path,
                [person(tmp_path, OURS[1], config, silent="SendInput"), person(tmp_path, OURS[2], config)],
                expect=1,
                **given,
            ),
            *theirs,
        )
        assert dead == []
        assert told[0]["survivors"] == sorted([OURS[2], *THEIRS])
        assert told[0]["sums_digest"] == results[0].receipt.sums_digest.hex()


async def test_an_upload_goes_on_where_it_broke(tmp_path: Path) -> None:
    """Two chunks, and the connection is gone behind the first."""
    schema = Schema((ArraySpec("w", (600_000,)),))
    config = replace(make_config(3, SEMI_HONEST), schema=schema)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        theirs = [
            take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config), synchronous=False)
            for n in NAMES[1:3]
        ]
        ours = [person(tmp_path, NAMES[0], config, breaks="SendInput")]
        told, *results = await asyncio.gather(
            scene(s.server.data_address, tmp_path, ours, round_id=round_id.hex()), *theirs
        )
        assert told[0].get("error") is None, told
        assert told[0]["made"].count("SendInput") == 2
        assert "InputProgress" in told[0]["made"]
        assert told[0]["sums_digest"] == results[0].receipt.sums_digest.hex()


@pytest.mark.parametrize("call", ["Share", "SendInput", "Check", "Reveal"])
async def test_a_killed_process_goes_on_in_the_next_one(tmp_path: Path, call: str) -> None:
    config = replace(make_config(4), schema=SCHEMA, certify=True)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        theirs = [
            take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config), synchronous=False)
            for n in NAMES[1:4]
        ]
        kept = str(tmp_path / "kept")

        async def killed_and_again() -> list[dict[str, Any]]:
            mine = person(tmp_path, NAMES[0], config, state=kept)
            given: dict[str, Any] = {"task": config.task}
            assert await scene(s.server.data_address, tmp_path, [{**mine, "dies": call}], expect=0, **given) == []
            return await scene(s.server.data_address, tmp_path, [mine], **given)

        told, *results = await asyncio.gather(killed_and_again(), *theirs)
        assert told[0].get("error") is None, told
        assert "Advertise" not in told[0]["made"]
        assert told[0]["survivors"] == sorted(NAMES[:4])
        assert told[0]["sums_digest"] == results[0].receipt.sums_digest.hex()
        assert told[0]["certified"]
        check_mean(config, told[0], NAMES[:4])


async def test_a_participant_takes_no_part_in_a_round_below_its_terms(tmp_path: Path) -> None:
    config = replace(make_config(3, SEMI_HONEST), schema=SCHEMA)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        told = await scene(
            s.server.data_address, tmp_path, [person(tmp_path, NAMES[0], config)], round_id=round_id.hex(), policy={}
        )
        assert told[0]["error"] == "PolicyViolation"
        assert told[0]["made"] == ["FindRound", "LeaveRound"]


async def test_a_coordinator_under_another_name_is_refused(tmp_path: Path) -> None:
    config = replace(make_config(3), schema=SCHEMA)
    async with stage(tmp_path) as s:
        ours = [person(tmp_path, NAMES[0], config)]
        told = await scene(s.server.data_address, tmp_path, ours, task="any", server_name="elsewhere.example")
        assert (told[0]["error"], told[0]["culprit"]) == ("AuthenticationError", "coordinator")
        assert await in_thread(lambda: True)
