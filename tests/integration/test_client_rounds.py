"""Whole rounds through the clients: both kinds, both threat models, by task and by id, several at once."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from secagg_client import AsyncControlClient, Client, ControlClient, Feedback, RoundResult, RoundState

from secagg import __version__
from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId, digest_model
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    DecodeError,
    LocalError,
    NotInRoundError,
    ProtocolViolation,
    RoundAborted,
    UnknownRoundError,
)
from secagg.events import PhaseStarted, RoundFailed
from secagg.masked import shares
from secagg.messages import MASKED_PHASES, ParticipantId
from secagg.receipts import Agreement, compare_receipts
from secagg.rounds.engine import Engine
from secagg.wire.progress import ResultReady
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.serving import (
    ACTIVE,
    NAMES,
    PATIENCE_S,
    SEMI_HONEST,
    TASK,
    Player,
    Stage,
    failure_of,
    make_config,
    site,
    stage,
)
from tests.taking_part import (
    DIGEST,
    QUICK,
    async_client,
    check_result,
    client,
    in_thread,
    lenient,
    take_part,
    update_of,
    weight_of,
)

SCHEMA = Schema((ArraySpec("w", (7, 3)), ArraySpec("b", (3,), "float64"), ArraySpec("scale", ())))


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
async def test_a_round_of_both_kinds_of_clients(tmp_path: Path, threat_model: ThreatModel) -> None:
    config = replace(make_config(5, threat_model), schema=SCHEMA, certify=threat_model is ACTIVE)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        by_id = [
            take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config)) for n in NAMES[:2]
        ]
        by_task = [
            take_part(s.server.data_address, n, config, task=TASK, policy=lenient(config), synchronous=False)
            for n in NAMES[2:5]
        ]
        aggregate, results = await asyncio.gather(control.result(round_id), asyncio.gather(*by_id, *by_task))
        assert aggregate.survivors == tuple(NAMES[:5])
        for result in results:
            check_result(config, result, NAMES[:5])
            assert result.round_id == round_id
            assert result.certified == config.certify
            assert compare_receipts(results[0].receipt, result.receipt, site().trust).verdict is Agreement.AGREE
            assert result.aggregate is not None
            np.testing.assert_array_equal(result.aggregate.sums, aggregate.sums)
            assert 500 < result.bytes_sent < 10_000
            assert 500 < result.bytes_received < 20_000
        events = [event async for _, event in control.watch(round_id)]
        assert [e.phase for e in events if isinstance(e, PhaseStarted)] == list(MASKED_PHASES[threat_model])
        assert isinstance(events[-1], ResultReady)
        (summary,) = await control.list_rounds(TASK)
        assert (summary.round_id, summary.state, summary.phase) == (round_id, RoundState.DONE, None)


@pytest.mark.parametrize("release", [True, False])
async def test_a_receipt_without_the_aggregate(tmp_path: Path, release: bool) -> None:
    config = replace(make_config(3, release=release), certify=True)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        arguments: dict[str, Any] = {"round_id": round_id, "fetch_aggregate": not release}
        results = await asyncio.gather(*(take_part(s.server.data_address, n, config, **arguments) for n in NAMES[:3]))
        assert {(r.receipt.survivors, r.mean, r.aggregate) for r in results} == {(3, None, None)}
        assert len({r.receipt.sums_digest for r in results}) == 1
        assert all(r.certified for r in results)


async def test_who_does_not_sign_the_result_is_waited_for_until_the_deadline(tmp_path: Path) -> None:
    """A bare player takes its receipt and is silent: the others are certified, and with one less they would not be."""
    for threshold in (3, 4):
        limits = {"consistency_check_s": 3.0}
        config = replace(make_config(4, threshold=threshold, deadlines=limits), certify=True)
        async with stage(tmp_path) as s:
            round_id = await s.director.open(config)
            silent = s.players[NAMES[3]]
            await silent.join(round_id)
            given: dict[str, Any] = {"round_id": round_id, "synchronous": False, "policy": lenient(config)}
            *results, _ = await asyncio.gather(
                *(take_part(s.server.data_address, n, config, **given) for n in NAMES[:3]), silent.play()
            )
            assert [r.certified for r in results if r is not None] == [threshold == 3] * 3


async def test_nobody_waits_for_the_signature_of_who_left(tmp_path: Path) -> None:
    """The deadline is as long as everybody's patience: who waited for it would give up."""
    config = replace(make_config(4, threshold=3), certify=True)

    async def goes_without_signing(silent: Player) -> None:
        await silent.play()
        await silent.leave()

    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        silent = s.players[NAMES[3]]
        await silent.join(round_id)
        given: dict[str, Any] = {"round_id": round_id, "synchronous": False, "policy": lenient(config)}
        *results, _ = await asyncio.gather(
            *(take_part(s.server.data_address, n, config, **given) for n in NAMES[:3]), goes_without_signing(silent)
        )
        assert all(r.certified for r in results if r is not None)


