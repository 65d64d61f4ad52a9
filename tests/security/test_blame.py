"""T27: who is named for a bad entry or share, in every scheme: an honest participant never is.

Adversaries: a coordinator that changes what it passes on, a dealer, a holder, an accuser that lies.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest

from secagg.config import RoundConfig, Suite
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, AuthenticationError, DecodeError, RemoteError, SecAggError
from secagg.events import Accused, Verdict, WrongShares
from secagg.homomorphic.dealt_key.confirm_key import AwaitingKey
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares as AwaitingSeedShares
from secagg.homomorphic.joint_key.recover_seeds import RecoverSeedsPhase
from secagg.masked import shares
from secagg.masked.masked_input import AwaitingShares
from secagg.messages import (
    Dealt,
    Index,
    Leave,
    LeaveReason,
    ParticipantId,
    Phase,
    RecoverSeeds,
    ShareDelivery,
    ShareKeys,
    Unmask,
)
from secagg.roster import refusal
from secagg.rounds import dealing
from secagg.rounds.accusations import Accusations
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up
from tests.encrypted_rounds import BFV, DEALT, JOINT, Dropout, dropping, encrypted_config, machine, prepare
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, session_of, start
from tests.security.encrypted_adversary import sending

NAMES = participant_names(7)
SUSPECT = NAMES[0]
"""The first: under a dealt key it is the dealer."""

OTHERS = NAMES[1:]
ROUNDS: dict[str, RoundConfig] = {
    "active": make_config(7),
    "semi-honest": make_config(7, SEMI_HONEST),
    "hybrid": replace(make_config(7), suite=Suite.XWING_SHA256_AES256),
    "dealt key": encrypted_config(BFV, DEALT, 7),
    "joint key": encrypted_config(BFV, JOINT, 7),
}
KINDS = {
    "active": dealing.MASKED,
    "semi-honest": dealing.MASKED,
    "hybrid": dealing.HYBRID_MASKED,
    "dealt key": dealing.DEALT_KEY,
    "joint key": dealing.SEED_SHARE,
}
SIGNED = ("active", "hybrid", "dealt key", "joint key")


def begin(scheme: str, hook: Hook) -> Run:
    config = ROUNDS[scheme]
    return start(config, hook=hook) if config.homomorphic is None else prepare(config, hook=hook)


def spoiled(entry: bytes, at: int) -> bytes:
    return entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :]


def places(scheme: str) -> dict[str, int]:
    """One byte of each part of an entry."""
    kind = KINDS[scheme]
    parts = {"seal": 0, "digest": kind.seals_size}
    return parts | {"pair seal": kind.seal_size} if kind.suite.hybrid else parts


def relaying(change: Callable[[bytes], bytes]) -> Hook:
    """The coordinator changes what the suspect dealt to the others."""

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        message = envelope.message
        if not isinstance(envelope, Down) or not isinstance(message, ShareDelivery) or Index(1) not in message.sealed:
            return (envelope,)
        sealed = {**message.sealed, Index(1): change(message.sealed[Index(1)])}
        return (replace(envelope, message=replace(message, sealed=sealed)),)

    return hook


def dealing_out(change: Callable[[bytes], bytes], to: Iterable[int] = range(1, 8)) -> Hook:
    """The suspect spoils what it deals, behind its signature's back."""
    chosen = set(to)

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        message = envelope.message
        if not isinstance(envelope, Up) or not isinstance(message, ShareKeys) or envelope.participant != SUSPECT:
            return (envelope,)
        sealed = {i: change(entry) if i in chosen else entry for i, entry in message.sealed.items()}
        return (replace(envelope, message=replace(message, sealed=sealed)),)

    return hook


def named(run: Run) -> set[str | None]:
    """Whom participants and coordinator name, proven or not."""
    failure = run.coordinator.failure
    found = {error.culprit for error in run.errors.values() if isinstance(error, RemoteError)}
    return found | set(() if failure is None else (*failure.culprits, *failure.accused))


def verdicts(run: Run) -> set[Verdict]:
    return {event.verdict for event in run.events if isinstance(event, Accused)}


# --- a coordinator that changes entries -------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["seal", "digest"])
@pytest.mark.parametrize("scheme", SIGNED)
def test_a_coordinator_cannot_have_an_honest_sender_named(
    monkeypatch: pytest.MonkeyPatch, scheme: str, part: str
) -> None:
    def play() -> Run:
        run = begin(scheme, relaying(lambda entry: spoiled(entry, places(scheme)[part])))
        run.showing = lambda _, leave: Dealt(leave.refused_entry, bytes(72))
        run.play()
        assert {name for name, e in run.errors.items() if isinstance(e, AuthenticationError)} == set(OTHERS)
        return run

    with monkeypatch.context() as patch:
        patch.setattr(dealing, "made_by", lambda *_: True)  # who signed is not looked at
        assert SUSPECT in named(play())
    run = play()
    assert SUSPECT not in named(run)
    assert verdicts(run) == {Verdict.UNFOUNDED}  # an honest coordinator passed on something else


