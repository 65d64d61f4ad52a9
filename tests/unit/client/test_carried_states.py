"""What a participant keeps between two messages of a framework, each of which may be answered by another process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client.carried.coordinator import CarriedRound
from secagg_client.carried.participant import MAX_ROUNDS
from secagg_client.carried.sealed import SealedSeats
from secagg_client.carried.steps import LEAVE, Step, read_leave
from secagg_client.carried.terms import CarriedTerms
from secagg_client.released_sums.memory import Memory

from secagg.aggregates import Aggregate
from secagg.config import ThreatModel
from secagg.crypto.rng import SeededRng
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError, RoundAborted, SavedStateError
from secagg.programs.state_keys import FolderStateKeys
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from tests.carrying import (
    ANYTHING,
    Answering,
    Channel,
    Reborn,
    carried,
    contribute_as,
    in_many_processes,
    in_one_process,
    participants,
    play,
    small_round,
    terms_of,
)
from tests.rounds import ACTIVE, SEMI_HONEST

NAMES = list[str](participant_names(5))
FIRST = NAMES[0]
CONFIG = small_round(5, SEMI_HONEST, threshold=3)
ONE_BIT = replace(CONFIG, encoding=Pipeline.parse("feedback | rotate | quantise(bits=1, range=1.0)"))
Live = Callable[[CarriedTerms], Answering]


def asked_at(
    kind: str, live: Live = in_many_processes, config: Any = CONFIG
) -> tuple[CarriedRound, dict[str, Any], Step]:
    """A round, its participants, and the step of that kind for the first of them, which it has not answered."""
    peers = participants(5, live=live)
    made = carried(config, peers)
    assert isinstance(made, CarriedRound)
    channel = Channel(made, peers)
    while next(iter(made.steps().values())).kind != kind:
        channel.exchange()
    return made, peers, made.steps()[FIRST]


def reply_of(one: Answering, step: Step) -> Step:
    (reply,) = one.answer([step], contribute_as(FIRST))
    return reply


def beside(terms: CarriedTerms) -> Answering:
    """Nothing outlives a process but what the framework keeps."""
    return Reborn(terms)


@pytest.mark.parametrize("kind", ["AdvertiseKeys", "ShareKeys", "MaskedInput"])
def test_a_state_that_the_framework_brings_back_answers_no_second_time(kind: str) -> None:
    """A simulation keeps the old context when an app raises, and a crash loses the new one."""
    _, peers, step = asked_at(kind)
    one = peers[FIRST]
    before = dict(one.states)
    assert reply_of(one, step).kind != LEAVE
    one.states.clear()
    one.states.update(before)
    assert reply_of(one, step).kind == LEAVE
    assert isinstance(next(iter(one.failed.values())), SavedStateError)


def test_keys_beside_the_states_stand_no_such_thing_and_are_refused_where_the_coordinator_may_lie() -> None:
    _, peers, step = asked_at("MaskedInput", beside)
    one = peers[FIRST]
    before = dict(one.states)
    assert reply_of(one, step).kind == "Unmask"
    one.states.clear()
    one.states.update(before)
    assert reply_of(one, step).kind == "Unmask"  # so a coordinator that lies must not be met like this
    one, opened = beside(terms_of(FIRST)), carried(small_round(5, ACTIVE), NAMES).steps()[FIRST]
    assert reply_of(one, opened).kind == LEAVE
    (error,) = one.failed.values()
    assert isinstance(error, ConfigError)
    assert "FolderStateKeys" in str(error)


@pytest.mark.parametrize("at", [0, -3, -10])
def test_a_state_that_was_altered_costs_its_round_alone(at: int) -> None:
    _, peers, step = asked_at("AdvertiseKeys")
    one = peers[FIRST]
    kept = bytearray(one.states[step.round_id.hex()])
    kept[at] ^= 1
    one.states[step.round_id.hex()] = bytes(kept)
    other = carried(replace(CONFIG, model_digest=bytes(31) + b"\x05"), NAMES).steps()[FIRST]
    replies = one.answer([step, other], contribute_as(FIRST))
    assert [(reply.round_id, reply.kind) for reply in replies] == [
        (step.round_id, LEAVE),
        (other.round_id, "AdvertiseKeys"),
    ]
    assert read_leave(replies[0])[1] == "failed"


def test_an_old_round_that_is_given_up_and_cannot_be_restored_costs_no_other_one() -> None:
    """The app was started again with a policy that the old round is below."""
    one = in_many_processes(terms_of(FIRST))
    assert isinstance(one, Reborn)
    old, new = (carried(replace(CONFIG, task=task), NAMES).steps()[FIRST] for task in ("old", "new"))
    assert reply_of(one, old).kind == "AdvertiseKeys"
    for _ in range(MAX_ROUNDS - 1):
        assert reply_of(one, carried(CONFIG, NAMES).steps()[FIRST]).kind == "AdvertiseKeys"
    one.terms = replace(one.terms, policy=replace(ANYTHING, tasks=frozenset({"digits", "new"})))
    replies = one.answer([new], contribute_as(FIRST))
    assert [(reply.round_id, reply.kind) for reply in replies] == [
        (new.round_id, "AdvertiseKeys"),
        (old.round_id, LEAVE),
    ]


def test_a_configuration_that_was_exchanged_where_it_is_kept_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The offer says what the participant contributes. Twin: it would contribute to another purpose."""

    def exchanged() -> Answering:
        _, peers, step = asked_at("ShareKeys")
        _, others, other = asked_at("ShareKeys", config=replace(CONFIG, task="other"))
        one, kept = peers[FIRST], others[FIRST].states[other.round_id.hex()]
        own = one.states[step.round_id.hex()]
        size, other_size = (4 + int.from_bytes(each[:4]) for each in (own, kept))
        one.states[step.round_id.hex()] = kept[:other_size] + own[size:]
        reply_of(one, step)
        found: Answering = one
        return found

    assert "was changed where it is kept" in str(next(iter(exchanged().failed.values())))
    without_check(monkeypatch, SealedSeats, "take", "configuration-kept")
    assert exchanged().failed == {}


