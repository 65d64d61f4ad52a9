"""What a running coordinator writes into its audit log: every decision, before anyone is told of it, and no value."""

import asyncio
import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from secagg_server.audit import coordinator as auditing
from secagg_server.audit.rounds import MOST_OF_ONE
from secagg_server.rounds.journalled import JournalledEngine

from secagg.audit import entries
from secagg.audit.entries import Entry
from secagg.context import RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.errors import AuditError
from secagg.messages import Phase
from secagg.programs.audit import reading
from secagg.programs.audit.kinds import COORDINATOR, KINDS, LOG, OF_ROUND
from secagg.programs.audit.log import AuditLog, Draft
from secagg.programs.audit.verifying import Verdict, verify_files
from secagg.robust.grouping import Groups
from tests.serving import SEMI_HONEST, Stage, make_config, site, stage


def _entries(folder: Path) -> list[Entry]:
    return [entries.read(line.text) for line in reading.lines(folder / "state" / "audit") if line.whole]


def _of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [dict(entry.facts) for entry in _entries(folder) if entry.kind == kind]


def _verified(folder: Path) -> Verdict:
    verdict = verify_files(folder / "state" / "audit", TrustAnchors.from_pem(site().ca_pem), coordinator="localhost")
    assert verdict.whole, verdict.damages
    return verdict


def _durable(folder: Path) -> dict[str, Any]:
    return {"state_dir": folder / "state"}


async def _play(s: Stage, **config: Any) -> RoundId:
    """A round of five in which the last one drops out before it hands in its update."""
    round_id, people = await s.open(make_config(5, **{"threshold": 4, **config}))
    leaves: list[Phase | None] = [None, None, None, None, Phase.MASKED_INPUT]
    await asyncio.gather(*(p.play(leave_before=leave) for p, leave in zip(people, leaves, strict=True)))
    return round_id


async def test_every_decision_of_a_round_is_in_the_log(tmp_path: Path) -> None:
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        config = make_config(5, threshold=4)
        round_id = await _play(s)
        await s.director.aggregate(round_id, config)
        await s.director.aggregate(round_id, config)
        await s.some(2)[1].aggregate()
    verdict = _verified(tmp_path)
    assert verdict.unsigned == 0  # an orderly stop signs
    found = [entry for entry in _entries(tmp_path) if entry.round_id == round_id.hex()]
    kinds = [entry.kind for entry in found]
    assert kinds[0] == "round_opened"
    assert sorted(kinds[1:7]) == ["joined"] * 5 + ["phase_opened"]
    assert kinds[-3:] == ["sum_released", "sum_given", "sum_given"]
    opened, released = found[0].facts, found[-3].facts
    assert opened["config"]["threshold"] == 4
    assert len(opened["config_digest"]) == 64
    names = sorted(p.name for p in s.some(5))
    assert released["survivors"] == names[:4]
    assert released["known_to"] == ["coordinator", "participants"]
    dropped = [entry.facts for entry in found if entry.kind == "dropped"]
    assert [(d["participant"], d["phase"], d["reason"]) for d in dropped] == [(names[4], "MaskedInput", "CANCELLED")]
    joined = [entry.facts for entry in found if entry.kind == "joined"]
    assert {j["organisation"] for j in joined} == {"north"}
    assert all(len(j["fingerprint"]) == 64 for j in joined)
    assert [entry.facts["who"] for entry in found[-2:]] == ["the FL server", names[1]]
    steps = [entry.facts["step"] for entry in found if "step" in entry.facts]
    assert steps == sorted(steps)


async def test_the_log_has_the_kinds_and_facts_of_its_reference(tmp_path: Path) -> None:
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        await _play(s)
        round_id, people = await s.open(make_config(5))
        await s.director.abort(round_id, "enough\n\x1b[31m of it")
        with pytest.raises(grpc.aio.AioRpcError):
            await people[0].say()  # the entry of the round says that it was aborted: none says that this was refused
        with pytest.raises(grpc.aio.AioRpcError):
            await people[0].find(round_id=bytes(16))
    for entry in _entries(tmp_path):
        kind = KINDS[entry.kind]
        wanted = {*kind.facts, *(OF_ROUND if kind.of_round else ())}
        assert wanted <= entry.facts.keys() <= wanted | {*kind.optional}, entry
    kinds = {entry.kind for entry in _entries(tmp_path)}
    assert {"abort_asked", "round_failed", "call_refused", "identity_seen", "coordinator_stopped"} <= kinds
    assert kinds <= KINDS.keys()
    assert [refused["error"] for refused in _of_kind(tmp_path, "call_refused")] == ["UnknownRoundError"]
    [asked] = _of_kind(tmp_path, "abort_asked")
    assert asked["detail"] == "enough ?[31m of it"
    [failed] = _of_kind(tmp_path, "round_failed")
    assert (failed["reason"], failed["known"]) == ("CANCELLED", False)
    assert {**LOG, **COORDINATOR}.keys() & kinds


