"""Peers on a framework's channel that send what they must not, in both directions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from secagg_client.carried import coordinator, participant, steps
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.groups import CarriedGroups
from secagg_client.carried.participant import MAX_ROUNDS, MAX_STEPS, CarriedParticipant, Contribute
from secagg_client.carried.steps import LEAVE, OPEN, OVER, Step, leave_step, over_step, read_leave
from secagg_client.carried.terms import CarriedTerms
from secagg_client.participation.terms import Contribution, SeenRounds
from secagg_client.released_sums.memory import Memory

from secagg.aggregates import Aggregate, GroupedAggregate
from secagg.config import ThreatModel
from secagg.context import RoundId
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    LocalError,
    PolicyViolation,
    ProtocolViolation,
    RoundAborted,
    SecAggError,
)
from secagg.messages import Leave, LeaveReason, ParticipantId
from secagg.robust.grouping import Groups
from secagg.rounds.releases import Release, ReleaseMemory
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.limits import MAX_STREAM_MESSAGE_BYTES
from tests.carrying import (
    ANYTHING,
    PROCESSES,
    Answering,
    Channel,
    carried,
    contribute_as,
    participants,
    small_round,
    terms_of,
)
from tests.rounds import ACTIVE, SEMI_HONEST, deployment

FIRST, SECOND, THIRD, FOURTH = NAMES = tuple(participant_names(4))
CONFIG = small_round(4, SEMI_HONEST, threshold=3)
SIGNED = small_round(4, ACTIVE, threshold=3, max_colluding=1)
Spoil = Callable[[Step], Step]
Live = Callable[[CarriedTerms], Answering]


class Set:
    """A round of four, stopped in an exchange: everybody's steps, and their answers, which nobody has taken."""

    def __init__(
        self, kind: str = OPEN, config: Any = CONFIG, releases: ReleaseMemory | None = None, **changes: Any
    ) -> None:
        self.peers = participants(4, **changes)
        made = carried(config, NAMES, releases=releases)
        assert isinstance(made, CarriedRound)
        self.round = made
        channel = Channel(self.round, self.peers)
        while next(iter(self.round.steps().values())).kind != kind:
            channel.exchange()
        self.down = self.round.steps()

    def answer_of(self, name: str) -> Step:
        (reply,) = self.peers[name].answer([self.down[name]], contribute_as(name))
        return reply

    def finish(self) -> Aggregate:
        """Take the answers of those who are not dropped, and play to the end."""
        for name in self.down:
            if name not in self.round.dropped:
                self.round.take(name, self.answer_of(name))
        self.round.close()
        Channel(self.round, self.peers).play()
        assert isinstance(self.round.outcome, Aggregate)
        return self.round.outcome


def padded(step: Step, size: int) -> Step:
    """The step with a field of so many bytes that this version does not know."""
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    first, *rest = step.parts
    return replace(step, parts=(first + b"\xa2\x06" + length + bytes(size), *rest))


# --- what a participant sends -----------------------------------------------------------------------------------------


def of_another_round(step: Step) -> Step:
    return replace(step, round_id=RoundId(bytes(16)))


def of_another_phase(step: Step) -> Step:
    return replace(step, kind="Unmask")


def without_its_last_part(step: Step) -> Step:
    return replace(step, parts=step.parts[:-1])


def with_a_long_chunk(step: Step) -> Step:
    return padded(step, MAX_STREAM_MESSAGE_BYTES)


