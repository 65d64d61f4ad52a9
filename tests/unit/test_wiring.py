"""How client and server are wired: limits, trust, clocks, health, what is written before it counts."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2
from secagg_client.released_sums.file import MemoryFile
from secagg_client.released_sums.memory import Memory
from secagg_client.retry import RetryPolicy
from secagg_client.transport import channels
from secagg_server.calls.health import Health
from secagg_server.certificates import callers as callers_module
from secagg_server.certificates import files
from secagg_server.certificates.callers import RECHECK_S, Callers
from secagg_server.certificates.denied import DenyList
from secagg_server.certificates.renewal import Renewal
from secagg_server.limits.call_limiter import CallLimiter
from secagg_server.observability.observer import Observer
from secagg_server.rounds import opening
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.rounds.unmasking import Interrupted
from secagg_server.storage.memory import MemoryJournal, MemoryStore

from secagg.context import RoundId
from secagg.crypto.identity import TrustAnchors
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.pipeline import Pipeline
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    DecodeError,
    IdentityError,
    LimitError,
    NotInRoundError,
    PolicyViolation,
    RoundAborted,
)
from secagg.masked.masks import Mask
from secagg.masked.ranges import one_after_the_other
from secagg.messages import Phase
from secagg.policy import Policy
from secagg.programs.ledgers.budgets import Charge
from secagg.robust.grouping import Groups
from secagg.rounds.releases import Release
from secagg.tools.simulation.cohort import participant_names
from secagg.transport.addresses import checked_local_target
from secagg.transport.tls import client_credentials
from secagg.wire.configuration import encode_config
from tests.conversing import make_terms
from tests.rounds import SEMI_HONEST, deployment, make_config
from tests.serving import ROOMY, make_settings, site

NOW = 1_700_000_000.0
NAMES = participant_names(6)
PLAIN = make_config(4, SEMI_HONEST)
NOISY = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)")


def registry(folder: Path, **changes: Any) -> Rounds:
    settings = make_settings(folder, budget={"epsilon": 1e6, "delta": 1e-5}, **changes)
    coordinator = deployment().coordinator
    return Rounds(
        settings,
        site().trust,
        MemoryStore(),
        lambda: coordinator,
        workers=one_after_the_other,
        clock=lambda: NOW,
        rng=SystemRng(),
        observer=Observer(),
        capacity=ROOMY,
    )


async def opened(rounds: Rounds) -> HostedRound:
    hosted = await rounds.open(os.urandom(16), encode_config(PLAIN))
    assert isinstance(hosted, HostedRound)
    return hosted


# --- rounds: limits, the end, what is given back ----------------------------------------------------------------------


async def test_rounds_under_way_are_limited_also_while_they_open(tmp_path: Path) -> None:
    rounds = registry(tmp_path, max_open_rounds=2)
    config = encode_config(PLAIN)
    made = await asyncio.gather(*(rounds.open(os.urandom(16), config) for _ in range(4)), return_exceptions=True)
    assert [isinstance(one, LimitError) for one in made].count(True) == 2
    with pytest.raises(LimitError, match="2 of 2 rounds"):
        await rounds.open(os.urandom(16), config)
    await rounds.shut_down()


@pytest.mark.parametrize("taken_up", [False, True])
async def test_what_stops_a_round_stops_the_workers_that_its_engine_calls(tmp_path: Path, taken_up: bool) -> None:
    """Of a new round, and of one that an earlier process left."""
    rounds = registry(tmp_path)
    hosted = await opened(rounds)
    if taken_up:
        hosted = rounds.opener.again(hosted.record, PLAIN, MemoryJournal(hosted.record), None)()
    unit: Any = hosted._engine._units[Phase.UNMASK]
    mask = Mask(Secret(bytes(PLAIN.suite.key_size)), negative=False)
    assert len(unit._accumulator.unmasked([mask], 1)) == PLAIN.vector_len
    hosted._unmasking.stop()
    with pytest.raises(Interrupted):
        unit._accumulator.unmasked([mask], 1)
    await rounds.shut_down()


async def test_after_shutting_down_nothing_is_opened(tmp_path: Path) -> None:
    rounds = registry(tmp_path)
    hosted = await opened(rounds)
    await rounds.shut_down()
    assert isinstance(hosted.outcome, RoundAborted)
    with pytest.raises(RoundAborted, match="shutting down"):
        await rounds.open(os.urandom(16), encode_config(PLAIN))


async def test_a_round_that_is_asked_for_again_is_opened_once(tmp_path: Path) -> None:
    rounds, config, own = registry(tmp_path), encode_config(PLAIN), os.urandom(16)
    first = await rounds.open(own, config)
    assert first.record.round_id == own
    assert await rounds.open(own, config) is first
    assert list(rounds.newest_first()) == [first]
    with pytest.raises(ConfigError, match="opened with another configuration"):
        await rounds.open(own, encode_config(replace(PLAIN, task="another")))
    with pytest.raises(DecodeError, match="16 bytes, not 3"):
        await rounds.open(b"abc", config)
    await rounds.shut_down()


async def test_a_round_that_is_asked_for_again_while_it_opens_is_opened_once(tmp_path: Path) -> None:
    rounds, config, own = registry(tmp_path, max_open_rounds=1), encode_config(PLAIN), os.urandom(16)
    made = await asyncio.gather(*(rounds.open(own, config) for _ in range(4)))
    assert all(one is made[0] for one in made)
    assert len(list(rounds.newest_first())) == 1
    await rounds.shut_down()


async def test_a_round_that_could_not_be_opened_may_be_asked_for_again(tmp_path: Path) -> None:
    rounds, own = registry(tmp_path, max_open_rounds=1), os.urandom(16)
    in_the_way = await opened(rounds)
    made = await asyncio.gather(*(rounds.open(own, encode_config(PLAIN)) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in made] == [LimitError] * 3
    await in_the_way.abort(AbortReason.CANCELLED, "make room")
    assert (await rounds.open(own, encode_config(PLAIN))).record.round_id == own
    await rounds.shut_down()


async def test_groups_are_numbered_by_the_coordinator_alone(tmp_path: Path) -> None:
    rounds = registry(tmp_path)
    named = replace(PLAIN, groups=Groups(count=3, parent=bytes(16), number=1))
    with pytest.raises(ConfigError, match="names and numbers groups"):
        await rounds.open(os.urandom(16), encode_config(named))


async def test_what_a_round_would_cost_is_given_back_if_it_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []

    def no_memory(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(opening, "coordinate", no_memory)
    monkeypatch.setattr(Charge, "withdraw", lambda _: given_back.append(True))
    with pytest.raises(LimitError, match="no memory"):
        await registry(tmp_path).open(os.urandom(16), encode_config(make_config(4, SEMI_HONEST, encoding=NOISY)))
    assert given_back == [True]


async def test_who_stands_out_has_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a round that failed, only those who were in it can be in the next one about the model."""
    rounds = registry(tmp_path)
    hosted = await opened(rounds)
    asked: list[Any] = []

    def admits(_: MemoryStore, question: Any, name: str) -> bool:
        asked.append(question)
        return name == NAMES[0]

    monkeypatch.setattr(MemoryStore, "admits", admits)
    assert await rounds.find_for(NAMES[0], hosted.record.round_id) is hosted
    with pytest.raises(NotInRoundError, match="failed without it"):
        await rounds.find_for(NAMES[1], hosted.record.round_id)
    offer = rounds.next_offer(PLAIN.task, NAMES[1], ())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(offer, 0.05)
    assert set(asked) == {(PLAIN.model_digest, PLAIN.purpose)}
    await rounds.shut_down()


