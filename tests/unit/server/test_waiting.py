"""What waits for its turn in a round: in order, bounded for each sender, taken together."""

import asyncio

import pytest
from secagg_server.rounds import waiting
from secagg_server.rounds.waiting import MOST_OF_ONE, MOST_TOGETHER, Waiting

from secagg.errors import LimitError, ProtocolViolation
from secagg.messages import ParticipantId
from secagg.tools.redteam.self_test.patches import without_check

ANN, BOB = ParticipantId("ann"), ParticipantId("bob")


async def test_what_comes_first_is_taken_first_and_not_too_much_together() -> None:
    queue: Waiting[int] = Waiting()
    for number in range(2 * MOST_TOGETHER):
        queue.add(ParticipantId(f"p{number}"), number)
    assert list(queue.first()) == list(range(MOST_TOGETHER))
    queue.done([None] * 3)
    assert list(queue.first()) == list(range(3, MOST_TOGETHER + 3))
    assert len(queue) == 2 * MOST_TOGETHER - 3


async def test_each_hears_what_became_of_its_own() -> None:
    queue: Waiting[int] = Waiting()
    ann, gone, bob = queue.add(ANN, 1), queue.add(ANN, 2), queue.add(BOB, 3)
    gone.cancel()  # its call broke off; what it brought is taken all the same
    assert list(queue.first()) == [1, 2, 3]
    queue.done([None, None, ProtocolViolation("no", culprit=BOB)])
    await ann
    with pytest.raises(ProtocolViolation) as refused:
        await bob
    assert refused.value.culprit == BOB
    assert len(queue) == 0


async def test_nobody_waits_for_what_will_not_be_taken() -> None:
    queue: Waiting[int] = Waiting()
    waits = [queue.add(ANN, 1), queue.add(BOB, 2)]
    queue.fail(GeneratorExit("the process ends"))
    for taken in waits:
        assert isinstance(taken.exception(), GeneratorExit)
    assert len(queue) == 0


async def test_calls_that_break_off_leave_no_more_behind_than_is_allowed() -> None:
    queue = crowded()
    with pytest.raises(LimitError, match=f"{MOST_OF_ONE} messages of ann wait"):
        queue.add(ANN, 0)
    queue.add(BOB, 0)  # others have their own room
    queue.done([None])
    queue.add(ANN, 0)


async def test_without_the_check_one_sender_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = crowded()
    without_check(monkeypatch, waiting.Waiting, "add", "waiting-of-one")
    queue.add(ANN, 0)
    assert len(queue) > MOST_OF_ONE


def crowded() -> Waiting[int]:
    """As much of one sender as may wait, of calls that broke off."""
    queue: Waiting[int] = Waiting()
    for number in range(MOST_OF_ONE):
        queue.add(ANN, number).cancel()
    assert asyncio.get_running_loop().is_running()
    return queue
