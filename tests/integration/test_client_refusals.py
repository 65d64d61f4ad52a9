"""What a client refuses and how it leaves: nothing is sent that should not be, and the coordinator is told."""

import asyncio
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncControlClient, Client, Offer
from secagg_client.participation import session
from secagg_server.rounds.hosted import HostedRound

from secagg.crypto.authority import Authority, create_authority, issue_participant
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.errors import (
    AuthenticationError,
    IdentityError,
    InputError,
    LocalError,
    ModelMismatch,
    ParticipationCancelled,
    PolicyViolation,
    ProtocolViolation,
    RoundTimeoutError,
    SecAggError,
    TransportError,
)
from secagg.events import DropReason, MessageAccepted
from secagg.messages import AdvertiseKeys, ParticipantId, Phase, SurvivorSet
from secagg.policy import Policy
from tests.serving import NAMES, PATIENCE_S, SEMI_HONEST, TASK, Stage, make_config, site, stage
from tests.taking_part import (
    DIGEST,
    GIVES_UP,
    NOBODY,
    async_client,
    client,
    drops,
    in_thread,
    lenient,
    record_calls,
    take_part,
    update_of,
)

CONFIG = make_config(3)


async def refusal(stage_: Stage, **arguments: Any) -> SecAggError:
    synchronous = arguments.pop("synchronous", True)
    with pytest.raises(SecAggError) as caught:
        await take_part(stage_.server.data_address, NAMES[0], CONFIG, synchronous=synchronous, **arguments)
    return caught.value


# --- our own side -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", [True, False])
async def test_no_call_is_made_for_an_update_with_nan(monkeypatch: pytest.MonkeyPatch, synchronous: bool) -> None:
    made = record_calls(monkeypatch)
    update = np.zeros(50, np.float32)
    update[17] = np.nan
    with pytest.raises(InputError, match="'values' is nan at index") as caught:
        await take_part(NOBODY, NAMES[0], CONFIG, synchronous=synchronous, update=update, task=TASK)
    assert (caught.value.array, caught.value.index) == ("values", (17,))
    assert made == []


@pytest.mark.parametrize("synchronous", [True, False])
async def test_an_update_of_another_shape_is_refused_before_the_round_is_joined(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool
) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        made = record_calls(monkeypatch)
        for update in (np.zeros(49, np.float32), {"other": np.zeros(50, np.float32)}, np.zeros(50)):
            error = await refusal(s, update=update, round_id=round_id, synchronous=synchronous)
            assert isinstance(error, InputError)
        assert made == ["FindRound"] * 3  # neither keys nor a LeaveRound


async def test_no_call_is_made_with_an_expired_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    made = record_calls(monkeypatch)
    past = datetime.now(UTC) - timedelta(days=30)
    ca = create_authority(name="old", now=past)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    old = issue_participant(authority, participant_id="p", organisation="o", now=past, validity=timedelta(days=2))
    identity = Identity.from_pem(old.certificate_pem, old.key_pem.expose())
    with (
        Client(NOBODY, identity=identity, trust=site().trust, retry=GIVES_UP) as one,
        pytest.raises(IdentityError, match=r"expired.*secagg ca issue participant p"),
    ):
        one.participate(np.zeros(50, np.float32), task=TASK, model_digest=DIGEST)
    assert made == []


# --- the round --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", [True, False])
async def test_another_model_or_too_little_protection(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool
) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        made = record_calls(monkeypatch)
        error = await refusal(s, round_id=round_id, model_digest=b"\x01" * 32, synchronous=synchronous)
        assert isinstance(error, ModelMismatch)
        error = await refusal(s, round_id=round_id, policy=Policy(min_cohort=4), synchronous=synchronous)
        assert isinstance(error, PolicyViolation)
        assert made == ["FindRound", "LeaveRound"] * 2
        # Who said that it will not take part is not offered the round again.
        error = await refusal(s, task=TASK, timeout_s=0.3, synchronous=synchronous)
        assert isinstance(error, RoundTimeoutError)


async def test_semi_honest_rounds_are_refused_unless_allowed(tmp_path: Path) -> None:
    config = make_config(3, SEMI_HONEST)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        assert isinstance(await refusal(s, round_id=round_id), PolicyViolation)


# --- the server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_server_of_a_foreign_ca_learns_nothing(tmp_path: Path, synchronous: bool) -> None:
    foreign = create_authority(name="ours", now=datetime.now(UTC)).certificate_pem
    async with stage(tmp_path) as s:
        error = await refusal(s, trust=TrustAnchors.from_pem(foreign), task=TASK, synchronous=synchronous)
        assert isinstance(error, AuthenticationError)
        assert "not of the trusted CA" in str(error)