async def test_at_its_end_a_round_forgets_its_secrets_and_stops_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = registry(tmp_path)
    hosted = await opened(rounds)
    forgotten: list[bool] = []
    monkeypatch.setattr(type(hosted._engine), "forget", lambda _: forgotten.append(True))
    timer = hosted._timer
    assert timer is not None
    await hosted.abort(AbortReason.CANCELLED, "enough")
    assert forgotten == [True]
    assert timer.cancelled()


# --- who calls, and how often -----------------------------------------------------------------------------------------


def connection(*names: str) -> Any:
    pems = [site().identity(name).certificate_pem for name in names]  # type: ignore[arg-type]
    return SimpleNamespace(auth_context=lambda: {"x509_pem_cert": pems})


def test_a_caller_is_checked_anew_and_held_against_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [datetime.now(UTC).timestamp()]
    callers, checks = Callers(site().trust, DenyList(), lambda: now[0]), list[float]()
    verify = TrustAnchors.verify_participant

    def counted(self: TrustAnchors, *arguments: Any) -> Any:
        checks.append(now[0])
        return verify(self, *arguments)

    monkeypatch.setattr(TrustAnchors, "verify_participant", counted)
    assert callers.of(connection(NAMES[0]))[0].participant == NAMES[0]
    assert not callers.of(connection(NAMES[0]))[1]
    assert len(checks) == 1
    now[0] += RECHECK_S + 1
    assert callers.of(connection(NAMES[0]))[1]
    assert len(checks) == 2
    now[0] += 20 * 365 * 86_400
    with pytest.raises(AuthenticationError):
        callers.of(connection(NAMES[0]))
    with pytest.raises(AuthenticationError, match="no client certificate"):
        callers.of(connection())


def test_known_callers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers_module, "MAX_KNOWN", 2)
    callers = Callers(site().trust, DenyList(), lambda: datetime.now(UTC).timestamp())
    for name in NAMES[:4]:
        callers.of(connection(name))
    assert len(callers._known) == 2


