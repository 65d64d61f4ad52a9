"""Homomorphic rounds over gRPC with the real clients: dropouts, withheld sums, killed workers, a coordinator without
TenSEAL.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from secagg_client import AsyncControlClient, RoundResult
from secagg_client.participation.session import Participation
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.journalled import JournalledEngine
from secagg_server.storage.memory import MemoryJournal
from secagg_server.storage.records import Entry, SeedReceived, UploadCompleted, Withheld

from secagg.config import RoundConfig
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    MissingExtraError,
    ParticipationCancelled,
    PolicyViolation,
    ProtocolViolation,
    RoundAborted,
    SecAggError,
    TransportError,
    WorkerError,
)
from secagg.events import DropReason
from secagg.lattice.jobs import Desk, Encrypt, Job, OpenDecryption, OpenPublicKey, OpenSymmetric
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import ParticipantId, Phase
from secagg.policy import Policy
from secagg.sandbox import worker
from secagg.sandbox.worker import Worker
from secagg.tools.redteam.self_test.patches import without_check
from secagg.wire.progress import ResultReady
from secagg.wire.results import sums_digest
from tests.gateway import address_of, client_over, with_gateway
from tests.serving import NAMES, PATIENCE_S, SEMI_HONEST, Stage, make_config, stage, write_site
from tests.taking_part import (
    DIGEST,
    GIVES_UP,
    QUICK,
    async_client,
    check_result,
    client,
    drops,
    in_thread,
    lenient,
    record_calls,
    take_part,
    update_of,
    weight_of,
    wire,
)

BFV, CKKS = Scheme.BFV, Scheme.CKKS
DEALT, JOINT = Custody.PARTICIPANTS, Custody.THRESHOLD
CASES = [(scheme, custody) for scheme in Scheme for custody in Custody]
SIX = NAMES[:6]
VALUE_BITS = 16
SEMI = frozenset({SEMI_HONEST})


def encrypted_config(
    scheme: Scheme, custody: Custody, people: int = 6, *, limit_s: float = PATIENCE_S, **changes: Any
) -> RoundConfig:
    """`limit_s` is the time of every phase but the first."""
    config = make_config(people, SEMI_HONEST, deadline_s=limit_s, deadlines={"advertise_keys_s": PATIENCE_S})
    return replace(
        config,
        homomorphic=find_profile(scheme, custody, people, VALUE_BITS),
        max_colluding=-1,
        **changes,
    )


class InProcess(Desk):
    """Encrypts in this process: starting one for everybody takes seconds."""

    def close(self) -> None:
        return


class At(grpc.StreamStreamClientInterceptor):  # type: ignore[misc, unused-ignore]
    """Does something when a method is called, once. If `silent`, nothing of that call is sent."""

    def __init__(self, method: str, act: Callable[[], None], *, silent: bool = False) -> None:
        self.method = method
        self.act = act
        self.silent = silent
        self.done = False

    def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        if not self.done and details.method.rsplit("/", 1)[1] == self.method:
            self.done = True
            self.act()
            if self.silent:
                return continuation(details, iter(()))
        return continuation(details, requests)


async def one(s: Stage, config: RoundConfig, name: ParticipantId, round_id: bytes, **given: Any) -> RoundResult:
    """Both kinds of clients, in turn."""
    usual: dict[str, Any] = {"policy": lenient(config), "backend": InProcess, "synchronous": NAMES.index(name) % 2 == 0}
    return await take_part(s.server.data_address, name, config, round_id=round_id, **usual, **given)


async def everyone(s: Stage, config: RoundConfig, round_id: bytes, names: list[ParticipantId]) -> list[RoundResult]:
    return await asyncio.gather(*(one(s, config, name, round_id) for name in names))


async def dies(s: Stage, config: RoundConfig, name: ParticipantId, round_id: bytes, method: str) -> SecAggError:
    """Its connection is cut for good when it calls `method`."""
    loop = asyncio.get_running_loop()
    async with wire(s.server.data_address) as relay:

        def cut() -> None:
            relay.down = True
            relay.cut()

        at = At(method, lambda: asyncio.run_coroutine_threadsafe(called(cut), loop).result())
        given: dict[str, Any] = {"policy": lenient(config), "backend": InProcess, "retry": GIVES_UP}
        with pytest.raises(TransportError) as caught:
            await take_part(relay.address, name, config, round_id=round_id, interceptors=[at], **given)
        assert at.done
        return caught.value


async def called(act: Callable[[], None]) -> None:
    act()


async def leaves(s: Stage, config: RoundConfig, name: ParticipantId, round_id: bytes, method: str) -> None:
    """Its caller gives up when it calls `method`; it tells the coordinator."""
    options = {"policy": lenient(config), "backend": InProcess}
    at = At(method, lambda: None, silent=True)
    with client(s.server.data_address, name, interceptors=[at], **options) as participant:
        at.act = participant.cancel
        given: dict[str, Any] = {"weight": weight_of(name), "model_digest": DIGEST, "round_id": round_id}
        with pytest.raises(ParticipationCancelled):
            await in_thread(participant.participate, update_of(config, name), timeout_s=PATIENCE_S, **given)
        assert at.done


def check_together(config: RoundConfig, results: list[RoundResult], names: list[ParticipantId]) -> bytes:
    """Everyone has the same sum, and the mean is right. Its digest."""
    for result in results:
        check_result(config, result, names)
    [digest] = {sums_digest(result.aggregate, config) for result in results if result.aggregate}
    assert {result.receipt.sums_digest for result in results} == {digest}
    return digest


@pytest.mark.parametrize(("scheme", "custody"), [(BFV, JOINT), (CKKS, DEALT)])
async def test_a_round_over_the_gateway(tmp_path: Path, scheme: Scheme, custody: Custody) -> None:
    """Half of the participants call over HTTPS, the others over gRPC."""
    config = encrypted_config(scheme, custody)

    def over(address: str, name: ParticipantId, round_id: bytes) -> RoundResult:
        given: dict[str, Any] = {"weight": weight_of(name), "model_digest": DIGEST, "round_id": round_id}
        participant, _ = client_over(address, name, policy=lenient(config), backend=InProcess, retry=QUICK)
        with participant:
            return participant.participate(update_of(config, name), timeout_s=PATIENCE_S, **given)

    async with stage(tmp_path, **with_gateway(tmp_path)) as s:
        round_id = await s.director.open(config)
        results = await asyncio.gather(
            *(in_thread(over, address_of(s), name, round_id) for name in SIX[::2]),
            *(one(s, config, name, round_id) for name in SIX[1::2]),
        )
    check_together(config, results, SIX)


# --- whole rounds, with dropouts --------------------------------------------------------------------------------------

Dropouts = tuple[Custody, tuple[ParticipantId, str], tuple[ParticipantId, str], list[ParticipantId]]
DROPOUTS: list[Dropouts] = [
    # Whose connection ends, when; who leaves, when; who of them is in the sum all the same.
    (DEALT, (NAMES[1], "ConfirmKey"), (NAMES[2], "ReportSum"), [NAMES[2]]),
    (DEALT, (NAMES[1], "SendEncrypted"), (NAMES[0], "SendSum"), [NAMES[0]]),
    (JOINT, (NAMES[1], "SendEncrypted"), (NAMES[2], "SendPartial"), [NAMES[2]]),
    (JOINT, (NAMES[1], "Check"), (NAMES[2], "RecoverSeeds"), [NAMES[1], NAMES[2]]),
]


@pytest.mark.parametrize("scheme", Scheme)
@pytest.mark.parametrize("dropouts", DROPOUTS, ids=lambda d: f"{d[0].value}-{d[1][1]}-{d[2][1]}")
async def test_a_round_with_dropouts(tmp_path: Path, scheme: Scheme, dropouts: Dropouts) -> None:
    custody, dying, leaving, counted = dropouts
    config = encrypted_config(scheme, custody, limit_s=3.0, certify=True)
    stay = [name for name in SIX if name not in {dying[0], leaving[0]}]
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        results, events, *_ = await asyncio.gather(
            everyone(s, config, round_id, stay),
            s.director.watch(round_id),
            dies(s, config, dying[0], round_id, dying[1]),
            leaves(s, config, leaving[0], round_id, leaving[1]),
        )
        aggregate = await s.director.aggregate(round_id, config)
    digest = check_together(config, results, sorted([*stay, *counted]))
    assert all(result.certified for result in results), "by the four that stayed, at t = 4"
    assert sums_digest(aggregate, config) == digest
    assert drops(events) == {dying[0]: DropReason.DEADLINE, leaving[0]: DropReason.CANCELLED}
    assert isinstance(events[-1], ResultReady)


@pytest.mark.parametrize("scheme", Scheme)
async def test_the_fl_server_does_not_get_a_withheld_sum(tmp_path: Path, scheme: Scheme) -> None:
    config = encrypted_config(scheme, DEALT, 4, release_to_coordinator=False, certify=True)
    async with stage(tmp_path) as s, AsyncControlClient(s.server.control_address, retry=QUICK) as control:
        round_id = await control.open_round(config)
        results = await everyone(s, config, round_id, NAMES[:4])
        digest = check_together(config, results, NAMES[:4])
        assert all(result.certified for result in results)
        *_, last = [event async for _, event in control.watch(round_id)]
        assert last == ResultReady(4, digest)
        with pytest.raises(ProtocolViolation, match="only the participants know this round's sum"):
            await control.fetch(round_id)
        with pytest.raises(ProtocolViolation, match="only the participants know this round's sum"):
            await control.result(round_id)


async def test_a_receipt_for_another_sum_than_ours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The coordinator signs a digest that is not of the sum that participants decrypted."""
    honest = JournalledEngine.outcome

    def lying(engine: JournalledEngine) -> Any:
        outcome = honest(engine)
        return Withheld(outcome.survivors, bytes(32)) if isinstance(outcome, Withheld) else outcome

    monkeypatch.setattr(JournalledEngine, "outcome", lying)
    config = encrypted_config(BFV, DEALT, 3, threshold=3, release_to_coordinator=False, certify=True)

    async def play() -> list[Any]:
        async with stage(tmp_path) as s:
            round_id = await s.director.open(config)
            ends = (one(s, config, name, round_id) for name in NAMES[:3])
            return list(await asyncio.gather(*ends, return_exceptions=True))

    for refused in await play():
        assert isinstance(refused, AuthenticationError)
        assert "not the one that our receipt certifies" in str(refused)
    without_check(monkeypatch, Participation, "_take_part", "sum-kept-from-coordinator")
    assert all(isinstance(end, RoundResult) and end.certified for end in await play())


