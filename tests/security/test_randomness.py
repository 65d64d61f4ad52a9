"""What the shells do with randomness: which draws are made for what, and that each comes from the operating system.

The core takes its randomness as an argument. A shell that gave it a constant, or a generator with a seed, would undo
masks and noise without any round failing: therefore every shell is looked at here, with a generator that records.
"""

import ast
import os
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import AsyncClient, AsyncControlClient, Client, ControlClient
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation.session import Participation
from secagg_client.retry import Attempts, ConnectionBroken, RetryPolicy
from secagg_server.app import running_server
from secagg_server.observability.observer import Observer
from secagg_server.rounds import opening
from secagg_server.rounds.grouped import GroupedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.storage.memory import MemoryStore

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.authority import Authority, create_authority, issue_participant
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import NotInRoundError
from secagg.masked.ranges import one_after_the_other
from secagg.messages import MaskedInputChunk, ParticipantId
from secagg.robust.grouping import Groups
from secagg.schemes import coordinate
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.wire.configuration import encode_config
from tests.conversing import Conversation, make_contribution, make_terms
from tests.recording import RecordingRng
from tests.rounds import ACTIVE, SEMI_HONEST, deployment, make_config, random_update
from tests.serving import ROOMY, make_settings, site

ROOT = Path(__file__).parents[2]
NAMES = participant_names(4)
SCHEMA = Schema((ArraySpec("values", (32,), "float64"),))
CENTRAL = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0, by=coordinator)")
DISTRIBUTED = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)")


def with_seeds_seen(monkeypatch: pytest.MonkeyPatch, config: RoundConfig) -> list[bytes]:
    """The seeds of rounding and noise that encoders of this configuration get."""
    seen, code = list[bytes](), type(config.code)
    encoder = code.encode

    def watched(self: Any, flat: Any, weight: int, seed: Secret, *rest: Any) -> Any:
        seen.append(seed.expose())
        return encoder(self, flat, weight, seed, *rest)

    monkeypatch.setattr(code, "encode", watched)
    return seen


# --- participants -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [FixedPoint(1.0, 16), DISTRIBUTED])
def test_a_client_draws_what_rounds_and_hides_its_update(
    monkeypatch: pytest.MonkeyPatch, encoding: FixedPoint | Pipeline
) -> None:
    """One seed for rounding and noise, two key pairs, one self mask, the coefficients of shares: all of them drawn."""
    config = make_config(4, ACTIVE, schema=SCHEMA, encoding=encoding)
    seeds, recorders = with_seeds_seen(monkeypatch, config), {name: RecordingRng() for name in NAMES}
    round_, find = Conversation(config), FindRound(task=config.task)
    people = {
        name: Participation(make_terms(name, rng=recorders[name]), make_contribution(config, i), find)
        for i, name in enumerate(NAMES)
    }  # fmt: skip
    round_.play(people)
    assert set(round_.results) == set(NAMES)
    assert len(seeds) == len(set(seeds)) == len(NAMES)
    for name, seed in zip(NAMES, seeds, strict=True):
        recorder = recorders[name]
        assert recorder.of("Input.of") == [seed]
        assert len(recorder.of("KeyPair.generate")) == 2
        assert Counter(function for function, _ in recorder.draws).keys() > {"Input.of", "KeyPair.generate"}
        assert len(recorder.drawn) == len(recorder.draws)  # nothing comes twice
    assert len(set.union(*(r.drawn for r in recorders.values()))) == sum(len(r.draws) for r in recorders.values())


def test_both_clients_draw_from_the_operating_system() -> None:
    identity, trust = site().identity(NAMES[0]), site().trust
    sync = Client("127.0.0.1:1", identity=identity, trust=trust)
    sync.close()
    assert type(sync._terms.rng) is SystemRng
    assert type(AsyncClient("127.0.0.1:1", identity=identity, trust=trust)._terms.rng) is SystemRng
    own = RecordingRng()
    other = Client("127.0.0.1:1", identity=identity, trust=trust, rng=own)
    other.close()
    assert other._terms.rng is own