def test_calls_and_bytes_of_one_and_of_all_are_bounded_and_let_go() -> None:
    limiter = CallLimiter(2, 3, 100)
    first, second = limiter.admit("ann"), limiter.admit("ann")
    with pytest.raises(LimitError, match="ann has 2 calls"):
        limiter.admit("ann")
    first.move(b"somewhere")
    other = limiter.admit("ann")  # counted where it waits, not where it was read
    with pytest.raises(LimitError, match="as many as max_calls"):
        limiter.admit("bob")
    second.hold(60)
    with pytest.raises(LimitError, match="100 bytes"):
        other.hold(60)
    second.end()
    other.hold(60)
    for place in (first, other):
        place.end()
    assert not limiter._calls
    assert not limiter._bytes
    again = [limiter.admit(name) for name in ("bob", "bob", "cid")]
    assert len(again) == 3


# --- trust ------------------------------------------------------------------------------------------------------------


def test_both_ends_trust_the_deployment_s_ca_alone_and_demand_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def asked(end: str) -> Callable[..., None]:
        return lambda *_, **settings: given.update({end: settings})

    monkeypatch.setattr(grpc, "ssl_channel_credentials", asked("client"))
    monkeypatch.setattr(grpc, "ssl_server_certificate_configuration", asked("server"))
    demanded: list[bool] = []
    monkeypatch.setattr(grpc, "dynamic_ssl_server_credentials", lambda _, __, demand: demanded.append(demand))
    trust, settings = site().trust, make_settings(tmp_path)
    client_credentials(site().identity(NAMES[0]), trust)
    loaded = files.load(settings, datetime.now(UTC).timestamp())

    async def apply(_: object) -> None:
        raise AssertionError

    Renewal(settings, loaded, lambda: NOW, apply).credentials()
    assert given["client"]["root_certificates"] == trust.pem
    assert given["client"]["certificate_chain"] == site().identity(NAMES[0]).certificate_pem
    assert given["server"] == {"root_certificates": trust.pem}
    assert demanded == [True]


@pytest.mark.parametrize("target", ["192.0.2.1:50051", "example.org:50051", "[2001:db8::1]:50051"])
def test_the_control_plane_is_reached_on_this_machine_alone(target: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        checked_local_target(target)
    for own in ("127.0.0.1:50051", "localhost:50051", "[::1]:50051", "unix:/run/secagg"):
        assert checked_local_target(own) == own


def test_one_rule_alone_makes_calls_again() -> None:
    assert ("grpc.enable_retries", 0) in channels.options(RetryPolicy())


def test_an_identity_out_of_its_time_begins_nothing() -> None:
    terms = make_terms(NAMES[0])
    terms.check_own_validity()
    with pytest.raises(IdentityError):
        replace(terms, clock=lambda: NOW + 50 * 365 * 86_400).check_own_validity()


# --- what a participant remembers -------------------------------------------------------------------------------------

SUM = Release(bytes(32), frozenset(NAMES), 3)
LESS = replace(SUM, survivors=frozenset(NAMES[1:]))
ROUNDS = RoundId(b"a" * 16), RoundId(b"b" * 16)


def test_a_memory_has_one_owner() -> None:
    memory = Memory()
    memory.belong_to(NAMES[0])
    memory.belong_to(NAMES[0])
    with pytest.raises(ConfigError, match="one of its own"):
        memory.belong_to(NAMES[1])


def test_a_claim_is_recorded_when_it_is_made() -> None:
    memory, policy = Memory(), Policy()
    assert memory.claim(ROUNDS[0], SUM, policy) == frozenset()
    assert memory.claim(ROUNDS[1], LESS, policy) == {NAMES[0]}


def test_a_policy_of_one_sum_refuses_the_second_claim() -> None:
    memory, policy = Memory(), Policy(once_per_model=True)
    memory.claim(ROUNDS[0], SUM, policy)
    memory.receive(ROUNDS[0])
    with pytest.raises(PolicyViolation):
        memory.claim(ROUNDS[1], SUM, policy)


def test_what_cannot_be_written_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file first: a claim that is known but not on the disk would be forgotten by the next process."""
    memory = Memory(tmp_path / "memory")
    memory.belong_to(NAMES[0])

    def full(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(MemoryFile, "append", full)
    with pytest.raises(OSError, match="disk full"):
        memory.claim(ROUNDS[0], SUM, Policy())
    assert not memory._sums.rounds


# --- health -----------------------------------------------------------------------------------------------------------


async def test_health_knows_its_own_service_and_the_end() -> None:
    health = Health("secagg.DataPlane")

    async def status(service: str) -> int:
        async def one(_kind: Any, *_: Any) -> Any:
            return health_pb2.HealthCheckRequest(service=service)

        answers = health.answers["Check"](cast("Any", SimpleNamespace(one=one)))
        return int(health_pb2.HealthCheckResponse.FromString(await anext(answers)).status)

    response = health_pb2.HealthCheckResponse
    assert await status("secagg.DataPlane") == await status("") == response.SERVING
    assert await status("another") == response.SERVICE_UNKNOWN
    health.shut_down()
    assert await status("secagg.DataPlane") == response.NOT_SERVING
