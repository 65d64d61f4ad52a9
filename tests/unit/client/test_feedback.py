"""What rounds lose of updates comes back in later rounds, once, and only if it is certain what became of it."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import FindRound, UploadCall
from secagg_client.participation.feedback import Feedback, Residual
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution, Terms

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.encoding.arrays import FloatArray
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import (
    AbortReason,
    DecodeError,
    InputError,
    LocalError,
    NotInRoundError,
    RoundAborted,
    SecAggError,
    TransportError,
)
from secagg.messages import ParticipantId
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.calls import REVEAL, SEND_INPUT, SHARE, Call
from secagg.wire.configuration import encode_config
from tests.conversing import Conversation, make_terms, makes
from tests.rounds import SEMI_HONEST, make_config, random_update

TASK = "digits"
SCHEMA = Schema((ArraySpec("w", (10, 6)), ArraySpec("b", (4,), "float64")))
NAMES = participant_names(3)
ONE_BIT = "feedback | rotate | quantise(bits=1, range=1.0)"
SPARSE = "feedback | sample(rate=0.1) | quantise(bits=2, range=12.0)"  # what ten rounds add up to must fit


def config_of(text: str, schema: Schema = SCHEMA) -> RoundConfig:
    return make_config(
        3, SEMI_HONEST, schema=schema, encoding=Pipeline.parse(text), threshold=3, max_colluding=0, task=TASK
    )


def flat(arrays: "dict[str, FloatArray]") -> FloatArray:
    return np.concatenate([np.asarray(arrays[spec.name], np.float64).reshape(-1) for spec in SCHEMA.arrays])


class People:
    """Three participants that bring the same update to every round."""

    def __init__(self) -> None:
        self.terms: dict[ParticipantId, Terms] = {name: make_terms(name) for name in NAMES}
        self.updates = {name: random_update(SCHEMA, i) for i, name in enumerate(NAMES)}
        self.rounds = 0

    def play(self, config: RoundConfig, tamper: Callable[..., Any] | None = None) -> Conversation:
        self.rounds += 1
        round_ = Conversation(config, round_id=RoundId(self.rounds.to_bytes(16, "big")))
        round_.tamper = tamper or round_.tamper
        round_.play({name: self.participation(name) for name in NAMES})
        return round_

    def participation(self, name: ParticipantId) -> Participation:
        update = Contribution(update=self.updates[name], weight=1, model_digest=bytes(32))
        return Participation(self.terms[name], update, FindRound(task=TASK))

    def carried(self) -> list[FloatArray]:
        zero = {spec.name: np.zeros(spec.shape, np.float32) for spec in SCHEMA.arrays}
        return [flat(terms.feedback.arrays(TASK) or zero) for terms in self.terms.values()]

    def mean_of(self, config: RoundConfig, rounds: int) -> FloatArray:
        """The mean of the means of so many rounds."""
        total = np.zeros(SCHEMA.size)
        for _ in range(rounds):
            mean = self.play(config).results[NAMES[0]].mean
            assert mean is not None
            total += flat(mean.arrays)
        return total / rounds

    @property
    def truth(self) -> FloatArray:
        return np.asarray(np.mean([flat(update) for update in self.updates.values()], axis=0))


PLAIN = {ONE_BIT: "rotate | quantise(bits=1, range=1.0)", SPARSE: "sample(rate=0.1) | quantise(bits=2, range=1.0)"}


@pytest.mark.parametrize("text", PLAIN)
def test_the_long_run_mean_is_the_true_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was released and what is still carried add up to the updates; so the error falls as 1 over the rounds."""
    people, rounds = People(), 200
    found = people.mean_of(config_of(text), rounds)
    left = np.mean(people.carried(), axis=0)
    np.testing.assert_allclose(found + left / rounds, people.truth, atol=1e-5)
    error, scale = np.linalg.norm(found - people.truth), np.linalg.norm(people.truth)
    assert error < 0.15 * scale

    # The twins: the same task without feedback, whose error falls as 1 over the root; and a client that forgets.
    plain = People().mean_of(config_of(PLAIN[text]), rounds)
    assert np.linalg.norm(plain - people.truth) > 1.5 * error
    monkeypatch.setattr(Residual, "into_sum", lambda self, lost: None)
    forgetful = People().mean_of(config_of(text), rounds)
    assert np.linalg.norm(forgetful - people.truth) > 1.5 * error