# --- workers ----------------------------------------------------------------------------------------------------------


class Workers:
    """Opens real workers, and kills the last one."""

    def __init__(self) -> None:
        self.opened: list[Worker] = []

    def open(self) -> Worker:
        self.opened.append(Worker())
        return self.opened[-1]

    def kill(self) -> None:
        os.kill(self.opened[-1].pid, signal.SIGKILL)


@pytest.mark.parametrize("synchronous", [True, False])
@pytest.mark.parametrize(
    ("custody", "method"), [(DEALT, "ConfirmKey"), (DEALT, "SendEncrypted"), (DEALT, "ReportSum"), (JOINT, "Share")]
)
async def test_a_killed_worker_costs_its_round_and_no_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, custody: Custody, method: str, synchronous: bool
) -> None:
    """The participant lives, says by name what happened, and takes part in the next round."""
    config, workers, unlucky = encrypted_config(BFV, custody, 4, threshold=3), Workers(), NAMES[3]
    killer = {"SendEncrypted": Encrypt, "ReportSum": OpenDecryption}.get(method)
    do = Worker.do

    def interrupted(worker: Worker, job: Job) -> bytes:
        opening = isinstance(job, OpenSymmetric | OpenPublicKey) if killer is None else isinstance(job, killer)
        if opening and worker is workers.opened[0]:
            workers.kill()
        return do(worker, job)

    monkeypatch.setattr(Worker, "do", interrupted)
    make = client if synchronous else async_client
    async with stage(tmp_path) as s:
        participant: Any = make(s.server.data_address, unlucky, policy=lenient(config), backend=workers.open)

        async def participate(round_id: bytes, digest: bytes = DIGEST) -> RoundResult:
            given = {"weight": weight_of(unlucky), "model_digest": digest, "round_id": round_id}
            update = update_of(config, unlucky)
            if synchronous:
                return await in_thread(participant.participate, update, **given, timeout_s=PATIENCE_S)
            result: RoundResult = await participant.participate(update, **given, timeout_s=PATIENCE_S)
            return result

        first = await s.director.open(config)
        failed, results, events = await asyncio.gather(
            participate(first), everyone(s, config, first, NAMES[:3]), s.director.watch(first), return_exceptions=True
        )
        assert isinstance(failed, WorkerError)
        assert "killed by SIGKILL" in str(failed)
        assert not isinstance(results, BaseException)
        assert not isinstance(events, BaseException)
        in_sum = NAMES[:4] if method == "ReportSum" else NAMES[:3]
        check_together(config, results, in_sum)
        assert drops(events) == {unlucky: DropReason.FAILED}
        config = replace(config, model_digest=b"\1" * 32)  # training went on with what the three put in
        second = await s.director.open(config)
        ours, theirs = await asyncio.gather(
            participate(second, config.model_digest), everyone(s, config, second, NAMES[:3])
        )
        check_together(config, [ours, *theirs], NAMES[:4])
        closed = participant.close()
        if not synchronous:
            await closed
    assert len(workers.opened) == 2


