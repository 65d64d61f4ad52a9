"""Rounds whose keys and shares are exchanged before the model is named."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from secagg_client.participation.session import Participation
from secagg_server.rounds.opening import RoundOpener

from secagg.aggregates import Aggregate, GroupSum
from secagg.config import UNNAMED_MODEL, RoundConfig, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding.pipeline import Pipeline
from secagg.errors import (
    AuthenticationError,
    ConfigError,
    DecodeError,
    LocalError,
    ModelMismatch,
    ProtocolViolation,
    RoundAborted,
)
from secagg.events import Event, PhaseStarted
from secagg.homomorphic.dealt_key.confirm_key import AwaitingKey
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares as AwaitingKeyShares
from secagg.lattice.jobs import Desk
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.masked import masked_input, shares
from secagg.masked.masks import pairwise_mask_key, self_mask_key
from secagg.messages import (
    Index,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    ParticipantId,
    Phase,
    ShareDelivery,
    ShareKeys,
    SurvivorSet,
)
from secagg.receipts import Agreement, Receipt, ReceiptComparison, Statement, compare_receipts
from secagg.robust.grouping import Groups
from secagg.rounds import naming
from secagg.rounds.certification import Result
from secagg.rounds.releases import Release
from secagg.schemes import take_part
from secagg.tools.redteam.self_test.patches import Patch, without_check
from secagg.tools.simulation.cohort import Contribution, participant_names, set_up
from secagg.tools.simulation.network import MODEL, Down, Envelope, Run
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.grouping import GroupedRoundId
from secagg.wire.keys import decode_share_delivery, encode_share_delivery
from secagg.wire.v1 import data_plane_pb2
from tests.conversing import Conversation
from tests.encrypted_rounds import encrypted_config, prepare
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, deployment, flat_schema, make_config, random_update, start, true_sum

NAMES = participant_names(5)
OTHER = b"\1" * 32
MODELS = pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])


def later(threat_model: ThreatModel = ACTIVE, people: int = 5, **fields: Any) -> RoundConfig:
    return replace(make_config(people, threat_model, model_later=True), **fields)


def assert_sum(run: Run, survivors: Iterable[ParticipantId]) -> None:
    assert run.coordinator.failure is None
    assert run.coordinator.aggregate is not None
    assert run.coordinator.aggregate.survivors == tuple(survivors)
    assert np.array_equal(run.coordinator.aggregate.sums, true_sum(run, list(survivors)))


# --- the configuration ------------------------------------------------------------------------------------------------


def test_the_configuration_has_zeros_in_place_of_the_digest() -> None:
    with pytest.raises(ConfigError, match="model_digest must be 32 zero bytes until then; if the model is known"):
        replace(make_config(5), model_digest=OTHER, model_later=True)
    assert decode_config(encode_config(later())) == later()


def test_a_homomorphic_round_names_its_model_at_once() -> None:
    profile = find_profile(Scheme.BFV, Custody.PARTICIPANTS, 5, 16)
    with pytest.raises(ConfigError, match="leave model_later out and name the model in model_digest"):
        later(SEMI_HONEST, homomorphic=profile, max_colluding=0)


def test_nothing_changes_in_the_bytes_of_other_rounds() -> None:
    """The field is absent, so configurations, contexts and parts of deliveries are what they were."""
    assert encode_config(later()) == encode_config(make_config(5)) + b"\xa0\x01\x01"
    plain = Round(RoundId(bytes(16)), make_config(5), bind(RoundId(bytes(16)), b"", UNNAMED_MODEL))
    assert (plain.input_context, plain.model_digest) == (plain.context, UNNAMED_MODEL)


# --- the coordinator --------------------------------------------------------------------------------------------------


@MODELS
def test_the_sum_is_the_one_of_the_named_model(threat_model: ThreatModel) -> None:
    run = start(later(threat_model))
    run.play()
    assert_sum(run, NAMES)
    assert run.coordinator.round.model_digest == MODEL
    assert run.errors == {}


def until_shared() -> Run:
    """A round whose shares are exchanged and whose model is not named."""
    run = start(later())
    for name, participant in run.participants.items():
        run.coordinator.receive(name, participant.advertisement, NOW)
    for name, participant in run.participants.items():
        answer = run.coordinator.answer(name, Phase.ADVERTISE_KEYS)
        reply = participant.receive(answer, NOW)
        assert isinstance(reply, ShareKeys)
        run.coordinator.receive(name, reply, NOW)
    return run


def test_nobody_gets_shares_before_the_model_is_named() -> None:
    engine = until_shared().coordinator
    assert (engine.phase, engine.awaits_model, engine.deadline) == (Phase.MASKED_INPUT, True, inf)
    assert not engine.ready(NAMES[0], Phase.SHARE_KEYS)
    assert engine.ready(NAMES[0], Phase.ADVERTISE_KEYS)
    with pytest.raises(LocalError, match=r"was not named yet: the coordinator does that with name_model\(digest\)"):
        engine.answer(NAMES[0], Phase.SHARE_KEYS)
    assert engine.tick(NOW + 10**9) == []  # it waits for ever
    assert engine.name_model(MODEL, NOW + 50) == [PhaseStarted(Phase.MASKED_INPUT, NOW + 350, 5)]
    assert (engine.awaits_model, engine.deadline) == (False, NOW + 350)
    assert engine.ready(NAMES[0], Phase.SHARE_KEYS)
    answer = engine.answer(NAMES[0], Phase.SHARE_KEYS)
    assert isinstance(answer, ShareDelivery)
    assert answer.model_digest == MODEL


def test_a_model_can_be_named_before_keys_are_exchanged() -> None:
    run = start(later())
    assert run.coordinator.name_model(MODEL, NOW) == []
    run.play()
    assert_sum(run, NAMES)


def test_the_same_model_may_be_named_again_and_no_other() -> None:
    engine = until_shared().coordinator
    engine.name_model(MODEL, NOW)
    assert engine.name_model(MODEL, NOW + 9) == []
    assert engine.deadline == NOW + 300  # the time that runs is not prolonged
    with pytest.raises(ConfigError, match="open another round for another model"):
        engine.name_model(OTHER, NOW)
    assert engine.round.model_digest == MODEL


def test_what_is_no_digest_of_a_model_is_not_named() -> None:
    engine = until_shared().coordinator
    for wrong in (b"", bytes(31), "0" * 32, bytearray(MODEL)):
        with pytest.raises(ConfigError, match="must be 32 bytes"):
            engine.name_model(wrong, NOW)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="32 zero bytes stand for a model that is not named yet"):
        engine.name_model(UNNAMED_MODEL, NOW)
    assert engine.awaits_model


def test_a_model_that_the_configuration_names_is_not_named_again() -> None:
    engine = start(make_config(5)).coordinator
    with pytest.raises(ConfigError, match="open the round with model_later to name it now"):
        engine.name_model(OTHER, NOW)


def test_a_round_that_failed_takes_no_model() -> None:
    engine = until_shared().coordinator
    engine.exclude(NAMES[:4], NOW)
    with pytest.raises(RoundAborted):
        engine.name_model(MODEL, NOW)


def sends_too_early() -> list[Event]:
    engine = until_shared().coordinator
    return engine.receive(NAMES[0], MaskedInputChunk(0, b""), NOW)


def test_an_input_before_the_model_is_named_is_refused() -> None:
    with pytest.raises(ProtocolViolation, match="before the model was named") as refused:
        sends_too_early()
    assert refused.value.culprit == NAMES[0]


def test_who_leaves_while_the_model_is_not_named_has_dropped_out() -> None:
    engine = until_shared().coordinator
    assert engine.receive(NAMES[0], Leave(LeaveReason.CANCELLED), NOW)
    assert engine.awaits_model
    (told,) = engine.name_model(MODEL, NOW)
    assert told == PhaseStarted(Phase.MASKED_INPUT, NOW + 300, 4)


def test_the_round_ends_when_all_leave_while_the_model_is_not_named() -> None:
    engine = until_shared().coordinator
    for name in NAMES:
        if engine.failure is None:
            engine.receive(name, Leave(LeaveReason.CANCELLED), NOW)
    assert engine.failure is not None


# --- the participant --------------------------------------------------------------------------------------------------


@MODELS
def test_who_holds_another_model_leaves_and_the_others_have_their_sum(threat_model: ThreatModel) -> None:
    run = start(later(threat_model), models={NAMES[1]: OTHER})
    run.play()
    (error,) = run.errors.values()
    assert isinstance(error, ModelMismatch)
    assert (str(error), error.culprit) == (
        f"the coordinator names model {MODEL.hex()[:16]}…, ours is {OTHER.hex()[:16]}…",
        "coordinator",
    )
    assert list(run.errors) == [NAMES[1]]
    assert_sum(run, [name for name in NAMES if name != NAMES[1]])


def telling(models: dict[ParticipantId, bytes]) -> Callable[[Envelope], Iterable[Envelope]]:
    """A coordinator that tells these participants other models."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Down) and isinstance(envelope.message, ShareDelivery):
            told = models.get(envelope.participant, envelope.message.model_digest)
            return (replace(envelope, message=replace(envelope.message, model_digest=told)),)
        return (envelope,)

    return hook