def answers(kind: Call[Any]) -> Callable[[PreparedCall[Any], ParticipantId, Parts], Parts]:
    """The first participant cannot read the answer to that call, and gives up."""

    def tamper(call: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        return deque([b"\xff"]) if makes(call, kind) and name == NAMES[0] else parts

    return tamper


def test_an_aborted_round_leaves_everything_as_it_was() -> None:
    """One of three leaves before its input, the others have handed theirs in: no sum, nothing lost."""
    people, config = People(), config_of(ONE_BIT)
    people.play(config)
    before = people.carried()
    round_ = people.play(config, answers(SHARE))
    assert isinstance(round_.errors[NAMES[0]], DecodeError)
    for name in NAMES[1:]:
        error = round_.errors[name]
        assert isinstance(error, RoundAborted)
        assert error.reason is AbortReason.BELOW_THRESHOLD
        assert "SendInput" in round_.methods(name)
    assert all(np.array_equal(a, b) for a, b in zip(before, people.carried(), strict=True))
    assert all(carried.any() for carried in before)


@pytest.mark.parametrize("kind", [SEND_INPUT, REVEAL])
def test_what_may_be_in_a_sum_is_not_sent_again(kind: Call[Any]) -> None:
    """All of our input is with the coordinator, and we never learn how the round ended."""
    people, config = People(), config_of(ONE_BIT)
    people.play(config)
    people.play(config, answers(kind))
    assert people.terms[NAMES[0]].feedback.arrays(TASK) == {}


def test_a_client_that_does_not_mind_sends_it_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: our input is in the sum that the others get, and what it carried is sent again."""
    people, config = People(), config_of(ONE_BIT)
    people.play(config)
    before = people.carried()[0]
    monkeypatch.setattr(Residual, "noting", lambda self, upload: upload)
    round_ = people.play(config, answers(REVEAL))
    assert NAMES[0] in round_.results[NAMES[1]].survivors
    assert np.array_equal(people.carried()[0], before)


@pytest.mark.parametrize(
    ("error", "handed_in", "stays"),
    [
        (TransportError("gone"), False, True),
        (TransportError("gone"), True, False),
        (NotInRoundError("too late"), True, True),
        (RoundAborted(AbortReason.BELOW_THRESHOLD, "too few"), True, True),
    ],
)
def test_what_an_error_says_about_our_input(error: SecAggError, handed_in: bool, stays: bool) -> None:
    people, config = People(), config_of(ONE_BIT)
    people.play(config)
    before = people.carried()[0]
    participation = people.participation(NAMES[0])
    tamper = answers(SHARE)

    def end(call: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        if makes(call, SHARE) and name == NAMES[0]:
            sending = participation.advance(parts)
            assert isinstance(sending, UploadCall)
            assert makes(sending, SEND_INPUT)
            if handed_in:
                list(sending.requests())
            participation.leave_call(error)
            participation.close()
        return tamper(call, name, parts)

    people.participation = lambda name: (  # type: ignore[method-assign]
        participation if name == NAMES[0] else People.participation(people, name)
    )
    people.play(config, end)
    left = people.terms[NAMES[0]].feedback.arrays(TASK)
    assert np.array_equal(flat(left), before) if stays else left == {}


def test_an_update_that_is_refused_costs_nothing() -> None:
    people, config = People(), config_of(ONE_BIT)
    people.play(config)
    before = people.carried()[0]
    people.updates[NAMES[0]] = {**people.updates[NAMES[0]], "more": np.zeros(2)}
    assert isinstance(people.play(config).errors[NAMES[0]], InputError)
    assert np.array_equal(before, people.carried()[0])


def test_rounds_without_feedback_neither_carry_nor_spend() -> None:
    people = People()
    people.play(config_of(ONE_BIT))
    before = people.carried()
    people.play(config_of("rotate | quantise(bits=1, range=1.0)"))
    assert all(np.array_equal(a, b) for a, b in zip(before, people.carried(), strict=True))


def test_a_changed_schema_is_an_error_that_names_the_array() -> None:
    people = People()
    people.play(config_of(ONE_BIT))
    other = Schema((ArraySpec("w", (10, 7)), ArraySpec("b", (4,), "float64")))
    config = config_of(ONE_BIT, other)
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    update = Contribution(update=random_update(other, 0), weight=1, model_digest=bytes(32))
    terms = people.terms[NAMES[0]]
    with pytest.raises(InputError, match=r"array 'w' of shape \(10, 6\), the round has \(10, 7\)") as caught:
        Participation(terms, update, offer).advance(None)
    assert caught.value.array == "w"
    terms.feedback.forget(TASK)
    assert Participation(terms, update, offer).advance(None) is not None


# --- the store by itself ----------------------------------------------------------------------------------------------


def taken(feedback: Feedback, schema: Schema = SCHEMA) -> Residual:
    return feedback.take(TASK, schema)


def test_what_is_saved_can_be_restored_in_any_order() -> None:
    feedback = Feedback()
    lost = np.arange(64, dtype=np.float32)
    taken(feedback).into_sum(lost)
    file = BytesIO()
    np.savez(file, **feedback.arrays(TASK))  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file) as saved:
        arrays = {name: saved[name] for name in reversed(saved.files)}
    again = Feedback()
    again.restore(TASK, arrays)
    carried = taken(again).carried
    assert carried is not None
    assert np.array_equal(carried, lost)
    assert feedback.arrays("another task") == {}


def test_a_copy_is_given_out() -> None:
    feedback = Feedback()
    taken(feedback).into_sum(np.ones(64, np.float32))
    feedback.arrays(TASK)["w"][:] = 7
    assert feedback.arrays(TASK)["w"].max() == 1


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([1, np.nan], np.float32), [1.0]])
def test_what_was_never_carried_is_not_restored(bad: Any) -> None:
    with pytest.raises(InputError, match="'w' is not finite float32"):
        Feedback().restore(TASK, {"w": bad})


def test_nothing_is_overwritten() -> None:
    feedback = Feedback()
    feedback.restore(TASK, {})
    feedback.restore(TASK, {"w": np.ones(3, np.float32)})
    with pytest.raises(LocalError, match="forget it first"):
        feedback.restore(TASK, {"w": np.ones(3, np.float32)})


def test_overlapping_rounds_send_nothing_twice() -> None:
    """The first one takes all; what both lose is added up."""
    feedback = Feedback()
    taken(feedback).into_sum(np.full(64, 5, np.float32))
    first, second = taken(feedback), taken(feedback)
    assert first.carried is not None
    assert second.carried is None
    second.into_sum(np.full(64, 2, np.float32))
    first.not_in_sum()
    first.not_in_sum()
    carried = taken(feedback).carried
    assert carried is not None
    assert set(carried.tolist()) == {7.0}


def test_what_is_forgotten_does_not_come_back() -> None:
    feedback = Feedback()
    residual = taken(feedback)
    feedback.forget(TASK)
    residual.into_sum(np.ones(64, np.float32))
    assert feedback.arrays(TASK) == {}


def test_threads_lose_nothing() -> None:
    """Whoever takes puts back what it found and one more."""
    feedback = Feedback()

    def work(_: int) -> None:
        for _ in range(50):
            residual = taken(feedback)
            found = 0 if residual.carried is None else residual.carried
            residual.into_sum(np.ones(64, np.float32) + found)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert set(flat(feedback.arrays(TASK))) == {400.0}


def test_what_overlapping_rounds_lost_stays_finite() -> None:
    """Two rounds of one task both give back 3e38: their sum is beyond float32, and an infinity would stay for ever."""
    feedback, schema = Feedback(), Schema.of(np.zeros(4))
    for sign in (1, -1):
        for residual in [feedback.take("t", schema), feedback.take("t", schema)]:
            residual.into_sum(np.full(4, sign * 3e38, np.float32))
        kept = feedback.arrays("t")["values"]
        assert (kept == sign * np.finfo(np.float32).max).all()
        feedback.forget("t")
        feedback.restore("t", {"values": kept})
        feedback.forget("t")
