"""The metrics of a running coordinator, held against what really happened in its rounds."""

import asyncio
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from secagg_client import AsyncControlClient
from secagg_server.limits import open_files
from secagg_server.observability import http, metrics
from secagg_server.observability.metric_table import LABELS, METRICS
from secagg_server.rounds.registry import Rounds

from secagg.config import ThreatModel
from secagg.context import RoundId
from secagg.encoding.pipeline import Pipeline
from secagg.errors import BudgetExceeded, ConfigError, UnknownRoundError
from secagg.lattice.jobs import Desk
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import LeaveReason, Phase
from secagg.policy import Policy
from secagg.programs.ledgers.budgets import Budgets
from secagg.robust.grouping import Groups
from secagg.wire.v1 import control_plane_pb2 as control_pb
from tests.machine import free_port
from tests.scraping import Series, ask, metrics_text, rise, samples, scrape
from tests.serving import (
    CROWD,
    NAMES,
    PATIENCE_S,
    SEMI_HONEST,
    TASK,
    Player,
    Stage,
    failure_of,
    make_config,
    opening_parts,
    stage,
)
from tests.taking_part import DIGEST, QUICK, async_client

ROOT = Path(__file__).parents[2]
STATUS: dict[str, Any] = {"status": "127.0.0.1:0"}
CALLS = ("secagg_calls", "secagg_received", "secagg_sent")
CONTROL = ("OpenRound", "FetchAggregate")
NOISY = replace(
    make_config(5), encoding=Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=4.0)")
)


@pytest.fixture(autouse=True)
def _each_answer_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_S", 0.0)


class InProcess(Desk):
    """Encrypts in this process: starting one for everybody takes seconds."""

    def close(self) -> None:
        return


def name_of(series: str) -> str:
    """Of a sample: the metric that it belongs to."""
    return next((series[: -len(end)] for end in ("_bucket", "_count", "_sum") if series.endswith(end)), series)


async def refused(call: Any) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return failure_of(caught.value)


async def one_leaves(s: Stage) -> None:
    """A round of five with a sum of four: one leaves before its upload."""
    _, people = await s.open(make_config(5, threshold=4))
    leaver, stayers = people[0], people[1:]

    async def leave() -> None:
        while leaver.participant.awaits is not Phase.MASKED_INPUT:
            await leaver.say()
        await leaver.leave(LeaveReason.REFUSED)

    await asyncio.gather(leave(), *(p.play() for p in stayers))


async def too_few(s: Stage) -> None:
    """A round of five that fails: two leave while shares are dealt."""
    round_id, people = await s.open(make_config(5, threshold=4))
    await asyncio.gather(*(p.say() for p in people))
    waiting = [asyncio.create_task(refused(p.say())) for p in people[:3]]
    await asyncio.gather(*(p.leave() for p in people[3:]))
    await asyncio.gather(*waiting)
    await s.director.watch(round_id)


