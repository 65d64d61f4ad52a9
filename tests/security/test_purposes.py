"""A round's purpose is named by the participant and by the configuration: a coordinator cannot choose it alone."""

import asyncio
import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from secagg_client.calls.call import PreparedCall
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution, find
from secagg_client.released_sums.memory import memory_of
from secagg_server.rounds.registry import Rounds
from secagg_server.storage.memory import MemoryStore

from secagg.config import RoundConfig
from secagg.context import RoundId, bind
from secagg.errors import ConfigError, NotInRoundError, PolicyViolation, ProtocolViolation, UnknownRoundError
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.robust.grouping import Groups
from secagg.rounds.releases import Release
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.calls import ADVERTISE
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.v1 import config_pb2
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import LENIENT, make_terms, makes
from tests.rounds import make_config, random_update
from tests.serving import NAMES as PEOPLE
from tests.serving import PATIENCE_S, stage
from tests.serving import make_config as served_config
from tests.taking_part import async_client, client, in_thread
from tests.unit.server.test_budget import registry

ME = participant_names(5)[2]
TRAINING = make_config(5)
EVALUATION = replace(TRAINING, purpose="evaluate")


def first_call(config: RoundConfig, **named: Any) -> PreparedCall[Any] | None:
    update = random_update(config.schema, 0)
    contribution = Contribution(update=update, weight=1, model_digest=config.model_digest, **named)
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    return Participation(make_terms(ME), contribution, offer).advance(None)


def test_the_participant_names_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without the check the keys for a round of the coordinator's choice leave."""
    assert makes(first_call(TRAINING), ADVERTISE)
    assert makes(first_call(EVALUATION, purpose="evaluate"), ADVERTISE)
    for config, named in ((EVALUATION, "train"), (TRAINING, "evaluate")):
        with pytest.raises(PolicyViolation, match="name the round's purpose in participate"):
            first_call(config, purpose=named)
    without_check(monkeypatch, Contribution, "check_asked", "C87")
    assert makes(first_call(EVALUATION), ADVERTISE)


def test_the_context_and_every_group_are_bound_to_it() -> None:
    round_id = RoundId(bytes(16))
    contexts = {bind(round_id, encode_config(config), bytes(32)) for config in (TRAINING, EVALUATION)}
    assert len(contexts) == 2
    grouped = replace(EVALUATION, groups=Groups.parse(3, "median"))
    assert decode_config(GroupedRoundId(round_id, encode_config(grouped)).group_config(2)).purpose == "evaluate"


@pytest.mark.parametrize("purpose", ["to train", "", "Train", "x" * 65, "é", "train\n"])
def test_what_is_no_purpose(purpose: str) -> None:
    with pytest.raises(ConfigError, match="a purpose is 1 to 64 of"):
        replace(TRAINING, purpose=purpose)
    with pytest.raises(ConfigError, match="a purpose is 1 to 64 of"):
        find(make_terms(ME), "digits", None, purpose)
    message = config_pb2.RoundConfig.FromString(encode_config(TRAINING))
    message.purpose = purpose
    if purpose:
        with pytest.raises(ProtocolViolation, match="a purpose is"):
            decode_config(message.SerializeToString())
    else:
        assert decode_config(message.SerializeToString()) == TRAINING


@pytest.mark.parametrize("purpose", ["train", "evaluate", "x" * 64])
def test_it_comes_back_from_the_configurations_bytes(purpose: str) -> None:
    config = replace(TRAINING, purpose=purpose)
    assert decode_config(encode_config(config)) == config
    assert config_pb2.RoundConfig.FromString(encode_config(config)).purpose == ("" if purpose == "train" else purpose)


def test_what_is_remembered_of_training_does_not_stand_in_the_way_of_an_evaluation() -> None:
    memory, everyone = memory_of(None, ME), frozenset(participant_names(5))
    once = Policy(once_per_model=True)
    assert not memory.claim(RoundId(bytes(16)), Release(bytes(32), everyone, 4), once)
    fewer = Release(bytes(32), everyone - {ParticipantId(ME)}, 4)
    with pytest.raises(PolicyViolation):
        memory.claim(RoundId(b"\1" * 16), fewer, once)
    assert not memory.claim(RoundId(b"\1" * 16), replace(fewer, purpose="evaluate"), once)


