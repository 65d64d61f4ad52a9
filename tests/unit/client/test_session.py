"""One participation without a network: what is sent, what is checked, what is refused, and how it ends."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import FindRound, SendMessage
from secagg_client.participation import session
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution, choose, digest_of, find

from secagg.config import ThreatModel
from secagg.context import Round, RoundId, digest_model
from secagg.encoding import fixedpoint
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import (
    AuthenticationError,
    ConfigError,
    DecodeError,
    InputError,
    LocalError,
    ModelMismatch,
    NotInRoundError,
    ParticipationCancelled,
    PolicyViolation,
    ProtocolViolation,
    RoundTimeoutError,
    SecAggError,
    TransportError,
)
from secagg.messages import AdvertiseKeys, LeaveReason, ParticipantId
from secagg.policy import Policy
from secagg.roster import COORDINATOR
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire.calls import ADVERTISE, CHECK, FETCH_AGGREGATE, REVEAL, SEND_INPUT, SHARE, Call
from secagg.wire.configuration import encode_config
from secagg.wire.receipts import encode_receipt
from secagg.wire.v1 import data_plane_pb2 as pb
from tests.conversing import LENIENT, Conversation, in_bytes, make_contribution, make_terms, makes, weighted_mean
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, make_config

NAMES = participant_names(5)
VICTIM = NAMES[1]
SCHEMA = Schema((ArraySpec("layer/w", (3, 4)), ArraySpec("layer/b", (), "float64")))
CHANGE = Callable[[Any], None]


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_all_get_the_weighted_mean(threat_model: ThreatModel) -> None:
    round_ = Conversation(make_config(5, threat_model, schema=SCHEMA))
    round_.play()
    checks = ["Check"] if threat_model is ACTIVE else []
    truth = weighted_mean(round_.config, NAMES)
    for name in NAMES:
        assert round_.methods(name) == [
            "FindRound",
            "Advertise",
            "Share",
            "SendInput",
            *checks,
            "Reveal",
            "FetchAggregate",
        ]
        result = round_.results[name]
        assert result.survivors == tuple(NAMES)
        assert result.receipt.survivors == 5
        assert result.mean is not None
        assert result.mean.weight == 1 + 2 + 3 + 4 + 5
        assert result.mean.arrays["layer/w"].dtype == np.float32
        assert result.mean.arrays["layer/b"].shape == ()
        for array, values in truth.items():
            np.testing.assert_allclose(result.mean.arrays[array], values, rtol=0, atol=result.mean.error_bound)


def test_survivors_are_those_whose_input_came() -> None:
    round_ = Conversation(make_config(5, threshold=4, max_colluding=0))

    def stop(call: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        return deque([b"\xff"]) if makes(call, SHARE) and name == VICTIM else parts

    round_.tamper = stop
    round_.play()
    rest = [name for name in NAMES if name != VICTIM]
    assert isinstance(round_.errors[VICTIM], DecodeError)
    assert {round_.results[name].survivors for name in rest} == {tuple(rest)}
    mean = round_.results[NAMES[0]].mean
    assert mean is not None
    np.testing.assert_allclose(
        mean.arrays["values"], weighted_mean(round_.config, rest)["values"], rtol=0, atol=mean.error_bound
    )


@pytest.mark.parametrize("wanted", [False, True])
def test_a_receipt_is_enough_where_the_aggregate_is_not_given_or_not_wanted(wanted: bool) -> None:
    config = replace(make_config(5), release_to_participants=not wanted)
    round_ = Conversation(config)
    people = {
        name: Participation(
            make_terms(name), replace(make_contribution(config, 1), fetch_aggregate=wanted), FindRound(task="digits")
        )
        for name in NAMES
    }
    round_.play(people)
    for name in NAMES:
        assert round_.methods(name)[-1] == "Reveal"
        assert round_.results[name].aggregate is None
        assert round_.results[name].mean is None
        assert round_.results[name].receipt.survivors == 5


# --- refused before anything is sent ----------------------------------------------------------------------------------

GOOD = np.zeros(64, np.float32)


@pytest.mark.parametrize(
    ("update", "says"),
    [
        ({"values": np.array([0, np.nan], np.float32)}, "'values' is nan at index"),
        (np.array([[0, 1], [np.inf, 0]]), "'values' is inf at index"),
        ([0.0, 1.0], "this is list, not a numpy array"),
        ({"values": [0.0, 1.0]}, "'values' is list"),
        (GOOD.astype(">f4"), "cast it"),
    ],
)
def test_an_update_that_no_round_would_take_is_refused_before_any_round_is_looked_for(update: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Contribution(update=update, weight=1, model_digest=bytes(32))


@pytest.mark.parametrize("digest", ["0" * 32, None, bytearray(32), bytes(31)])
def test_so_is_what_is_no_digest_of_a_model(digest: Any) -> None:
    with pytest.raises(ConfigError, match="model_digest must be 32 bytes"):
        Contribution(update=GOOD, weight=1, model_digest=digest)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros(3, np.int64), "is int64; if it is a counter or an index, leave it out .*minimised"),
        (np.zeros(3, bool), "is bool; .*leave it out"),
        (np.zeros(3, np.float16), r"is float16; cast it with array.astype\('float32'\)"),
        (np.zeros(3, complex), "is complex128; leave it out"),
        (np.float32(3), "is numpy.float32, not a numpy array"),
        (np.ma.masked_less(np.zeros(3, np.float32), 1), "has masked values; fill them in"),
    ],
)
def test_arrays_that_have_no_mean_are_named_with_what_to_do(array: Any, says: str) -> None:
    """The counters of a state dict (`num_batches_tracked`) are the usual case."""
    for make in (
        lambda update: Contribution(update=update, weight=1, model_digest=bytes(32)),
        Schema.of,
    ):
        with pytest.raises(InputError, match=f"array 'bn.count' {says}") as caught:
            make({"w": np.zeros(2, np.float32), "bn.count": array})
        assert caught.value.array == "bn.count"


class Tensor:
    """What matters of a PyTorch tensor, without PyTorch."""

    def __init__(self, dtype: str, error: Exception) -> None:
        self.dtype = dtype
        self._error = error

    def detach(self) -> "Tensor":
        return self

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self._error


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (Tensor("torch.bfloat16", TypeError("Got unsupported ScalarType BFloat16")), r"cpu\(\)\.float\(\)\.numpy\(\)"),
        (Tensor("torch.float32", RuntimeError("Can't call numpy() on Tensor that requires grad")), r"detach\(\)\.cpu"),
        (object(), "object, not a numpy array"),
    ],
)
def test_tensors_are_named_with_how_to_convert_them(tensor: Any, says: str) -> None:
    for make in (Schema.of, digest_model):
        with pytest.raises(InputError, match=f"'layer'.*{says}") as caught:
            make({"layer": tensor})
        assert caught.value.array == "layer"
    with pytest.raises(InputError, match="an update is an array or a mapping"):
        Schema.of(tensor)


@pytest.mark.parametrize("update", [{}, np.zeros((0, 2), np.float32), {1: GOOD}, {"\ud800": GOOD}])
def test_arrays_that_no_schema_can_have_are_refused(update: Any) -> None:
    with pytest.raises(ConfigError):
        Contribution(update=update, weight=1, model_digest=bytes(32))


@pytest.mark.parametrize(
    ("update", "weight", "says"),
    [
        (np.zeros(63, np.float32), 1, r"shape \(63,\)"),
        (np.zeros(64, np.float64), 1, "float64, the task wants|<f8, the task wants"),
        ({"other": GOOD}, 1, "'other' is not in the task's schema"),
        ({"values": GOOD, "more": GOOD}, 1, "'more' is not in the task's schema"),
        (GOOD, 101, "weight must be"),
        (GOOD, 0, "weight must be"),
        (GOOD, 1.5, "weight must be"),
    ],
)
def test_an_update_that_does_not_fit_the_round_is_refused_before_it_is_joined(
    update: Any, weight: Any, says: str
) -> None:
    config = make_config(5)
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    terms = make_terms(VICTIM)
    contribution = Contribution(update=update, weight=weight, model_digest=bytes(32))
    participation = Participation(terms, contribution, offer)
    with pytest.raises(InputError, match=says) as caught:
        participation.advance(None)
    assert participation.leave_call(caught.value) is None
    # The caller may mend the update and take part in the same round.
    assert Participation(terms, make_contribution(config, 1), offer).advance(None) is not None


def on_a_ring(threat_model: ThreatModel) -> tuple[Participation, list[float]]:
    """One that has sent its keys in a round on a ring, and its clock."""
    config = replace(make_config(400, threat_model, threshold=300, max_colluding=4), graph="auto")
    assert config.ring is not None
    now = [NOW]
    terms = replace(make_terms(VICTIM), clock=lambda: now[0])
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    contribution = Contribution(update=GOOD, weight=1, model_digest=config.model_digest)
    participation = Participation(terms, contribution, offer)
    call = participation.advance(None)
    assert call is not None
    assert call.row is ADVERTISE
    return participation, now


@pytest.mark.parametrize(
    ("waited_s", "threat_model", "says"),
    [(661.0, ACTIVE, "661 s after our keys"), (659.0, ACTIVE, "another graph"), (661.0, SEMI_HONEST, "another graph")],
)
def test_a_list_of_members_that_took_longer_than_keys_are_collected_on_a_ring_is_refused(
    waited_s: float, threat_model: ThreatModel, says: str
) -> None:
    """A coordinator that lies could have tried so many lists that the ring is as it likes. What comes here is no list
    for a ring, so it is refused in any case; for which reason tells whether the time was looked at.
    """
    participation, now = on_a_ring(threat_model)
    now[0] += waited_s
    with pytest.raises(ProtocolViolation, match=says) as refused:
        participation.advance(deque([pb.RosterPart().SerializeToString()]))
    assert refused.value.culprit == COORDINATOR
    leave = participation.leave_call(refused.value)
    assert leave is not None
    assert leave.leave.reason is LeaveReason.REFUSED


def test_without_the_check_a_list_of_members_may_take_any_time_on_a_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: nobody looks at the time, and the list is refused for what is in it alone."""
    without_check(monkeypatch, session, "_check_waited", "waited-for-the-ring")
    participation, now = on_a_ring(ACTIVE)
    now[0] += 1_000_000.0
    with pytest.raises(ProtocolViolation, match="another graph"):
        participation.advance(deque([pb.RosterPart().SerializeToString()]))