async def test_a_server_of_another_name_is_refused_unless_that_is_meant(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        with (
            client(s.server.data_address, NAMES[0], server_name="elsewhere.example") as one,
            pytest.raises(AuthenticationError, match="for another host"),
        ):
            await in_thread(one.find_round, round_id=round_id)
        with client(s.server.data_address, NAMES[0], server_name="localhost") as one:
            assert (await in_thread(one.find_round, round_id=round_id)).round_id == round_id


async def test_a_participant_of_a_foreign_ca_is_not_let_in(tmp_path: Path) -> None:
    made = site().strangers[NAMES[0]]
    stranger = Identity.from_pem(made.certificate_pem, made.key_pem.expose())
    async with stage(tmp_path) as s:
        assert isinstance(await refusal(s, identity=stranger, retry=GIVES_UP, task=TASK), TransportError)


@pytest.mark.parametrize("synchronous", [True, False])
async def test_a_server_that_is_down(monkeypatch: pytest.MonkeyPatch, synchronous: bool) -> None:
    made = record_calls(monkeypatch)
    with pytest.raises(TransportError, match=r"cannot reach 127\.0\.0\.1:9: .*refused.* \(tried 3 times\)"):
        await take_part(NOBODY, NAMES[0], CONFIG, task=TASK, retry=GIVES_UP, synchronous=synchronous)
    assert made == ["FindRound"] * 3


async def test_a_sidecar_that_is_down(tmp_path: Path) -> None:
    async with AsyncControlClient(f"unix:{tmp_path}/nothing.sock", retry=GIVES_UP) as control:
        with pytest.raises(TransportError, match="tried 3 times"):
            await control.open_round(CONFIG)


# --- time and cancelling ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("synchronous", [True, False])
async def test_no_round_in_time(tmp_path: Path, synchronous: bool) -> None:
    async with stage(tmp_path) as s:
        error = await refusal(s, task="never", timeout_s=0.3, synchronous=synchronous)
        assert isinstance(error, RoundTimeoutError)


@pytest.mark.parametrize("synchronous", [True, False])
async def test_out_of_time_amid_a_round(tmp_path: Path, synchronous: bool) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        error = await refusal(s, round_id=round_id, timeout_s=0.5, synchronous=synchronous)
        assert isinstance(error, RoundTimeoutError)
        await s.director.abort(round_id)
        assert drops(await s.director.watch(round_id)) == {NAMES[0]: DropReason.CANCELLED}


async def joined(s: Stage, round_id: bytes) -> None:
    """Wait until our keys have been accepted."""
    hosted = s.server.rounds.find(round_id)
    async for _, event in hosted.follow():
        if isinstance(event, MessageAccepted):
            return


async def test_cancelling_the_task_leaves_the_round(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        async with async_client(s.server.data_address, NAMES[0]) as one:
            update = update_of(CONFIG, NAMES[0])
            task = asyncio.create_task(one.participate(update, round_id=round_id, model_digest=DIGEST))
            await joined(s, round_id)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await s.director.abort(round_id)
        assert drops(await s.director.watch(round_id)) == {NAMES[0]: DropReason.CANCELLED}


@pytest.mark.parametrize("end", [Client.cancel, Client.close])
async def test_cancelling_from_another_thread_leaves_the_round(tmp_path: Path, end: Callable[[Client], None]) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        with client(s.server.data_address, NAMES[0]) as one:
            update = update_of(CONFIG, NAMES[0])
            work = asyncio.create_task(in_thread(one.participate, update, round_id=round_id, model_digest=DIGEST))
            await joined(s, round_id)
            await in_thread(end, one)
            with pytest.raises(ParticipationCancelled):
                await work
        await s.director.abort(round_id)
        assert drops(await s.director.watch(round_id)) == {NAMES[0]: DropReason.CANCELLED}


@pytest.mark.parametrize("close", [False, True])
async def test_cancelling_from_another_task_leaves_the_round(tmp_path: Path, close: bool) -> None:
    async with stage(tmp_path) as s:
        round_id = await s.director.open(CONFIG)
        one = async_client(s.server.data_address, NAMES[0])
        update = update_of(CONFIG, NAMES[0])
        work = asyncio.create_task(one.participate(update, round_id=round_id, model_digest=DIGEST))
        await joined(s, round_id)
        if not close:
            one.cancel()
        else:
            await one.close()
        with pytest.raises(ParticipationCancelled):
            await work
        await one.close()
        await s.director.abort(round_id)
        assert drops(await s.director.watch(round_id)) == {NAMES[0]: DropReason.CANCELLED}


async def test_a_closed_client_says_so() -> None:
    one, other = client(NOBODY, NAMES[0]), async_client(NOBODY, NAMES[0])
    one.close()
    await other.close()
    with pytest.raises(LocalError, match="closed"):
        one.find_round(task=TASK)
    with pytest.raises(LocalError, match="closed"):
        await other.find_round(task=TASK)


async def test_a_retry_is_cancelled_while_its_task_waits() -> None:
    async with async_client(NOBODY, NAMES[0]) as one:
        asyncio.get_running_loop().call_later(0.2, one.cancel)
        with pytest.raises(ParticipationCancelled):
            await one.participate(np.zeros(50, np.float32), task=TASK, model_digest=DIGEST)


def test_a_retry_is_cancelled_while_it_waits() -> None:
    with client(NOBODY, NAMES[0]) as one:
        timer = threading.Timer(0.2, one.cancel)
        timer.start()
        with pytest.raises(ParticipationCancelled):
            one.participate(np.zeros(50, np.float32), task=TASK, model_digest=DIGEST)
        timer.join()


async def test_interrupting_leaves_the_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Control-C lands between two calls."""
    made = session.Participation._call

    def interrupted(participation: session.Participation, offer: Offer, reply: Any) -> Any:
        if isinstance(reply, AdvertiseKeys):
            return made(participation, offer, reply)
        raise KeyboardInterrupt

    async with stage(tmp_path) as s:
        round_id, people = await s.open(CONFIG)
        monkeypatch.setattr(session.Participation, "_call", interrupted)
        with client(s.server.data_address, NAMES[0]) as one:

            def participate() -> bool:
                try:
                    one.participate(update_of(CONFIG, NAMES[0]), round_id=round_id, model_digest=DIGEST)
                except KeyboardInterrupt:
                    return True
                return False

            assert (await asyncio.gather(in_thread(participate), people[1].say(), people[2].say()))[0]
        await s.director.abort(round_id)
        assert drops(await s.director.watch(round_id)) == {NAMES[0]: DropReason.CANCELLED}


# --- a coordinator that cheats ----------------------------------------------------------------------------------------


def cheating(
    monkeypatch: pytest.MonkeyPatch, victim: ParticipantId, phase: Phase, change: Callable[[Any], Any]
) -> None:
    """The server answers the victim otherwise than the others."""
    honest = HostedRound.answer

    async def answer(hosted: HostedRound, caller: ParticipantId, asked: Phase) -> Any:
        message = await honest(hosted, caller, asked)
        return change(message) if caller == victim and asked is phase else message

    monkeypatch.setattr(HostedRound, "answer", answer)


def overlapping(sets: SurvivorSet) -> SurvivorSet:
    return SurvivorSet(sets.survivors, sets.survivors[-1:])


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize("victim", NAMES[:1])
async def test_overlapping_sets_are_refused_and_no_share_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, synchronous: bool, victim: ParticipantId
) -> None:
    config = make_config(4, threshold=3)
    cheating(monkeypatch, victim, Phase.MASKED_INPUT, overlapping)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        made = record_calls(monkeypatch)
        outcome, *_ = await asyncio.gather(
            take_part(
                s.server.data_address,
                victim,
                config,
                round_id=round_id,
                synchronous=synchronous,
                policy=lenient(config),
            ),
            *(p.play() for p in people if p.name != victim),
            return_exceptions=True,
        )
        assert isinstance(outcome, ProtocolViolation)
        assert outcome.culprit == "coordinator"
        assert "both survivors and dropped" in str(outcome)
        assert made == ["FindRound", "Advertise", "Share", "SendInput", "LeaveRound"]
        assert drops(await s.director.watch(round_id)) == {victim: DropReason.REFUSED}


async def test_with_the_check_gone_the_share_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from secagg.masked.survivors import AwaitingSurvivors

    config = make_config(4, SEMI_HONEST, threshold=3)
    cheating(monkeypatch, NAMES[0], Phase.MASKED_INPUT, overlapping)
    monkeypatch.setattr(AwaitingSurvivors, "check", lambda self, survivors: None)
    async with stage(tmp_path) as s:
        round_id, people = await s.open(config)
        made = record_calls(monkeypatch)
        await asyncio.gather(
            take_part(s.server.data_address, NAMES[0], config, round_id=round_id, policy=lenient(config)),
            *(p.play() for p in people[1:]),
            return_exceptions=True,
        )
        assert "Reveal" in made


async def test_an_offer_is_not_taken_up_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server forgets what it offered, and offers the same round again."""
    async with stage(tmp_path) as s:
        round_id, people = await s.open(CONFIG)
        with client(s.server.data_address, NAMES[0]) as one:
            update = update_of(CONFIG, NAMES[0])
            await asyncio.gather(
                in_thread(one.participate, update, task=TASK, model_digest=DIGEST, timeout_s=PATIENCE_S),
                *(p.play() for p in people[1:]),
            )
            hosted = s.server.rounds.find(round_id)

            async def again(*_: Any) -> Any:
                return hosted

            monkeypatch.setattr(s.server.rounds, "next_offer", again)
            made = record_calls(monkeypatch)
            with pytest.raises(ProtocolViolation, match="offered again"):
                await in_thread(one.participate, update, task=TASK, model_digest=DIGEST, timeout_s=PATIENCE_S)
            assert made == ["FindRound"]