BAD_ANSWERS: list[tuple[str, Spoil, str]] = [
    (OPEN, of_another_round, "another round"),
    (OPEN, lambda step: replace(step, round_id=RoundId(b"")), "another round"),
    (OPEN, of_another_phase, "'Unmask' came where AdvertiseKeys"),
    (OPEN, lambda step: replace(step, kind="\x1b[2J" * 1000), "came where AdvertiseKeys"),
    (OPEN, lambda step: replace(step, parts=()), "0 parts"),
    (OPEN, lambda step: replace(step, parts=step.parts * 2), "2 parts"),
    (OPEN, lambda step: replace(step, parts=(b"\xff" * 40,)), "not a AdvertiseKeys"),
    (OPEN, lambda step: padded(step, 1 << 20), "longer than"),
    ("AdvertiseKeys", lambda step: replace(step, parts=(b"",)), "commitment"),
    ("AdvertiseKeys", lambda step: replace(step, parts=step.parts * 200_000), "longer than"),
    ("AdvertiseKeys", lambda step: replace(step, parts=(b"\x0a\x00" * 60_000,)), "more fields than any message"),
    ("ShareKeys", lambda step: replace(step, parts=(b"\x08\x00" * 60_000,)), "more fields than any message"),
    ("ShareKeys", without_its_last_part, "more belong to it"),
    ("ShareKeys", lambda step: replace(step, parts=(b"\x08\x01",)), "chunk 1"),
    ("ShareKeys", with_a_long_chunk, "longer than"),
    ("MaskedInput", lambda step: replace(step, parts=(b"",)), "reveal one share"),
    (OPEN, lambda step: padded(leave_step(step.round_id, Leave(LeaveReason.FAILED), None), 1 << 17), "longer than"),
]


@pytest.mark.parametrize(("kind", "spoil", "says"), BAD_ANSWERS)
def test_a_bad_answer_costs_its_sender_the_round_and_nobody_else(kind: str, spoil: Spoil, says: str) -> None:
    game = Set(kind)
    game.round.take(SECOND, spoil(game.answer_of(SECOND)))
    assert list(game.round.dropped) == [SECOND]
    assert says in game.round.dropped[SECOND]
    assert game.round.dropped[SECOND].isprintable()
    in_sum = set(NAMES) if kind == "MaskedInput" else {FIRST, THIRD, FOURTH}
    assert set(game.finish().survivors) == in_sum


def test_a_chunk_behind_the_one_that_ends_the_round_is_not_looked_at() -> None:
    """An error here would end the framework's whole job."""
    releases = ReleaseMemory(2)
    releases.record(RoundId(bytes(16)), Release(CONFIG.model_digest, frozenset((FIRST, SECOND, THIRD)), 3))
    game = Set("ShareKeys", releases=releases)
    for name in (FIRST, SECOND, THIRD):
        game.round.take(name, game.answer_of(name))
    whole = game.answer_of(FOURTH)
    game.round.take(FOURTH, replace(whole, parts=whole.parts * 2))
    assert isinstance(game.round.outcome, RoundAborted)
    assert game.round.outcome.reason is AbortReason.DIFFERENCING


@pytest.mark.parametrize(
    ("function", "marker", "kind", "spoil"),
    [
        ("_take", "another-rounds-step", OPEN, of_another_round),
        ("_take", "another-phases-step", OPEN, of_another_phase),
        ("_take_vector", "whole-vector", "ShareKeys", without_its_last_part),
        ("_take_vector", "longer-than-any-chunk", "ShareKeys", with_a_long_chunk),
    ],
)
def test_without_the_check_it_is_taken(
    monkeypatch: pytest.MonkeyPatch, function: str, marker: str, kind: str, spoil: Spoil
) -> None:
    without_check(monkeypatch, CarriedRound, function, marker)
    game = Set(kind)
    game.round.take(SECOND, spoil(game.answer_of(SECOND)))
    assert game.round.dropped == {}


def test_without_the_check_a_long_step_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, steps, "check_size", "longer-than-any-step")
    monkeypatch.setattr(coordinator, "check_size", steps.check_size)
    game = Set(OPEN)
    game.round.take(SECOND, padded(game.answer_of(SECOND), 1 << 20))
    assert game.round.dropped == {}