def test_a_missing_array_is_named() -> None:
    config = make_config(5, schema=SCHEMA)
    update = {"layer/w": np.zeros((3, 4), np.float32)}
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    contribution = Contribution(update=update, weight=1, model_digest=bytes(32))
    with pytest.raises(InputError, match="'layer/b' of the task's schema is missing") as caught:
        Participation(make_terms(VICTIM), contribution, offer).advance(None)
    assert caught.value.array == "layer/b"


def first_call(
    policy: Policy = LENIENT, digest: bytes = bytes(32), model: ThreatModel = ACTIVE
) -> PreparedCall[Any] | None:
    """What a participant sends after the offer of a round about model 0."""
    config = make_config(5, model)
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    contribution = Contribution(update=GOOD, weight=1, model_digest=digest)
    participation = Participation(make_terms(VICTIM, policy), contribution, offer)
    try:
        return participation.advance(None)
    except SecAggError as error:
        leave = participation.leave_call(error)
        assert leave is not None
        assert leave.leave.reason is LeaveReason.REFUSED
        raise


def test_another_model_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelMismatch, match="model 0000000000000000…, ours is 0101010101010101…"):
        first_call(digest=b"\x01" * 32)
    without_check(monkeypatch, Round, "about", "C4")
    assert makes(first_call(digest=b"\x01" * 32), ADVERTISE)