@MODELS
def test_a_model_that_nobody_holds_gets_no_input(threat_model: ThreatModel) -> None:
    sent: list[object] = []

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        sent.append(envelope.message)
        return telling(dict.fromkeys(NAMES, OTHER))(envelope)

    run = start(later(threat_model), hook=hook)
    run.play()
    assert {type(error) for error in run.errors.values()} == {ModelMismatch}
    assert len(run.errors) == 5
    assert not any(isinstance(message, MaskedInputChunk) for message in sent)
    assert isinstance(run.coordinator.failure, RoundAborted)


def different_models(threat_model: ThreatModel) -> Run:
    """One participant was given another model, and is told its digest: it notices nothing."""
    run = start(later(threat_model), hook=telling({NAMES[1]: OTHER}), models={NAMES[1]: OTHER})
    run.play()
    return run


def test_in_the_active_model_two_models_sign_two_things() -> None:
    run = different_models(ACTIVE)
    ((up, error),) = run.refused  # an honest coordinator refuses the signature of the one who was told another model
    assert (up.participant, up.phase) == (NAMES[1], Phase.CONSISTENCY_CHECK)
    assert isinstance(error, AuthenticationError)
    assert run.coordinator.aggregate is None or not np.array_equal(
        run.coordinator.aggregate.sums, true_sum(run, [ParticipantId(n) for n in run.coordinator.aggregate.survivors])
    )