def test_an_answer_that_comes_twice_or_unasked_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without the check a repeated answer costs its sender the round."""

    def play() -> CarriedRound:
        game = Set()
        keys = game.answer_of(FIRST)
        game.round.take(FIRST, keys)
        game.round.take(FIRST, keys)
        game.round.take(FIRST, replace(keys, kind="Unmask"))
        game.round.take("nobody", keys)
        return game.round

    assert play().dropped == {}
    without_check(monkeypatch, CarriedRound, "take", "not-asked")
    assert FIRST in play().dropped


def test_what_comes_after_the_end_is_not_heard() -> None:
    """A round can end in the middle of an exchange."""
    game = Set("AdvertiseKeys")
    answers = {name: game.answer_of(name) for name in NAMES}
    game.round.lost(FIRST, "gone")
    game.round.lost(SECOND, "gone")
    outcome = game.round.outcome
    assert isinstance(outcome, RoundAborted)
    game.round.take(THIRD, answers[THIRD])
    game.round.take(FOURTH, leave_step(game.round.round_id, Leave(LeaveReason.FAILED), None))
    game.round.lost(FOURTH, "gone")
    game.round.close()
    assert game.round.outcome is outcome
    assert set(game.round.dropped) == {FIRST, SECOND}


def test_a_peer_cannot_take_part_under_the_name_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second shows the keys and certificate of the first. Twin: it is taken for the first, and leaves for it."""

    def play() -> CarriedRound:
        game = Set(config=SIGNED)
        keys = game.answer_of(FIRST)
        game.round.take(FIRST, keys)
        game.round.take(SECOND, keys)
        game.round.lost(SECOND, "gone")
        for name in (THIRD, FOURTH):
            game.round.take(name, game.answer_of(name))
        return game.round

    honest = play()
    assert list(honest.dropped) == [SECOND]
    assert f"another peer takes part as {FIRST} already" in honest.dropped[SECOND]
    assert set(honest.steps()) == {FIRST, THIRD, FOURTH}
    without_check(monkeypatch, CarriedRound, "_join", "two-peers-of-one-name")
    assert isinstance(play().outcome, RoundAborted)


def test_a_vector_with_a_chunk_too_many_is_in_the_sum_and_its_sender_is_gone() -> None:
    game = Set("ShareKeys")
    answer = game.answer_of(SECOND)
    game.round.take(SECOND, replace(answer, parts=answer.parts * 2))
    assert "behind its last one" in game.round.dropped[SECOND]
    assert set(game.finish().survivors) == set(NAMES)


def test_a_certificate_that_expires_too_soon_is_told() -> None:
    """The others check it after the roster is closed."""
    known = deployment()
    last = known.identities[ParticipantId(FIRST)].not_valid_after.timestamp()
    peers = participants(4)
    made = carried(SIGNED, NAMES, clock=lambda: last - 30)
    Channel(made, peers).play()
    assert isinstance(made.outcome, RoundAborted)
    assert made.dropped == dict.fromkeys(NAMES, "dropped out in AdvertiseKeys: expired")


def test_a_certificate_of_nobody_is_no_name() -> None:
    game = Set(config=SIGNED)
    unsigned = replace(Set().answer_of(FIRST), round_id=game.round.round_id)
    game.round.take(FIRST, unsigned)
    assert "certificate" in game.round.dropped[FIRST]


def test_what_a_peer_says_when_it_leaves_may_be_printed() -> None:
    game = Set()
    error = PolicyViolation("\x1b[31m" + "never\n" * 1000)
    game.round.take(FIRST, leave_step(game.round.round_id, Leave(LeaveReason.REFUSED), error))
    assert game.round.dropped[FIRST].startswith("refused: ?[31mnever?never?")
    assert len(game.round.dropped[FIRST]) <= 300
    game.round.lost(SECOND, "Traceback\n" * 1000)
    assert game.round.dropped[SECOND].isprintable()
    assert len(game.round.dropped[SECOND]) <= 300


# --- what a coordinator sends -----------------------------------------------------------------------------------------


def reply_to(one: Answering, *asked: Step) -> list[Step]:
    return one.answer(asked, contribute_as(FIRST))


in_processes = pytest.mark.parametrize("live", PROCESSES)


def told(reply: Step) -> str:
    assert reply.kind == LEAVE
    return read_leave(reply)[1]