@pytest.mark.parametrize(
    ("policy", "model", "says"),
    [
        (Policy(), SEMI_HONEST, "threat model SEMI_HONEST"),
        (Policy(min_cohort=6), ACTIVE, "below the minimum cohort 6"),
        (Policy(tasks=frozenset({"faces"})), ACTIVE, "task 'digits'"),
        (Policy(require_distributed_noise=True), ACTIVE, "no distributed noise"),
    ],
)
def test_below_policy_no_key_leaves(policy: Policy, model: ThreatModel, says: str) -> None:
    with pytest.raises(PolicyViolation, match=says):
        first_call(policy, model=model)


def test_below_policy_a_key_would_leave_without_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "check", lambda self, config: None)
    assert makes(first_call(Policy(min_cohort=6)), ADVERTISE)


def test_the_model_is_given_once() -> None:
    model = {"w": np.ones(3)}
    assert digest_of(model, None) == digest_model(model)
    assert digest_of(None, bytes(32)) == bytes(32)
    for wrong in (bytes(31), "00" * 32, bytearray(32)):
        with pytest.raises(ConfigError, match="model_digest must be 32 bytes, not"):
            digest_of(None, wrong)  # type: ignore[arg-type]
    for arguments in [(None, None), (model, bytes(32))]:
        with pytest.raises(ConfigError, match="either the model"):
            digest_of(*arguments)


