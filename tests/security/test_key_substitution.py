"""T5 and T13: the coordinator puts keys of its own, or of another round, in the place of participants' keys.

Adversary: a malicious coordinator. Attack: the victim is shown a roster in which every other member's keys are known to
the coordinator; it opens the shares that the victim seals to them, reconstructs both of its secrets and takes the masks
off its input. Each test removes one check of the roster, shows the victim's exact update come out, and then shows the
check stop it before a share has left.
"""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from secagg import roster as rosters
from secagg.context import Context
from secagg.crypto.agreement import KeyPair
from secagg.crypto.authority import Authority, create_authority, issue_participant
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.errors import AuthenticationError, PolicyViolation, ProtocolViolation, RemoteError
from secagg.masked import shares
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster, ShareDelivery, ShareKeys
from secagg.policy import Policy
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Run
from tests.rounds import ACTIVE, NOW, SEMI_HONEST, Integers, deployment, make_config, session_of, start, truth
from tests.security.adversary import Adversary, Impostor, holds_nothing, refusal, without_check

NAMES = participant_names(7)
VICTIM = NAMES[3]
OTHERS = [name for name in NAMES if name != VICTIM]
COLLUDER = NAMES[0]

Dress = Callable[[Adversary, ParticipantId, AdvertiseKeys], AdvertiseKeys]
"""Gives substituted keys a signature and certificates."""


def substitute(run: Run, dress: Dress) -> Integers | None:
    """The attack on `VICTIM`; what it yields."""
    adversary = Adversary(run)
    impostor = Impostor(adversary, OTHERS)
    for name in OTHERS:
        impostor.advertise(name)
        dressed = dress(adversary, name, adversary.advertised[name])
        impostor.advertise(name, signature=dressed.signature, certificates=dressed.certificates)
    adversary.ask(VICTIM, adversary.roster)
    impostor.deal(VICTIM)
    adversary.deliver(VICTIM, NAMES)
    return adversary.expose(VICTIM, NAMES)


