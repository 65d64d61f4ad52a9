"""T17 at the coordinator: wrong shares and lies of dealers. A sum is right or there is none.

Adversary: participants that lie; the coordinator is honest.
"""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import numpy as np
import pytest

from secagg.config import ThreatModel
from secagg.crypto import shamir
from secagg.crypto.polynomial import PRIME
from secagg.crypto.reed_solomon import Code, Located
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.shamir import Decoder, Recovered
from secagg.errors import AbortReason, AuthenticationError, DecodeError, ProtocolViolation, RemoteError, RoundAborted
from secagg.events import DropReason, ParticipantDropped, WrongShares
from secagg.masked import shares, unmask
from secagg.masked.share_keys import AwaitingRoster
from secagg.masked.unmask import UnmaskPhase
from secagg.messages import (
    AdvertiseKeys,
    Index,
    MaskedInputChunk,
    MaskKeyShare,
    Member,
    ParticipantId,
    Phase,
    RevealedShare,
    SelfMaskShare,
    ShareKeys,
    Unmask,
)
from secagg.rounds import recovery
from secagg.rounds.advertise_keys import AdvertiseKeysPhase
from secagg.rounds.recovery import Recovery, Wanted
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Hook, Run, Up
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, session_of, start, true_sum

NAMES = participant_names(7)
DROPPED = NAMES[6]

Lie = Callable[[Index, RevealedShare], RevealedShare]


def add_to(share: RevealedShare, error: int) -> RevealedShare:
    value = (int.from_bytes(share.share.expose(), "big") + error) % PRIME
    return type(share)(Secret(value.to_bytes(33, "big")))