def test_in_the_semi_honest_model_the_masks_of_two_models_do_not_cancel() -> None:
    run = different_models(SEMI_HONEST)
    assert run.coordinator.aggregate is not None
    assert not np.array_equal(run.coordinator.aggregate.sums, true_sum(run, NAMES))


def test_without_the_comparison_a_model_that_nobody_holds_gets_a_sum() -> None:
    """A twin: everyone masks an update of the model that it holds, for the model that the coordinator names."""
    with Patch() as patch:
        without_check(patch, masked_input, "named", "C100")
        run = start(later(), models=dict.fromkeys(NAMES, OTHER))
        run.play()
    assert_sum(run, NAMES)


def names_none(envelope: Envelope) -> Iterable[Envelope]:
    return telling(dict.fromkeys(NAMES, b""))(envelope)


def test_a_delivery_that_names_no_model_is_refused() -> None:
    run = start(later(), hook=names_none)
    run.play()
    assert {(type(error), str(error)) for error in run.errors.values()} == {
        (ProtocolViolation, "the delivery of shares names no model, in a round whose model is named later")
    }


def names_one() -> Run:
    run = start(make_config(5), hook=telling(dict.fromkeys(NAMES, UNNAMED_MODEL)))
    run.play()
    return run


def test_a_delivery_that_names_a_model_where_the_configuration_does_is_refused() -> None:
    run = names_one()
    assert {(type(error), str(error)) for error in run.errors.values()} == {
        (ProtocolViolation, "the delivery of shares names a model, again")
    }
    assert run.coordinator.aggregate is None


def test_without_that_check_such_a_delivery_is_taken() -> None:
    with Patch() as patch:
        without_check(patch, naming, "check_naming", "C99")
        assert_sum(names_one(), NAMES)


