"""Custody `participants`. Adversaries: a dealer, a participant that reports or hands in another sum, a coordinator."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest

from secagg.encoding.packing import pack
from secagg.errors import AbortReason, AuthenticationError, ProtocolViolation
from secagg.events import Accused, DropReason, Event, ParticipantDropped, Verdict
from secagg.homomorphic import encrypted_input, transcripts
from secagg.homomorphic.dealt_key.confirm_key import AwaitingKey, ConfirmKeyPhase
from secagg.homomorphic.dealt_key.release_sum import AwaitingOrder, ReleaseSumPhase
from secagg.homomorphic.dealt_key.report_sum import ReportSumPhase
from secagg.lattice.parameters import Scheme
from secagg.lattice.residues import pack_residues
from secagg.messages import (
    ConsistencyProof,
    CoordinatorMessage,
    EncryptedSum,
    Index,
    ParticipantId,
    ParticipantMessage,
    Phase,
    ReleaseOrder,
    ShareDelivery,
    ShareKeys,
    SumChunk,
    SumReport,
    SurvivorSet,
)
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Envelope, Run, Up
from secagg.wire.results import sums_digest
from tests.encrypted_rounds import BFV, DEALT, dealt_state, encrypted_config, machine, prepare
from tests.rounds import Integers, true_sum
from tests.security.encrypted_adversary import Wiretap, answering, sending

NAMES = participant_names(5)
DEALER, VICTIM = NAMES[0], NAMES[3]
OWN = Index(4)
REST = [name for name in NAMES if name != VICTIM]


def drops(run: Run) -> dict[ParticipantId, tuple[Phase, DropReason]]:
    return {e.participant: (e.phase, e.reason) for e in run.events if isinstance(e, ParticipantDropped)}


def check_sum(run: Run, names: Iterable[ParticipantId]) -> None:
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    assert list(aggregate.survivors) == list(names)
    assert np.array_equal(aggregate.sums, true_sum(run, names))


# -- A dealer that gives one participant another key.


def two_keys(scheme: Scheme = BFV) -> tuple[Run, Wiretap]:
    def deal(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
        if not isinstance(message, ShareKeys):
            return (message,)
        state = machine(run, DEALER)._state
        assert isinstance(state, AwaitingKey)
        victim = next(m for m in state.checked.members.values() if m.participant_id == VICTIM)
        other = dealing.seal(
            state.checked.membership.round,
            dealing.DEALT_KEY,
            state.channel,
            sender=DEALER,
            receiver=victim,
            content=bytes(32),
            digests=message.commitment,
        )
        return (dealing.deal(state.checked, message.commitment, {**message.sealed, victim.index: other}),)

    tap = Wiretap(sending(DEALER, deal))
    run = prepare(encrypted_config(scheme, DEALT), hook=tap)
    return run, tap


@pytest.mark.parametrize("scheme", Scheme)
def test_a_dealer_of_two_keys_is_named_before_the_victim_encrypts(scheme: Scheme) -> None:
    """The digest beside the seal is the commitment, the same for all, and the dealer signed it: that is proof for the
    victim. To the others it is the victim's word.
    """
    run, tap = two_keys(scheme)
    run.play()
    error = run.errors[VICTIM]
    assert isinstance(error, AuthenticationError)
    assert error.culprit == DEALER
    assert tap.inputs(VICTIM) == []
    assert drops(run)[VICTIM] == (Phase.CONFIRM_KEY, DropReason.REFUSED)
    assert [e for e in run.events if isinstance(e, Accused)] == [Accused(DEALER, VICTIM, Verdict.HEARSAY)]
    check_sum(run, REST)


def test_a_dealer_commits_to_one_key() -> None:
    """Another digest beside one of the seals is refused at the door: the dealer's own message proves it."""

    def deal(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
        if not isinstance(message, ShareKeys):
            return (message,)
        entry = bytearray(message.sealed[OWN])
        entry[dealing.DEALT_KEY.seal_size] ^= 1
        return (replace(message, sealed={**message.sealed, OWN: bytes(entry)}), message)

    run = prepare(encrypted_config(BFV, DEALT), hook=sending(DEALER, deal))
    run.play()
    [(up, error)] = run.refused
    assert (up.participant, str(error)) == (DEALER, f"{DEALER} dealt another key than the one it committed to")
    assert isinstance(error, ProtocolViolation)
    assert error.culprit == DEALER
    check_sum(run, NAMES)


def test_whoever_confirms_another_key_is_to_blame_and_not_the_dealer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It compared the key with the dealer's digest, so another confirmation is its own. Without that comparison the
    victim of a dealer of two keys is taken for the liar.
    """
    without_check(monkeypatch, dealing, "unseal", "C92")
    run, _ = two_keys()
    run.play()
    [(up, error)] = run.refused[:1]
    assert (up.participant, up.phase) == (VICTIM, Phase.CONFIRM_KEY)
    assert isinstance(error, AuthenticationError)
    assert error.culprit == VICTIM


def test_a_coordinator_that_passes_on_another_confirmation_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gains nothing by it: nobody encrypts. An honest one passes on no confirmation of another key."""
    without_check(monkeypatch, dealing, "unseal", "C92")
    without_check(monkeypatch, ConfirmKeyPhase, "check_signed", "C72")
    run, tap = two_keys()
    run.play()
    assert {name: type(error) for name, error in run.errors.items()} == dict.fromkeys(NAMES, AuthenticationError)
    assert {error.culprit for error in run.errors.values() if isinstance(error, AuthenticationError)} == {COORDINATOR}
    assert all(tap.inputs(name) == [] for name in NAMES)


def test_without_confirmations_the_dealer_would_spoil_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: the victim encrypts under a key that only the dealer has, and nobody can decrypt the sum."""
    without_check(monkeypatch, dealing, "unseal", "C92")
    without_check(monkeypatch, ConfirmKeyPhase, "check_signed", "C72")
    monkeypatch.setattr(CheckedRoster, "check_signatures", lambda *_: None)
    without_check(monkeypatch, encrypted_input, "check_chunk", "C76")
    run, tap = two_keys()
    run.play()
    assert len(tap.inputs(VICTIM)) == 1
    assert run.coordinator.aggregate is None
    assert run.coordinator.failure is not None


def test_two_dealers_are_refused() -> None:
    """A coordinator that passes on more than one key."""

    def more(message: CoordinatorMessage) -> CoordinatorMessage:
        assert isinstance(message, ShareDelivery)
        shared = dealt_state(run).shared
        return ShareDelivery({i: m.sealed[victim] for i, m in shared.items() if i != victim})

    run = prepare(encrypted_config(BFV, DEALT), hook=answering(VICTIM, Phase.SHARE_KEYS, more))
    victim = Index(4)
    run.play()
    error = run.errors[VICTIM]
    assert isinstance(error, ProtocolViolation)
    assert (error.culprit, "one dealer" in str(error)) == (COORDINATOR, True)
    check_sum(run, REST)


@pytest.mark.parametrize("change", ["a stranger", "too few", "another's"])
def test_confirmations_that_do_not_add_up(change: str) -> None:
    def other(message: CoordinatorMessage) -> CoordinatorMessage:
        assert isinstance(message, ConsistencyProof)
        signatures = dict(message.signatures)
        if change == "too few":
            return ConsistencyProof(dict(list(signatures.items())[:2]))
        if change == "a stranger":
            return ConsistencyProof({**signatures, Index(9): signatures[Index(1)]})
        return ConsistencyProof({**signatures, Index(1): signatures[Index(2)]})

    tap = Wiretap(answering(VICTIM, Phase.CONFIRM_KEY, other))
    run = prepare(encrypted_config(BFV, DEALT), hook=tap)
    run.play()
    assert isinstance(run.errors[VICTIM], ProtocolViolation | AuthenticationError)
    assert tap.inputs(VICTIM) == []
    check_sum(run, REST)


# -- The encrypted sum. Adversary: a coordinator.


def changed_sum(change: Callable[[EncryptedSum], EncryptedSum]) -> Run:
    def other(message: CoordinatorMessage) -> CoordinatorMessage:
        assert isinstance(message, EncryptedSum)
        return change(message)

    run = prepare(encrypted_config(BFV, DEALT, vector_len=8192), hook=answering(VICTIM, Phase.ENCRYPTED_INPUT, other))
    run.play()
    return run


def transparent(message: EncryptedSum) -> EncryptedSum:
    """c1 = 0, and c0 the encoding of one in every slot: a sum of the coordinator's own, made without a key."""
    profile = encrypted_config(BFV, DEALT).homomorphic
    assert profile is not None
    c0 = np.zeros((1, 1, 1, profile.ring_degree), np.uint64)
    c0[..., 0] = round(profile.modulus / profile.plain_modulus)
    return replace(message, c0=(pack_residues(c0, profile.prime_bits),), c1=(bytes(len(message.c1[0])),))


def without_own(message: EncryptedSum) -> EncryptedSum:
    alive = tuple(i for i in message.sets.survivors if i != OWN)
    return replace(message, sets=SurvivorSet(alive, (*message.sets.dropped, OWN)))


def sets(survivors: list[int], dropped: list[int]) -> SurvivorSet:
    return SurvivorSet(tuple(map(Index, survivors)), tuple(map(Index, dropped)))


SUMS: dict[str, tuple[Callable[[EncryptedSum], EncryptedSum], str]] = {
    "transparent": (transparent, "transparent"),
    "zero": (lambda m: replace(m, c0=(bytes(len(m.c0[0])),)), "transparent"),
    "ourselves left out": (without_own, "our own input"),
    "too few": (lambda m: replace(m, sets=sets([3, 4], [1, 2, 5])), "below threshold"),
    "somebody missing": (lambda m: replace(m, sets=sets([1, 2, 4], [])), "went on"),
    "both": (lambda m: replace(m, sets=sets([1, 2, 3, 4, 5], [5])), "both"),
    "a chunk missing": (lambda m: replace(m, c1=()), "chunks"),
    "truncated": (lambda m: replace(m, c0=(m.c0[0][:-1],)), "bytes, not"),
    "unreduced": (lambda m: replace(m, c0=(b"\xff" * len(m.c0[0]),)), "not below"),
    "another ciphertext": (lambda m: replace(m, c0=m.c1, c1=m.c0), "decrypted value"),
}


@pytest.mark.parametrize("kind", SUMS)
def test_a_sum_that_is_none_is_not_decrypted(kind: str) -> None:
    change, message = SUMS[kind]
    run = changed_sum(change)
    assert message in str(run.errors[VICTIM])
    assert machine(run, VICTIM).aggregate is None
    check_sum(run, NAMES)  # the others reported theirs


# -- Reports. Adversaries: participants that lie about the sum.


def lied(run: Run, name: ParticipantId) -> tuple[bytes, Integers]:
    """Digest and values of a sum that is not the sum."""
    state = machine(run, name)._state
    assert isinstance(state, AwaitingOrder)
    wrong = replace(state.aggregate, sums=state.aggregate.sums ^ np.uint32(1))
    object.__setattr__(state, "aggregate", wrong)
    return sums_digest(wrong, state.membership.round.config), wrong.sums


def false_report(run: Run, name: ParticipantId) -> SumReport:
    digest, _ = lied(run, name)
    roster = dealt_state(run).members.roster
    survivors = dealt_state(run).sets.survivors
    membership = machine(run, name).membership
    return SumReport(
        digest, membership.sign(transcripts.sum_report(membership.round.context, roster, survivors, digest))
    )


def with_liars(count: int, people: int, threshold: int) -> Run:
    """The first `count` report, and would hand in, the same other sum."""
    liars = participant_names(people)[:count]

    def lie(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and isinstance(envelope.message, SumReport) and envelope.participant in liars:
            return (replace(envelope, message=false_report(run, envelope.participant)),)
        return (envelope,)

    run = prepare(encrypted_config(BFV, DEALT, people, threshold=threshold), hook=lie)
    run.play()
    return run


def test_the_sum_that_the_threshold_reports_counts_and_liars_are_dropped() -> None:
    run = with_liars(2, 6, 4)
    check_sum(run, participant_names(6))
    liars = participant_names(6)[:2]
    assert {name: drops(run)[name] for name in liars} == dict.fromkeys(liars, (Phase.REPORT_SUM, DropReason.REFUSED))
    assert {name: type(run.errors[name]) for name in liars} == dict.fromkeys(liars, ProtocolViolation)


@pytest.mark.parametrize(("liars", "people", "threshold"), [(2, 5, 4), (3, 6, 4), (3, 6, 3)])
def test_disagreement_ends_the_round(liars: int, people: int, threshold: int) -> None:
    """Too few agree; or, in the last case, two sums have the threshold's word each."""
    run = with_liars(liars, people, threshold)
    assert run.coordinator.aggregate is None
    assert run.coordinator.failure is not None
    assert run.coordinator.failure.reason is AbortReason.DISAGREEMENT


def test_of_two_sums_without_the_check_the_wrong_one_could_win(monkeypatch: pytest.MonkeyPatch) -> None:
    without_check(monkeypatch, ReportSumPhase, "close", "C79")
    run = with_liars(3, 6, 3)
    aggregate = run.coordinator.aggregate
    assert aggregate is not None
    assert not np.array_equal(aggregate.sums, true_sum(run, participant_names(6)))


def test_a_report_in_anothers_name() -> None:
    def forge(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
        if not isinstance(message, SumReport):
            return (message,)
        return (replace(message, signature=machine(run, DEALER).membership.sign(b"anything")),)

    run = prepare(encrypted_config(BFV, DEALT), hook=sending(VICTIM, forge))
    run.play()
    [(up, error)] = run.refused[:1]
    assert (up.participant, isinstance(error, AuthenticationError)) == (VICTIM, True)
    check_sum(run, NAMES)


# -- Handing in the sum. Adversary: whoever was asked for it.


def hand_in_another(message: ParticipantMessage) -> Iterable[ParticipantMessage]:
    if isinstance(message, SumChunk):
        wrong = pack(np.arange(64, dtype=np.uint32), 19)
        assert len(wrong) == len(message.payload)
        return (SumChunk(message.number, wrong),)
    return (message,)


@pytest.mark.parametrize("liars", [1, 4, 5])
def test_another_sum_than_reported_is_refused_and_the_next_is_asked(liars: int) -> None:
    run = prepare(encrypted_config(BFV, DEALT), hook=chain(*(sending(name, hand_in_another) for name in NAMES[:liars])))
    run.play()
    told = {name: what for name, what in drops(run).items() if what[0] is Phase.RELEASE_SUM}
    assert told == dict.fromkeys(NAMES[:liars], (Phase.RELEASE_SUM, DropReason.REFUSED))
    if liars < len(NAMES):
        check_sum(run, NAMES)
    else:
        assert run.coordinator.failure is not None
        assert run.coordinator.failure.reason is AbortReason.DISAGREEMENT


def test_without_the_digest_the_fl_server_would_get_the_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare(encrypted_config(BFV, DEALT), hook=sending(DEALER, hand_in_another))
    coordinator, state = run.coordinator, dealt_state(run)
    monkeypatch.setattr(ReleaseSumPhase, "digest", lambda _: state.sum_digest)
    run.play()
    aggregate = coordinator.aggregate
    assert aggregate is not None
    assert not np.array_equal(aggregate.sums, true_sum(run, NAMES))


def test_nobody_else_may_hand_in_the_sum() -> None:
    """Whoever reported, but was not asked, is turned away; the sum of whoever was asked counts."""

    def uninvited(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and isinstance(envelope.message, SumChunk):
            intruder = Up(VICTIM, next(iter(hand_in_another(envelope.message))), envelope.phase)
            return (intruder, envelope)
        return (envelope,)

    run = prepare(encrypted_config(BFV, DEALT), hook=uninvited)
    run.play()
    assert [up.participant for up, _ in run.refused] == [VICTIM]
    check_sum(run, NAMES)


def test_whoever_waits_for_its_turn_can_be_excluded_and_the_round_goes_on() -> None:
    """One sum is enough, so nobody counts who is left; whoever was excluded is not asked and hears no result."""
    told: list[Event] = []

    def exclude(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and isinstance(envelope.message, SumChunk) and not told:
            assert envelope.participant == NAMES[0]
            assert run.coordinator.received_chunks(NAMES[0]) == 0  # of the sum; its input arrived long ago
            told.extend(run.coordinator.exclude({NAMES[1]}, run.now))
        return (envelope,)

    run = prepare(encrypted_config(BFV, DEALT), hook=exclude)
    run.play()
    assert told == [ParticipantDropped(Phase.RELEASE_SUM, NAMES[1], DropReason.EXCLUDED)]
    check_sum(run, NAMES)
    index = dealt_state(run).members.index
    assert run.coordinator.finishers == {index[name] for name in NAMES if name != NAMES[1]}
    for name in NAMES:
        if name != NAMES[1]:  # after the end nobody is asked for the sum, who handed it in as little as the others
            assert run.coordinator.answer(name, Phase.REPORT_SUM) == ReleaseOrder(upload=False)


def ask_for_the_sum(_message: CoordinatorMessage) -> CoordinatorMessage:
    return ReleaseOrder(upload=True)


def withheld() -> tuple[Run, Wiretap]:
    config = encrypted_config(BFV, DEALT, release_to_coordinator=False)
    tap = Wiretap(answering(VICTIM, Phase.REPORT_SUM, ask_for_the_sum))
    run = prepare(config, hook=tap)
    run.play()
    return run, tap


def test_a_withheld_sum_is_not_handed_in() -> None:
    """The task says that the FL server does not get the sum; its coordinator asks for it all the same."""
    run, tap = withheld()
    error = run.errors[VICTIM]
    assert isinstance(error, ProtocolViolation)
    assert "does not give the sum" in str(error)
    assert not any(isinstance(up.message, SumChunk) for up in tap.up)
    assert run.coordinator.aggregate is None
    assert run.coordinator.delivered is not None


def test_nothing_is_answered_twice() -> None:
    """A coordinator that asks again, with whatever, gets nothing: keys, inputs and reports leave once."""
    tap = Wiretap()
    run = prepare(encrypted_config(BFV, DEALT), hook=tap)
    run.play()
    for down in tap.down:
        with pytest.raises(ProtocolViolation, match="nothing is answered twice"):
            machine(run, down.participant).receive(down.message, run.now)
    for name in NAMES:
        assert len(tap.inputs(name)) == len(tap.sent(name, SumReport)) == len(tap.sent(name, ShareKeys)) == 1