BAD_STEPS: list[tuple[str, Spoil, str]] = [
    (OPEN, lambda step: replace(step, round_id=RoundId(bytes(16))), "another round"),
    (OPEN, lambda step: replace(step, parts=()), "names its round by 16 bytes"),
    (OPEN, lambda step: replace(step, kind="bogus"), "no part in this round"),
    ("AdvertiseKeys", lambda step: replace(step, kind="ShareKeys"), "came where AdvertiseKeys"),
    ("AdvertiseKeys", lambda step: replace(step, kind="Unmask"), "came where AdvertiseKeys"),
    ("AdvertiseKeys", lambda step: replace(step, kind="\x1b[2J" * 9), "came where AdvertiseKeys"),
    ("AdvertiseKeys", lambda step: replace(step, kind=OPEN), "names its round by 16 bytes"),
    ("AdvertiseKeys", lambda step: replace(step, parts=step.parts[:0]), "roster"),
    ("AdvertiseKeys", lambda step: padded(step, 1 << 20), "longer than"),
    ("ShareKeys", lambda step: replace(step, parts=(b"\xff",)), "not a ShareDelivery"),
    ("MaskedInput", lambda step: replace(step, parts=step.parts * 2), "2 parts"),
]


@in_processes
@pytest.mark.parametrize(("kind", "spoil", "says"), BAD_STEPS)
def test_a_participant_leaves_a_round_whose_step_is_bad_and_tells_why(
    kind: str, spoil: Spoil, says: str, live: Live
) -> None:
    game = Set(kind, live=live)
    one = game.peers[FIRST]
    (reply,) = reply_to(one, spoil(game.down[FIRST]))
    assert says in told(reply)
    assert list(one.failed) == [reply.round_id]
    (again,) = reply_to(one, game.down[FIRST])  # the right one comes too late
    if kind != OPEN:
        assert told(again)
    game.round.take(FIRST, replace(reply, round_id=game.round.round_id))
    assert list(game.round.dropped) == [FIRST]


@in_processes
def test_a_round_is_answered_once(live: Live) -> None:
    """A coordinator that opens a round again gets no second keys; that asks again, no second shares of anybody."""
    game = Set("MaskedInput", live=live)
    one, survivors = game.peers[FIRST], game.down[FIRST]
    (unmask,) = reply_to(one, survivors)
    assert unmask.kind == "Unmask"
    (again,) = reply_to(one, survivors)
    assert again.kind == LEAVE
    (opened,) = reply_to(one, Set().down[FIRST])
    assert opened.kind == "AdvertiseKeys"
    other = Set()
    assert [reply_to(one, other.down[FIRST])[0].kind for _ in range(2)] == ["AdvertiseKeys", LEAVE]


def test_without_the_check_a_round_that_is_opened_again_has_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    game = Set()
    without_check(monkeypatch, SeenRounds, "_check", "joined-once")
    first, second = (reply_to(game.peers[FIRST], game.down[FIRST])[0] for _ in range(2))
    assert first.kind == second.kind == "AdvertiseKeys"
    assert first != second


@in_processes
def test_nobody_is_in_two_groups_of_a_round(live: Live) -> None:
    """The coordinator would have two sums with one update, and could choose who else is in them."""
    made = carried(small_round(3, SEMI_HONEST, groups=Groups.parse(3, "median")), participant_names(9))
    one, offers = live(terms_of(FIRST)), {step.round_id: step for step in made.steps().values()}
    assert [reply_to(one, offer)[0].kind for offer in offers.values()] == ["AdvertiseKeys", LEAVE, LEAVE]


@in_processes
@pytest.mark.parametrize("kind", ["AdvertiseKeys", "ShareKeys"])
def test_two_steps_of_a_round_are_refused(monkeypatch: pytest.MonkeyPatch, kind: str, live: Live) -> None:
    """What the second says follows from no answer to the first."""
    game = Set(kind, live=live)
    replies = reply_to(game.peers[FIRST], game.down[FIRST], game.down[FIRST])
    assert "two steps" in told(replies[-1])
    assert [reply.kind for reply in replies] == (["ShareKeys", LEAVE] if kind == "AdvertiseKeys" else [LEAVE])
    without_check(monkeypatch, participant._Exchange, "hear", "one-step-a-round")
    assert "two steps" not in str(reply_to(game.peers[SECOND], game.down[SECOND], game.down[SECOND]))


