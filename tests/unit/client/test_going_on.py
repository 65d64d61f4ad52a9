"""A participant that is killed at any moment and started again goes on in the same round with the same bytes, or ends
with an error that has a name.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from secagg_client import Client, Memory, Offer, StateFolder
from secagg_client.calls.call import Parts
from secagg_client.calls.data_plane import Certify, FindRound, SendMessage, UploadCall
from secagg_client.participation import session, state_folder
from secagg_client.participation.going_on import repeatable
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.crypto.rng import SeededRng
from secagg.encoding.arrays import FloatArray
from secagg.encoding.integers import Integers
from secagg.encoding.packing import unpack
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import (
    AbortReason,
    ConfigError,
    LimitError,
    LocalError,
    MemoryFileError,
    MissingExtraError,
    NotInRoundError,
    ParticipationCancelled,
    PolicyViolation,
    ProtocolViolation,
    RoundAborted,
    RoundTimeoutError,
    SavedStateError,
    SecAggError,
    TransportError,
    UnknownRoundError,
)
from secagg.homomorphic.vectors import OnceVector
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import PartialChunk, ParticipantId, Phase
from secagg.programs.disk import exchange
from secagg.robust.grouping import Groups
from secagg.schemes import Upload
from secagg.tools.faults.disk import VirtualDisk
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.configuration import encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.kept_states import KeptState, encode_kept
from secagg.wire.receipts import encode_receipt
from secagg.wire.results import PackedAggregate
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import LENIENT, ROUND_ID, in_bytes
from tests.crashing import FOLDER, Crashing, Life, Stopped
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, random_update
from tests.serving import site

NAMES = participant_names(3)
VICTIM = NAMES[1]
SCHEMA = Schema((ArraySpec("values", (300,), "int64"),))
SEMI = replace(make_config(3, SEMI_HONEST, threshold=3, max_colluding=0), schema=SCHEMA, encoding=Integers(max=1000))
COUNTED = replace(
    make_config(3, ACTIVE, threshold=3, max_colluding=0), schema=SCHEMA, encoding=Integers(max=1000), certify=True
)


def values(number: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng(number).integers(0, 1000, 300)


def counted(number: int) -> Contribution:
    return Contribution(update={"values": values(number)}, weight=1, model_digest=bytes(32))


def life_of(folder: Path, **options: Any) -> Life:
    return Life(VICTIM, Memory(folder / f"sums-{len(list(folder.iterdir()))}"), lambda: counted(1), **options)


def play(config: RoundConfig, life: Life) -> Crashing:
    round_ = Crashing(life, config, counted)
    round_.play()
    return round_


def check_exact(round_: Crashing, without: Collection[ParticipantId] = ()) -> None:
    """Everyone has the exact sum of what all brought, or all but some."""
    names = participant_names(round_.config.max_participants)
    survivors = [name for name in names if name not in without]
    truth = np.sum([values(names.index(name)) for name in survivors], axis=0)
    for name in survivors:
        result = round_.results.get(name) or round_.handed
        assert result is not None, round_.errors
        assert result.survivors == tuple(survivors)
        assert result.totals is not None
        np.testing.assert_array_equal(result.totals.arrays["values"], truth)


def moments_of(config: RoundConfig, folder: Path) -> int:
    life = life_of(folder)
    check_exact(play(config, life))
    assert life.processes == 1
    return life.moments


@pytest.mark.parametrize(
    ("config", "cuts_power", "each"),
    [(COUNTED, False, 1), (COUNTED, True, 3), (SEMI, False, 11), (SEMI, True, 11)],
    ids=["active, killed", "active, power cut", "semi-honest, killed", "semi-honest, power cut"],
)
def test_whenever_its_process_ends_it_is_in_the_sum_of_a_masked_round(
    tmp_path: Path, config: RoundConfig, cuts_power: bool, each: int
) -> None:
    for moment in range(1, moments_of(config, tmp_path) + 1, each):
        life = life_of(tmp_path, dies_at={moment}, cuts_power=cuts_power, seed=moment)
        round_ = play(config, life)
        assert life.processes == 2, moment
        assert not life.twice, moment
        check_exact(round_)
        assert VICTIM in round_.results or round_.looks_for_another, round_.errors


def test_killed_again_and_again_it_is_in_the_sum(tmp_path: Path) -> None:
    for seed in range(8):
        dies_at = set(np.random.default_rng(seed).integers(1, 250, 8).tolist())
        life = life_of(tmp_path, dies_at=dies_at, cuts_power=bool(seed % 2), seed=seed)
        round_ = play(COUNTED, life)
        assert not life.twice, seed
        check_exact(round_)


def encrypted(custody: Custody) -> RoundConfig:
    """With one more, so that it can be missing."""
    profile = find_profile(Scheme.BFV, custody, 4, SEMI.code.value_bits)
    return replace(SEMI, max_participants=4, homomorphic=profile, max_colluding=-1)


@pytest.mark.parametrize("custody", Custody)
def test_in_an_encrypted_round_it_goes_on_or_says_that_it_cannot_encrypt_again(
    tmp_path: Path, custody: Custody
) -> None:
    config = encrypted(custody)
    outcomes = set()
    for moment in range(1, moments_of(config, tmp_path) + 1, 9):
        life = life_of(tmp_path, dies_at={moment}, seed=moment)
        round_ = play(config, life)
        assert not life.twice, moment
        if VICTIM in round_.errors:
            assert isinstance(round_.errors[VICTIM], SavedStateError)
            assert "encrypting it again" in str(round_.errors[VICTIM])
            check_exact(round_, {VICTIM})
            outcomes.add("refused")
        else:
            check_exact(round_)
            outcomes.add("summed")
    assert outcomes == {"refused", "summed"}


# --- what is not gone on with -----------------------------------------------------------------------------------------


def stopped(folder: Path, at: str, config: RoundConfig = COUNTED, **options: Any) -> tuple[Crashing, Life]:
    """A round in which the process has ended before its call `at` left, and was not started again yet."""
    life = life_of(folder, **options)
    round_ = Crashing(life, config, counted)
    round_.stops_at = at
    with pytest.raises(Stopped):
        round_.play()
    life.disk.kill()
    return round_, life


def again(round_: Crashing, life: Life, find: FindRound | Offer | None = None, **changes: Any) -> Participation:
    life.make = lambda: replace(counted(1), **changes)
    return life.process(find or FindRound(task=round_.config.task))


@pytest.mark.parametrize("at", ["Advertise", "SendInput", "Reveal"])
def test_another_update_is_refused_and_the_same_one_goes_on(tmp_path: Path, at: str) -> None:
    round_, life = stopped(tmp_path, at)
    before = dict(life.disk.files())
    other = again(round_, life, update={"values": values(1) + np.arange(300).clip(max=1)})
    with pytest.raises(SavedStateError, match="under way with another update or weight") as refused:
        other.advance(None)
    assert other.leave_call(refused.value) is None
    other.close()
    life.folder.__exit__(None, None, None)
    assert {p.name.split(".")[0] for p in life.disk.files()} == {p.name.split(".")[0] for p in before}
    call = again(round_, life).advance(None)
    assert call is not None
    assert call.method == at


def test_without_the_check_two_updates_are_masked_alike_and_their_difference_is_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Twin of the test above: the coordinator takes one upload from the other."""
    without_check(monkeypatch, session, "check_same_input", "same-input-again")
    round_, life = stopped(tmp_path, "SendInput")
    seen = []
    for change in (0, 1):
        call = again(round_, life, update={"values": values(1) + change}).advance(None)
        assert isinstance(call, UploadCall)
        payload = b"".join(chunk.payload for chunk in call.vector)
        seen.append(unpack(payload, round_.config.vector_len, round_.config.ring_bits))
        life.disk.kill()
    np.testing.assert_array_equal((seen[1] - seen[0])[:300] % (1 << round_.config.ring_bits), 1)


