"""A round that cannot fit is refused when it is opened, and costs nothing."""

import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from secagg_server.ingress.attendance import Doors
from secagg_server.ingress.keeper import NoDoors
from secagg_server.limits import capacity
from secagg_server.limits.capacity import Capacity, Demand, free_disk, free_memory
from secagg_server.rounds.hosted import HostedRound
from secagg_server.rounds.registry import Rounds
from secagg_server.storage.memory import MemoryStore

from secagg.context import RoundId
from secagg.encoding.packing import packed_size
from secagg.errors import AbortReason, ConfigError, LimitError
from secagg.lattice.summation import upload_layout
from secagg.robust.grouping import Groups
from secagg.tools.bench.round import RoundSetting
from secagg.tools.redteam.self_test.patches import without_check
from secagg.variants import EVERY_VARIANT, Variant
from secagg.wire.configuration import encode_config
from tests.serving import SEMI_HONEST, make_config
from tests.unit.privacy.test_ledger import CONFIG as NOISY
from tests.unit.privacy.test_ledger import TASK
from tests.unit.server.test_budget import registry

PLAIN = make_config(4, SEMI_HONEST, size=100_000)
NUMBERS = count(1)
IDS = [RoundId(bytes([number]) * 16) for number in range(4)]


def capacity_of(memory: int, disk: int = 1 << 40, spared: int = 0) -> Capacity:
    return Capacity(lambda: memory, lambda: disk, "the folder", spared)


def test_a_masked_round_needs_one_vector_of_words_and_all_vectors_packed() -> None:
    demand, packed = Demand.of(PLAIN), packed_size(100_001, PLAIN.ring_bits)
    assert demand == Demand(100_001 * np.dtype(PLAIN.ring_dtype).itemsize, 5 * packed)
    more = replace(PLAIN, max_participants=9, threshold=5, max_colluding=1)
    assert Demand.of(more).memory <= 2 * demand.memory  # a wider ring at most, whatever the number of participants
    grouped = Demand.of(replace(PLAIN, groups=Groups(count=3)))
    assert grouped == Demand(3 * demand.memory, 3 * demand.disk)


def test_what_is_reserved_is_not_free_for_others() -> None:
    demand = Demand.of(PLAIN)
    for room in (capacity_of(2 * demand.memory), capacity_of(1 << 40, 2 * demand.disk)):
        room.reserve(IDS[0], demand)
        room.reserve(IDS[1], demand)
        with pytest.raises(LimitError, match=r"and 0 (bytes )?are left"):
            room.reserve(IDS[2], demand)
        room.release(IDS[1])
        room.reserve(IDS[2], demand)
        room.release(IDS[3])


def test_the_last_byte_counts() -> None:
    demand = Demand.of(PLAIN)
    capacity_of(demand.memory, demand.disk).reserve(IDS[0], demand)
    for room in (capacity_of(demand.memory - 1), capacity_of(1 << 40, demand.disk - 1)):
        with pytest.raises(LimitError):
            room.reserve(IDS[0], demand)


def test_short_vectors_need_no_disk() -> None:
    demand = Demand.of(PLAIN)
    capacity_of(1 << 40, 0, spared=demand.disk).reserve(IDS[0], demand)
    with pytest.raises(LimitError, match="the folder; lower max_participants"):
        capacity_of(1 << 40, 0, spared=demand.disk - 1).reserve(IDS[0], demand)


def test_what_an_earlier_process_had_room_for_is_held() -> None:
    demand = Demand.of(PLAIN)
    room = capacity_of(demand.memory)
    room.hold(IDS[0], demand)
    with pytest.raises(LimitError):
        room.reserve(IDS[1], demand)


