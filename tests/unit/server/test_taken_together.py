"""Messages that wait at the same time are taken in one thread: each with its own outcome, in the order they came in."""

import asyncio
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from secagg_server.limits.quota import Quota
from secagg_server.rounds import certifying
from secagg_server.rounds.hosted import HostedRound
from secagg_server.storage.records import Received

from secagg.crypto import signing
from secagg.errors import AbortReason, AuthenticationError, NotInRoundError, RemoteError, RoundAborted
from secagg.messages import AdvertiseKeys, Index, ParticipantId, Phase
from secagg.rounds.certification import Certification, Result
from tests.rounds import deployment
from tests.unit.server.test_hosted import AT, PEOPLE, Scene, with_a_dropout


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps were handed to a thread at a time."""
    counts: list[int] = []
    perform = HostedRound._perform_each

    def counting(self: HostedRound, steps: Iterable[Any], made: list[Any]) -> None:
        some = list(steps)
        counts.append(len(some))
        perform(self, some, made)

    monkeypatch.setattr(HostedRound, "_perform_each", counting)
    return counts


async def waiting(scene: Scene, *speakers: ParticipantId) -> "list[asyncio.Task[None]]":
    """Their messages, while another step is under way."""
    tasks = [asyncio.create_task(scene.speak(name)) for name in speakers]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_together_is_taken_in_one_thread_and_in_order(together: list[int]) -> None:
    scene = Scene()
    order = (PEOPLE[2], PEOPLE[0], PEOPLE[1])
    async with scene.hosted._state:  # a step is under way
        tasks = await waiting(scene, *order)
    await asyncio.gather(*tasks)
    assert together == [3]
    assert tuple(entry.sender for entry in scene.journal.entries if isinstance(entry, Received)) == order
    assert scene.hosted.phase is Phase.ADVERTISE_KEYS


async def test_who_is_refused_is_refused_alone(together: list[int]) -> None:
    scene = Scene()
    wrong = scene.next[PEOPLE[1]]
    assert isinstance(wrong, AdvertiseKeys)
    scene.next[PEOPLE[1]] = replace(wrong, mask_public_key=bytes(5))
    async with scene.hosted._state:
        tasks = await waiting(scene, *PEOPLE[:3])
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert together == [3]
    assert (first, third) == (None, None)
    assert isinstance(second, RemoteError)
    assert second.culprit == PEOPLE[1]
    assert scene.hosted.delivered(PEOPLE[2], Phase.ADVERTISE_KEYS)
    assert not scene.hosted.delivered(PEOPLE[1], Phase.ADVERTISE_KEYS)


async def test_what_turns_a_phase_is_told_before_the_next_message_is_taken(together: list[int]) -> None:
    scene = Scene()
    async with scene.hosted._state:
        tasks = await waiting(scene, *PEOPLE, PEOPLE[0])  # the first one says it again
    seen: list[Phase | None] = []
    perform = scene.hosted._perform

    def noting(step: Any) -> Any:
        seen.append(scene.hosted.phase)
        return perform(step)

    scene.hosted._perform = noting  # type: ignore[method-assign]
    await asyncio.gather(*tasks)
    assert together == [5, 1]
    assert seen == [*[Phase.ADVERTISE_KEYS] * 4, Phase.SHARE_KEYS]


async def test_a_bug_ends_the_round_for_those_behind_it_and_not_for_those_before() -> None:
    scene = Scene()
    append = scene.journal.append

    def failing(entry: Any) -> None:
        if entry.sender == PEOPLE[1]:
            raise OSError(28, "No space left on device")
        append(entry)

    scene.journal.append = failing  # type: ignore[method-assign]
    async with scene.hosted._state:
        tasks = await waiting(scene, *PEOPLE[:3])
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert first is None
    for error in (second, third):
        assert isinstance(error, RoundAborted)
        assert error.reason is AbortReason.INTERNAL
    assert scene.hosted.delivered(PEOPLE[0], Phase.ADVERTISE_KEYS)
    assert scene.journal.broken_off


async def test_where_places_are_few_each_is_counted_before_the_next_one_is_taken(together: list[int]) -> None:
    scene = Scene()
    scene.hosted._quota = Quota(2, lambda _: "north")

    async def join(name: ParticipantId) -> None:
        keys = scene.next[name]
        assert isinstance(keys, AdvertiseKeys)
        async with scene.hosted.joining(name, keys):
            pass

    async with scene.hosted._state:
        tasks = [asyncio.create_task(join(name)) for name in PEOPLE[:3]]
        await asyncio.sleep(0)
    came = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in came] == [type(None), type(None), NotInRoundError]
    assert together == [1, 1, 1]


async def signed_scene() -> tuple[Scene, bytes]:
    """A round with a sum that all four sign; what they sign."""
    scene = Scene()
    outcome = await with_a_dropout(scene)
    made = deployment()
    keys = {name: made.trust.verify_participant(made.identities[name].chain, AT).public_key for name in PEOPLE}
    signers = {Index(i): (name, keys[name]) for i, name in enumerate(PEOPLE, start=1)}
    scene.hosted.certifying.certification = Certification(Result(outcome.digest, signers, 3), signers)
    return scene, outcome.digest


async def test_signatures_under_the_result_are_verified_together_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene, digest = await signed_scene()
    loop, batches, threads = threading.get_ident(), list[int](), set[int]()
    verify, refusals = signing.verify, certifying._refusals

    def noting(*args: Any, **options: Any) -> None:
        threads.add(threading.get_ident())
        verify(*args, **options)

    def counting(certification: Any, some: Any) -> Any:
        batches.append(len(some))
        return refusals(certification, some)

    monkeypatch.setattr(signing, "verify", noting)
    monkeypatch.setattr(certifying, "_refusals", counting)
    sign = {name: deployment().identities[name].sign(digest) for name in PEOPLE}
    proofs = await asyncio.gather(*(scene.hosted.certify(name, sign[name]) for name in PEOPLE))
    assert [proof.signatures for proof in proofs] == [{Index(i): sign[n] for i, n in enumerate(PEOPLE, 1)}] * 4
    assert batches == [4]
    assert loop not in threads


async def test_a_false_signature_among_others_names_its_sender_alone() -> None:
    scene, digest = await signed_scene()
    sign = {name: deployment().identities[name].sign(digest) for name in PEOPLE}
    sign[PEOPLE[1]] = sign[PEOPLE[0]]
    calls = [asyncio.create_task(scene.hosted.certify(name, sign[name])) for name in PEOPLE]
    with pytest.raises(AuthenticationError) as refused:
        await calls[1]
    assert refused.value.culprit == PEOPLE[1]
    await asyncio.sleep(0)
    assert not any(call.done() for call in (calls[0], *calls[2:]))  # they wait for the right one
    right = deployment().identities[PEOPLE[1]].sign(digest)
    await scene.hosted.certify(PEOPLE[1], right)
    for call in (calls[0], *calls[2:]):
        signatures = (await call).signatures
        assert sorted(signatures) == [1, 2, 3, 4]
        assert signatures[Index(2)] == right