@pytest.mark.parametrize(
    ("find", "changes", "says"),
    [
        (FindRound(task="another"), {}, "of task 'digits', to train, which is under way"),
        (FindRound(round_id=RoundId(bytes(16))), {}, "which is under way"),
        (Offer(RoundId(bytes(16)), COUNTED, b""), {}, "which is under way"),
        (FindRound(task="digits"), {"purpose": "evaluate"}, "which is under way"),
        (FindRound(task="digits"), {"model_digest": bytes([1]) * 32}, "joined with another model"),
    ],
)
def test_a_caller_who_speaks_of_another_round_is_refused(
    tmp_path: Path, find: FindRound | Offer, changes: dict[str, Any], says: str
) -> None:
    round_, life = stopped(tmp_path, "Share")
    other = again(round_, life, find, **changes)
    with pytest.raises(SavedStateError, match=says):
        other.advance(None)
    other.leave_call(SavedStateError(""))
    other.close()
    life.folder.__exit__(None, None, None)
    call = again(round_, life).advance(None)
    assert call is not None
    assert call.method == "Share"


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (MissingExtraError("TenSEAL", "homomorphic"), True),
        (SavedStateError("it was joined with another certificate"), False),
        (PolicyViolation("below our policy"), False),
    ],
)
def test_a_process_that_lacks_something_does_not_end_the_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: SecAggError, goes_on: bool
) -> None:
    round_, life = stopped(tmp_path, "Share")

    def lacking(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(session, "rebuild", lacking)
        other = again(round_, life)
        with pytest.raises(type(error)):
            other.advance(None)
        assert (other.leave_call(error) is None) is isinstance(error, LocalError)
        other.close()
    life.folder.__exit__(None, None, None)
    assert isinstance(again(round_, life).advance(None), SendMessage if goes_on else FindRound)


def test_an_aggregate_without_a_place_is_refused_by_each_process(tmp_path: Path) -> None:
    round_, life = stopped(tmp_path, "Reveal")
    other = again(round_, life, out={"values": np.zeros(299, np.int64)})
    with pytest.raises(ConfigError, match="'values' is int64 of shape") as refused:
        other.advance(None)
    assert other.leave_call(refused.value) is None
    other.close()
    life.folder.__exit__(None, None, None)
    call = again(round_, life, out={"values": np.zeros(300, np.int64)}).advance(None)
    assert call is not None
    assert call.method == "Reveal"


def told_another_sum(folder: Path) -> tuple[Participation, Parts]:
    """Started again after it signed a result, and what a coordinator says that would have it sign another one."""
    round_, life = stopped(folder, "Certify")
    assert round_.coordinator.aggregate is not None
    survivors = PackedAggregate.of(round_.coordinator.aggregate, COUNTED).survivors
    other = again(round_, life)
    call = other.advance(None)
    assert call is not None
    assert call.method == "Reveal"
    return other, in_bytes([encode_receipt(round_.receipt(survivors, bytes(32)))])


def test_no_second_result_is_signed_by_a_later_process(tmp_path: Path) -> None:
    other, receipt = told_another_sum(tmp_path)
    with pytest.raises(ProtocolViolation, match="the receipt is of another sum than before"):
        other.advance(receipt)


def test_without_the_check_a_second_result_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, Participation, "_keep_result", "one-result-signed")
    other, receipt = told_another_sum(tmp_path)
    assert isinstance(other.advance(receipt), Certify)


