"""What every store does, whether it outlives the process or not."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from secagg_server.storage.memory import MemoryStore
from secagg_server.storage.store import Store

from secagg.context import RoundId
from secagg.errors import ConfigError
from secagg.messages import Index, Phase
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.tools.redteam.self_test.patches import without_check
from tests.stores import ENTRIES, NAMES, ONE, THREE, TWO, ended, filled, kept_in, opened, outcomes, plain, record

MASKED, QUESTION = Phase.MASKED_INPUT, (b"m" * 32, "train")
OWNER, OTHER = Index(1), Index(2)


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore(3)
    else:
        with kept_in(tmp_path / "state", releases=3) as kept:
            yield kept


def release(*survivors: int, model: bytes = QUESTION[0]) -> Release:
    return Release(model, frozenset(NAMES[i] for i in survivors), 2)


def test_a_new_store_has_no_rounds(store: Store) -> None:
    assert list(store.kept()) == []


def test_chunks_wait_in_order_and_can_be_cut(store: Store) -> None:
    spool = opened(store).spool
    for owner, payload in ((OWNER, b"one"), (OTHER, b"other"), (OWNER, b"two"), (OWNER, b"three")):
        spool.append(MASKED, owner, payload)
    spool.cut(MASKED, OWNER, 2)
    spool.append(MASKED, OWNER, b"third")
    assert list(spool.take(MASKED, OWNER)) == [b"one", b"two", b"third"]
    assert list(spool.take(MASKED, OTHER)) == [b"other"]
    assert list(spool.take(Phase.PARTIAL_DECRYPTION, OWNER)) == []


@pytest.mark.parametrize("outcome", outcomes())
def test_a_round_ends_once_and_what_is_served_is_what_was_given(store: Store, outcome: str) -> None:
    journal, given = filled(store), ended(outcomes()[outcome])
    journal.spool.append(MASKED, OWNER, b"chunk")
    assert plain(journal.finish(given)) == plain(ended(outcomes()[outcome]))
    journal.append(ENTRIES[0])
    journal.flush()
    store.fetched(ONE)
    store.forget_rounds([ONE])
    opened(store)  # under the same id, anew


def test_rounds_are_opened_all_of_them_or_none(store: Store) -> None:
    one, two = store.open_rounds([record(ONE), record(TWO)])
    one.append(ENTRIES[0])
    one.flush()
    two.break_off()
    store.forget_rounds([ONE, TWO])


def test_sums_of_one_model_are_looked_at_together(store: Store) -> None:
    assert store.claim_release(ONE, release(0, 1, 2)) == frozenset()
    assert store.claim_release(TWO, release(0, 1, 2, 3)) == {NAMES[3]}
    assert store.claim_release(TWO, release(0, 1, 2, 3, model=b"n" * 32)) == frozenset()
    assert store.claim_release(ONE, release(0, 1, 2)) == frozenset()


def test_after_a_round_that_may_be_open_only_its_participants_are_admitted(store: Store) -> None:
    store.claim_release(ONE, release(0, 1, 2))
    assert store.admits(QUESTION, NAMES[3])
    store.settle_release(ONE, released=False, may_be_open=True)
    assert [store.admits(QUESTION, name) for name in NAMES] == [True, True, True, False, False]
    assert store.claim_release(TWO, release(0, 1, 2)) == frozenset()
    store.settle_release(TWO, released=True, may_be_open=False)
    assert store.admits(QUESTION, NAMES[3])


def test_a_claim_is_void_only_if_nobody_can_know_the_sum(store: Store) -> None:
    store.claim_release(ONE, release(0, 1, 2))
    store.settle_release(ONE, released=False, may_be_open=False)
    assert store.claim_release(TWO, release(0, 1, 2, 3)) == frozenset()


def test_the_oldest_sum_is_forgotten_first_and_not_with_its_round(store: Store) -> None:
    for number in range(3):
        round_id = RoundId(bytes([10 + number]) * 16)
        opened(store, round_id)
        assert store.claim_release(round_id, release(0, 1, 2, model=bytes([number]) * 32)) == frozenset()
        store.forget_rounds([round_id])
    assert store.claim_release(ONE, release(0, 1, 2, 3, model=bytes(32))) == {NAMES[3]}
    assert store.claim_release(TWO, release(0, 1, 2, model=b"4" * 32)) == frozenset()  # the fourth
    assert store.claim_release(THREE, release(0, 1, 2, 3, model=bytes(32))) == frozenset()


def test_an_id_under_which_a_sum_may_be_out_is_never_used_again(store: Store) -> None:
    """Else the FL server gets the sums of two cohorts that differ by one participant, for the second claim takes the
    place of the first.
    """
    opened(store)
    assert store.claim_release(ONE, release(0, 1, 2, 3)) == frozenset()
    store.settle_release(ONE, released=True, may_be_open=False)
    store.forget_rounds([ONE])
    with pytest.raises(ConfigError, match="draw a fresh id"):
        store.open_rounds([record(TWO), record(ONE)])
    opened(store, TWO)


def test_the_twin_shows_one_participant_by_a_second_round_under_an_id(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_check(monkeypatch, ReleaseMemory, "check_new", "sum-on-record")
    opened(store)
    store.claim_release(ONE, release(0, 1, 2, 3))
    store.settle_release(ONE, released=True, may_be_open=False)
    store.forget_rounds([ONE])
    opened(store)
    assert store.claim_release(ONE, release(0, 1, 2)) == frozenset()  # the first less this one is NAMES[3]'s update


def test_an_identity_is_new_once(store: Store) -> None:
    seen = [
        store.see_identity(NAMES[who], print_) for who, print_ in ((0, "a"), (0, "a"), (0, "b"), (1, "a"), (0, "b"))
    ]
    assert seen == [True, False, True, True, False]