@in_processes
def test_an_offer_that_is_too_long_is_not_parsed(monkeypatch: pytest.MonkeyPatch, live: Live) -> None:
    monkeypatch.setattr(participant, "MAX_OFFER_BYTES", 1 << 16)
    one = live(terms_of(FIRST))
    offer = carried(CONFIG, NAMES).steps()[FIRST]
    assert "longer than 65536" in told(reply_to(one, padded(offer, 1 << 17))[0])
    assert reply_to(one, offer)[0].kind == "AdvertiseKeys"


def test_only_so_many_steps_are_looked_at() -> None:
    one = CarriedParticipant(terms_of(FIRST), None)
    offers = [Set().down[FIRST] for _ in range(3)]
    strange = [Step(RoundId(number.to_bytes(16)), "Unmask", ()) for number in range(MAX_STEPS - 1)]
    replies = reply_to(one, *strange, *offers)
    assert [reply.kind for reply in replies] == [LEAVE] * (MAX_STEPS - 1) + ["AdvertiseKeys"]


@in_processes
def test_only_so_many_rounds_are_under_way(monkeypatch: pytest.MonkeyPatch, live: Live) -> None:
    def open_many() -> list[Step]:
        one = live(terms_of(FIRST))
        offers = [carried(CONFIG, NAMES).steps()[FIRST] for _ in range(MAX_ROUNDS + 2)]
        return [reply for offer in offers for reply in reply_to(one, offer)]

    replies = open_many()
    given_up = [reply.round_id for reply in replies if reply.kind == LEAVE]
    assert given_up == [reply.round_id for reply in replies if reply.kind == "AdvertiseKeys"][:2]
    without_check(monkeypatch, participant._Exchange, "_make_room", "rounds-under-way")
    assert LEAVE not in {reply.kind for reply in open_many()}


@in_processes
def test_what_a_participant_tells_of_itself_is_the_reason_alone(live: Live) -> None:
    """An error about our own data may quote it."""
    game = Set("ShareKeys", live=live)
    one = game.peers[FIRST]
    (reply,) = one.answer([game.down[FIRST]], lambda offers: {})
    assert told(reply) == "failed"
    assert isinstance(one.failed[game.round.round_id], LocalError)
    other = game.peers[SECOND]

    def crash(_offers: object) -> dict[RoundId, Contribution]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        other.answer([game.down[SECOND]], crash)
    assert "no part in this round" in told(reply_to(other, game.down[SECOND])[0])


@in_processes
def test_the_end_may_be_a_lie_or_nonsense(live: Live) -> None:
    game = Set("AdvertiseKeys", live=live)
    one, round_id = game.peers[FIRST], game.round.round_id
    assert told(reply_to(one, Step(round_id, OVER, (b"\xff",)))[0])
    assert told(reply_to(one, padded(over_step(round_id, AuthenticationError("x")), 1 << 20))[0])
    assert reply_to(one, over_step(RoundId(bytes(16)), None)) == []
    assert reply_to(game.peers[SECOND], over_step(round_id, ProtocolViolation("?"))) == []


@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_another_model_is_left_before_the_input(threat_model: ThreatModel) -> None:
    game = Set("ShareKeys", CONFIG if threat_model is SEMI_HONEST else SIGNED)
    one, mine = game.peers[FIRST], contribute_as(FIRST)
    (reply,) = one.answer(
        [game.down[FIRST]],
        lambda offers: {of: replace(one_of, model_digest=b"\x01" * 32) for of, one_of in mine(offers).items()},
    )
    assert "is about model" in told(reply)
    game.round.take(FIRST, reply)
    assert set(game.finish().survivors) == {SECOND, THIRD, FOURTH}