async def test_a_signature_of_another_result_is_refused_at_the_door(tmp_path: Path) -> None:
    config = replace(make_config(3), certify=True)
    async with stage(tmp_path) as s:
        _, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        outsider = s.players[NAMES[5]]
        for player, signature, error in (
            (people[0], b"", AuthenticationError),
            (people[0], bytes(73), DecodeError),
            (outsider, b"", NotInRoundError),
        ):
            request = pb.CertifyRequest(round_id=people[0].round.round_id, signature=signature)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                [part async for part in player.stub.Certify(request, timeout=PATIENCE_S)]
            assert isinstance(failure_of(refused.value), error)


async def test_who_is_not_in_the_round_does_not_wait_for_its_end(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id, _ = await s.open(replace(make_config(3), certify=True))
        request = pb.CertifyRequest(round_id=round_id, signature=b"")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [part async for part in s.players[NAMES[5]].stub.Certify(request, timeout=PATIENCE_S)]
        assert isinstance(failure_of(refused.value), NotInRoundError)


async def test_nobody_signs_where_the_configuration_does_not_say_so(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        _, people = await s.open(make_config(3))
        await asyncio.gather(*(p.play() for p in people))
        request = pb.CertifyRequest(round_id=people[0].round.round_id, signature=b"")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [part async for part in people[0].stub.Certify(request, timeout=PATIENCE_S)]
        assert isinstance(failure_of(refused.value), ProtocolViolation)


async def test_both_clients_carry_what_rounds_lost(tmp_path: Path) -> None:
    """Two rounds at one bit: what was released and what is still carried is what was brought."""
    config = replace(
        make_config(3), schema=SCHEMA, encoding=Pipeline.parse("feedback | rotate | quantise(bits=1, range=1.0)")
    )
    stores = {name: Feedback() for name in NAMES[:3]}
    total = np.zeros(SCHEMA.size)
    async with stage(tmp_path) as s:
        for _ in range(2):
            given: dict[str, Any] = {"round_id": await s.director.open(config), "weight": 1}
            results = await asyncio.gather(
                *(
                    take_part(s.server.data_address, name, config, feedback=store, synchronous=i != 0, **given)
                    for i, (name, store) in enumerate(stores.items())
                )
            )
            assert results[0].mean is not None
            total += flat_of(results[0].mean.arrays)
    carried = np.mean([flat_of(store.arrays(TASK)) for store in stores.values()], axis=0)
    brought = np.mean([flat_of(update_of(config, name)) for name in stores], axis=0)
    np.testing.assert_allclose(total + carried, 2 * brought, atol=1e-5)


def flat_of(arrays: dict[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([np.asarray(arrays[spec.name], np.float64).reshape(-1) for spec in SCHEMA.arrays])


async def test_one_client_takes_part_in_round_after_round(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s:

        async def stay(name: ParticipantId, synchronous: bool) -> list[RoundResult]:
            results = []
            given: dict[str, Any] = {
                "task": TASK,
                "weight": weight_of(name),
                "model_digest": DIGEST,
                "timeout_s": PATIENCE_S,
            }
            async with async_client(s.server.data_address, name) as other:
                with client(s.server.data_address, name) as one:
                    for _ in range(3):
                        update = update_of(config, name)
                        if synchronous:
                            results.append(await in_thread(one.participate, update, **given))
                        else:
                            results.append(await other.participate(update, **given))
            return results

        async def direct() -> list[RoundId]:
            """A round is opened when the one before is over."""
            opened = []
            for _ in range(3):
                opened.append(await s.director.open(config))
                await s.director.watch(opened[-1])
            return opened

        rounds, *people = await asyncio.gather(
            direct(), stay(NAMES[0], True), stay(NAMES[1], False), stay(NAMES[2], True)
        )
        for results in people:
            assert [r.round_id for r in results] == rounds
            for result in results:
                check_result(config, result, NAMES[:3])


async def test_rounds_of_several_tasks_at_once_over_one_connection_each(tmp_path: Path) -> None:
    """The same client objects, each used by three threads at once."""
    configs = {task: make_config(3, task=task, size=1000 * i) for i, task in enumerate(("a", "b", "c"), start=1)}
    async with stage(tmp_path) as s:
        for config in configs.values():
            await s.director.open(config)
        clients = {n: client(s.server.data_address, n) for n in NAMES[:3]}
        try:
            results = await asyncio.gather(
                *(
                    in_thread(
                        one.participate,
                        update_of(config, name),
                        weight=weight_of(name),
                        task=task,
                        model_digest=DIGEST,
                        timeout_s=PATIENCE_S,
                    )
                    for task, config in configs.items()
                    for name, one in clients.items()
                )
            )
        finally:
            for one in clients.values():
                one.close()
        for result in results:
            check_result(configs[result.config.task], result, NAMES[:3])


async def test_the_configuration_first_then_the_update(tmp_path: Path) -> None:
    """What a client does that trains when a round opens, on the model that it holds."""
    model = {"w": np.arange(6.0).reshape(2, 3)}
    config = replace(make_config(3), model_digest=digest_model(model), schema=Schema.of(model))
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)

        def participate(name: int) -> RoundResult:
            with client(s.server.data_address, NAMES[name]) as one:
                offer = one.find_round(task=TASK, timeout_s=PATIENCE_S)
                assert offer.config == config
                assert one.find_round(round_id=round_id) == offer
                update = {a.name: np.full(a.shape, 0.25, a.dtype) for a in offer.config.schema.arrays}
                result = one.participate(update, offer=offer, model=model, timeout_s=PATIENCE_S)
                with pytest.raises(LocalError, match="keys are made once per round"):
                    one.participate(update, offer=offer, model=model)
                return result

        for result in await asyncio.gather(*(in_thread(participate, i) for i in range(3))):
            assert result.mean is not None
            np.testing.assert_allclose(result.mean.arrays["w"], 0.25, atol=result.mean.error_bound)


async def test_one_falls_silent_and_the_others_finish(tmp_path: Path) -> None:
    config = make_config(4, threshold=3, deadlines={"masked_input_s": 0.7})
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        silent = s.players[NAMES[3]]
        await silent.join(round_id)

        async def fall_silent() -> None:
            await silent.say()
            await silent.say()

        results = await asyncio.gather(
            *(
                take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config))
                for n in NAMES[:3]
            ),
            fall_silent(),
        )
        for result in results[:3]:
            assert isinstance(result, RoundResult)
            check_result(config, result, NAMES[:3])


async def test_too_few_and_everyone_is_told_by_name(tmp_path: Path) -> None:
    config = make_config(4, deadlines={"advertise_keys_s": 0.5})
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        outcomes = await asyncio.gather(
            *(
                take_part(s.server.data_address, n, config, round_id=round_id, policy=lenient(config))
                for n in NAMES[:2]
            ),
            control.result(round_id),
            return_exceptions=True,
        )
        for outcome in outcomes:
            assert isinstance(outcome, RoundAborted)
            assert outcome.reason is AbortReason.BELOW_THRESHOLD
        with pytest.raises(RoundAborted):
            await control.fetch(round_id)


async def test_who_comes_late_is_told(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        await asyncio.gather(*(p.play() for p in people))
        with pytest.raises(NotInRoundError):
            await take_part(s.server.data_address, NAMES[4], config, round_id=round_id)
        with pytest.raises(UnknownRoundError):
            await take_part(s.server.data_address, NAMES[4], config, round_id=bytes(16))


def write_identity(folder: Path, name: int) -> dict[str, Path]:
    files = {part: folder / f"{name}-{part}.pem" for part in ("certificate", "key", "ca")}
    made = site().people[NAMES[name]]
    files["certificate"].write_bytes(made.certificate_pem)
    files["key"].touch(mode=0o600)
    files["key"].write_bytes(made.key_pem.expose())
    files["ca"].write_bytes(site().ca_pem)
    return files


async def test_clients_from_files(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)

        def participate(name: int) -> RoundResult:
            with Client.from_files(s.server.data_address, **write_identity(tmp_path, name), retry=QUICK) as one:
                return one.participate(update_of(config, NAMES[name]), round_id=round_id, model_digest=DIGEST)

        results = await asyncio.gather(*(in_thread(participate, i) for i in range(3)))
        assert {r.receipt.survivors for r in results} == {3}


# --- control plane ----------------------------------------------------------------------------------------------------


async def plays(s: Stage, config: RoundConfig, round_id: RoundId) -> None:
    await asyncio.gather(*(take_part(s.server.data_address, n, config, round_id=round_id) for n in NAMES[:3]))


async def test_the_synchronous_control_client(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s:
        with ControlClient(s.server.control_address, retry=QUICK) as control:
            round_id = await in_thread(control.open_round, config)
            aggregate, _ = await asyncio.gather(
                in_thread(control.result, round_id, timeout_s=PATIENCE_S), plays(s, config, round_id)
            )
            assert aggregate.survivors == tuple(NAMES[:3])
            events = await in_thread(lambda: list(control.watch(round_id)))
            assert isinstance(events[-1][1], ResultReady)
            assert [at for at, _ in events] == sorted(at for at, _ in events)

            second = await in_thread(control.open_round, config)
            await in_thread(control.abort, second, "the data was wrong")
            with pytest.raises(RoundAborted, match="the data was wrong") as caught:
                await in_thread(control.result, second)
            assert caught.value.reason is AbortReason.CANCELLED
            states = {r.round_id: r.state for r in await in_thread(control.list_rounds)}
            assert states == {round_id: RoundState.DONE, second: RoundState.FAILED}
            assert await in_thread(control.list_rounds, "another task") == ()


async def test_a_round_opened_elsewhere_needs_its_configuration(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await s.director.open(config)
        await plays(s, config, round_id)
        with pytest.raises(ConfigError, match="pass its configuration"):
            await control.fetch(round_id)
        assert (await control.fetch(round_id, config)).survivors == tuple(NAMES[:3])
        with pytest.raises(UnknownRoundError):
            await control.abort(RoundId(bytes(16)), "")


async def test_unsafe_configurations_come_back_by_name(tmp_path: Path) -> None:
    config = make_config(3)
    object.__setattr__(config, "threshold", 2)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        with pytest.raises((ConfigError, ProtocolViolation), match="threshold"):
            await control.open_round(config)


async def test_watching_a_round_that_fails(tmp_path: Path) -> None:
    config = make_config(3)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        await control.abort(round_id, "")
        events = [event async for _, event in control.watch(round_id)]
        assert isinstance(events[-1], RoundFailed)


async def test_a_coordinator_describes_itself_on_both_planes(tmp_path: Path) -> None:
    """With its own clock, which is not that of whoever asks."""
    async with stage(tmp_path, clock=lambda: time.time() + 7200) as running:
        asked = time.time()
        with client(running.server.data_address, NAMES[0]) as one:
            told = await in_thread(one.describe, timeout_s=PATIENCE_S)
        async with async_client(running.server.data_address, NAMES[1]) as other:
            also = await other.describe(timeout_s=PATIENCE_S)
        async with AsyncControlClient(running.server.control_address) as control:
            beside = await control.describe(timeout_s=PATIENCE_S)
        for said in (told, also, beside):
            assert (said.version, said.protocols) == (__version__, (1,))
            assert asked + 7200 - 1 <= said.time_ms / 1000 <= time.time() + 7200 + 1


@pytest.mark.parametrize("shows", [True, False])
async def test_who_refuses_an_entry_names_its_sender_once_the_coordinator_shows_what_that_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shows: bool
) -> None:
    """The first one deals garbage, and signs it. All others leave, and are told in the answer to that."""
    seal, liar = shares.seal, NAMES[0]

    def sealing(round_: Any, channel: Any, sender: ParticipantId, receiver: Any, pair: Any, **more: Any) -> bytes:
        entry = seal(round_, channel, sender, receiver, pair, **more)
        return entry if sender != liar else bytes([entry[0] ^ 1]) + entry[1:]

    monkeypatch.setattr(shares, "seal", sealing)
    if not shows:
        monkeypatch.setattr(Engine, "shown", lambda *_: None)
    config = make_config(4)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        ended = await asyncio.gather(
            *(
                take_part(
                    s.server.data_address,
                    name,
                    config,
                    round_id=round_id,
                    policy=lenient(config),
                    synchronous=name != NAMES[1],
                )
                for name in NAMES[:4]
            ),
            return_exceptions=True,
        )
        with pytest.raises(RoundAborted) as failed:
            await control.result(round_id)
    refused = [error for error in ended if isinstance(error, AuthenticationError)]
    assert len(refused) == 3
    assert {error.culprit for error in refused} == ({liar} if shows else {None})
    assert {liar in str(error) for error in refused} == {True}
    assert failed.value.accused == (liar,)