async def test_the_journal_tells_the_vectors_of_an_owner_apart_and_keeps_its_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who hands in the sum has uploaded twice. Without the seed of its input nobody could add its c1 again."""
    kept: list[Entry] = []
    append = MemoryJournal.append

    def noting(journal: MemoryJournal, entry: Entry) -> None:
        kept.append(entry)
        append(journal, entry)

    monkeypatch.setattr(MemoryJournal, "append", noting)
    config = encrypted_config(BFV, DEALT, 4, threshold=3)
    async with stage(tmp_path) as s:
        check_together(config, await everyone(s, config, await s.director.open(config), NAMES[:4]), NAMES[:4])
    seeds = {entry.sender: entry.seed for entry in kept if isinstance(entry, SeedReceived)}
    assert set(seeds) == set(NAMES[:4])
    assert {len(seed) for seed in seeds.values()} == {16}
    assert len(set(seeds.values())) == 4
    uploads = [(entry.sender, entry.phase) for entry in kept if isinstance(entry, UploadCompleted)]
    assert len(uploads) == len(set(uploads)) == 5
    assert (NAMES[0], Phase.RELEASE_SUM) in uploads


async def test_without_tenseal_nothing_but_the_offer_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = encrypted_config(CKKS, DEALT, 4)
    monkeypatch.setattr(worker.importlib.util, "find_spec", lambda _: None)  # type: ignore[attr-defined]
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        made = record_calls(monkeypatch)
        for synchronous in (True, False):
            given: dict[str, Any] = {"policy": lenient(config), "synchronous": synchronous}
            with pytest.raises(MissingExtraError, match=r"pip install '\.\[ckks\]'"):
                await take_part(s.server.data_address, NAMES[0], config, round_id=round_id, **given)
        assert made == ["FindRound", "FindRound"]


@pytest.mark.parametrize(("custody", "policy"), [(DEALT, Policy()), (JOINT, Policy(threat_models=SEMI))])
async def test_rounds_that_our_policy_does_not_allow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, custody: Custody, policy: Policy
) -> None:
    config = encrypted_config(BFV, custody, 4)
    async with stage(tmp_path) as s:
        round_id = await s.director.open(config)
        made = record_calls(monkeypatch)
        with pytest.raises(PolicyViolation, match=r"SEMI_HONEST is not allowed|set allow_experimental"):
            await take_part(s.server.data_address, NAMES[0], config, round_id=round_id, policy=policy)
        assert made == ["FindRound", "LeaveRound"]


# --- a coordinator's process ------------------------------------------------------------------------------------------

PROGRAM = """
import sys
for name in ("tenseal", "_sealapi_cpp", "_tenseal_cpp", "zstandard"):
    sys.modules[name] = None  # importing it raises ImportError