def test_nobody_is_in_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """One certificate on two of a framework's nodes. Twin: its holder poisons two groups, and may count twice."""
    names = participant_names(9)
    config = small_round(3, ACTIVE, threshold=3, max_colluding=0, groups=Groups.parse(3, "mean"))

    def play() -> CarriedGroups:
        while True:
            made = carried(config, names)
            assert isinstance(made, CarriedGroups)
            one, other = (next(g for g in made.groups.values() if name in g.steps()) for name in (names[0], names[8]))
            if one is not other:
                break
        peers = participants(8) | {names[8]: CarriedParticipant(terms_of(names[0]), None)}
        Channel(made, peers).play()
        return made

    honest = play()
    assert f"another peer takes part as {names[0]} already" in str(honest.dropped.values())
    assert isinstance(honest.outcome, GroupedAggregate)
    assert len(honest.outcome.groups) == 2
    without_check(monkeypatch, CarriedRound, "_join", "two-peers-of-one-name")
    outcome = play().outcome
    assert isinstance(outcome, GroupedAggregate)
    assert sum(names[0] in group.aggregate.survivors for group in outcome.groups.values()) == 2


def test_a_policy_of_one_sum_needs_a_memory_that_outlives_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each message is answered with new terms, as a framework does it. Twin: there are two sums of one model."""

    class Anew:
        def __init__(self, name: str, file: Path | None = None) -> None:
            self.name, self.file = name, file
            self.states: dict[str, bytes] = {}
            self.failed: dict[RoundId, SecAggError] = {}

        def answer(self, given: Sequence[Step], contribute: Contribute) -> list[Step]:
            policy = replace(ANYTHING, once_per_model=True)
            terms = terms_of(self.name, policy=policy, memory=Memory(self.file))
            return CarriedParticipant(terms, self.states).answer(given, contribute)

    def two_sums(*, in_files: bool) -> list[bool]:
        peers: dict[str, Answering] = {n: Anew(n, tmp_path / n if in_files else None) for n in NAMES}
        rounds = [carried(CONFIG, NAMES) for _ in range(2)]
        for made in rounds:
            Channel(made, peers).play()
        return [isinstance(made.outcome, Aggregate) for made in rounds]

    assert two_sums(in_files=True) == [True, False]
    with pytest.raises(ConfigError, match="once_per_model"):
        two_sums(in_files=False)
    without_check(monkeypatch, CarriedParticipant, "__init__", "kept-memory")
    assert two_sums(in_files=False) == [True, True]


def test_who_comes_with_anothers_certificate_and_no_signature_drops_itself_alone() -> None:
    """The certificate is public. The owner comes later, and is in the sum."""
    game = Set(OPEN, SIGNED)
    keys = game.answer_of(FIRST)
    (forged,) = participants(4)[FIRST].answer([carried(SIGNED, NAMES).steps()[FIRST]], contribute_as(FIRST))
    game.round.take(SECOND, replace(forged, round_id=keys.round_id))  # signed for another round
    assert list(game.round.dropped) == [SECOND]
    assert "signature" in game.round.dropped[SECOND]
    game.round.take(FIRST, keys)
    for name in (THIRD, FOURTH):
        game.round.take(name, game.answer_of(name))
    game.round.close()
    Channel(game.round, game.peers).play()
    assert isinstance(game.round.outcome, Aggregate)
    assert set(game.round.outcome.survivors) == {FIRST, THIRD, FOURTH}


@pytest.mark.parametrize("kind", ["AdvertiseKeys", "ShareKeys"])
def test_an_answer_that_comes_late_is_not_looked_at(kind: str) -> None:
    game = Set(kind)
    late = game.answer_of(SECOND)
    for name in (FIRST, THIRD, FOURTH):
        game.round.take(name, game.answer_of(name))
    game.round.close()
    game.round.take(SECOND, late)
    assert game.round.dropped == {SECOND: f"did not answer in {late.kind}"}
    Channel(game.round, game.peers).play()
    assert isinstance(game.round.outcome, Aggregate)
    assert set(game.round.outcome.survivors) == {FIRST, THIRD, FOURTH}