def test_who_goes_on_in_a_group_takes_part_in_no_other_group(tmp_path: Path) -> None:
    config = replace(COUNTED, groups=Groups.parse(3, "mean"))
    grouped, life = GroupedRoundId(RoundId(bytes([7]) * 16), encode_config(config)), life_of(tmp_path)
    joining = life.process(FindRound(round_id=grouped.parent))
    joining.advance(None)
    part = pb.RoundOfferPart(round_id=grouped.round_id(1), config=grouped.group_config(1))
    assert isinstance(joining.advance(in_bytes([part])), SendMessage)
    going_on = life.process(FindRound(round_id=grouped.parent))
    assert isinstance(going_on.advance(None), SendMessage)
    for round_id in (grouped.parent, grouped.round_id(1)):
        with pytest.raises(LocalError, match="took part in round"):
            going_on._terms.seen.check(round_id)


@pytest.mark.parametrize("find", [FindRound(task="digits"), FindRound(round_id=ROUND_ID), None])
def test_the_round_may_be_named_in_any_way(tmp_path: Path, find: FindRound | None) -> None:
    round_, life = stopped(tmp_path, "Share")
    call = again(round_, life, find or Offer(ROUND_ID, COUNTED, encode_config(COUNTED))).advance(None)
    assert call is not None
    assert call.method == "Share"