@pytest.mark.parametrize("custody", list(Custody))
def test_a_delivery_of_a_homomorphic_round_names_no_model(custody: Custody) -> None:
    config = encrypted_config(Scheme.BFV, custody, 5, vector_len=3)
    run = prepare(config, hook=telling(dict.fromkeys(NAMES, OTHER)))
    run.play()
    assert {str(error) for error in run.errors.values()} == {"the delivery of shares names a model, again"}
    state = AwaitingKey if custody is Custody.PARTICIPANTS else AwaitingKeyShares
    with Patch() as patch:
        without_check(patch, state, "receive", "C99")
        run = prepare(config, hook=telling(dict.fromkeys(NAMES, OTHER)))
        run.play()
    assert run.errors == {}


def test_the_digest_travels_in_the_first_part_of_a_delivery() -> None:
    sealed = {Index(i): bytes(200) for i in range(1, 10_001)}
    first, *rest = encode_share_delivery(ShareDelivery(sealed, model_digest=MODEL))
    assert [part.model_digest for part in (first, *rest)] == [MODEL, *(b"" for _ in rest)]
    assert rest
    assert decode_share_delivery([first, *rest]) == ShareDelivery(sealed, model_digest=MODEL)
    one, two = (data_plane_pb2.ShareDeliveryPart(peers=[i], entries=bytes(200)) for i in (1, 2))
    two.model_digest = MODEL
    for parts in ([one, two], [first, data_plane_pb2.ShareDeliveryPart(model_digest=MODEL)]):
        with pytest.raises(DecodeError, match="stands in the first part, and there alone"):
            decode_share_delivery(iter(parts))


def test_a_message_of_another_kind_ends_the_round_where_the_vector_is_due() -> None:
    run = until_shared()
    participant = run.participants[NAMES[0]]
    assert participant.needs_vector
    with pytest.raises(ProtocolViolation, match="SurvivorSet was not expected now"):
        participant.receive(SurvivorSet((), ()), NOW)
    assert participant.awaits is None


def test_a_round_is_about_one_model() -> None:
    about = start(later()).coordinator.round.about(MODEL)
    assert about.about(MODEL) == about
    with pytest.raises(ModelMismatch, match="ours is 0101"):
        about.about(OTHER)


def test_zeros_are_no_model_of_a_participant() -> None:
    run = until_shared()
    with pytest.raises(ConfigError, match="32 zero bytes stand for a model that is not named yet"):
        run.participants[NAMES[0]].provide(run.vectors[NAMES[0]], UNNAMED_MODEL)


def test_a_session_takes_no_vector_before_the_model() -> None:
    run = until_shared()
    with pytest.raises(LocalError, match="make the session without a vector and hand it in with provide"):
        take_part(run.participants[NAMES[0]].membership, run.vectors[NAMES[0]], Desk)


# --- what is bound to what --------------------------------------------------------------------------------------------


def test_keys_and_shares_are_bound_to_the_round_and_masks_to_its_model() -> None:
    opened = Round(RoundId(bytes(16)), later(), bind(RoundId(bytes(16)), b"config", UNNAMED_MODEL))
    one, other, secret = opened.about(MODEL), opened.about(OTHER), Secret(bytes(32))
    assert one.context == other.context == opened.context
    assert len({opened.context, one.input_context, other.input_context}) == 3
    assert shares.commit(one, NAMES[0], secret) == shares.commit(other, NAMES[0], secret)
    assert self_mask_key(one, NAMES[0], secret) != self_mask_key(other, NAMES[0], secret)
    assert pairwise_mask_key(one, NAMES[0], NAMES[1], secret) != pairwise_mask_key(other, NAMES[0], NAMES[1], secret)
    with pytest.raises(LocalError, match="was not named yet"):
        self_mask_key(opened, NAMES[0], secret)


def test_both_memories_of_released_sums_see_the_named_model() -> None:
    asked: list[Release] = []

    def remember(release: Release) -> frozenset[ParticipantId]:
        asked.append(release)
        return frozenset()

    brought = {name: Contribution(random_update(flat_schema(), i)) for i, name in enumerate(NAMES)}
    rng, recall = SeededRng(bytes(32)), lambda _: remember
    set_up(later(), brought, rng=rng, now=NOW, deployment=deployment(), claim=remember, recall=recall).play()
    assert len(asked) == 6
    assert set(asked) == {Release(MODEL, frozenset(NAMES), 4)}


