"""A result that t survivors signed is the only one of its round that t survivors can have signed."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import Certify, FindRound
from secagg_client.participation.results import RoundResult
from secagg_client.participation.session import Participation

from secagg.config import RoundConfig
from secagg.crypto import labels
from secagg.errors import AuthenticationError, ConfigError, DecodeError, NotInRoundError, ProtocolViolation, SecAggError
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import ConsistencyProof, Index, ParticipantId, Phase
from secagg.receipts import Agreement, compare_receipts
from secagg.rounds.certification import Certification, Result
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.wire import agreement
from secagg.wire.agreement import encode_proof
from secagg.wire.calls import FETCH_AGGREGATE, REVEAL
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.receipts import encode_receipt
from secagg.wire.results import PackedAggregate
from tests.conversing import Conversation, in_bytes, make_contribution, make_terms, makes
from tests.encrypted_rounds import encrypted_config
from tests.rounds import SEMI_HONEST, deployment, make_config

NAMES = participant_names(4)
VICTIM = NAMES[1]
Signatures = dict[Index, bytes]


def certifying(
    tamper: Callable[[Conversation, PreparedCall[Any], ParticipantId, Parts], Parts] | None = None,
) -> Conversation:
    """A played round of four, t = 3, whose answers may have been changed."""
    round_ = Conversation(make_config(4, max_colluding=1, threshold=3, certify=True))
    if tamper is not None:
        round_.tamper = lambda made, name, parts: tamper(round_, made, name, parts)
    round_.play()
    return round_


def test_honest_survivors_certify_their_result() -> None:
    round_ = certifying()
    assert set(round_.results) == set(NAMES)
    assert all(result.certified for result in round_.results.values())
    assert round_.methods(VICTIM)[-2:] == ["Certify", "FetchAggregate"]


def test_nothing_is_certified_that_was_not_asked_for() -> None:
    round_ = Conversation(make_config(4))
    round_.play()
    assert not any(result.certified for result in round_.results.values())
    assert "Certify" not in round_.methods(VICTIM)


def proof_for_victim(change: Callable[[Conversation, Signatures], Signatures]) -> Conversation:
    """The victim is given other signatures than there are."""

    def tamper(round_: Conversation, made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        if not isinstance(made, Certify) or name != VICTIM:
            return parts
        changed = change(round_, dict(round_.certification.proof().signatures))
        return in_bytes(encode_proof(ConsistencyProof(changed)))

    return certifying(tamper)


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_too_few_signatures_certify_nothing_and_lose_nothing(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A coordinator may withhold signatures: the result is there, and says that it is not certified."""

    def withhold(_: Conversation, signatures: Signatures) -> Signatures:
        return dict(list(signatures.items())[:kept])

    result = proof_for_victim(withhold).results[VICTIM]
    assert result.mean is not None
    assert result.certified == (kept >= 3)
    monkeypatch.setattr(Result, "is_certified", lambda *_: True)
    assert proof_for_victim(withhold).results[VICTIM].certified, "the twin counts nothing"


def forged(round_: Conversation, signatures: Signatures) -> Signatures:
    del round_
    return signatures | {Index(3): signatures[Index(4)]}


def of_another_round(round_: Conversation, signatures: Signatures) -> Signatures:
    del round_
    return {**certifying().certification.proof().signatures, Index(1): signatures[Index(1)]}


def of_other_phase(round_: Conversation, signatures: Signatures) -> Signatures:
    """The same participant's signature of the survivors."""
    proof = round_.coordinator.answer(ParticipantId("participant-00003"), Phase.CONSISTENCY_CHECK)
    assert isinstance(proof, ConsistencyProof)
    return signatures | {Index(3): proof.signatures[Index(3)]}


@pytest.mark.parametrize("change", [forged, of_another_round, of_other_phase])
def test_a_signature_under_anything_else_is_refused(
    change: Callable[[Conversation, Signatures], Signatures], monkeypatch: pytest.MonkeyPatch
) -> None:
    round_ = proof_for_victim(change)
    refused = round_.errors[VICTIM]
    assert isinstance(refused, AuthenticationError)
    assert refused.culprit == "coordinator"
    assert "is not under the result that we were given" in str(refused)
    without_check(monkeypatch, Result, "is_certified", "C90-signatures")
    assert proof_for_victim(change).results[VICTIM].certified


def test_who_is_no_survivor_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def stranger(_: Conversation, signatures: Signatures) -> Signatures:
        kept = dict(list(signatures.items())[:2])
        return kept | {Index(9): signatures[Index(4)]}

    assert isinstance(proof_for_victim(stranger).errors[VICTIM], ProtocolViolation)
    without_check(monkeypatch, Result, "is_certified", "C90")
    with pytest.raises(KeyError):
        proof_for_victim(stranger)