def test_after_the_end_the_same_round_is_not_joined_again(tmp_path: Path) -> None:
    life = life_of(tmp_path)
    round_ = play(COUNTED, life)
    other = again(round_, life, FindRound(round_id=ROUND_ID))
    assert isinstance(other.advance(None), FindRound)
    with pytest.raises(SavedStateError, match="was joined before with the state in /state; keys are made once"):
        other.advance(in_bytes([pb.RoundOfferPart(round_id=ROUND_ID, config=encode_config(COUNTED))]))
    assert other.leave_call(SavedStateError("")) is None
    other.close()


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (TransportError("gone"), True),
        (LimitError("full"), True),
        (SavedStateError("no room"), True),
        (MemoryFileError("no room"), True),
        (RoundTimeoutError("over"), False),
        (ParticipationCancelled("enough"), False),
        (KeyboardInterrupt(), False),
        (NotInRoundError("late"), False),
        (RoundAborted(AbortReason.CANCELLED, "no"), False),
        (UnknownRoundError("what?"), False),
    ],
)
def test_after_some_errors_another_process_may_go_on(tmp_path: Path, error: BaseException, goes_on: bool) -> None:
    life = life_of(tmp_path)
    participation = life.process(FindRound(task="digits"))
    participation.advance(None)
    participation.advance(in_bytes([pb.RoundOfferPart(round_id=ROUND_ID, config=encode_config(COUNTED))]))
    leave = participation.leave_call(error)
    participation.close()
    life.folder.__exit__(None, None, None)
    known = isinstance(error, NotInRoundError | RoundAborted | UnknownRoundError)
    assert (leave is None) is (goes_on or known)
    call = life.process(FindRound(task="digits")).advance(None)
    assert isinstance(call, SendMessage if goes_on else FindRound)
    assert not isinstance(call, FindRound) or call.seen == (ROUND_ID,)


# --- the folder -------------------------------------------------------------------------------------------------------

OWNER = ParticipantId("a")


def test_a_second_process_is_refused_by_name(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "state"), pytest.raises(SavedStateError, match="is in use: a participant runs with it"):
        StateFolder(tmp_path / "state").__enter__()
    with StateFolder(tmp_path / "state"):
        pass


def test_a_folder_is_used_only_while_it_is_held(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    for _ in range(2):
        with pytest.raises(LocalError, match=r"nobody holds the folder .*with StateFolder"), state.turn(OWNER):
            pass
        with state, state.turn(OWNER):
            pass


def test_without_the_check_two_processes_use_one_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, StateFolder, "_check_held", "state-held")
    with StateFolder(tmp_path / "state") as held, held.turn(OWNER), StateFolder(tmp_path / "state").turn(OWNER):
        pass


@pytest.mark.parametrize("error", [None, ValueError("the result could not be written")])
def test_a_block_that_fails_forgets_no_round(tmp_path: Path, error: Exception | None) -> None:
    round_, life = stopped(tmp_path, "Share")
    again(round_, life).advance(None)
    life.folder.finish("digits", None)
    life.folder.__exit__(type(error) if error else None, error, None)
    assert isinstance(again(round_, life).advance(None), SendMessage if error else FindRound)