def signed_by(identity: Identity, adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    signature = identity.sign(rosters.advertisement_to_sign(adversary.round.context, name, keys))
    return AdvertiseKeys(keys.channel_public_key, keys.mask_public_key, signature, identity.chain)


def unsigned(_: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """The participant's true certificates; a signature that covers other keys."""
    identity = deployment().identities[name]
    return AdvertiseKeys(
        keys.channel_public_key, keys.mask_public_key, identity.sign(b"something else"), identity.chain
    )


def certified_elsewhere(adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """Well signed, with certificates of a CA that the coordinator made."""
    at = datetime.fromtimestamp(NOW, UTC)
    ca = create_authority(name="coordinator's own", now=at)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    made = issue_participant(authority, participant_id=name, organisation="north", now=at)
    return signed_by(Identity.from_pem(made.certificate_pem, made.key_pem.expose()), adversary, name, keys)


def certified_as_colluder(adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """Well signed, all by one colluder under its own true certificate."""
    return signed_by(deployment().identities[COLLUDER], adversary, name, keys)


@pytest.mark.parametrize(
    ("dress", "check", "error"),
    [
        (unsigned, (rosters, "verify_member", "C13"), AuthenticationError),
        (certified_elsewhere, (TrustAnchors, "verify_participant", "chain"), AuthenticationError),
        (certified_as_colluder, (rosters, "verify_member", "C12"), ProtocolViolation),
    ],
)
def test_substituted_keys(
    monkeypatch: pytest.MonkeyPatch,
    dress: Dress,
    check: tuple[object, str, str],
    error: type[RemoteError],
) -> None:
    with monkeypatch.context() as patch:
        without_check(patch, *check)
        run = start(make_config(7))
        stolen = substitute(run, dress)
        assert stolen is not None
        assert np.array_equal(stolen, truth(run, VICTIM))
    run = start(make_config(7))
    assert isinstance(refusal(lambda: substitute(run, dress)), error)
    assert holds_nothing(run, VICTIM)


def test_a_semi_honest_round_does_not_stand_against_substituted_keys_and_policy_refuses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(7, SEMI_HONEST)
    with monkeypatch.context() as patch:
        without_check(patch, Policy, "check", "threat-model")
        run = start(config, policy=Policy())
        stolen = substitute(run, lambda _adversary, _name, keys: keys)
        assert stolen is not None
        assert np.array_equal(stolen, truth(run, VICTIM))
    # The policy is asked when the participant is made: before that not even a public key exists.
    assert isinstance(refusal(lambda: start(config, policy=Policy())), PolicyViolation)


def replay_keys_of_last_round() -> tuple[Run, Callable[[], Integers | None]]:
    """Round 1 is over and its secrets came out since; its signed keys stand in round 2's roster."""
    last = Adversary(start(make_config(7), seed=1), colluders=OTHERS)
    run = start(make_config(7), seed=2)
    adversary = Adversary(run)
    impostor = Impostor(adversary, OTHERS)
    adversary.channel_keys |= last.channel_keys
    adversary.mask_keys |= last.mask_keys
    for name in OTHERS:
        keys = last.advertised[name]
        impostor.advertise(name, signature=keys.signature, certificates=keys.certificates)

    def attack() -> Integers | None:
        adversary.ask(VICTIM, adversary.roster)
        impostor.deal(VICTIM)
        adversary.deliver(VICTIM, NAMES)
        return adversary.expose(VICTIM, NAMES)

    return run, attack


def test_replayed_keys_of_another_round(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_context(_context: Context, owner: ParticipantId, keys: AdvertiseKeys) -> bytes:
        return frame(b"advertisement", owner.encode(), keys.channel_public_key, keys.mask_public_key)

    with monkeypatch.context() as patch:
        patch.setattr(rosters, "advertisement_to_sign", without_context)
        run, attack = replay_keys_of_last_round()
        stolen = attack()
        assert stolen is not None
        assert np.array_equal(stolen, truth(run, VICTIM))
    run, attack = replay_keys_of_last_round()
    error = refusal(attack)
    assert isinstance(error, AuthenticationError)
    assert OTHERS[0] in str(error)
    assert holds_nothing(run, VICTIM)


# --- one who counts as many -------------------------------------------------------------------------------------------


def pad_cohort(
    run: Run, victim: ParticipantId, padding: list[tuple[ParticipantId, AdvertiseKeys, KeyPair, KeyPair]]
) -> Integers:
    """The victim's update when `padding` stands for all other members, whose keys the adversary holds."""
    participant, round_ = session_of(run, victim), run.coordinator.round
    entries = [(name, keys) for name, keys, _, _ in padding] + [(victim, participant.advertisement)]
    members = tuple(Member(Index(i), name, keys) for i, (name, keys) in enumerate(entries, start=1))
    mine = members[-1]
    dealt = participant.receive(Roster(members), run.now)
    assert isinstance(dealt, ShareKeys)
    junk = shares.SharePair(Secret(bytes(33)), Secret(bytes(33)))
    adversary = Adversary(run)
    adversary.members = {victim: mine}
    sealed = {}
    for member, (name, _, channel, _) in zip(members[:-1], padding, strict=True):
        pair = shares.open_sealed(round_, channel, mine, name, dealt.sealed[member.index])
        adversary.seed_shares[mine.index][member.index] = int.from_bytes(pair.self_mask_seed.expose(), "big")
        sealed[member.index] = shares.seal(round_, channel, name, mine, junk)
    adversary.ask(victim, ShareDelivery(sealed))
    update = adversary.inputs[victim]
    for member, (_, _, _, mask) in zip(members[:-1], padding, strict=True):
        adversary.members[member.participant_id] = member
        adversary.mask_keys[member.participant_id] = mask
        update = adversary.strip(update, adversary.pairwise(victim, member.participant_id))
    return adversary.strip(update, adversary.self_mask(victim))


def own_keys(seed: int) -> tuple[KeyPair, KeyPair]:
    rng = SeededRng(seed.to_bytes(32, "big"))
    return KeyPair.generate(rng), KeyPair.generate(rng)


def colluder_six_times(run: Run) -> list[tuple[ParticipantId, AdvertiseKeys, KeyPair, KeyPair]]:
    """Six key sets, each well signed by the one colluder, under the one id."""
    padding = []
    for i in range(6):
        channel, mask = own_keys(i)
        keys = signed_by(
            deployment().identities[COLLUDER], Adversary(run), COLLUDER, AdvertiseKeys(channel.public, mask.public)
        )
        padding.append((COLLUDER, keys, channel, mask))
    return padding


def test_one_id_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """One colluder stands six times in the roster and so receives six shares: enough for t = 5."""
    victim = NAMES[6]
    with monkeypatch.context() as patch:
        without_check(patch, rosters, "check", "C8-ids")
        run = start(make_config(7))
        assert np.array_equal(pad_cohort(run, victim, colluder_six_times(run)), truth(run, victim))
    run = start(make_config(7))
    assert "not distinct" in str(refusal(lambda: pad_cohort(run, victim, colluder_six_times(run))))
    assert holds_nothing(run, victim)


def one_key_under_six_names(_: Run) -> list[tuple[ParticipantId, AdvertiseKeys, KeyPair, KeyPair]]:
    channel, mask = own_keys(0)
    return [(name, AdvertiseKeys(channel.public, mask.public), channel, mask) for name in NAMES[:6]]


def test_one_key_under_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Semi-honest, so that names are free: the cheapest way to look like a cohort."""
    victim = NAMES[6]
    config = make_config(7, SEMI_HONEST)
    with monkeypatch.context() as patch:
        without_check(patch, rosters, "check", "C9-distinct")
        run = start(config)
        assert np.array_equal(pad_cohort(run, victim, one_key_under_six_names(run)), truth(run, victim))
    run = start(config)
    assert "stands twice" in str(refusal(lambda: pad_cohort(run, victim, one_key_under_six_names(run))))
    assert holds_nothing(run, victim)


# X25519 points whose order divides 8, in their reduced encodings (RFC 7748 §6.1 asks to check for the result zero).
LOW_ORDER = [
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
]


class NoKey(KeyPair):
    """What someone who listens knows: that every agreement with a point of low order gives zero."""

    def agree(self, peer_public: bytes, *, peer: str) -> Secret:
        return Secret(bytes(32))


def test_low_order_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The victim agrees on the all-zero secret with every peer, so whoever listens reads its shares."""
    config = make_config(3, SEMI_HONEST, threshold=3)
    names = participant_names(3)
    victim = names[2]
    known = NoKey.from_private(Secret(bytes(range(32))))

    def listen(run: Run) -> Integers | None:
        adversary = Adversary(run)
        for name, channel, mask in zip(names[:2], LOW_ORDER[:2], LOW_ORDER[2:4], strict=True):
            adversary.advertised[name] = AdvertiseKeys(channel, mask)
            adversary.channel_keys[name] = adversary.mask_keys[name] = known
        impostor = Impostor(adversary, ())
        impostor.names = tuple(names[:2])
        adversary.reassign()
        adversary.ask(victim, adversary.roster)
        impostor.deal(victim)
        adversary.deliver(victim, names)
        adversary.ask(victim, adversary.sets(names))  # its own share of b makes three
        return adversary.expose(victim, names)

    with monkeypatch.context() as patch:
        agree = KeyPair.agree

        def unchecked(self: KeyPair, peer_public: bytes, *, peer: str) -> Secret:
            return Secret(bytes(32)) if peer_public in LOW_ORDER else agree(self, peer_public, peer=peer)

        patch.setattr(KeyPair, "agree", unchecked)
        run = start(config)
        stolen = listen(run)
        assert stolen is not None
        assert np.array_equal(stolen, truth(run, victim))
    run = start(config)
    error = refusal(lambda: listen(run))
    assert isinstance(error, AuthenticationError)
    assert "low order" in str(error)
    assert holds_nothing(run, victim)


# --- the roster as a whole --------------------------------------------------------------------------------------------


def changed(adversary: Adversary, name: ParticipantId) -> Roster:
    Impostor(adversary, [name]).advertise(name)
    return adversary.roster


def without(adversary: Adversary, name: ParticipantId) -> Roster:
    del adversary.advertised[name]
    return rosters.assign(adversary.advertised)


def too_few(adversary: Adversary, name: ParticipantId) -> Roster:
    """Only the victim and two more."""
    keep = {name, NAMES[0], NAMES[1]}
    return rosters.assign({n: k for n, k in adversary.advertised.items() if n in keep})


def renumbered(adversary: Adversary, _: ParticipantId) -> Roster:
    """Shamir shares are points at the index: two rosters with other numbers would give the dealer's
    points away twice.
    """
    n = len(adversary.roster.members)
    return Roster(tuple(Member(Index(n + 1 - m.index), m.participant_id, m.keys) for m in adversary.roster.members))


@pytest.mark.parametrize(
    ("make", "check", "said"),
    [
        (changed, "C10-unchanged", "was changed"),
        (too_few, "C7", "a roster of"),
        (renumbered, "C8-indices", "not 1 to n"),
    ],
)
def test_a_wrong_roster_gets_no_shares(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[Adversary, ParticipantId], Roster], check: str, said: str
) -> None:
    """Without the check the victim deals its shares into the wrong cohort; with it nothing leaves.

    That alone recovers nothing: sharing, U2 and U3 have the threshold of their own.
    """
    config = make_config(7, SEMI_HONEST)
    with monkeypatch.context() as patch:
        without_check(patch, rosters, "check", check)
        adversary = Adversary(start(config))
        assert isinstance(adversary.ask(VICTIM, make(adversary, VICTIM)), ShareKeys)
    run = start(config)
    adversary = Adversary(run)
    error = refusal(lambda: adversary.ask(VICTIM, make(adversary, VICTIM)))
    assert isinstance(error, ProtocolViolation)
    assert error.culprit == "coordinator"
    assert said in str(error)
    assert not adversary.shared
    assert holds_nothing(run, VICTIM)


def test_a_roster_without_us_is_refused() -> None:
    adversary = Adversary(start(make_config(7, ACTIVE)))
    error = refusal(lambda: adversary.ask(VICTIM, without(adversary, VICTIM)))
    assert "lacks our own entry" in str(error)
    assert isinstance(error, ProtocolViolation)
