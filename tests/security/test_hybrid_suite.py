"""T25: a round of the hybrid suite. Who records it needs both X25519 and ML-KEM-768 broken to open it.

Adversaries: participants that lie about their pair secrets, a coordinator that encapsulates in others' names, a peer
that takes over half of another's key, and whoever opens X25519 later.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import numpy as np
import pytest

from secagg import roster as rosters
from secagg.config import RoundConfig, Suite
from secagg.crypto import labels, xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.xwing import HybridKeyPair
from secagg.encoding.packing import packed_size
from secagg.errors import (
    AbortReason,
    AuthenticationError,
    ConfigError,
    PolicyViolation,
    ProtocolViolation,
)
from secagg.masked import pair_secrets
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.unmask import Unmasking
from secagg.messages import (
    AdvertiseKeys,
    Index,
    MaskedInputChunk,
    ParticipantId,
    SelfMaskShare,
    ShareKeys,
    Unmask,
)
from secagg.policy import Policy
from secagg.rounds import dealing, peer_sealing
from secagg.sparse.finder import find_ring
from secagg.sparse.ring import Ring
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Hook, Run, Up
from secagg.wire import limits
from secagg.wire.configuration import decode_config, encode_config
from secagg.wire.keys import ADVERTISE_KEYS, SHARE_KEYS
from secagg.wire.masked import UNMASK
from tests.rounds import ACTIVE, SEMI_HONEST, make_config, start, true_sum
from tests.saving import Rebirths

HYBRID = Suite.XWING_SHA256_AES256
NAMES = participant_names(7)
RING = Ring(degree=6, neighbour_threshold=6, committee=5, committee_threshold=4, min_participants=8)


def hybrid(people: int = 7, threat_model=ACTIVE, **more) -> RoundConfig:  # type: ignore[no-untyped-def]
    return replace(make_config(people, threat_model, **more), suite=HYBRID)


def dropping(*gone: ParticipantId) -> Hook:
    """Their inputs never arrive."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        return () if envelope.participant in gone and isinstance(envelope.message, MaskedInputChunk) else (envelope,)

    return hook


def assert_exact(run: Run, alive: Collection[ParticipantId]) -> None:
    aggregate = run.play().aggregate
    assert aggregate is not None
    assert list(aggregate.survivors) == list(alive)
    assert np.array_equal(aggregate.sums, true_sum(run, list(alive)))


@pytest.mark.parametrize("threat_model", [ACTIVE, SEMI_HONEST])
@pytest.mark.parametrize("gone", [(), (0,), (6,), (0, 3)], ids=str)
def test_the_sum_is_exact_whichever_end_of_a_pair_drops_out(threat_model, gone) -> None:  # type: ignore[no-untyped-def]
    """The first has only pairs with higher indices, the last only with lower ones; of 0 and 3 both ends are gone."""
    run = start(hybrid(threat_model=threat_model), hook=dropping(*(NAMES[i] for i in gone)))
    assert_exact(run, [name for i, name in enumerate(NAMES) if i not in gone])


def test_the_sum_is_exact_on_a_ring_and_where_the_model_is_named_later() -> None:
    people = participant_names(12)
    ring = hybrid(12, threshold=6, max_colluding=1, graph=RING)
    assert_exact(start(ring, hook=dropping(people[4]), policy=Policy(min_colluding_share=0)), people[:4] + people[5:])
    assert_exact(start(hybrid(model_later=True), hook=dropping(NAMES[2])), NAMES[:2] + NAMES[3:])


def test_a_participant_that_is_restored_before_every_message_goes_on() -> None:
    run = start(hybrid(), hook=dropping(NAMES[5]))
    rebirths = Rebirths(run)
    lose = run.hook
    run.hook = lambda envelope: [kept for each in rebirths(envelope) for kept in lose(each)]
    assert_exact(run, NAMES[:5] + NAMES[6:])
    assert all(rebirths.sealed.values())


# --- liars ------------------------------------------------------------------------------------------------------------