def test_a_second_participation_is_refused_by_name(tmp_path: Path) -> None:
    with StateFolder(tmp_path / "state") as state, state.turn(OWNER):
        with pytest.raises(SavedStateError, match="it serves one participation at a time"), state.turn(OWNER):
            pass
        assert state.joined == ()


def test_a_folder_that_others_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(SavedStateError, match=f"can be read by others; run: chmod 700 {tmp_path}"):
        StateFolder(tmp_path).__enter__()


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    for name in ("notes.txt", "key.pem", "carried.npz", "state.json", "key.7", "carried.3.new"):
        (folder / name).write_bytes(b"mine")
    with StateFolder(folder) as state, state.turn(OWNER):
        pass
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "key.pem", "carried.npz", "state.json", "lock"}


def test_only_the_latest_state_opens_and_only_unaltered_and_for_its_owner(tmp_path: Path) -> None:
    _, life = stopped(tmp_path, "Share")
    older = life.disk.files()
    round_, life = stopped(tmp_path, "SendInput")
    latest = life.disk.files()
    assert sorted(path.name for path in latest)[1:] == ["lock", "state"]

    def opened(files: Mapping[Path, bytes], owner: ParticipantId = VICTIM) -> None:
        disk = VirtualDisk(Random(0))  # noqa: S311 - loses nothing here
        mount = disk.mount()
        mount.make_folder(FOLDER)
        for path, content in files.items():
            exchange(mount, path, content)
        with StateFolder(FOLDER, disk=mount) as state, state.turn(owner):
            assert state.under_way is not None
            assert not set(disk.files()) & {path for path in files if path.name.startswith("key.")}, "used up"

    opened(latest)
    with pytest.raises(SavedStateError, match="its key is gone: it is a copy of an older state"):
        opened({**latest, FOLDER / "state": older[FOLDER / "state"]})
    with pytest.raises(SavedStateError, match="is that of participant-00002, not of a"):
        opened(latest, OWNER)
    altered = bytearray(latest[FOLDER / "state"])
    altered[-1] ^= 1
    for content, says in (
        (bytes(altered), "it was altered"),
        (b"", "it is empty"),
        (b"\x02" + latest[FOLDER / "state"][1:], "it is of another version"),
    ):
        with pytest.raises(SavedStateError, match=f"does not open: {says}.*Move the folder away"):
            opened({**latest, FOLDER / "state": content})
    assert round_.config == COUNTED


def test_nothing_of_the_update_and_no_secret_is_readable_in_the_folder(tmp_path: Path) -> None:
    round_, life = stopped(tmp_path, "SendInput")
    participation = again(round_, life)
    participation.advance(None)
    state: Any = participation._participant and participation._participant.membership
    assert state
    content = b"".join(data for path, data in life.disk.files().items() if not path.name.startswith("key."))
    kept = life.folder.under_way
    assert kept is not None
    secrets = [kept.step_seed, kept.input_seed, kept.state.seed, kept.state.mask_private_key]
    assert all(secret is not None and secret.expose() not in content for secret in secrets)
    opened = encode_kept(KeptState(participant_id=VICTIM, under_way=kept))
    assert all(secret is not None and secret.expose() in opened for secret in secrets)
    for dtype in ("<i8", "<u4", "<u2"):
        assert values(1)[:8].astype(dtype).tobytes() not in opened


def test_a_full_disk_is_told_and_the_round_goes_on_once_there_is_room(tmp_path: Path) -> None:
    round_, life = stopped(tmp_path, "Share")
    life.disk.room = 0
    full = again(round_, life)
    with pytest.raises(SavedStateError, match="No space left on device; make the folder readable and writable") as told:
        full.advance(None)
    assert full.leave_call(told.value) is None
    full.close()
    life.folder.__exit__(None, None, None)
    life.disk.room = None
    call = again(round_, life).advance(None)
    assert call is not None
    assert call.method == "Share"