async def settled(s: Stage) -> dict[Any, float]:
    """Every sample, once no call is under way: a call is counted a moment after its caller has the answer."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            found = dict(await scrape(s.server))
            if not any(found["secagg_calls_under_way", f"plane={plane}"] for plane in ("data", "control")):
                return found
            await asyncio.sleep(0.01)


async def test_what_is_counted_is_what_happened(tmp_path: Path) -> None:
    async with stage(tmp_path, **STATUS) as s:
        before = await settled(s)
        await one_leaves(s)
        first = await settled(s)
        risen = rise(before, first)
        calls = {series: by for series, by in risen.items() if series[0].startswith(CALLS)}
        phases = ("AdvertiseKeys", "ShareKeys", "MaskedInput", "ConsistencyCheck", "Unmask")
        told: dict[Series, float] = {("secagg_phase_duration_seconds_count", f"phase={phase}"): 1 for phase in phases}
        told |= {
            ("secagg_rounds_opened_total", "scheme=masked"): 1,
            ("secagg_rounds_total", "outcome=sum", "reason=NONE", "scheme=masked"): 1,
            ("secagg_round_duration_seconds_count", "outcome=sum"): 1,
            ("secagg_participants_joined_total",): 5,
            ("secagg_participants_survived_total",): 4,
            ("secagg_dropouts_total", "phase=MaskedInput", "reason=REFUSED"): 1,
        }
        assert {series: by for series, by in risen.items() if series not in calls} == told
        answered = {
            (series[1].removeprefix("method="), series[3].removeprefix("plane=")): by
            for series, by in calls.items()
            if series[0] == "secagg_calls_total" and series[2] == "outcome=ANSWERED"
        }
        assert answered == {
            ("OpenRound", "control"): 1,
            ("FindRound", "data"): 5,
            ("Advertise", "data"): 5,
            ("Share", "data"): 5,
            ("LeaveRound", "data"): 1,
            ("SendInput", "data"): 4,
            ("Check", "data"): 4,
            ("Reveal", "data"): 4,
        }
        await too_few(s)
        second = await settled(s)
        risen = rise(first, second)
        assert risen["secagg_rounds_total", "outcome=failed", "reason=BELOW_THRESHOLD", "scheme=masked"] == 1
        assert risen["secagg_dropouts_total", "phase=ShareKeys", "reason=CANCELLED"] == 2
        assert risen["secagg_participants_joined_total",] == 5
        assert ("secagg_participants_survived_total",) not in risen
        assert risen["secagg_refusals_total", "error=RoundAborted", "plane=data"] == 3
        assert second["secagg_open_rounds",] == 0
        round_id = await s.director.open(make_config())
        assert (await scrape(s.server))["secagg_open_rounds",] == 1
        await s.director.abort(round_id)
        assert isinstance(await refused(s.director.abort(RoundId(bytes(16)))), UnknownRoundError)
        third = await settled(s)
        risen = rise(second, third)
        assert risen["secagg_rounds_total", "outcome=failed", "reason=CANCELLED", "scheme=masked"] == 1
        assert risen["secagg_refusals_total", "error=UnknownRoundError", "plane=control"] == 1
        assert risen["secagg_calls_total", "method=AbortRound", "outcome=REFUSED", "plane=control"] == 1
        assert third["secagg_open_rounds",] == 0
        last = {o: third["secagg_last_round_timestamp_seconds", f"outcome={o}"] for o in ("sum", "failed")}
        assert 0 < last["sum"] < last["failed"]


async def test_bytes_are_those_of_the_messages(tmp_path: Path) -> None:
    async with stage(tmp_path, **STATUS) as s:
        config = make_config(5)
        before = await settled(s)
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        request = control_pb.FetchRequest(round_id=round_id)
        parts = [part async for part in s.director.stub.FetchAggregate(request)]
        risen = rise(before, await settled(s))
        sent = opening_parts(config, round_id)
        came = {method: risen["secagg_received_bytes_total", f"method={method}", "plane=control"] for method in CONTROL}
        assert came == {"OpenRound": sum(p.ByteSize() for p in sent), "FetchAggregate": request.ByteSize()}
        fetched = risen["secagg_sent_bytes_total", "method=FetchAggregate", "plane=control"]
        assert fetched == sum(p.ByteSize() for p in parts)
        receipts = [p.receipt.ByteSize() for p in people if p.receipt is not None]
        assert risen["secagg_sent_bytes_total", "method=Reveal", "plane=data"] == sum(receipts)


async def test_the_ledger_of_each_task(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**STATUS, "ledger_dir": tmp_path / "ledger", "budgets": {TASK: {"epsilon": 6.0}}}
    async with stage(tmp_path, **settings) as s, AsyncControlClient(s.server.control_address) as control:
        assert (await scrape(s.server))["secagg_ledger_tasks",] == 0
        spent = 0.0
        for _ in range(2):
            await control.open_round(NOISY)
            ledger = (await control.ledger(TASK)).ledger
            found = await scrape(s.server)
            assert found["secagg_ledger_epsilon", f"task={TASK}"] == pytest.approx(ledger.epsilon)
            assert found["secagg_ledger_epsilon_budget", f"task={TASK}"] == 6.0
            assert found["secagg_ledger_tasks",] == 1
            assert found["secagg_ledger_epsilon", f"task={TASK}"] > spent
            spent = found["secagg_ledger_epsilon", f"task={TASK}"]
        with pytest.raises(BudgetExceeded):
            await asyncio.gather(*(control.open_round(NOISY) for _ in range(20)))
        found = await settled(s)
        assert found["secagg_refusals_total", "error=BudgetExceeded", "plane=control"] > 0
    async with stage(tmp_path, **settings) as s:
        found = await scrape(s.server)  # what is left of the budget is known before the first round
        assert found["secagg_ledger_tasks",] == 1
        assert found["secagg_ledger_epsilon", f"task={TASK}"] < spent, "the rounds ended without a sum"


@pytest.mark.parametrize(("scheme", "custody"), [(s, c) for s in Scheme for c in Custody])
async def test_encrypted_rounds(tmp_path: Path, scheme: Scheme, custody: Custody) -> None:
    config = replace(make_config(3, SEMI_HONEST), homomorphic=find_profile(scheme, custody, 3, 16), max_colluding=-1)
    policy = Policy(threat_models=frozenset(ThreatModel), allow_experimental=True, min_colluding_share=0.0)
    async with stage(tmp_path, **STATUS) as s:
        round_id = await s.director.open(config)
        await asyncio.gather(*(take_part(s, name, 50, policy) for name in NAMES[:3]))
        await s.director.watch(round_id)
        found = await settled(s)
    assert found["secagg_rounds_total", "outcome=sum", "reason=NONE", f"scheme={scheme.value}"] == 1
    assert found["secagg_participants_joined_total",] == found["secagg_participants_survived_total",] == 3
    assert found["secagg_phase_duration_seconds_count", "phase=EncryptedInput"] == 1
    ended = "PartialDecryption" if custody is Custody.THRESHOLD else "ReleaseSum"
    assert found["secagg_phase_duration_seconds_count", f"phase={ended}"] == 1


async def take_part(s: Stage, name: Any, size: int, policy: Policy) -> None:
    options: dict[str, Any] = {"policy": policy, "backend": InProcess, "retry": QUICK}
    async with async_client(s.server.data_address, name, **options) as one:
        update = {"values": np.full(size, 0.25, np.float32)}
        await one.participate(update, task=TASK, weight=1, model_digest=DIGEST, timeout_s=PATIENCE_S)


async def test_rounds_in_groups(tmp_path: Path) -> None:
    config = replace(make_config(3), groups=Groups.parse(3, "median"))
    policy = Policy(min_colluding_share=0.0)
    async with stage(tmp_path, **STATUS) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        await control.open_round(config)
        assert (await scrape(s.server))["secagg_open_rounds",] == 3
        await asyncio.gather(*(take_part(s, name, 50, policy) for name in CROWD[:9]))
        failing = await control.open_round(config)
        await control.abort(failing, "enough")
        found = await settled(s)
    assert found["secagg_rounds_opened_total", "scheme=masked"] == 2
    assert found["secagg_rounds_total", "outcome=sum", "reason=NONE", "scheme=masked"] == 1
    assert found["secagg_rounds_total", "outcome=failed", "reason=CANCELLED", "scheme=masked"] == 1
    assert found["secagg_groups_total", "outcome=sum", "reason=NONE"] == 3
    assert found["secagg_groups_total", "outcome=failed", "reason=CANCELLED"] == 3
    assert found["secagg_open_rounds",] == 0
    assert found["secagg_participants_survived_total",] == 9
    assert found["secagg_round_duration_seconds_count", "outcome=sum"] == 1
    assert found["secagg_phase_duration_seconds_count", "phase=AdvertiseKeys"] == 6


async def test_every_metric_of_the_table_is_shown_and_no_other(tmp_path: Path) -> None:
    """Also that no name of a participant, no address and no round id is in any of it."""
    settings: dict[str, Any] = {**STATUS, "budget": {"epsilon": 1e6, "delta": 1e-5}}
    async with stage(tmp_path, **settings) as s:
        await one_leaves(s)
        await too_few(s)
        round_id = await s.director.open(replace(NOISY, task="noisy"))
        text = await metrics_text(s.server)
        plain = await metrics_text(s.server, accept="")
        listed = await s.director.list()
        found = samples(text)
        assert {name_of(series[0]) for series in found} == set(METRICS)
        for series, *labels in found:
            own = {label.partition("=")[0] for label in labels} - {"le"}
            assert own == set(METRICS[name_of(series)].labels), series
            assert own <= set(LABELS)
        for name, row in METRICS.items():
            assert f"# HELP {name.removesuffix('_total')} {row.help}" in text, name
            assert f"# TYPE {name.removesuffix('_total')} {row.kind}" in text, name
        for secret in (*NAMES, "127.0.0.1", round_id.hex(), *(r.round_id.hex() for r in listed)):
            assert secret not in text
            assert secret not in plain
        assert text.endswith("# EOF\n")
        assert "# TYPE secagg_rounds_total counter" in plain
        assert found["process_open_fds",] > 10
        assert found["secagg_connections", "state=speaking"] == 5
        assert found["secagg_connections", "state=silent"] == 0
        assert found["secagg_max_connections",] == s.server.connections
        assert found["secagg_max_calls",] == 20_000
        assert found["secagg_max_open_rounds",] == 32
        (_, server), (_, authority) = s.server.renewal.loaded.expiries
        expiry = "secagg_certificate_expiry_timestamp_seconds"
        assert found[expiry, "certificate=server"] == server.timestamp()
        assert found[expiry, "certificate=ca"] == authority.timestamp()
        assert found["secagg_ready",] == 1


async def test_the_port_says_that_both_planes_serve_until_they_stop(tmp_path: Path) -> None:
    async with stage(tmp_path, **STATUS) as s:
        address = s.server.status_address
        assert address is not None
        assert (await ask(address, "/readyz"))[::2] == (200, "serving\n")
        assert (await ask(address, "/healthz"))[::2] == (200, "alive\n")
        status, headers, _ = await ask(address, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        status, headers, _ = await ask(address, "/metrics")
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    with pytest.raises(OSError):
        await ask(address, "/readyz")


async def test_the_port_answers_while_the_coordinator_starts_and_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{free_port()}"
    told: list[tuple[int, str]] = []
    look, shut_down = Budgets.look, Rounds.shut_down

    def while_it_starts(budgets: Budgets) -> None:
        told.append(asyncio.run(ask(address, "/readyz"))[::2])
        look(budgets)

    async def while_it_stops(rounds: Rounds) -> None:
        told.append((await ask(address, "/readyz"))[::2])
        told.append((await ask(address, "/healthz"))[::2])
        await shut_down(rounds)

    monkeypatch.setattr(Budgets, "look", while_it_starts)
    monkeypatch.setattr(Rounds, "shut_down", while_it_stops)
    async with stage(tmp_path, status=address) as s:
        assert (await scrape(s.server))["secagg_ready",] == 1
    assert told == [(503, "starting\n"), (503, "shutting down\n"), (200, "alive\n")]


async def test_a_port_that_is_taken_is_refused_at_the_start(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with stage(tmp_path / "one", **STATUS) as s:
        with pytest.raises(ConfigError, match=r"setting status.*another program listens there"):
            async with stage(tmp_path / "two", status=s.server.status_address):
                pass


async def test_connections_of_the_port_are_counted_among_the_open_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_files, "_raised", lambda: 5000)
    async with stage(tmp_path, **STATUS) as s:
        assert s.server.connections == (5000 - open_files.RESERVED - http.MAX_CONNECTIONS) // 3
    async with stage(tmp_path) as s:
        assert s.server.connections == (5000 - open_files.RESERVED) // 3


async def test_whoever_holds_the_port_keeps_no_round_from_its_sum(tmp_path: Path) -> None:
    """Connections that say nothing, half a request, or that do not read."""
    async with stage(tmp_path, **STATUS) as s:
        host, port = str(s.server.status_address).rsplit(":", 1)
        held = [await asyncio.open_connection(host, int(port)) for _ in range(45)]
        for number, (_, writer) in enumerate(held):
            writer.write((b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n", b"GET /metrics HTTP/1.1\r\n\r\n")[number % 3])
        _, people = await s.open(make_config(5))
        await asyncio.gather(*(p.play() for p in people))
        assert all(p.receipt is not None for p in people)
        for _, writer in held:
            writer.close()


async def test_the_guide_names_every_path_and_the_bounds(tmp_path: Path) -> None:
    page = (ROOT / "docs/operate.md").read_text()
    guide = " ".join(page.partition("\n## Monitoring\n")[2].partition("\n## ")[0].split())
    async with stage(tmp_path, **STATUS) as s:
        _, _, told = await ask(str(s.server.status_address), "/nowhere")
        paths = told.partition("There are: ")[2].split()
    assert {path.strip(",") for path in paths} == set(re.findall(r"`(/[a-z.]*)`", guide))
    assert f"room for {http.MAX_CONNECTIONS} connections" in guide
    assert f"takes {http.MAX_A_SECOND} new ones a second" in guide


async def test_without_the_setting_there_is_no_port(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        assert s.server.status_address is None


async def test_a_broken_listener_harms_no_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(metrics.Metrics, "__call__", broken)
    async with stage(tmp_path, **STATUS) as s:
        _, people = await s.open(make_config(5))
        await asyncio.gather(*(p.play() for p in people))
        assert all(isinstance(p, Player) and p.receipt is not None for p in people)