def lying(liars: dict[ParticipantId, Lie], dropped: Collection[ParticipantId] = ()) -> Hook:
    """`liars` change the shares they reveal; inputs of `dropped` never arrive."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        name, message = envelope.participant, envelope.message
        if name in dropped and isinstance(message, MaskedInputChunk):
            return ()
        if name in liars and isinstance(envelope, Up) and isinstance(message, Unmask):
            lies = {owner: liars[name](owner, share) for owner, share in message.shares.items()}
            return (Up(name, Unmask(lies), envelope.phase),)
        return (envelope,)

    return hook


def everything(_: Index, share: RevealedShare) -> RevealedShare:
    return add_to(share, 1)


def seeds_only(_: Index, share: RevealedShare) -> RevealedShare:
    return add_to(share, 1) if isinstance(share, SelfMaskShare) else share


def mask_keys_only(_: Index, share: RevealedShare) -> RevealedShare:
    return add_to(share, 1) if isinstance(share, MaskKeyShare) else share


def culprits(run: Run) -> set[ParticipantId]:
    return {event.culprit for event in run.events if isinstance(event, WrongShares)}


def assert_right(run: Run) -> None:
    """The sum is there, and exact."""
    coordinator = run.play()
    assert coordinator.failure is None
    assert coordinator.aggregate is not None
    survivors = [ParticipantId(name) for name in coordinator.aggregate.survivors]
    assert np.array_equal(coordinator.aggregate.sums, true_sum(run, survivors))


@pytest.mark.parametrize("lie", [everything, seeds_only, mask_keys_only])
@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
def test_a_liar_is_refused_named_and_counts_as_silent(lie: Lie, threat_model: ThreatModel) -> None:
    config = make_config(7, threat_model, threshold=5 if threat_model is ACTIVE else 4)
    run = start(config, hook=lying({NAMES[1]: lie}, dropped=[DROPPED]))
    assert_right(run)
    [(up, refused)] = run.refused
    assert isinstance(refused, AuthenticationError)
    assert (up.participant, refused.culprit) == (NAMES[1], NAMES[1])
    [told] = [event for event in run.events if isinstance(event, WrongShares)]
    assert (told.culprit, told.dealt, len(told.conflicts)) == (NAMES[1], False, 1)
    assert ParticipantDropped(Phase.UNMASK, NAMES[1], DropReason.DEADLINE) in run.events


def test_as_many_liars_as_shares_to_spare() -> None:
    """n = 7, t = 4: three are refused, four answers are left."""
    liars = {NAMES[1]: everything, NAMES[3]: everything, NAMES[5]: everything}
    run = start(make_config(7, SEMI_HONEST, threshold=4), hook=lying(dict(liars)))
    assert_right(run)
    assert culprits(run) == set(liars)


@pytest.mark.parametrize("lie", [everything, seeds_only, mask_keys_only])
def test_a_liar_without_shares_to_spare(monkeypatch: pytest.MonkeyPatch, lie: Lie) -> None:
    """Exactly t answers. Without the owner's digest the liar would have an honest owner named; without the comparison
    with commitment and public key as well, the sum would be silent garbage.
    """

    def play() -> Run:
        # Two drop, five answer, t = 5.
        run = start(make_config(7), hook=lying({NAMES[1]: lie}, dropped=NAMES[5:]))
        run.play()
        return run

    with monkeypatch.context() as patch:
        without_check(patch, UnmaskPhase, "check", "C91")
        run = play()
        assert run.coordinator.failure is not None
        assert run.coordinator.failure.reason is AbortReason.WRONG_SHARES
        assert set(run.coordinator.failure.culprits) - {NAMES[1]}
        joined = Decoder.joined

        def without_comparison(self: Decoder, values: dict[int, int], _accepts: object) -> Recovered | None:
            return joined(self, {x: y % 2**256 for x, y in values.items()}, lambda _: True)

        patch.setattr(Decoder, "joined", without_comparison)
        run = play()
        assert run.coordinator.aggregate is not None
        assert not np.array_equal(run.coordinator.aggregate.sums, true_sum(run, NAMES[:5]))
    run = play()
    assert run.coordinator.aggregate is None
    assert run.coordinator.failure is not None
    assert run.coordinator.failure.reason is AbortReason.BELOW_THRESHOLD
    assert run.coordinator.failure.culprits == (NAMES[1],)


# --- dealers ----------------------------------------------------------------------------------------------------------


def deal_wrong(patch: pytest.MonkeyPatch, dealer: ParticipantId, victims: Collection[ParticipantId]) -> None:
    """`dealer` seals well-formed but wrong shares to `victims`."""
    seal = shares.seal

    def sealing(round_, channel, sender, receiver, pair, **more):  # type: ignore[no-untyped-def]
        if sender == dealer and receiver.participant_id in victims:
            junk = Secret(b"\0" + bytes(range(32)))
            pair = shares.SharePair(junk, junk)
        return seal(round_, channel, sender, receiver, pair, **more)

    patch.setattr(shares, "seal", sealing)


@pytest.mark.parametrize("victim", [0, 3, 6])
def test_a_dealer_of_one_wrong_share_is_named_and_its_holder_never(
    monkeypatch: pytest.MonkeyPatch, victim: int
) -> None:
    """n = 7, t = 4: whether the share is among the first t or not, round after round."""
    deal_wrong(monkeypatch, NAMES[2], [NAMES[victim]])
    for _ in range(3):
        run = start(make_config(7, SEMI_HONEST, threshold=4))
        assert_right(run)
        assert [(e.culprit, e.dealt) for e in run.events if isinstance(e, WrongShares)] == [(NAMES[2], True)]
        assert run.refused == []


def test_a_dealer_who_knows_the_check_is_named_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It chooses errors for holders 6 and 7 of 7 that the coordinator's linear check would not see. The salt, a digest
    of all shares, is what it cannot know.
    """
    known = Decoder(range(1, 8), 4)._check
    seal = shares.seal

    def sealing(round_, channel, sender, receiver, pair, **more):  # type: ignore[no-untyped-def]
        error = {6: known[6], 7: -known[5]}.get(receiver.index, 0) if sender == NAMES[2] else 0
        value = (int.from_bytes(pair.self_mask_seed.expose(), "big") + error) % PRIME
        return seal(
            round_,
            channel,
            sender,
            receiver,
            shares.SharePair(pair.mask_key, Secret(value.to_bytes(33, "big"))),
            **more,
        )

    monkeypatch.setattr(shares, "seal", sealing)
    with monkeypatch.context() as patch:  # Twin: all shares seem to fit together, and give another secret
        patch.setattr(unmask, "salt_from", lambda _: b"")
        fooled = start(make_config(7, SEMI_HONEST, threshold=4))
        assert fooled.play().failure is not None
    run = start(make_config(7, SEMI_HONEST, threshold=4))
    assert_right(run)
    assert culprits(run) == {NAMES[2]}