def test_after_a_write_that_failed_it_is_read_what_is_on_the_disk() -> None:
    disk = VirtualDisk(Random(1))  # noqa: S311 - of what a power cut loses
    with StateFolder(FOLDER, disk=disk.mount()) as state:
        with state.turn(OWNER):
            disk.room = 0
            with pytest.raises(SavedStateError, match="No space left"):
                state.give_up("digits", None)
            with pytest.raises(SavedStateError, match="is not known: the disk failed"):
                _ = state.joined
        disk.room = None
        with state.turn(OWNER):
            assert state.joined == ()


def test_the_latest_rounds_are_not_joined_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_folder, "MAX_JOINED", 2)
    round_, life = stopped(tmp_path, "Share")
    again(round_, life).advance(None)
    kept, ids = life.folder.under_way, [RoundId(bytes([number]) * 16) for number in range(1, 4)]
    assert kept is not None
    for round_id in ids:
        life.folder.keep(kept, round_id)
    assert life.folder.joined == tuple(ids[1:])


def test_a_state_needs_a_memory_of_sums_that_lasts_as_long(tmp_path: Path) -> None:
    given: Any = {"identity": site().identity(VICTIM), "trust": site().trust}
    update: Any = {"update": np.zeros(3, np.float32), "task": "digits", "model_digest": bytes(32)}
    with Client("127.0.0.1:9", **given) as client, pytest.raises(ConfigError, match="give the client a file for it"):
        client.participate(**update, state=tmp_path / "state")


def test_a_sum_that_came_out_does_not_stand_in_its_own_way(tmp_path: Path) -> None:
    """Stopped between the receipt and the result, under a policy that allows one sum of a model."""
    round_, life = stopped(tmp_path, "FetchAggregate", SEMI, policy=replace(LENIENT, once_per_model=True))
    call = again(round_, life).advance(None)
    assert call is not None
    assert call.method == "Reveal"


# --- what feedback carries --------------------------------------------------------------------------------------------

ONE_BIT = Pipeline.parse("feedback | rotate | quantise(bits=1, range=1.0)")
LOSSY = make_config(3, SEMI_HONEST, threshold=3, max_colluding=0, encoding=ONE_BIT)


def rounds_of(life: Life, count: int) -> list[Crashing]:
    """Several rounds of a task, of different models, one after the other."""
    played = []
    for number in range(count):
        config = replace(LOSSY, model_digest=bytes([number]) * 32)

        def bring(person: int, digest: bytes = config.model_digest) -> Contribution:
            return Contribution(update=random_update(LOSSY.schema, person), weight=1, model_digest=digest)

        life.make = partial(bring, 1)
        round_ = Crashing(life, config, bring, round_id=RoundId(bytes([number]) * 16))
        round_.play()
        played.append(round_)
    return played


def carried(life: Life) -> FloatArray:
    life.disk.kill()
    with StateFolder(FOLDER, disk=life.disk.mount()) as state, state.turn(VICTIM):
        return state.carried(LOSSY.task)["values"]


@pytest.mark.parametrize("cuts_power", [False, True])
def test_what_is_carried_is_neither_lost_nor_sent_twice(tmp_path: Path, cuts_power: bool) -> None:
    """In the folder is always what two rounds lost together: what was brought less what is in their sums."""
    life = life_of(tmp_path)
    rounds_of(life, 2)
    total = life.moments
    for moment in range(2, total, 17):
        life = life_of(tmp_path, dies_at={moment}, cuts_power=cuts_power, seed=moment)
        played = rounds_of(life, 2)
        assert not life.twice
        brought = 2 * random_update(LOSSY.schema, 1)["values"].astype(np.float64)
        summed = np.zeros(64)
        for round_ in played:
            (encoded,) = {vector.tobytes(): vector for vector in life.encoded[round_.round_id]}.values()
            summed += decoded_alone(round_, encoded)
        np.testing.assert_allclose(carried(life), brought - summed, atol=1e-4)