def test_the_round_is_named_once() -> None:
    config = make_config(5)
    offer, terms = Offer(RoundId(bytes(16)), config, encode_config(config)), make_terms(VICTIM)
    for task, round_id, offered in [
        (None, None, None),
        ("a", bytes(16), None),
        ("a", None, offer),
        (None, b"12", None),
    ]:
        with pytest.raises(ConfigError):
            choose(terms, task, round_id, offered)
    assert choose(terms, None, None, offer) is offer


# --- offers -----------------------------------------------------------------------------------------------------------


def offered(call: FindRound, **changes: Any) -> Offer:
    config = encode_config(make_config(5, task=changes.pop("task", "digits")))
    return call.read(in_bytes([pb.RoundOfferPart(**{"round_id": bytes(16), "config": config, **changes})]))


def test_a_round_of_another_task_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    call = FindRound(task="digits")
    assert offered(call).config.task == "digits"
    with pytest.raises(ProtocolViolation, match="a round of task 'faces' was offered, 'digits' was asked for"):
        offered(call, task="faces")
    without_check(monkeypatch, FindRound, "_check", "another-task")
    assert offered(call, task="faces").config.task == "faces"


def test_another_round_than_asked_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    call = FindRound(round_id=RoundId(b"\x01" * 16))
    with pytest.raises(ProtocolViolation, match="was offered, 0101"):
        offered(call)
    without_check(monkeypatch, FindRound, "_check", "another-round")
    assert offered(call).round_id == bytes(16)