from secagg_server.cli import main
main()
"""


@dataclass
class Coordinator:
    """A coordinator in a process of its own, where TenSEAL cannot be imported."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def address(self) -> str:
        return "127.0.0.1:" + str(self.ready["data_plane"]).rsplit(":", 1)[1]

    def loaded(self) -> str:
        """The files that are mapped into it."""
        return Path(f"/proc/{self.process.pid}/maps").read_text()

    def found(self, needles: set[bytes]) -> set[bytes]:
        """Which of the needles lie anywhere in its memory."""
        seen: set[bytes] = set()
        with Path(f"/proc/{self.process.pid}/mem").open("rb", buffering=0) as memory:
            for start, stop in self._writable():
                memory.seek(start)
                region = memory.read(stop - start).strip(b"\0")  # stacks are mostly zeros
                seen |= {needle for needle in needles - seen if needle in region}
        return seen

    def _writable(self) -> Iterator[tuple[int, int]]:
        for line in self.loaded().splitlines():
            span, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, stop = (int(end, 16) for end in span.split("-"))
                yield start, stop


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[Coordinator]:
    files = {name: str(path) for name, path in write_site(tmp_path).items()}
    settings = {"listen": "127.0.0.1:0", "control": f"unix:{tmp_path}/control.sock", **files}
    flags = [item for name, value in settings.items() for item in ("--" + name.replace("_", "-"), value)]
    environment = {k: v for k, v in os.environ.items() if k != "GRPC_SSL_CIPHER_SUITES"}
    command = [sys.executable, "-c", PROGRAM, "serve", *flags]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Coordinator(process, json.loads(process.stdout.readline()))
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE_S)