def test_dealers_beyond_correction_end_the_round_and_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    seal = shares.seal

    def sealing(round_, channel, sender, receiver, pair, **more):  # type: ignore[no-untyped-def]
        if sender in NAMES[2:4] and receiver.participant_id in NAMES[:2]:
            pair = shares.SharePair(pair.mask_key, Secret(b"\0" + receiver.participant_id.encode().rjust(32)))
        return seal(round_, channel, sender, receiver, pair, **more)

    monkeypatch.setattr(shares, "seal", sealing)
    run = start(make_config(7, SEMI_HONEST, threshold=4))
    run.play()
    assert run.coordinator.failure is not None
    assert run.coordinator.failure.reason is AbortReason.WRONG_SHARES
    assert run.coordinator.failure.culprits == tuple(NAMES[2:4])


@pytest.mark.parametrize("drops", [False, True])
def test_a_dealer_of_wrong_shares_alone_ends_the_round(monkeypatch: pytest.MonkeyPatch, drops: bool) -> None:
    """Nothing can be corrected, whether its b or its mask key is needed; it is proven by its own digests."""
    deal_wrong(monkeypatch, NAMES[2], NAMES)
    run = start(make_config(7), hook=lying({}, dropped=[NAMES[2]] if drops else []))
    coordinator = run.play()
    assert coordinator.aggregate is None
    assert coordinator.failure is not None
    assert coordinator.failure.reason is AbortReason.WRONG_SHARES
    assert NAMES[2] in str(coordinator.failure)
    assert coordinator.failure.culprits == (NAMES[2],)


def test_a_false_commitment_ends_the_round() -> None:
    def hook(envelope: Envelope) -> Iterable[Envelope]:
        message = envelope.message
        if isinstance(envelope, Up) and envelope.participant == NAMES[2] and isinstance(message, ShareKeys):
            return (Up(NAMES[2], dataclasses.replace(message, commitment=bytes(32)), envelope.phase),)
        return (envelope,)

    run = start(make_config(7), hook=hook)
    coordinator = run.play()
    assert coordinator.aggregate is None
    assert coordinator.failure is not None
    assert coordinator.failure.reason is AbortReason.WRONG_SHARES
    assert NAMES[2] in str(coordinator.failure)
    assert coordinator.failure.culprits == (NAMES[2],)


# --- answers that are refused at the door -----------------------------------------------------------------------------


def rewrite(change: Callable[[Unmask], Unmask]) -> Hook:
    """Participant 2 sends another answer first, then the honest one."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        if isinstance(envelope, Up) and envelope.participant == NAMES[1] and isinstance(envelope.message, Unmask):
            return (Up(NAMES[1], change(envelope.message), envelope.phase), envelope)
        return (envelope,)

    return hook


def other_kind(message: Unmask) -> Unmask:
    swapped: dict[Index, RevealedShare] = {
        i: SelfMaskShare(s.share) if isinstance(s, MaskKeyShare) else MaskKeyShare(s.share)
        for i, s in message.shares.items()
    }
    return Unmask(swapped)


def one_missing(message: Unmask) -> Unmask:
    return Unmask({i: s for i, s in message.shares.items() if i != 1})


def outside_the_field(message: Unmask) -> Unmask:
    return Unmask({i: type(s)(Secret(b"\xff" * 33)) for i, s in message.shares.items()})


@pytest.mark.parametrize(
    ("change", "fragment", "error"),
    [
        (other_kind, "the wrong kind of share", ProtocolViolation),
        (one_missing, "must reveal one share for each neighbour", ProtocolViolation),
        (outside_the_field, "below the field prime", DecodeError),
    ],
)
def test_a_malformed_answer_is_refused_and_a_right_one_taken(
    change: Callable[[Unmask], Unmask], fragment: str, error: type[RemoteError]
) -> None:
    run = start(make_config(7), hook=rewrite(change))
    assert_right(run)
    [(up, refused)] = run.refused
    assert up.participant == NAMES[1]
    assert isinstance(refused, error)
    assert fragment in str(refused)
    assert refused.culprit == NAMES[1]


def test_the_kind_of_share_is_checked_before_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the coordinator of an honest operator would hold shares of survivors' mask keys."""

    def kept(run: Run) -> set[type[RevealedShare]]:
        run.play()
        unit = run.coordinator._units[Phase.UNMASK]
        assert isinstance(unit, UnmaskPhase)
        return {type(share) for answer in unit.accepted.values() for share in answer.shares.values()}

    with monkeypatch.context() as patch:
        without_check(patch, UnmaskPhase, "check", "C45")
        patch.setattr(UnmaskPhase, "_check_dealt", lambda *_: None)
        assert kept(start(make_config(7), hook=rewrite(other_kind))) == {SelfMaskShare, MaskKeyShare}
    assert kept(start(make_config(7), hook=rewrite(other_kind))) == {SelfMaskShare}