def test_durable_keys_and_a_memory_in_a_file_go_together(tmp_path: Path) -> None:
    def on_disk(terms: CarriedTerms) -> Answering:
        folder = tmp_path / terms.name
        return Reborn(replace(terms, keys=FolderStateKeys(folder), memory=Memory(tmp_path / f"{terms.name}.sums")))

    config = small_round(5, ACTIVE, threshold=4, max_colluding=1)
    channel = play(config, live=on_disk)
    assert isinstance(channel.round.outcome, Aggregate)
    assert all(one.states == {} for one in channel.peers.values() if isinstance(one, Reborn))
    again = Channel(carried(config, NAMES), channel.peers, lose_down=lambda peer, _: peer == FIRST)
    again.play()
    assert isinstance(again.round.outcome, RoundAborted)  # the memory knows the first sum

    def forgetting(terms: CarriedTerms) -> Answering:
        return Reborn(replace(terms, keys=FolderStateKeys(tmp_path / f"{terms.name}.2")))

    assert isinstance(play(config, live=forgetting).round.outcome, RoundAborted)


# Two of the names are those of arguments of numpy.savez.
@pytest.mark.parametrize(
    ("array", "threat_model"),
    [
        ("values", SEMI_HONEST),
        ("values", ACTIVE),
        *((name, SEMI_HONEST) for name in ("file", "allow_pickle", "a/b.npy")),
    ],
)
def test_feedback_is_the_same_in_one_process_and_in_many(array: str, threat_model: ThreatModel) -> None:
    """In the second round four are in the sum, the third one fails, and the fourth has all again."""
    first = f"node-{FIRST}"  # what the framework calls it; its certificate has another name

    schema = Schema((replace(ONE_BIT.schema.arrays[0], name=array),))

    def means(live: Live) -> list[np.ndarray[Any, Any]]:
        terms = {f"node-{name}": terms_of(name, rng=SeededRng(name.encode().ljust(32))) for name in NAMES}
        peers = {node: live(replace(known, name=node)) for node, known in terms.items()}
        found = []
        for number in range(4):
            digest = bytes(31) + bytes([number])
            config = replace(ONE_BIT, schema=schema, model_digest=digest, threat_model=threat_model, max_colluding=0)

            def lose(peer: str, step: Step, number: int = number) -> bool:
                return step.kind == "MaskedInput" and (number == 2 or (number == 1 and peer == first))

            made = carried(config, peers, rng=SeededRng(bytes([number]) * 32))
            assert isinstance(made, CarriedRound)
            channel = Channel(made, peers, lose_up=lose)
            channel.play()
            if isinstance(made.outcome, Aggregate):
                found.append(made.outcome.mean(config, made.context).arrays[array])
        return found

    one, many = means(in_one_process), means(in_many_processes)
    assert len(one) == len(many) == 3
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


def test_what_two_rounds_of_a_task_carry_is_kept_apart_while_they_overlap() -> None:
    """The first one ends with the message that asks for the shares of the second, whose input was sent before."""
    peers = participants(5, live=in_many_processes)
    configs = [replace(ONE_BIT, model_digest=bytes(31) + bytes([number])) for number in (1, 2)]
    first, second = (carried(config, NAMES) for config in configs)
    for number in range(6):
        under_way = [first, second] if number else [first]
        asked = [one.steps() or (one.endings() if one is first and number == 4 else {}) for one in under_way]
        for name in NAMES:
            steps = [each[name] for each in asked if name in each]
            for reply in peers[name].answer(steps, contribute_as(name)):
                next(one for one in under_way if one.round_id == reply.round_id).take(name, reply)
            assert peers[name].failed == {}
        for one in under_way:
            one.close()
    assert isinstance(first.outcome, Aggregate)
    assert isinstance(second.outcome, Aggregate)
    assert len(second.outcome.survivors) == 5


@pytest.mark.parametrize("live", [in_one_process, in_many_processes])
@pytest.mark.parametrize("threat_model", [SEMI_HONEST, ACTIVE])
def test_a_participant_has_its_certificates_name_only_where_messages_are_signed(
    threat_model: ThreatModel, live: Live
) -> None:
    peers = {f"node-{name[-1]}": live(replace(terms_of(name), name=f"node-{name[-1]}")) for name in NAMES}
    made = carried(small_round(5, threat_model), peers)
    Channel(made, peers).play()
    assert isinstance(made.outcome, Aggregate)
    assert sorted(made.outcome.survivors) == (NAMES if threat_model is ACTIVE else sorted(peers))