def test_the_system_s_generator_is_the_kernel_s(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    urandom = os.urandom

    def watched(size: int) -> bytes:
        asked.append(size)
        return urandom(size)

    monkeypatch.setattr(os, "urandom", watched)
    one, other = SystemRng().token(32), SystemRng().token(32)
    assert asked == [32, 32]
    assert one != other


def test_clients_that_broke_together_do_not_come_back_together() -> None:
    broken = ConnectionBroken("gone", unsent=True)
    waits = {Attempts(RetryPolicy()).delay_after(broken, 0.0) for _ in range(8)}
    assert len(waits) == 8


# --- the coordinator --------------------------------------------------------------------------------------------------


async def test_the_running_server_draws_from_the_operating_system(tmp_path: Path) -> None:
    async with running_server(make_settings(tmp_path)) as server:
        assert type(server.rounds.opener._rng) is SystemRng


def registry(folder: Path, recorder: RecordingRng) -> Rounds:
    coordinator = deployment().coordinator
    return Rounds(
        make_settings(folder, budget={"epsilon": 1e6, "delta": 1e-5}), site().trust, MemoryStore(), lambda: coordinator,
        workers=one_after_the_other, clock=lambda: 1_700_000_000.0, rng=recorder,
        observer=Observer(), capacity=ROOMY,
    )  # fmt: skip


async def test_the_coordinator_draws_the_seed_of_its_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, given = RecordingRng(), list[Any]()

    def watched(*arguments: Any, **named: Any) -> Any:
        given.append(named["noise_seed"])
        return coordinate(*arguments, **named)

    monkeypatch.setattr(opening, "coordinate", watched)
    rounds = registry(tmp_path, recorder)
    config = encode_config(make_config(4, SEMI_HONEST, schema=SCHEMA, encoding=CENTRAL))
    for _ in range(2):
        await rounds.open(os.urandom(16), config)
    seeds = [seed.expose() for seed in given]
    assert seeds == recorder.of("RoundOpener._record")
    assert len(set(seeds)) == 2
    assert {len(seed) for seed in seeds} == {32}
    await rounds.shut_down()


async def test_groups_are_drawn_and_nobody_picks_one(tmp_path: Path) -> None:
    recorder = RecordingRng()
    rounds = registry(tmp_path, recorder)
    config = replace(make_config(4, SEMI_HONEST, schema=SCHEMA), groups=Groups.parse(3, "mean"))
    parent = await rounds.open(os.urandom(16), encode_config(config))
    assert isinstance(parent, GroupedRound)
    own = {name: parent.group_for(name) for name in participant_names(12)}
    draws = recorder.of("GroupedRound._number_for")
    assert len(draws) == 12
    assert len(set(draws)) == 12
    sizes = Counter(id(group) for group in own.values())
    assert set(sizes.values()) == {4}
    for name, group in own.items():
        assert group is not None
        assert parent.group_for(name) is group
        assert await rounds.find_for(name, group.record.round_id) is group
        assert await rounds.find_for(name, parent.record.round_id) is group
        for other in parent.groups.values():
            if other is not group:
                with pytest.raises(NotInRoundError):
                    await rounds.find_for(name, other.record.round_id)
    await rounds.shut_down()


async def test_the_order_of_asking_does_not_decide_the_group(tmp_path: Path) -> None:
    """Of 12 rounds, the first who asks is not always in the same group, and two who ask first are not always apart in
    the same way: with 3 groups, chance repeats one choice 12 times once in 170,000 runs.
    """
    rounds, first = registry(tmp_path, RecordingRng()), set()
    config = encode_config(replace(make_config(4, SEMI_HONEST, schema=SCHEMA), groups=Groups.parse(3, "mean")))
    for _ in range(12):
        parent = await rounds.open(os.urandom(16), config)
        assert isinstance(parent, GroupedRound)
        group = parent.group_for(ParticipantId("participant-00001"))
        first.add(next(number for number, one in parent.groups.items() if one is group))
        await rounds._shut_down(parent)
    assert len(first) > 1
    await rounds.shut_down()


def test_the_fl_server_draws_the_ids_of_its_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, asked = RecordingRng(), list[RoundId]()

    def note(_: ControlClient, call: Any, timeout_s: float | None) -> RoundId:
        del timeout_s
        asked.append(call.round_id)
        return asked[-1]

    monkeypatch.setattr(ControlClient, "_call", note)
    with ControlClient("unix:/nobody") as plain:
        assert type(plain._rng) is SystemRng
    with ControlClient("unix:/nobody", rng=recorder) as control:
        for _ in range(2):
            control.open_round(make_config(4, SEMI_HONEST, schema=SCHEMA))
    assert asked == recorder.of("ControlClient.open_round")
    assert len(set(asked)) == 2


async def test_so_does_the_one_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, asked = RecordingRng(), list[RoundId]()

    async def note(_: AsyncControlClient, call: Any, timeout_s: float | None) -> RoundId:
        del timeout_s
        asked.append(call.round_id)
        return asked[-1]

    monkeypatch.setattr(AsyncControlClient, "_call", note)
    async with AsyncControlClient("unix:/nobody") as plain:
        assert type(plain._rng) is SystemRng
    async with AsyncControlClient("unix:/nobody", rng=recorder) as control:
        for _ in range(2):
            await control.open_round(make_config(4, SEMI_HONEST, schema=SCHEMA))
    assert asked == recorder.of("AsyncControlClient.open_round")
    assert len(set(asked)) == 2


# --- simulation, command line, demo and bench -------------------------------------------------------------------------


def test_a_simulation_draws_for_everyone_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(4, SEMI_HONEST, schema=SCHEMA, encoding=CENTRAL)
    seeds, recorder = with_seeds_seen(monkeypatch, config), RecordingRng()
    brought = {name: Contribution(random_update(SCHEMA, i)) for i, name in enumerate(NAMES)}
    run = set_up(config, brought, rng=recorder, deployment=deployment())
    drawn = recorder.drawn
    assert len(set(seeds)) == len(NAMES)
    assert set(seeds) < drawn
    assert run.coordinator.round.round_id in drawn
    assert len([1 for draw in drawn if len(draw) == 32]) > len(NAMES)  # and one for the coordinator's noise


def test_masked_uploads_of_the_same_update_have_nothing_in_common() -> None:
    """What all those draws are for: the same client, round and update, twice over."""

    def upload() -> np.ndarray[Any, np.dtype[np.uint32]]:
        config = make_config(4, SEMI_HONEST, schema=SCHEMA, encoding=DISTRIBUTED)
        brought = {name: Contribution(random_update(SCHEMA, i)) for i, name in enumerate(NAMES)}
        sent: dict[ParticipantId, bytes] = {}
        run = set_up(config, brought, rng=SystemRng(), deployment=deployment())

        def listen(envelope: Any) -> tuple[Any, ...]:
            if isinstance(envelope.message, MaskedInputChunk):
                sent[envelope.participant] = envelope.message.payload
            return (envelope,)

        run.hook = listen
        run.play()
        return np.frombuffer(sent[NAMES[0]], "<u4")

    assert not np.any(upload() == upload())


def test_the_authority_makes_fresh_keys_and_serial_numbers() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    made = [create_authority(name="the CA", now=now) for _ in range(2)]
    authority = Authority.from_pem(made[0].certificate_pem, made[0].key_pem.expose())
    people = [issue_participant(authority, participant_id=NAMES[0], organisation="north", now=now) for _ in range(2)]
    keys = {one.key_pem.expose() for one in (*made, *people)}
    certificates = {one.certificate_pem for one in (*made, *people)}
    assert len(keys) == len(certificates) == 4


SEEDED = {
    "secagg/tools/commands/simulate.py",  # --seed repeats a simulation; without it the seed is drawn
    "secagg/tools/bench/cohort.py",  # one cohort is timed again and again
    "secagg/tools/bench/secrets.py",
    "secagg/tools/bench/unmasking.py",
    # A seed that was drawn for one step and is kept, sealed, before the step: a process that goes on draws the same.
    "client/secagg_client/participation/going_on.py",
    "client/secagg_client/participation/session.py",
}
"""The shells' files that may use a generator with a seed: but for the last two, none of them touches anybody's data."""


TIMED = {
    "secagg/tools/bench/encoding.py",  # how fast, whatever the seed is
    "secagg/tools/bench/participant.py",
    "secagg/tools/bench/secrets.py",
    "secagg/tools/bench/stream.py",
}
"""Files that time encoding and masks under a constant key."""


_SECRET_SIZE = re.compile(r"(SEED|KEY)_SIZE$")


def shells() -> list[Path]:
    folders = ("client/secagg_client", "server/secagg_server", "secagg/cli", "secagg/demo", "secagg/bench",
               "secagg/sandbox")  # fmt: skip
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def constant(node: ast.expr) -> bool:
    """Whether an expression is made of constants and names in capitals alone."""
    parts = [n for n in ast.walk(node) if isinstance(n, ast.expr) and not isinstance(n, ast.Constant | ast.BinOp)]
    names = [n for n in parts if isinstance(n, ast.Name)]
    return len(names) == len([n for n in parts if not isinstance(n, ast.Call)]) and all(
        n.id.isupper() or n.id in {"bytes", "range"} for n in names
    )


def secret_of_a_constant(call: ast.Call) -> bool:
    """`Secret(CONSTANT)`, or zeros of the size of a seed or key."""
    if not isinstance(call.func, ast.Name) or not call.args:
        return False
    zeros = call.func.id == "bytes" and isinstance(call.args[0], ast.Name) and _SECRET_SIZE.search(call.args[0].id)
    return bool(zeros) or (call.func.id == "Secret" and constant(call.args[0]))


def test_no_shell_makes_a_secret_of_a_constant_or_takes_a_seeded_generator() -> None:
    found = []
    for path in shells():
        name = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name | ast.alias):
                used = node.id if isinstance(node, ast.Name) else node.name
                if used == "SeededRng" and name not in SEEDED:
                    found.append(f"{name} uses SeededRng")
            empty = isinstance(node, ast.Call) and [ast.unparse(each) for each in node.args] == ["b''"]  # none yet
            if isinstance(node, ast.Call) and name not in TIMED and not empty and secret_of_a_constant(node):
                found.append(f"{name}:{node.lineno} makes a secret of a constant")
    assert found == []
    for text, is_constant in (("bytes(32)", True), ("b'x' * SIZE", True), ("rng.token(32)", False), ("key", False)):
        assert constant(ast.parse(text, mode="eval").body) is is_constant