async def test_without_a_state_folder_there_is_no_log(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        await _play(s)
    assert not [*tmp_path.rglob("*.jsonl")]


async def test_semi_honest_rounds_know_certificates_from_connections(tmp_path: Path) -> None:
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        await _play(s, threat_model=SEMI_HONEST)
    joined = _of_kind(tmp_path, "joined")
    assert {j["organisation"] for j in joined} == {"north"}
    seen = {i["participant"]: i["fingerprint"] for i in _of_kind(tmp_path, "identity_seen")}
    assert {j["participant"]: j["fingerprint"] for j in joined} == seen


def _refusing(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The disk is full as soon as an entry of this kind is to be written."""
    write = AuditLog.write

    def refuse(log: AuditLog, drafts: Sequence[Draft], *, sign: bool = False) -> None:
        if any(draft.kind == kind for draft in drafts):
            raise AuditError("the audit log is out of reach: No space left on device")
        write(log, drafts, sign=sign)

    monkeypatch.setattr(AuditLog, "write", refuse)


async def test_a_round_that_cannot_be_written_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refusing(monkeypatch, "round_opened")
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await s.director.open(make_config(5))
        assert refused.value.code() is grpc.StatusCode.DATA_LOSS
        assert await s.director.list() == []


async def test_a_sum_that_cannot_be_written_is_not_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refusing(monkeypatch, "sum_released")
    config = make_config(5)
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        round_id, people = await s.open(config)
        played = await asyncio.gather(*(p.play() for p in people), return_exceptions=True)
        assert all(isinstance(result, grpc.aio.AioRpcError) for result in played)
        with pytest.raises(grpc.aio.AioRpcError):
            await s.director.aggregate(round_id, config)
    assert _of_kind(tmp_path, "sum_released") == []
    [failed] = _of_kind(tmp_path, "round_failed")
    assert failed["reason"] == "INTERNAL"
    assert failed["known"]  # participants revealed what opens it
    assert failed["survivors"] == sorted(p.name for p in people)
    _verified(tmp_path)


async def test_without_the_write_before_the_end_a_sum_is_told_that_is_not_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refusing(monkeypatch, "sum_released")
    finish = JournalledEngine.finish

    def unwritten(engine: JournalledEngine, ended: Any) -> Any:
        engine._audit._log = None
        return finish(engine, ended)

    monkeypatch.setattr(JournalledEngine, "finish", unwritten)
    config = make_config(5)
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        await s.director.aggregate(round_id, config)
    assert _of_kind(tmp_path, "sum_released") == []


async def test_a_sum_that_cannot_be_written_as_given_is_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _refusing(monkeypatch, "sum_given")
    config = make_config(5)
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await s.director.aggregate(round_id, config)
        assert refused.value.code() is grpc.StatusCode.DATA_LOSS


async def test_nothing_in_the_log_depends_on_an_update(tmp_path: Path) -> None:
    """Two rounds with other updates leave the same entries, but for digests, times and the order of who came."""

    def left(folder: Path) -> list[str]:
        differ = ("round", "sums_digest", "receipt", "config_digest", "model")
        plain = [
            {name: value for name, value in entry.facts.items() if name not in differ} | {"kind": entry.kind}
            for entry in _entries(folder)
            if entry.kind != "checkpoint" and not entry.kind.startswith("coordinator")
        ]
        return sorted(json.dumps({**each, "step": 0}, sort_keys=True) for each in plain)

    said, words = [], set[bytes]()
    for folder, factor in ((tmp_path / "one", 1.0), (tmp_path / "two", 0.31)):
        folder.mkdir()
        async with stage(folder, **_durable(folder)) as s:
            for player in s.players.values():
                player.value *= factor
            round_id = await _play(s, size=300)
            aggregate = await s.director.aggregate(round_id, make_config(5, threshold=4, size=300))
        said.append(left(folder))
        sums = aggregate.sums.astype(np.uint64)
        words |= {sums.tobytes()[at : at + 16].hex().encode() for at in range(0, 8 * 300, 16)}
        words |= {b64encode(sums.tobytes()[at : at + 12]) for at in range(0, 8 * 300, 16)}
    assert said[0] == said[1]
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*.jsonl"))
    assert len(words) > 30
    assert not [word for word in words if word in content]


async def test_refusals_of_one_caller_do_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        player = s.some(1)[0]
        for _ in range(20):
            with pytest.raises(grpc.aio.AioRpcError):
                await player.find(round_id=bytes(16))
    refused = _of_kind(tmp_path, "call_refused")
    assert [(r["participant"], r["method"], r["error"]) for r in refused] == [
        (player.name, "FindRound", "UnknownRoundError")
    ]


async def test_coming_and_going_does_not_fill_the_disk(tmp_path: Path) -> None:
    config = make_config(5, deadlines={"advertise_keys_s": 600.0})
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        round_id = await s.director.open(config)
        player = s.some(1)[0]
        for _ in range(MOST_OF_ONE):
            await player.join(round_id)
            waiting = asyncio.create_task(player.say())
            while True:
                await asyncio.sleep(0.01)
                if await _has_joined(s, round_id, player.name):
                    break
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await player.leave()
    moves = [e for e in _entries(tmp_path) if e.kind in {"joined", "dropped"}]
    assert len(moves) <= MOST_OF_ONE


async def _has_joined(s: Stage, round_id: RoundId, name: str) -> bool:
    hosted = s.server.rounds.find(round_id)
    return hosted.delivered(name, Phase.ADVERTISE_KEYS)  # type: ignore[arg-type]


async def test_groups_are_in_the_log_one_by_one(tmp_path: Path) -> None:
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        config = replace(make_config(3, threshold=3), groups=Groups(count=3))
        round_id = await s.director.open(config)
    [opened] = _of_kind(tmp_path, "groups_opened")
    assert opened["round"] == round_id.hex()
    groups = _of_kind(tmp_path, "round_opened")
    assert [group["round"] for group in groups] == opened["groups"]
    assert {group["parent"] for group in groups} == {round_id.hex()}


async def test_a_long_run_is_signed_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("secagg.audit.checkpoints.EVERY_S", 0.01)
    async with stage(tmp_path, **_durable(tmp_path)) as s:
        round_id, _ = await s.open(make_config(5))
        while len(_of_kind(tmp_path, "checkpoint")) < 3:
            await asyncio.sleep(0.01)
        await s.director.abort(round_id)
    assert _verified(tmp_path).unsigned == 0