def test_what_the_machine_has() -> None:
    assert 1 << 20 < free_memory() < 1 << 50
    assert free_disk(Path("/"))() > 0
    assert free_disk(Path("/no/such/folder"))() == 0


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_GROUPS", tmp_path)
    own = re.search(r"^0::/(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
    group = tmp_path / own[1] if own else tmp_path
    group.mkdir(parents=True, exist_ok=True)
    (group / "memory.max").write_text("1000\n")
    (group / "memory.current").write_text("700\n")
    (group / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert free_memory() == 450
    (group / "memory.current").write_text("1200\n")
    assert free_memory() == 0
    (group / "memory.max").write_text("max\n")
    assert free_memory() > 1 << 20


def fresh() -> RoundId:
    return RoundId(next(NUMBERS).to_bytes(16, "big"))


def rounds_with(room: Capacity, folder: Path) -> Rounds:
    rounds = registry(folder, MemoryStore())
    rounds._capacity = rounds.opener._capacity = room
    return rounds


async def test_a_round_that_does_not_fit_costs_nothing(tmp_path: Path) -> None:
    rounds = rounds_with(capacity_of(10), tmp_path)
    with pytest.raises(LimitError, match="bytes of memory and 10 are left"):
        await rounds.open(fresh(), encode_config(NOISY))
    with pytest.raises(ConfigError, match="no round with noise was opened"):
        rounds.opener.budgets.read(TASK)
    assert not list(rounds.newest_first())


@pytest.mark.parametrize(("check", "room"), [("memory-for-sum", (10, 1 << 40)), ("disk-for-vectors", (1 << 40, 10))])
async def test_without_the_check_it_is_opened(
    check: str, room: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin."""
    config = encode_config(PLAIN)
    with pytest.raises(LimitError):
        await rounds_with(capacity_of(*room), tmp_path).open(fresh(), config)
    without_check(monkeypatch, Capacity, "reserve", check)
    rounds = rounds_with(capacity_of(*room), tmp_path)
    await rounds.open(fresh(), config)
    await rounds.shut_down()


def test_beside_doors_a_partial_sum_has_room_too() -> None:
    alone = Demand.of(PLAIN)
    assert Demand.of(PLAIN, doors=True) == Demand(2 * alone.memory, alone.disk)
    encrypted = RoundSetting(values=1000, dropouts=0, variant=EVERY_VARIANT[1]).config()
    assert encrypted.homomorphic is not None
    assert Demand.of(encrypted, doors=True) == Demand.of(encrypted)  # its inputs are at the coordinator


async def test_a_coordinator_with_doors_reserves_the_room_of_a_partial_sum(tmp_path: Path) -> None:
    rounds = rounds_with(capacity_of(Demand.of(PLAIN).memory), tmp_path)
    rounds.opener._doors = SimpleNamespace(possible=True)
    with pytest.raises(LimitError, match="bytes of memory"):
        await rounds.open(fresh(), encode_config(PLAIN))
    assert Doors.possible
    assert not NoDoors.possible


async def test_a_round_gives_back_what_it_reserved(tmp_path: Path) -> None:
    """When it is over, with its groups, and when it could not be opened."""
    grouped = replace(make_config(4, SEMI_HONEST, size=100_000), groups=Groups(count=3))
    room = capacity_of(Demand.of(grouped).memory)
    rounds = rounds_with(room, tmp_path)
    for config in (PLAIN, grouped, PLAIN):
        opened = await rounds.open(fresh(), encode_config(config))
        if config is grouped:
            assert not isinstance(opened, HostedRound)
            with pytest.raises(LimitError, match="bytes of memory"):
                await rounds.open(fresh(), encode_config(PLAIN))
        await opened.abort(AbortReason.CANCELLED, "enough")
        assert not room._reserved
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("secagg_server.rounds.opening.bind", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await rounds.open(fresh(), encode_config(PLAIN))
    assert not room._reserved


@pytest.mark.parametrize(
    ("variant", "memory", "upload"),
    [*zip(EVERY_VARIANT, (4, 30, 18, 128, 67), (2.5, 5, 3, 24, 14), strict=True)],
    ids=[variant.name for variant in EVERY_VARIANT],
)
def test_what_a_value_takes_is_what_the_operator_is_told(variant: Variant, memory: int, upload: float) -> None:
    """Bytes for each value of a long vector of ten participants, as docs/operate.md has them."""
    config = RoundSetting(values=10**8, dropouts=0, variant=variant).config()
    assert round(Demand.of(config).memory / 10**8) == memory
    page = (Path(__file__).parents[3] / "docs/operate.md").read_text(encoding="utf-8")
    assert "30 bytes of memory in CKKS and 18 in BFV, and in custody `threshold` 128 and 67" in page.replace("\n", " ")
    if config.homomorphic is not None:
        assert round(upload_layout(config.homomorphic, config.vector_len).total_bytes / 10**8) == upload