def test_only_rounds_for_the_purpose_are_asked_for_and_believed() -> None:
    call = find(make_terms(ME), "digits", None, "evaluate")
    (request,) = call.requests()
    assert pb.FindRoundRequest.FromString(request).purpose == "evaluate"
    (plain,) = FindRound(task="digits").requests()
    assert not pb.FindRoundRequest.FromString(plain).purpose
    offer = pb.RoundOfferPart(round_id=bytes(16), config=encode_config(TRAINING)).SerializeToString()
    with pytest.raises(ProtocolViolation, match="a round to train was offered, one to evaluate was asked for"):
        call.decode(deque([offer]))
    assert FindRound(task="digits").decode(deque([offer])).config == TRAINING


async def offered(rounds: Rounds, participant: ParticipantId, purpose: str = "train") -> RoundId | None:
    try:
        async with asyncio.timeout(0.05):
            return (await rounds.next_offer("digits", participant, [], purpose)).record.round_id
    except TimeoutError:
        return None


async def test_the_coordinator_offers_rounds_by_purpose_and_admits_who_can_be_in_them(tmp_path: Path) -> None:
    """After a round that failed once its survivors were accepted, only these are admitted; the others wait."""
    store = MemoryStore()
    rounds = registry(tmp_path, store)
    training = (await rounds.open(os.urandom(16), encode_config(TRAINING))).record.round_id
    assert await offered(rounds, ME) == training
    assert await offered(rounds, ME, "evaluate") is None
    evaluation = (await rounds.open(os.urandom(16), encode_config(EVALUATION))).record.round_id
    assert await offered(rounds, ME, "evaluate") == evaluation

    before, others = RoundId(b"\7" * 16), frozenset(participant_names(5)) - {ME}
    assert not store.claim_release(before, Release(TRAINING.model_digest, others, 4))
    store.settle_release(before, released=False, may_be_open=True)
    assert await offered(rounds, ME) is None
    with pytest.raises(NotInRoundError, match="a round about this model failed without it"):
        await rounds.find_for(ME, training)
    assert await offered(rounds, min(others)) == training
    assert await offered(rounds, ME, "evaluate") == evaluation
    with pytest.raises(UnknownRoundError):
        await rounds.find_for(ME, before)
    await rounds.shut_down()


def test_a_model_that_was_given_once_is_refused_before_a_key_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = replace(make_terms(ME, Policy(once_per_model=True)), memory=memory_of(None, ME))
    assert not terms.memory.claim(RoundId(bytes(16)), Release(bytes(32), frozenset(participant_names(5)), 4), LENIENT)
    terms.memory.receive(RoundId(bytes(16)))

    def asked(purpose: str) -> PreparedCall[Any] | None:
        update = random_update(TRAINING.schema, 0)
        contribution = Contribution(update=update, weight=1, model_digest=bytes(32), purpose=purpose)
        return Participation(terms, contribution, FindRound(task="digits", purpose=purpose)).advance(None)

    assert isinstance(asked("evaluate"), FindRound)
    with pytest.raises(PolicyViolation, match="in a released sum already"):
        asked("train")
    monkeypatch.setattr(Policy, "check_past", lambda *_: None)  # the twin
    assert isinstance(asked("train"), FindRound)


async def test_both_clients_find_rounds_by_purpose_and_keep_the_memory_they_are_given(tmp_path: Path) -> None:
    training = served_config(3)
    evaluation = replace(training, purpose="evaluate")
    async with stage(tmp_path) as s:
        first, second = await s.director.open(training), await s.director.open(evaluation)
        with client(s.server.data_address, PEOPLE[0], memory=tmp_path / "one") as one:
            for purpose, round_id in (("train", first), ("evaluate", second)):
                found = await in_thread(one.find_round, task=training.task, purpose=purpose, timeout_s=PATIENCE_S)
                assert found.round_id == round_id
        async with async_client(s.server.data_address, PEOPLE[1], memory=str(tmp_path / "two")) as other:
            found = await other.find_round(task=training.task, purpose="evaluate", timeout_s=PATIENCE_S)
            assert found.round_id == second
    for memory in (one._terms.memory, other._terms.memory):
        memory.check((bytes(32), "train"), LENIENT)
    assert (tmp_path / "one").exists()
    assert (tmp_path / "two").exists()