class Recorder:
    """The operating system's randomness, kept. Used by several threads."""

    def __init__(self) -> None:
        self.tokens: list[bytes] = []

    def token(self, size: int) -> bytes:
        self.tokens.append(SystemRng().token(size))
        return self.tokens[-1]


async def test_a_coordinator_without_tenseal_serves_every_scheme_and_learns_no_key(
    tmp_path: Path, coordinator: Coordinator
) -> None:
    """Custody by custody: what its process holds while its rounds are still known is searched for every secret."""
    recorder = Recorder()
    async with AsyncControlClient(f"unix:{tmp_path}/control.sock", retry=QUICK) as control:
        for scheme, custody in CASES:
            config = encrypted_config(scheme, custody, 3, threshold=3)
            round_id = await control.open_round(config)
            given: dict[str, Any] = {"policy": lenient(config), "backend": InProcess, "rng": recorder}
            address = coordinator.address
            results = await asyncio.gather(
                *(take_part(address, name, config, round_id=round_id, **given) for name in NAMES[:3])
            )
            digest = check_together(config, list(results), NAMES[:3])
            assert sums_digest(await control.result(round_id), config) == digest
    secrets = {token for token in recorder.tokens if len(token) == 32}
    assert len(secrets) >= 12 * 3  # rounding seeds, channel keys and key seeds
    assert coordinator.found(secrets) == set()
    # The search does find what is there: the keys whose secret halves it looked for.
    public = {KeyPair.from_private(Secret(token)).public for token in secrets}
    assert len(coordinator.found(public)) >= 12
    assert "seal" not in coordinator.loaded()


# --- sums that participants know though the round failed -------------------------------------------------------------


async def ask_again_without_one(s: Stage) -> None:
    """A round that is aborted once everyone has the encrypted sum and its key; then another one of all but one."""
    config = encrypted_config(BFV, DEALT)
    loop = asyncio.get_running_loop()
    first = await s.director.open(config)

    def abort() -> None:
        asyncio.run_coroutine_threadsafe(s.director.abort(first), loop).result()

    given: dict[str, Any] = {"policy": lenient(config), "backend": InProcess, "synchronous": True}
    at = At("ReportSum", abort)
    last = take_part(s.server.data_address, SIX[0], config, round_id=first, interceptors=[at], **given)
    ended = await asyncio.gather(last, *(one(s, config, name, first) for name in SIX[1:]), return_exceptions=True)
    assert at.done
    assert all(isinstance(end, RoundAborted) for end in ended)
    again = replace(config, threshold=4, deadlines=replace(config.deadlines, advertise_keys_s=1.0))
    second = await s.director.open(again)
    await asyncio.gather(*(one(s, again, name, second) for name in SIX[1:]))


async def test_a_sum_that_participants_decrypted_counts_though_the_round_failed(tmp_path: Path) -> None:
    async with stage(tmp_path) as s:
        with pytest.raises(RoundAborted) as refused:
            await ask_again_without_one(s)
        assert refused.value.reason is AbortReason.DIFFERENCING


async def test_if_it_did_not_count_they_would_know_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HostedRound, "may_be_open", False)
    async with stage(tmp_path) as s:
        await ask_again_without_one(s)