def test_low_order_keys_are_turned_away_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passed on, such a key makes every honest participant leave: one liar ends the round for all."""

    def with_a_liar() -> Run:
        run = start(make_config(7, SEMI_HONEST))
        liar = session_of(run, NAMES[2])
        assert isinstance(liar._state, AwaitingRoster)
        liar.advertisement = dataclasses.replace(liar.advertisement, mask_public_key=(1).to_bytes(32, "little"))
        liar._state = dataclasses.replace(liar._state, keys=liar.advertisement)
        return run

    with monkeypatch.context() as patch:
        without_check(patch, AdvertiseKeysPhase, "_check_sizes", "C37")
        assert with_a_liar().play().aggregate is None
    run = with_a_liar()
    assert_right(run)
    [(_, refused)] = run.refused
    assert isinstance(refused, AuthenticationError)
    assert refused.culprit == NAMES[2]


# --- what it costs ----------------------------------------------------------------------------------------------------


def recover_from(liars: Collection[int], errors: int) -> tuple[int, RoundAborted | None]:
    """Decodings in a round of 40 (t = 27) where the liars dealt wrong shares to the first holders."""
    members = {Index(i): Member(Index(i), ParticipantId(f"p{i:02}"), AdvertiseKeys(b"", b"")) for i in range(1, 41)}
    rng, decodings = SeededRng(bytes(32)), 0
    locate = Code.locate

    def counting(self: Code, values: Sequence[int]) -> Located | None:
        nonlocal decodings
        decodings += 1
        return locate(self, values)

    def wanted() -> Iterator[Wanted]:
        for owner in members:
            secret = Secret(rng.token(32))
            dealt = shamir.share(secret, 27, range(1, 41), rng)
            if owner in liars:
                dealt |= {x: Secret(b"\0" + rng.token(32)) for x in range(1, errors + 1)}
            yield Wanted(owner, dealt, secret.__eq__)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Code, "locate", counting)
        try:
            Recovery(members, 27, b"").secrets(wanted())
        except RoundAborted as error:
            return decodings, error
    return decodings, None


def test_few_dealers_of_wrong_shares_cost_a_decoding_each() -> None:
    """(40 - 27) / 2 = 6 wrong shares are within reach; a round without them decodes nothing."""
    assert recover_from([], 6) == (0, None)
    assert recover_from(range(1, 5), 6) == (4, None)


@pytest.mark.parametrize("errors", [1, 6, 7, 40])
def test_many_dealers_of_wrong_shares_end_the_round_at_a_bounded_price(
    monkeypatch: pytest.MonkeyPatch, errors: int
) -> None:
    """All are proven and named, whatever they dealt; without the bound each would cost a decoding."""
    decodings, error = recover_from(range(1, 31), errors)
    assert decodings <= recovery.MAX_CORRECTIONS
    assert error is not None
    assert error.reason is AbortReason.WRONG_SHARES
    assert error.culprits == tuple(f"p{i:02}" for i in range(1, 31))
    monkeypatch.setattr(recovery, "MAX_CORRECTIONS", 1000)
    assert recover_from(range(1, 31), errors)[0] == 30