def test_one_signer_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(round_: Conversation, made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        if not isinstance(made, Certify) or name != VICTIM:
            return parts
        signature = round_.certification.proof().signatures[Index(1)]
        return deque(
            part.SerializeToString() for _ in range(3) for part in encode_proof(ConsistencyProof({Index(1): signature}))
        )

    assert isinstance(certifying(repeated).errors[VICTIM], DecodeError)
    monkeypatch.setattr(agreement, "fresh_index", lambda key, *_: Index(key))
    assert not certifying(repeated).results[VICTIM].certified, "by index they count once all the same"


def two_results(round_: Conversation, made: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
    """Two participants are told one result and two another; everyone gets the signatures that fit."""
    half = NAMES.index(name) // 2
    aggregate = round_.coordinator.aggregate
    if half == 0 or aggregate is None:
        return parts
    sums = aggregate.sums.copy()
    sums[0] += 300
    lie = PackedAggregate.of(type(aggregate)(sums, aggregate.survivors), round_.config)
    if makes(made, REVEAL):
        return in_bytes([encode_receipt(round_.receipt(lie.survivors, lie.digest))])
    return in_bytes(lie.parts()) if makes(made, FETCH_AGGREGATE) else parts


class Split(Conversation):
    """A coordinator that keeps the signatures under each of its two results."""

    def _deliver(self, name: ParticipantId, call: PreparedCall[Any]) -> None:
        if not isinstance(call, Certify):
            super()._deliver(name, call)
            return
        self.signed: dict[int, Signatures] = getattr(self, "signed", {})
        half = NAMES.index(name) // 2
        self.signed.setdefault(half, {})[Index(1 + NAMES.index(name))] = call.signature

    def _answer(self, name: ParticipantId, call: PreparedCall[Any]) -> Parts | SecAggError | None:
        if not isinstance(call, Certify):
            return super()._answer(name, call)
        if sum(map(len, self.signed.values())) < 4:
            return None
        return in_bytes(encode_proof(ConsistencyProof(self.signed[NAMES.index(name) // 2])))


def test_a_cohort_that_is_told_two_results_certifies_neither() -> None:
    """t = 3 of 4. Two and two is the best that a coordinator without colluders can do."""
    round_ = Split(make_config(4, max_colluding=1, threshold=3, certify=True))
    round_.tamper = lambda made, name, parts: two_results(round_, made, name, parts)
    round_.play()
    means = {r.mean.arrays["values"][0] for r in round_.results.values() if r.mean is not None}
    assert len(means) == 2, "it can still tell both"
    assert not any(result.certified for result in round_.results.values())


def largest_count(honest_here: int, colluding: int) -> int:
    """Signatures that a coordinator has under a result: of the honest who were told it, and of all who collude."""
    return honest_here + colluding


@settings(max_examples=300, deadline=None)
@given(n=st.integers(3, 40), data=st.data())
def test_no_two_results_of_a_round_are_certified(n: int, data: st.DataObject) -> None:
    """The law behind 2t > n + n_C, for every way to tell the honest one of two results."""
    colluding = data.draw(st.integers(0, n - 1))
    thresholds = [t for t in range(3, n + 1) if 2 * t > n + colluding]
    honest = n - colluding
    for t in thresholds:
        for told_first in range(honest + 1):
            counts = largest_count(told_first, colluding), largest_count(honest - told_first, colluding)
            assert min(counts) < t
    below = (n + colluding) // 2
    if below >= 3 and honest >= 2:
        first = honest // 2
        assert min(largest_count(first, colluding), largest_count(honest - first, colluding)) >= below, "one less fails"


def test_two_lists_of_members_under_one_round_id_contradict_each_other() -> None:
    """Each list certifies a result of its own, for nobody is on both. The receipts prove that there were two."""
    config = make_config(4, max_colluding=1, threshold=3, certify=True)
    held: list[RoundResult] = []
    for names in (participant_names(8)[:4], participant_names(8)[4:]):
        round_ = Conversation(config)
        find = FindRound(task=config.task)
        round_.play({n: Participation(make_terms(n), make_contribution(config, int(n[-5:])), find) for n in names})
        assert all(result.certified for result in round_.results.values())
        held.append(round_.results[names[0]])
    told = compare_receipts(held[0].receipt, held[1].receipt, deployment().trust)
    assert told.verdict is Agreement.CONTRADICT
    assert set(told.differences) == {"roster_digest", "survivors", "sums_digest"}


def results(round_: Conversation, *digests: bytes) -> list[Result]:
    return [Result.of(round_.coordinator.round, round_.coordinator.roster, NAMES, digest) for digest in digests]


def signatures(result: Result, signers: Sequence[int]) -> ConsistencyProof:
    made = {Index(i): deployment().identities[NAMES[i - 1]].sign(result.to_sign) for i in signers}
    return ConsistencyProof(made)


def test_the_law_holds_for_real_signatures() -> None:
    """Four participants, the last of them colludes and signs both results: no way to tell the others certifies two."""
    first, second = results(certifying(), b"1" * 32, b"2" * 32)
    for size in range(4):
        for told in combinations((1, 2, 3), size):
            others = [i for i in (1, 2, 3) if i not in told]
            one = first.is_certified(signatures(first, [*told, 4]))
            assert not (one and second.is_certified(signatures(second, [*others, 4])))
    weak = [Result(r.to_sign, r.signers, 2) for r in (first, second)]
    assert weak[0].is_certified(signatures(first, [1, 4])), "the twin: with 2t = n + n_C minus one"
    assert weak[1].is_certified(signatures(second, [2, 4])), "both are"


def test_the_coordinator_takes_true_signatures_of_survivors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A participant must not be able to make the others refuse their results."""
    right, wrong = results(certifying(), b"1" * 32, b"2" * 32)
    collected = Certification(right, [Index(i) for i in (1, 2, 3, 4)])
    sign = signatures(right, [1, 2, 3, 4]).signatures
    with pytest.raises(AuthenticationError) as caught:
        collected.receive(NAMES[0], signatures(wrong, [1]).signatures[Index(1)])
    assert caught.value.culprit == NAMES[0]
    with pytest.raises(NotInRoundError):
        collected.receive(ParticipantId("zoe"), sign[Index(1)])
    assert collected.proof().signatures == {}
    for i in (1, 2, 3):
        collected.receive(NAMES[i - 1], sign[Index(i)])
        collected.receive(NAMES[i - 1], b"")  # a repeat changes nothing
        assert not collected.closed
    collected.receive(NAMES[3], sign[Index(4)])
    assert collected.closed
    assert collected.proof().signatures == sign

    without_check(monkeypatch, Certification, "check", "certification-signature")
    spoiled = Certification(right, [Index(1)])
    spoiled.receive(NAMES[0], b"forged")
    with pytest.raises(AuthenticationError):
        right.is_certified(spoiled.proof())


def test_nobody_waits_for_who_left_or_came_too_late() -> None:
    (right,) = results(certifying(), b"1" * 32)
    sign = signatures(right, [1, 2, 3, 4]).signatures
    collected = Certification(right, [Index(1), Index(2), Index(3)])
    collected.receive(NAMES[0], sign[Index(1)])
    collected.receive(NAMES[3], sign[Index(4)])  # not awaited, but a survivor
    collected.leave(NAMES[1])
    collected.leave(ParticipantId("zoe"))
    assert not collected.closed
    collected.leave(NAMES[2])
    assert collected.closed
    before = collected.proof()
    collected.receive(NAMES[1], sign[Index(2)])
    assert collected.proof() == before, "what was answered stays the answer"
    timed = Certification(right, [Index(1)])
    timed.close()
    assert timed.closed
    timed.leave(NAMES[3])
    assert timed.closed, "what is over stays over"
    assert timed.proof().signatures == {}
    decryptors = Certification(right, [Index(1), Index(9)])  # under a joint key, one who is not in the sum decrypts too
    decryptors.receive(NAMES[0], sign[Index(1)])
    assert decryptors.closed
    assert Certification(right, []).closed


def test_certify_needs_signatures_and_a_majority() -> None:
    with pytest.raises(ConfigError, match="certify needs the participants' signatures"):
        make_config(5, SEMI_HONEST, certify=True)
    config = make_config(4, threshold=3, max_colluding=1, certify=True)
    assert decode_config(encode_config(config)).certify
    assert not decode_config(encode_config(make_config(4))).certify


def test_certify_under_a_dealt_key_needs_a_majority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere the threat model or the custody demands it already."""
    config: RoundConfig = encrypted_config(Scheme.BFV, Custody.PARTICIPANTS, 6, threshold=3)
    with pytest.raises(ConfigError, match="raise threshold from 3 to 4 or more"):
        replace(config, certify=True)
    assert replace(config, threshold=4, certify=True).certify
    monkeypatch.setattr(RoundConfig, "_check_certify", lambda self: None)
    assert replace(config, certify=True).certify


def test_the_signature_has_a_label_of_its_own() -> None:
    others = {value for name, value in vars(labels).items() if name.isupper() and name != "RESULT_SIGNATURE"}
    assert labels.RESULT_SIGNATURE not in others