def giving(liar: ParticipantId, victim: ParticipantId, patch: pytest.MonkeyPatch) -> None:
    """`liar` gives `victim` a secret, with its digest, that does not follow from its mask key."""
    right = pair_secrets.given

    def given(round_, mask_key, giver, receiver):  # type: ignore[no-untyped-def]
        return Secret(bytes(32)) if (giver, receiver) == (liar, victim) else right(round_, mask_key, giver, receiver)

    patch.setattr(pair_secrets, "give", with_given(given))
    patch.setattr(AwaitingShares, "_shared_with", shared_with(given))


def with_given(given: Callable[..., Secret]) -> Callable[..., pair_secrets.Gift]:
    right = pair_secrets.give

    def give(*arguments):  # type: ignore[no-untyped-def]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pair_secrets, "given", given)
            return right(*arguments)

    return give


def shared_with(given: Callable[..., Secret]) -> Callable[..., Secret]:
    right = AwaitingShares._shared_with

    def shared(self, peer, got):  # type: ignore[no-untyped-def]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pair_secrets, "given", given)
            return right(self, peer, got)

    return shared


def test_who_gives_a_false_pair_secret_and_drops_out_is_proven_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends mask with what was given, so nobody notices while the liar is there."""
    liar, victim = NAMES[1], NAMES[4]
    giving(liar, victim, monkeypatch)
    assert_exact(start(hybrid()), NAMES)
    run = start(hybrid(), hook=dropping(liar))
    failure = run.play().failure
    assert failure is not None
    assert (failure.reason, failure.culprits) == (AbortReason.WRONG_SHARES, (liar,))
    assert run.coordinator.aggregate is None
    without_check(monkeypatch, Unmasking, "_shared", "C112")  # the twin: a wrong sum, and nobody notices
    run = start(hybrid(), hook=dropping(liar))
    aggregate = run.play().aggregate
    assert aggregate is not None
    assert not np.array_equal(aggregate.sums, true_sum(run, [name for name in NAMES if name != liar]))


def altering(giver: ParticipantId, receiver: int, at: int) -> Hook:
    """One byte of what `giver` deals to `receiver` is another, and it signs that."""

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        name, message = envelope.participant, envelope.message
        if isinstance(envelope, Up) and name == giver and isinstance(message, ShareKeys):
            entry = bytearray(message.sealed[Index(receiver)])
            entry[at] ^= 1
            sealed = {**message.sealed, Index(receiver): bytes(entry)}
            return (Up(name, replace(message, sealed=sealed), envelope.phase),)
        return (envelope,)

    return hook


@pytest.mark.parametrize("at", [dealing.HYBRID_MASKED.seals_size - 1, dealing.HYBRID_MASKED.size - 1])
def test_who_gives_a_dropout_what_does_not_open_is_proven_at_fault(at: int) -> None:
    """The receiver leaves, since it opens everything before its input leaves. Its mask key proves that it was right."""
    giver = NAMES[2]
    run = start(hybrid(threat_model=SEMI_HONEST), hook=altering(giver, 5, at))
    failure = run.play().failure
    assert isinstance(run.errors[NAMES[4]], AuthenticationError)
    assert run.errors[NAMES[4]].culprit == giver  # type: ignore[attr-defined]
    assert failure is not None
    assert (failure.reason, failure.culprits) == (AbortReason.WRONG_SHARES, (giver,))


def test_a_pair_secret_that_does_not_fit_is_refused_before_any_input(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = dealing.HYBRID_MASKED.size - 1
    run = start(hybrid(threat_model=SEMI_HONEST), hook=altering(NAMES[2], 5, digest))
    run.play()
    assert "does not fit its digest" in str(run.errors[NAMES[4]])
    without_check(monkeypatch, pair_secrets, "open_given", "C111")  # the twin: it masks, and its own giver looks honest
    run = start(hybrid(threat_model=SEMI_HONEST), hook=altering(NAMES[2], 5, digest))
    run.play()
    assert NAMES[4] not in run.errors


def test_all_liars_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    giving(NAMES[1], NAMES[4], monkeypatch)
    lie, lose = altering(NAMES[3], 2, dealing.HYBRID_MASKED.seals_size - 1), dropping(NAMES[1])
    run = start(hybrid(threat_model=SEMI_HONEST), hook=lambda one: [each for kept in lie(one) for each in lose(kept)])
    failure = run.play().failure
    assert failure is not None
    assert failure.culprits == (NAMES[1], NAMES[3])


# --- a coordinator that lies ------------------------------------------------------------------------------------------


def test_nobody_seals_in_the_name_of_others_by_encapsulating_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can encapsulate to a public key. A coordinator that gave a victim pair secrets of its own making, in the
    names of all others, would know all of its masks.
    """
    run = start(hybrid(threat_model=SEMI_HONEST))
    one, victim = (HybridKeyPair.generate(SeededRng(seed * 32)) for seed in (b"1", b"2"))
    forger = HybridKeyPair.generate(SeededRng(b"3" * 32))
    ends, round_ = (NAMES[0], NAMES[1]), run.coordinator.round
    known = Secret(b"known to the coordinator, 32 byte")
    forged = peer_sealing.seal_to(
        round_, labels.PAIR_SECRET_SEALING, forger, victim.public, ends=ends, plaintext=known.expose()
    )
    with pytest.raises(AuthenticationError):
        peer_sealing.unseal_from(round_, labels.PAIR_SECRET_SEALING, victim, one.public, ends=ends, sealed=forged)
    monkeypatch.setattr(KeyPair, "agree_both_ways", lambda *_, **__: Secret(bytes(32)))  # the twin: a KEM and no more
    forged = peer_sealing.seal_to(
        round_, labels.PAIR_SECRET_SEALING, forger, victim.public, ends=ends, plaintext=known.expose()
    )
    opened = peer_sealing.unseal_from(round_, labels.PAIR_SECRET_SEALING, victim, one.public, ends=ends, sealed=forged)
    assert opened == known.expose()