def test_a_round_is_not_taken_part_in_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adversary: a coordinator that offers a round again to see a second masking, with fresh keys, of our update."""
    config = make_config(5)
    terms = make_terms(VICTIM)
    seen = RoundId(bytes(16))
    offer = Offer(seen, config, encode_config(config))
    first = Participation(terms, make_contribution(config, 1), offer).advance(None)
    assert isinstance(first, SendMessage)
    assert isinstance(first.message, AdvertiseKeys)
    again = find(terms, "digits", None)
    assert tuple(again.seen) == (seen,)
    with pytest.raises(ProtocolViolation, match="offered again; keys are made once per round"):
        offered(again)
    with pytest.raises(LocalError, match="took part in round 0000"):
        find(terms, None, seen)
    with pytest.raises(LocalError, match="took part in round 0000"):
        choose(terms, None, None, offer)
    with pytest.raises(LocalError, match="took part in round 0000"):
        Participation(terms, make_contribution(config, 1), offer).advance(None)
    without_check(monkeypatch, type(terms.seen), "_check", "joined-once")
    second = Participation(terms, make_contribution(config, 1), offer).advance(None)
    assert isinstance(second, SendMessage)
    assert isinstance(second.message, AdvertiseKeys)
    assert second.message.mask_public_key != first.message.mask_public_key


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"\xff"],
        [pb.RoundOfferPart(config=b"").SerializeToString()],
        [pb.RoundOfferPart(round_id=bytes(15), config=encode_config(make_config(5))).SerializeToString()],
        [pb.RoundOfferPart(round_id=bytes(16), config=b"\xff\xff").SerializeToString()],
        [pb.RoundOfferPart(round_id=bytes(16)).SerializeToString()] * 2,
    ],
)
def test_a_malformed_offer_is_refused(parts: list[bytes]) -> None:
    with pytest.raises((DecodeError, ProtocolViolation)):
        FindRound(task="digits").read(deque(parts))


# --- a coordinator that cheats ----------------------------------------------------------------------------------------


def changed(kind: type[Any], change: CHANGE) -> Callable[[Parts], Parts]:
    """Every part of an answer, changed."""

    def apply(parts: Parts) -> Parts:
        out: Parts = deque()
        for part in parts:
            message = kind.FromString(part)
            change(message)
            out.append(message.SerializeToString())
        return out

    return apply


def overlap(sets: pb.SurvivorSet) -> None:
    sets.dropped.append(sets.survivors[-1])


def without_us(sets: pb.SurvivorSet) -> None:
    del sets.survivors[1]
    sets.dropped.append(2)


def too_few_survivors(sets: pb.SurvivorSet) -> None:
    sets.dropped.extend(i for i in sets.survivors if i > 2)
    del sets.survivors[2:]


def stranger_key(part: pb.RosterPart) -> None:
    part.members[0].keys.mask_public_key = bytes(31) + b"\x09"


def duplicate_key(part: pb.RosterPart) -> None:
    part.members[0].keys.mask_public_key = part.members[2].keys.mask_public_key


def our_key(part: pb.RosterPart) -> None:
    part.members[1].keys.channel_public_key = bytes(31) + b"\x09"


def broken_seal(part: pb.ShareDeliveryPart) -> None:
    part.entries = bytes(len(part.entries))


def few_signatures(part: pb.ConsistencyProofPart) -> None:
    del part.signatures[2:]


def foreign_signature(part: pb.ConsistencyProofPart) -> None:
    part.signatures[0].signature = part.signatures[2].signature


CHEATS: list[tuple[Call[Any], Callable[[Parts], Parts], type[SecAggError], str]] = [
    (ADVERTISE, changed(pb.RosterPart, stranger_key), AuthenticationError, "signature"),
    (ADVERTISE, changed(pb.RosterPart, duplicate_key), ProtocolViolation, "stands twice"),
    (ADVERTISE, changed(pb.RosterPart, our_key), ProtocolViolation, "own entry"),
    (SHARE, changed(pb.ShareDeliveryPart, broken_seal), AuthenticationError, "the shares|seal"),
    (SEND_INPUT, changed(pb.SurvivorSet, overlap), ProtocolViolation, "both survivors and dropped"),
    (SEND_INPUT, changed(pb.SurvivorSet, without_us), ProtocolViolation, "own input is called dropped"),
    (SEND_INPUT, changed(pb.SurvivorSet, too_few_survivors), ProtocolViolation, "below threshold"),
    (CHECK, changed(pb.ConsistencyProofPart, few_signatures), ProtocolViolation, "below threshold"),
    (CHECK, changed(pb.ConsistencyProofPart, foreign_signature), AuthenticationError, "signature"),
    (CHECK, lambda parts: deque([b"\xff\xff"]), DecodeError, "not a"),
    (SEND_INPUT, lambda parts: parts + parts, DecodeError, "2 answers where one"),
    (SEND_INPUT, lambda parts: deque(), DecodeError, "0 answers where one"),
    (CHECK, lambda parts: deque([b""] * 100_000), DecodeError, "longer than"),
]


@pytest.mark.parametrize(("call", "change", "error", "says"), CHEATS)
def test_a_cheat_is_named_and_nothing_more_leaves(
    call: Call[Any], change: Callable[[Parts], Parts], error: type[SecAggError], says: str
) -> None:
    round_ = Conversation(make_config(5, threshold=4, max_colluding=0))

    def tamper(made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        return change(parts) if makes(made, call) and name == VICTIM else parts

    round_.tamper = tamper
    round_.play()
    with pytest.raises(error, match=says):
        raise round_.errors[VICTIM]
    assert round_.made[VICTIM][-1].method == call.name
    assert "Reveal" not in round_.methods(VICTIM)
    leave = round_.leave_calls[VICTIM]
    assert leave is not None
    assert leave.leave.reason is LeaveReason.REFUSED


def test_without_the_check_of_overlaps_shares_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    from secagg.masked.survivors import AwaitingSurvivors

    monkeypatch.setattr(AwaitingSurvivors, "check", lambda self, survivors: None)
    round_ = Conversation(make_config(5, SEMI_HONEST))
    cheat = changed(pb.SurvivorSet, overlap)
    round_.tamper = lambda made, name, parts: cheat(parts) if makes(made, SEND_INPUT) else parts
    round_.play()
    assert "Reveal" in round_.methods(VICTIM)


def test_a_roster_of_another_round_is_refused() -> None:
    """A replay: signatures are bound to the round they were made in."""
    kept: dict[ParticipantId, Parts] = {}

    def keep(made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        if makes(made, ADVERTISE):
            kept[name] = deque(parts)
        return parts

    Conversation(make_config(5), tamper=keep).play()
    later = Conversation(make_config(5), round_id=RoundId(b"\x02" * 16))
    later.tamper = lambda made, name, parts: kept[name] if makes(made, ADVERTISE) else parts
    later.play()
    assert all("own entry" in str(later.errors[name]) for name in NAMES)
    assert all(later.methods(name) == ["FindRound", "Advertise"] for name in NAMES)


def lie_about_count(receipt: pb.Receipt) -> None:
    receipt.survivors += 1


def lie_about_names(part: pb.AggregatePart) -> None:
    if part.survivors:
        part.survivors[4] = "zoe"


@dataclass(frozen=True)
class Lie:
    """A change of an answer, how it is named, and the one check that finds it."""

    call: Call[Any]
    change: Callable[[Parts], Parts]
    error: type[SecAggError]
    says: str
    check: tuple[Any, str, str]


LIES = [
    Lie(
        REVEAL,
        changed(pb.Receipt, lie_about_count),
        ProtocolViolation,
        "the receipt speaks of 6 survivors, we agreed on 5",
        (Participation, "_believed", "survivor-count"),
    ),
    Lie(
        FETCH_AGGREGATE,
        changed(pb.AggregatePart, lie_about_names),
        ProtocolViolation,
        "other survivors than we agreed on",
        (session, "_check_aggregate", "aggregate-survivors"),
    ),
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.says)
def test_a_lie_about_the_result_is_named(monkeypatch: pytest.MonkeyPatch, lie: Lie) -> None:
    def play() -> Conversation:
        round_ = Conversation(make_config(5))
        round_.tamper = lambda made, name, parts: (
            lie.change(parts) if makes(made, lie.call) and name == VICTIM else parts
        )
        round_.play()
        return round_

    with pytest.raises(lie.error, match=lie.says):
        raise play().errors[VICTIM]
    assert play().leave_calls[VICTIM] is None  # the round is over: nobody to leave
    without_check(monkeypatch, *lie.check)
    assert VICTIM in play().results


def test_a_sum_that_the_signed_receipt_does_not_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def play() -> Conversation:
        round_ = Conversation(make_config(5))
        round_.tamper = lambda made, name, parts: (
            in_bytes([encode_receipt(round_.receipt(tuple(NAMES), bytes(32)))])
            if makes(made, REVEAL) and name == VICTIM
            else parts
        )
        round_.play()
        return round_

    with pytest.raises(AuthenticationError, match="not the one that our receipt certifies"):
        raise play().errors[VICTIM]
    without_check(monkeypatch, session, "_check_aggregate", "C31")
    assert VICTIM in play().results


def test_a_sum_of_impossible_weight_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    code, schema = FixedPoint(1.0, 16, 100), Schema((ArraySpec("values", (3,)),))
    good = np.array([0, 0, 0, 500], np.uint32)
    assert fixedpoint.decode_mean(code, schema, good, 5).weight == 500
    for weight in (0, 4, 501):
        with pytest.raises(ProtocolViolation, match=f"weight {weight} is not one that 5"):
            fixedpoint.decode_mean(code, schema, np.array([0, 0, 0, weight], np.uint32), 5)
    without_check(monkeypatch, fixedpoint, "total_weight", "C32")
    with pytest.raises(ZeroDivisionError):
        fixedpoint.decode_mean(code, schema, np.array([0, 0, 0, 0], np.uint32), 5)


# --- how it ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KeyboardInterrupt(), LeaveReason.CANCELLED),
        (ParticipationCancelled("no more"), LeaveReason.CANCELLED),
        (RoundTimeoutError("too late"), LeaveReason.CANCELLED),
        (TransportError("gone"), LeaveReason.FAILED),
        (InputError("changed"), LeaveReason.FAILED),
        (NotInRoundError("too late"), None),
        (ProtocolViolation("another process takes part"), None),  # our keys were refused: to leave would be its leaving
    ],
)
def test_leaving_says_why(error: BaseException, reason: LeaveReason | None) -> None:
    config = make_config(5)
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    participation = Participation(make_terms(VICTIM), make_contribution(config, 1), offer)
    participation.advance(None)
    leave = participation.leave_call(error)
    assert (leave and leave.leave.reason) == reason
    roster = in_bytes([pb.RosterPart()])
    with pytest.raises(ProtocolViolation):  # the secrets are gone
        participation.advance(roster)


def test_who_found_no_round_leaves_none() -> None:
    participation = Participation(make_terms(VICTIM), make_contribution(make_config(5), 1), FindRound(task="digits"))
    participation.advance(None)
    assert participation.leave_call(KeyboardInterrupt()) is None
    with pytest.raises(LocalError, match="not over"):
        participation.result.receipt  # noqa: B018
