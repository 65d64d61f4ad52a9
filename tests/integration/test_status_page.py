"""The status page of a coordinator that serves a real round: what it knows at each moment, and what it answers."""

import asyncio
import json
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from secagg.messages import Phase
from secagg.privacy.ledger import Budget, LedgerBook
from secagg.programs.ledgers.files import locked
from secagg.wire.v1 import control_plane_pb2 as control_pb
from tests.serving import PATIENCE_S, Stage, make_config, stage
from tests.unit.privacy.test_ledger import CONFIG

DATA = "127.0.0.1:0"


async def get(s: Stage, path: str) -> tuple[str, dict[str, str]]:
    """The body of an answer, and its headers."""

    def ask() -> tuple[str, dict[str, str]]:
        with urllib.request.urlopen(f"http://{s.server.status_address}{path}", timeout=PATIENCE_S) as answer:
            return answer.read().decode(), {name.lower(): value for name, value in answer.headers.items()}

    return await asyncio.to_thread(ask)


async def seen(s: Stage) -> dict[str, Any]:
    """The status now: an answer is given again for a second, so that this waits for the next."""
    before = json.loads((await get(s, "/status.json"))[0])
    while True:
        after: dict[str, Any] = json.loads((await get(s, "/status.json"))[0])
        if after["at"] != before["at"]:
            return after
        await asyncio.sleep(0.1)


async def test_the_page_follows_a_round(tmp_path: Path) -> None:
    async with stage(tmp_path, status=DATA) as s:
        empty = await seen(s)
        assert (empty["state"], empty["live"], empty["finished"]) == ("serving", [], [])
        assert empty["addresses"]["data plane"] == s.server.data_address
        assert empty["expiries"][0]["what"] == "server certificate"

        round_id, people = await s.open(make_config(5, threshold=3))
        names = [p.name for p in people]
        part = control_pb.ParticipantsPart(round_id=round_id, participant_ids=names)
        await s.director.stub.Expect(iter([part]), timeout=PATIENCE_S)
        early = [asyncio.create_task(p.say()) for p in people[:2]]
        (live,) = await joined(s, 2)
        assert live["missing"] == {"shown": names[2:], "more": 0}
        assert live["missing_count"] == 3

        await asyncio.gather(*early, *(p.say() for p in people[2:]))
        left = asyncio.create_task(people[4].leave())
        sharing = [asyncio.create_task(p.say()) for p in people[:3]]
        (live,) = await joined(s, 3, Phase.SHARE_KEYS)
        await left
        assert live["missing"]["shown"] == [names[3]]
        assert [one["participant"] for one in live["dropped"]] == [names[4]]
        page, headers = await get(s, "/")
        assert f"<li>{names[3]}</li>" in page
        assert "style-src 'sha256-" in headers["content-security-policy"]

        await asyncio.gather(*sharing, people[3].say())
        await asyncio.gather(*(p.play() for p in people[:4]))
        over = await seen(s)
        assert over["live"] == []
        (finished,) = over["finished"]
        assert (finished["survivors"], finished["joined"], finished["dropped_count"]) == (4, 5, 1)
        assert (over["sums"], over["failures"]) == (1, 0)


async def joined(s: Stage, count: int, phase: Phase = Phase.ADVERTISE_KEYS) -> list[dict[str, Any]]:
    """Rounds under way once so many have delivered in that phase of the first."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            live: list[dict[str, Any]] = (await seen(s))["live"]
            last = live[0]["phases"][-1]
            if (last["name"], last["delivered"]) == (str(phase), count):
                return live


async def test_budgets_and_what_is_wrong_with_files_are_on_the_page(tmp_path: Path) -> None:
    with locked(tmp_path / "ledger", time.time) as folder:
        book = LedgerBook(folder)
        for task in ("whole", "torn"):
            book.keep(book.open(task, Budget()).plan(bytes(15) + b"\1", replace(CONFIG, task=task)))
    (torn,) = (tmp_path / "ledger").glob("torn-*.jsonl")
    torn.write_bytes(torn.read_bytes().replace(b"planned", b"Planned"))
    async with stage(tmp_path, status=DATA, ledger_dir=tmp_path / "ledger") as s:
        (tmp_path / "cert.pem").write_text("no certificate")
        s.server.renewal.wake()
        await s.server.renewal.look()
        told = await seen(s)
        (budget,) = told["budgets"]
        assert (budget["task"], budget["epsilon"]) == ("whole", Budget().epsilon)
        assert 0 < budget["spent"] < budget["epsilon"]
        certificate, ledger = told["faults"]
        assert "are not used" in certificate
        assert "the privacy ledger of task 'torn' is corrupt" in ledger
        page, _ = await get(s, "/")
        assert "The privacy ledger of task &#39;torn&#39; is corrupt" in page
        assert [use["limit"] for use in told["uses"][:2]] == [32, 20_000]
        assert told["uses"][-1]["used"] > 10 << 20


async def test_a_refusal_and_a_round_without_a_sum_are_on_the_page(tmp_path: Path) -> None:
    async with stage(tmp_path, status=DATA) as s:
        round_id, _ = await s.open(make_config(5, threshold=3))
        await s.director.abort(round_id, "the wrong <model>")
        again = s.some(1)[0]
        with pytest.raises(grpc.aio.AioRpcError):
            await again.find(round_id=bytes(16))
        told = await seen(s)
        assert [one["reason"] for one in told["finished"]] == ["cancelled"]
        assert [one["event"] for one in told["troubles"]] == ["call_refused FindRound UnknownRoundError"]
        assert "the wrong &lt;model&gt;" in (await get(s, "/"))[0]