def test_who_breaks_x25519_later_does_not_open_a_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adversary knows every X25519 secret and the whole record, and no ML-KEM seed."""
    run = start(hybrid(threat_model=SEMI_HONEST))
    own, peer = (HybridKeyPair.generate(SeededRng(seed * 32)) for seed in (b"1", b"2"))
    ends, round_ = (NAMES[0], NAMES[1]), run.coordinator.round
    sealed = peer_sealing.seal_to(round_, labels.SHARE_SEALING, own, peer.public, ends=ends, plaintext=b"a share")
    scalar, _ = xwing._expanded(peer.private)
    broken = HybridKeyPair.generate(SeededRng(b"4" * 32))  # its ML-KEM half is the adversary's own
    object.__setattr__(broken, "_handle", KeyPair.from_private(Secret(scalar))._handle)
    object.__setattr__(broken, "public", peer.public)
    with pytest.raises(AuthenticationError):
        peer_sealing.unseal_from(round_, labels.SHARE_SEALING, broken, own.public, ends=ends, sealed=sealed)
    object.__setattr__(broken, "_decapsulation", peer._decapsulation)  # the twin: ML-KEM is broken, too
    opened = peer_sealing.unseal_from(round_, labels.SHARE_SEALING, broken, own.public, ends=ends, sealed=sealed)
    assert opened == b"a share"


# --- keys -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half", [slice(None, -32), slice(-32, None)], ids=["ML-KEM", "X25519"])
def test_nobody_takes_over_half_of_another_key(half: slice) -> None:
    one, other, third = (HybridKeyPair.generate(SeededRng(bytes([i]) * 32)).public for i in (1, 2, 3))
    taken = one[half] + other[-32:] if half.start is None else other[:-32] + one[half]
    rosters.check_distinct_keys([AdvertiseKeys(one, other)])
    with pytest.raises(ProtocolViolation, match="stands twice"):
        rosters.check_distinct_keys([AdvertiseKeys(one, third), AdvertiseKeys(taken, b"")])


@pytest.mark.parametrize("field", ["channel_public_key", "mask_public_key"])
def test_keys_of_another_suite_are_refused_at_both_ends(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    short = KeyPair.generate(SeededRng(b"s" * 32)).public

    def shorter(keys: AdvertiseKeys) -> AdvertiseKeys:
        channel = field == "channel_public_key"
        return replace(keys, channel_public_key=short) if channel else replace(keys, mask_public_key=short)

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        message = envelope.message
        if isinstance(envelope, Up) and envelope.participant == NAMES[0] and isinstance(message, AdvertiseKeys):
            return (replace(envelope, message=shorter(message)),)
        return (envelope,)

    run = start(hybrid(threat_model=SEMI_HONEST), hook=hook)
    run.play()
    assert NAMES[0] not in [m.participant_id for m in run.coordinator.roster.members]
    honest = start(hybrid(threat_model=SEMI_HONEST))
    honest.play()
    roster, own = honest.coordinator.roster, honest.participants[NAMES[0]].advertisement
    members = tuple(replace(m, keys=shorter(m.keys)) if m.index == 4 else m for m in roster.members)
    changed = replace(roster, members=members)
    round_ = honest.coordinator.round
    with pytest.raises(ProtocolViolation, match="does not have the size"):
        rosters.check(changed, round_, NAMES[0], own)
    without_check(monkeypatch, rosters, "check", "C9-size")
    rosters.check(changed, round_, NAMES[0], own)


# --- terms ------------------------------------------------------------------------------------------------------------


def test_a_participant_may_demand_the_hybrid_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    start(hybrid(), policy=Policy(require_hybrid=True))
    start(make_config(7), policy=Policy())
    with pytest.raises(PolicyViolation, match="X25519_SHA256_AES128 is not hybrid"):
        start(make_config(7), policy=Policy(require_hybrid=True))
    without_check(monkeypatch, Policy, "check", "hybrid-suite")
    start(make_config(7), policy=Policy(require_hybrid=True))


def test_a_round_of_too_many_neighbours_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    hybrid(2001)
    with pytest.raises(ConfigError, match="at most 2000 others, not 2001"):
        hybrid(2002)
    without_check(monkeypatch, RoundConfig, "_check_suite", "hybrid-neighbours")
    hybrid(2002)


def test_the_longest_messages_fit_their_bounds() -> None:
    config = hybrid(2001)
    assert decode_config(encode_config(config)).suite is HYBRID
    entry = bytes(dealing.HYBRID_MASKED.size + 72)
    entries = {Index(i): entry for i in range(2, 2002)}
    sent = sum(part.ByteSize() for part in SHARE_KEYS.parts(ShareKeys(bytes(32), entries)))
    assert sent < limits.MAX_MESSAGE_BYTES
    assert sent < limits.delivery_bytes(config)
    keys = AdvertiseKeys(bytes(1216), bytes(1216), bytes(72), (bytes(8192),) * 4, b"")
    (part,) = ADVERTISE_KEYS.parts(keys)
    assert part.ByteSize() < min(limits.MAX_ADVERTISE_BYTES, limits.MEMBER_BYTES)


def test_every_message_between_two_of_a_round_is_longer_by_what_is_said() -> None:
    assert (dealing.HYBRID_MASKED.seal_size, dealing.HYBRID_MASKED.seals_size) == (1202, 1202 + 1168)
    assert dealing.HYBRID_MASKED.size == 2466


@pytest.mark.parametrize(("suite", "expansion"), [(HYBRID, 1.73), (Suite.X25519_SHA256_AES128, 1.63)])
def test_how_much_longer_a_large_update_gets_is_what_the_guide_says(suite: Suite, expansion: float) -> None:
    """All messages of a participant among 1,024 on a ring, of 2^20 values with 16 bits. At most 1.95 is wanted."""
    people, values = 1024, 1 << 20
    ring = find_ring(
        max_participants=people, max_colluding=51, threshold=683, min_participants=people, dropouts=0.05, active=True
    )
    others = [Index(i) for i in range(2, ring.degree + 2)]
    entry, public = bytes(dealing.masked(suite).size), bytes(suite.key_pairs.public_size)
    packed = packed_size(values, 16 + (people - 1).bit_length())
    keys = AdvertiseKeys(public, public, bytes(72), (bytes(700),), b"")
    sent = (
        (ADVERTISE_KEYS.parts(keys)),
        (SHARE_KEYS.parts(ShareKeys(bytes(32), dict.fromkeys(others, entry), b"", bytes(72)))),
        (UNMASK.parts(Unmask({i: SelfMaskShare(Secret(bytes(33))) for i in (Index(1), *others)}))),
    )
    size = packed + sum(part.ByteSize() for parts in sent for part in parts)
    assert size / (2 * values) == pytest.approx(expansion, abs=0.005)