def test_only_the_latest_state_stays_in_the_folder(tmp_path: Path) -> None:
    life = life_of(tmp_path)
    rounds_of(life, 2)
    assert kinds(life) == ["carried", "key", "lock", "state"]
    before, disk = carried(life), life.disk.mount()
    for left in ("key.999", "carried.999", "state.new", "key.1000.new"):
        exchange(disk, FOLDER / left, bytes(32))
    np.testing.assert_array_equal(carried(life), before)
    assert kinds(life) == ["carried", "key", "lock", "state"]


def kinds(life: Life) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in life.disk.files())


@pytest.mark.parametrize(("at", "stays"), [("Share", True), ("SendInput", False), ("Reveal", False)])
@pytest.mark.parametrize("error", [RoundTimeoutError("over"), NotInRoundError("late")])
def test_what_an_earlier_process_may_have_sent_is_not_sent_again(
    tmp_path: Path, error: SecAggError, at: str, stays: bool
) -> None:
    """The second process asked for no chunk of the input, and never learns what became of it."""
    life = life_of(tmp_path)
    rounds_of(life, 1)
    before = carried(life)

    def bring(person: int) -> Contribution:
        return Contribution(update=random_update(LOSSY.schema, person), weight=1, model_digest=LOSSY.model_digest)

    life.make = partial(bring, 1)
    round_ = Crashing(life, LOSSY, bring, round_id=RoundId(bytes([9]) * 16))
    round_.stops_at = at
    with pytest.raises(Stopped):
        round_.play()
    going_on = life.process(FindRound(task=LOSSY.task))
    call = going_on.advance(None)
    assert call is not None
    assert call.method == at
    going_on.leave_call(error)
    going_on.close()
    life.folder.__exit__(None, None, None)
    life.disk.kill()
    with StateFolder(FOLDER, disk=life.disk.mount()) as state, state.turn(VICTIM):
        left = state.carried(LOSSY.task)
    if stays or (at == "SendInput" and isinstance(error, NotInRoundError)):
        np.testing.assert_array_equal(left["values"], before)
    else:
        assert left == {}


def decoded_alone(round_: Crashing, encoded: Any) -> Any:
    """What the encoded vector of one participant says of its update."""
    config = round_.config
    context = round_.coordinator.round.input_context
    return Aggregate(encoded, (VICTIM,)).mean(config, context).arrays["values"]


def test_what_the_client_carries_itself_is_not_left_behind_unnoticed(tmp_path: Path) -> None:
    life = life_of(tmp_path)
    life.feedback.restore(LOSSY.task, {"values": np.ones(64, np.float32)})
    life.make = lambda: Contribution(update=random_update(LOSSY.schema, 1), weight=1, model_digest=bytes(32))
    participation = life.process(FindRound(task=LOSSY.task))
    participation.advance(None)
    with pytest.raises(LocalError, match=r"forget it with client\.feedback\.forget"):
        participation.advance(in_bytes([pb.RoundOfferPart(round_id=ROUND_ID, config=encode_config(LOSSY))]))


# --- steps that are made again ----------------------------------------------------------------------------------------


def test_chunks_are_made_of_the_same_draws_wherever_an_upload_goes_on() -> None:
    def upload() -> Upload:
        rng = SeededRng(bytes(32))
        return repeatable(OnceVector(Phase.PARTIAL_DECRYPTION, 5, lambda n: PartialChunk(n, rng.token(8))))

    whole = [chunk.payload for chunk in upload() if isinstance(chunk, PartialChunk)]
    assert len(set(whole)) == upload().chunks == 5
    for start in range(5):
        other = upload()
        assert [getattr(other.chunk(n), "payload", b"") for n in range(start, 5)] == whole[start:]
        assert getattr(other.chunk(0), "payload", b"") == whole[0]