def test_the_receipt_and_what_is_certified_say_which_model_was_named() -> None:
    run = start(replace(later(), certify=True))
    round_ = run.play().round
    stated = Statement.of(round_, run.coordinator.roster, tuple(NAMES), bytes(32))
    assert (stated.model_digest, stated.context) == (MODEL, round_.input_context)
    signed = Result.of(round_, run.coordinator.roster, NAMES, bytes(32)).to_sign
    again = replace(round_, named=OTHER)
    assert signed != Result.of(again, run.coordinator.roster, NAMES, bytes(32)).to_sign
    for participant in run.participants.values():
        assert participant.membership.round.input_context == round_.input_context


def test_what_is_rotated_and_sampled_is_so_for_the_named_model() -> None:
    config = later(encoding=Pipeline.parse("sample(rate=0.5) | rotate | quantise(bits=16, range=1.0)"))
    brought = {name: Contribution({"values": np.full(64, 0.5, np.float32)}) for name in NAMES}
    run = set_up(config, brought, rng=SeededRng(bytes(32)), now=NOW, deployment=deployment())
    made, round_ = run.play().aggregate, run.coordinator.round
    assert made is not None
    mean = made.mean(config, round_.input_context).arrays["values"]
    np.testing.assert_allclose(mean[mean != 0], 1.0, atol=1e-3)  # half of the values, each for two
    assert np.count_nonzero(mean) == 32
    elsewhere = made.mean(config, round_.context).arrays["values"]
    assert not np.allclose(elsewhere[elsewhere != 0], 1.0, atol=0.1)


def test_a_round_in_groups_is_about_one_model_and_each_group_decodes_for_it() -> None:
    text = "sample(rate=0.5, per=group) | rotate | quantise(bits=16, range=1.0)"
    whole = later(encoding=Pipeline.parse(text), groups=Groups.parse(3, "mean"))
    ids = GroupedRoundId(RoundId(b"a grouped round."), encode_config(whole))
    update, names = whole.schema.check({"values": np.full(64, 0.5, np.float32)}), ("p1", "p2", "p3")
    for number in (1, 2, 3):
        config = decode_config(ids.group_config(number))
        assert config.model_later
        opened = Round(ids.round_id(number), config, bind(ids.round_id(number), ids.group_config(number), bytes(32)))
        context = opened.about(MODEL).input_context  # as a participant has it
        vector = config.code.encode(update, 1, Secret(bytes(32)), context)
        words = vector.read(0, config.vector_len, config.ring_dtype)
        mean = GroupSum(Aggregate(words, names[:1]), context).mean(config)
        assert mean is not None
        values = mean.arrays["values"]
        np.testing.assert_allclose(values[values != 0], 1.0, atol=1e-3)


def test_receipts_that_name_two_models_of_one_round_contradict_each_other() -> None:
    run = start(later())
    round_ = run.play().round
    one, other = (
        Receipt.sign(
            Statement.of(about, run.coordinator.roster, tuple(NAMES), bytes(32)), deployment().coordinator, NOW
        )
        for about in (round_, replace(round_, named=OTHER))
    )
    found = compare_receipts(one, other, deployment().trust)
    assert found == ReceiptComparison(Agreement.CONTRADICT, ("context", "model_digest"))


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_the_sidecar_opens_no_such_round() -> None:
    with pytest.raises(ConfigError, match="this coordinator has no call by which a model could be named later"):
        RoundOpener.read(encode_config(later()))


def test_a_client_of_the_sidecar_joins_no_such_round() -> None:
    """Not even one whose caller gives the zeros of the configuration for its model."""
    talk = Conversation(later())
    talk.play()
    assert all("such rounds are for a framework's own channel" in str(error) for error in talk.errors.values())
    assert len(talk.errors) == 5
    with Patch() as patch:
        without_check(patch, Participation, "_join", "model-later-offered")
        talk = Conversation(later())
        talk.play()
    assert talk.results == {}  # the session itself takes no vector so early