@pytest.mark.parametrize("scheme", SIGNED)
def test_an_entry_cut_short_names_nobody(scheme: str) -> None:
    for size in (0, KINDS[scheme].seal_size, KINDS[scheme].size - 1):
        run = begin(scheme, relaying(lambda entry, size=size: entry[:size]))  # type: ignore[misc]
        run.play()
        assert SUSPECT not in named(run)


@pytest.mark.parametrize("scheme", ROUNDS)
def test_a_signature_is_not_looked_at_while_all_goes_well(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """Verifications are saved: the seal is authentic by itself."""
    monkeypatch.setattr(dealing, "made_by", lambda *_: pytest.fail("verified"))
    run = begin(scheme, lambda envelope: (envelope,))
    run.play()
    assert run.coordinator.failure is None


def test_where_nothing_is_signed_the_sender_is_named_by_word_alone() -> None:
    """A semi-honest coordinator relays as it should, so participants name the sender; the coordinator knows better."""
    run = begin("semi-honest", relaying(lambda entry: spoiled(entry, 0)))
    run.play()
    assert run.coordinator.failure is not None
    assert (run.coordinator.failure.culprits, run.coordinator.failure.accused) == ((), ())
    assert verdicts(run) == {Verdict.UNFOUNDED}


# --- a sender ---------------------------------------------------------------------------------------------------------


def dealer_of_garbage(scheme: str) -> Run:
    """It seals something else than its digests say, and signs that."""

    def change(entry: bytes) -> bytes:
        return spoiled(entry, 0)

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        [sent] = dealing_out(change)(envelope)
        message = sent.message
        if not isinstance(message, ShareKeys) or envelope.participant != SUSPECT:
            return (sent,)
        if ROUNDS[scheme].homomorphic is None:
            state = session_of(run, SUSPECT)._state
            assert isinstance(state, AwaitingShares)
            table = state.checked
        else:
            encrypted = machine(run, SUSPECT)._state
            assert isinstance(encrypted, AwaitingKey | AwaitingSeedShares)
            table = encrypted.checked
        return (
            Up(SUSPECT, dealing.deal(table, message.commitment, message.sealed, message.key_share), envelope.phase),
        )

    run = begin(scheme, hook)
    run.play()
    return run


@pytest.mark.parametrize("scheme", SIGNED)
def test_a_sender_of_garbage_is_proven_to_its_receivers_and_hearsay_to_others(scheme: str) -> None:
    run = dealer_of_garbage(scheme)
    assert {run.errors[name].culprit for name in OTHERS} == {SUSPECT}  # type: ignore[attr-defined]
    failure = run.coordinator.failure
    assert failure is not None
    assert (failure.reason, failure.culprits, failure.accused) == (AbortReason.BELOW_THRESHOLD, (), (SUSPECT,))
    assert verdicts(run) == {Verdict.HEARSAY}


@pytest.mark.parametrize("scheme", SIGNED)
def test_a_sender_that_signs_something_else_is_proven_to_the_coordinator(scheme: str) -> None:
    """Its receivers cannot tell it from a coordinator that changed the entry; the coordinator can, and looks now."""
    run = begin(scheme, dealing_out(lambda entry: spoiled(entry, 0)))
    run.play()
    assert {run.errors[name].culprit for name in OTHERS} == {None}  # type: ignore[attr-defined]
    failure = run.coordinator.failure
    assert failure is not None
    assert (failure.culprits, failure.accused) == ((SUSPECT,), ())
    assert verdicts(run) == {Verdict.PROVEN}


@pytest.mark.parametrize("scheme", ["active", "semi-honest"])
def test_a_dealer_cannot_have_a_holder_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """It seals another share than its digest says to the same holder, round after round. A holder that did not compare
    them would send that share in the end, and be refused as a liar.
    """
    seal, victim = shares.seal, NAMES[4]

    def sealing(round_, channel, sender, receiver, pair, **more):  # type: ignore[no-untyped-def]
        right = seal(round_, channel, sender, receiver, pair, **more)
        if sender != SUSPECT or receiver.participant_id != victim:
            return right
        wrong = seal(round_, channel, sender, receiver, shares.SharePair(Secret(bytes(33)), Secret(bytes(33))), **more)
        return wrong[: dealing.MASKED.seal_size] + right[dealing.MASKED.seal_size :]

    monkeypatch.setattr(shares, "seal", sealing)
    with monkeypatch.context() as patch:
        without_check(patch, dealing, "unseal", "C92")
        run = begin(scheme, lambda envelope: (envelope,))
        run.play()
        assert [e.culprit for e in run.events if isinstance(e, WrongShares)] == [victim]
    for _ in range(2):
        run = begin(scheme, lambda envelope: (envelope,))
        run.play()
        assert run.coordinator.aggregate is not None
        assert [e for e in run.events if isinstance(e, WrongShares)] == []
        assert run.errors[victim].culprit == SUSPECT  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", SIGNED)
def test_the_digests_of_a_dealer_are_made_once_and_its_signature_is_verified_once(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """However many accuse it. Each of them verifies what it is shown, too."""
    verified, digested = list[bytes](), list[object]()
    made_by, digests_of = dealing.made_by, dealing.digests_of

    def verifying(*given: Any) -> bool:
        verified.append(given[1])
        return made_by(*given)

    def digesting(*given: Any) -> bytes:
        digested.append(given)
        return digests_of(*given)

    monkeypatch.setattr(dealing, "made_by", verifying)
    monkeypatch.setattr(dealing, "digests_of", digesting)
    run = dealer_of_garbage(scheme)
    accusers = sum(isinstance(event, Accused) for event in run.events)
    assert accusers == len(OTHERS)
    assert len(verified) == accusers + 1
    assert len(digested) - len(NAMES) - 1 == 1  # beside those of the senders, of whom one signs twice
    assert len(set(verified)) == 1


def test_only_who_refused_what_was_passed_on_is_shown_what_was_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without the check anybody can ask for digests, and have them made."""
    run = begin("active", lambda envelope: (envelope,))
    asked: list[Dealt | None] = []

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        if isinstance(envelope, Up) and envelope.phase is Phase.MASKED_INPUT and not asked:
            engine, name = run.coordinator, NAMES[1]
            entry = engine.answer(name, Phase.SHARE_KEYS).sealed[Index(1)]  # type: ignore[union-attr]
            for who, accused, digest in (
                (name, SUSPECT, dealing.entry_digest(name, entry)),
                (name, SUSPECT, bytes(32)),
                (name, SUSPECT, b""),
                (name, ParticipantId("nobody"), bytes(32)),
                (NAMES[2], SUSPECT, dealing.entry_digest(NAMES[2], entry)),
                (ParticipantId("nobody"), SUSPECT, dealing.entry_digest(name, entry)),
            ):
                asked.append(engine.shown(who, Leave(LeaveReason.REFUSED, accused, digest)))
        return (envelope,)

    run.hook = hook
    run.play()
    assert [shown is not None for shown in asked] == [True, False, False, False, False, False]
    assert run.coordinator.shown(NAMES[1], Leave(LeaveReason.REFUSED, SUSPECT, bytes(32))) is None  # it is over
    without_check(monkeypatch, Accusations, "shown", "shown-to-refuser")
    asked.clear()
    run = begin("active", hook)
    run.play()
    assert [shown is not None for shown in asked] == [True, True, True, False, True, False]


def test_what_is_shown_must_have_the_entry_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twin: without the check the honest signature of other entries is proof."""
    signed: list[Dealt] = []

    def play() -> Run:
        run = begin("active", relaying(lambda entry: spoiled(entry, 0)))
        spoil = run.hook

        def hook(envelope: Envelope) -> Iterable[Envelope]:
            message = envelope.message
            if isinstance(envelope, Up) and isinstance(message, ShareKeys) and envelope.participant == SUSPECT:
                holders = [name for name in NAMES if name != SUSPECT]
                dealt = zip(holders, message.sealed.values(), strict=True)
                digests = b"".join(dealing.entry_digest(*pair) for pair in dealt)
                signed.append(Dealt(digests, message.signature))
            return spoil(envelope)

        run.hook = hook
        run.showing = lambda *_: signed[-1]
        run.play()
        return run

    assert SUSPECT not in named(play())
    without_check(monkeypatch, dealing, "judge", "shown-entry")
    assert SUSPECT in named(play())


@pytest.mark.parametrize("change", [lambda entry: entry[:-1], lambda entry: entry + b"x"], ids=["short", "long"])
@pytest.mark.parametrize("scheme", ROUNDS)
def test_entries_of_another_size_are_turned_away_at_the_door(
    scheme: str, change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twin: without the check the coordinator keeps them and passes them on."""

    def refused() -> list[SecAggError]:
        run = begin(scheme, dealing_out(change, to=[3]))
        run.play()
        return [error for up, error in run.refused if isinstance(up.message, ShareKeys)]

    (error,) = refused()
    assert isinstance(error, DecodeError)
    assert error.culprit == SUSPECT
    without_check(monkeypatch, dealing.Kind, "check", "C93-entry")
    assert not any(isinstance(error, DecodeError) for error in refused())


@pytest.mark.parametrize("scheme", ROUNDS)
def test_a_signature_has_its_place_and_its_size(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signature where nobody looks at one; one of at most 72 bytes where somebody may."""

    def accepted(size: int) -> bool:
        def hook(envelope: Envelope) -> tuple[Envelope, ...]:
            message = envelope.message
            if isinstance(envelope, Up) and isinstance(message, ShareKeys) and envelope.participant == SUSPECT:
                return (replace(envelope, message=replace(message, signature=bytes(size))),)
            return (envelope,)

        run = begin(scheme, hook)
        run.play()
        return not run.refused

    right = [False, True, True, False] if scheme in SIGNED else [True, False, False, False]
    assert [accepted(size) for size in (0, 1, 72, 73)] == right
    without_check(monkeypatch, dealing.Kind, "check", "C93-signature")
    assert all(accepted(size) for size in (0, 1, 72, 73))


# --- a holder ---------------------------------------------------------------------------------------------------------


def with_a_lying_holder() -> Run:
    config, names = encrypted_config(BFV, JOINT, 9), participant_names(9)

    def lie(message: object) -> Iterable[object]:
        if isinstance(message, RecoverSeeds):
            return (RecoverSeeds({owner: Secret(bytes(33)) for owner in message.shares}),)
        return (message,)

    gone = {names[8]: Dropout(Phase.PARTIAL_DECRYPTION, "silent")}
    run = prepare(config, hook=chain(dropping(config, gone), sending(names[0], lie)))  # type: ignore[arg-type]
    run.play()
    return run


def test_a_holder_of_a_key_seed_cannot_have_its_owner_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(run: Run) -> list[tuple[ParticipantId, bool]]:
        return [(e.culprit, e.dealt) for e in run.events if isinstance(e, WrongShares)]

    with monkeypatch.context() as patch:
        without_check(patch, RecoverSeedsPhase, "check", "C91")
        assert told(with_a_lying_holder()) == [(participant_names(9)[8], True)]
    run = with_a_lying_holder()
    assert told(run) == [(participant_names(9)[0], False)]
    assert run.coordinator.aggregate is not None


def test_a_right_share_after_a_wrong_one_is_taken_and_the_lie_is_told() -> None:
    def hook(envelope: Envelope) -> Iterable[Envelope]:
        message = envelope.message
        if isinstance(envelope, Up) and envelope.participant == SUSPECT and isinstance(message, Unmask):
            swapped = {**message.shares, Index(2): message.shares[Index(3)]}
            return (replace(envelope, message=Unmask(swapped)), envelope)
        return (envelope,)

    run = start(make_config(7, ACTIVE), hook=hook)
    aggregate = run.play().aggregate
    assert aggregate is not None
    assert SUSPECT in aggregate.survivors
    assert [e for e in run.events if isinstance(e, WrongShares)] == [WrongShares(SUSPECT, ((NAMES[1], SUSPECT),))]


def test_whose_share_it_is_makes_a_share_wrong() -> None:
    """The digest binds owner, holder and kind: a share of one is refused for another."""
    context = start(make_config(7)).coordinator.round.context
    pair = shares.SharePair(Secret(bytes(33)), Secret(bytes(33)))
    one, other = NAMES[:2]
    made = shares.pair_digests(context, one, other, pair)
    assert (
        len({made[:32], made[32:], *(shares.pair_digests(context, other, one, pair)[i : i + 32] for i in (0, 32))}) == 4
    )


# --- an accuser -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SIGNED)
def test_an_accuser_that_shows_what_it_was_not_sent_is_not_believed(scheme: str) -> None:
    """Six liars against one: more than may collude, and still nobody is named."""

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        if not isinstance(envelope, Up) or envelope.participant == SUSPECT or envelope.phase in EARLY:
            return (envelope,)
        return (replace(envelope, message=Leave(LeaveReason.REFUSED, SUSPECT, bytes(32))),)

    run = begin(scheme, hook)
    run.play()
    assert run.coordinator.failure is not None
    assert (run.coordinator.failure.culprits, run.coordinator.failure.accused) == ((), ())
    assert verdicts(run) == {Verdict.UNFOUNDED}


EARLY = (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS)


def test_a_good_bye_shows_the_entry_whoever_is_to_blame() -> None:
    run = begin("active", relaying(lambda entry: spoiled(entry, 0)))
    run.play()
    leave = refusal(run.errors[NAMES[1]])
    assert (leave.reason, leave.accused, len(leave.refused_entry)) == (LeaveReason.REFUSED, SUSPECT, 32)
    assert refusal(RemoteError("nobody")) == Leave(LeaveReason.REFUSED)
    assert refusal(RemoteError("it", culprit=SUSPECT)) == Leave(LeaveReason.REFUSED, SUSPECT)
