"""Attacks on rounds 0 and 1: the victim is shown keys that are not its peers'.

The coordinator opens the shares that the victim seals to such keys, puts both of its secrets together again, and takes
the masks off its input. Sources: [B17] Bonawitz et al. 2017; Douceur 2002, The Sybil Attack; RFC 7748.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

import numpy as np

from secagg import roster as rosters
from secagg.crypto.agreement import KeyPair
from secagg.crypto.authority import Authority, create_authority, issue_participant
from secagg.crypto.identity import Identity, TrustAnchors
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.errors import AuthenticationError, LocalError, PolicyViolation
from secagg.masked import shares
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId, Roster, ShareDelivery, ShareKeys
from secagg.policy import Policy
from secagg.tools.redteam.adversary import Adversary, Impostor, Integers, exposed, session_of, truth
from secagg.tools.redteam.arena import COLLUDERS, EXACT, OTHERS, SEVEN, VICTIM, deployment, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.simulation.cohort import START, participant_names
from secagg.tools.simulation.network import Run

Forgery = Callable[[Adversary, ParticipantId, AdvertiseKeys], AdvertiseKeys]
"""Gives made-up keys a signature and certificates."""


def signed_by(identity: Identity, adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """These keys under a genuine signature of `identity`, and its certificates."""
    signature = identity.sign(rosters.advertisement_to_sign(adversary.round.context, name, keys))
    return AdvertiseKeys(keys.channel_public_key, keys.mask_public_key, signature, identity.chain)


def unsigned(_adversary: Adversary, _name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """As the semi-honest threat model has them."""
    return keys


def signed_by_a_colluder(adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """The participant's true certificates; the signature is a colluder's."""
    signed = signed_by(deployment().identities[COLLUDERS[0]], adversary, name, keys)
    chain = deployment().identities[name].chain
    return AdvertiseKeys(keys.channel_public_key, keys.mask_public_key, signed.signature, chain)


def signed_something_else(_adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """The participant's true certificates and a signature of its own, which covers other keys."""
    identity = deployment().identities[name]
    signature = identity.sign(b"something else")
    return AdvertiseKeys(keys.channel_public_key, keys.mask_public_key, signature, identity.chain)


def certified_elsewhere(adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """Well signed, with certificates of a CA that the coordinator made."""
    at = datetime.fromtimestamp(START, UTC)
    ca = create_authority(name="coordinator's own", now=at)
    authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
    made = issue_participant(authority, participant_id=name, organisation="north", now=at)
    return signed_by(Identity.from_pem(made.certificate_pem, made.key_pem.expose()), adversary, name, keys)


def certified_as_a_colluder(adversary: Adversary, name: ParticipantId, keys: AdvertiseKeys) -> AdvertiseKeys:
    """Well signed, all by one colluder under its own true certificate."""
    return signed_by(deployment().identities[COLLUDERS[0]], adversary, name, keys)


def substitute(run: Run, forge: Forgery) -> bool:
    """Show the victim a roster of keys that are all the coordinator's own; whether its update comes out."""
    adversary = Adversary(run)
    impostor = Impostor(adversary, OTHERS)
    for name in OTHERS:
        impostor.advertise(name)
        keys = forge(adversary, name, adversary.advertised[name])
        impostor.advertise(name, signature=keys.signature, certificates=keys.certificates)
    return _open_victim(adversary, impostor, run)


def _open_victim(adversary: Adversary, impostor: Impostor, run: Run) -> bool:
    adversary.ask(VICTIM, adversary.roster)
    impostor.deal(VICTIM)
    adversary.deliver(VICTIM, SEVEN)
    return exposed(adversary, run, VICTIM)


def substituted(forge: Forgery, held: str = "nothing", mode: Mode = MASKED_ACTIVE) -> Outcome:
    """The others' keys are the coordinator's own, made to look signed by `forge`."""
    run = start(small_config(7, mode))
    return settle(partial(substitute, run, forge), held=held, got=EXACT, refusing=session_of(run, VICTIM))


def downgrade() -> Outcome:
    """The coordinator opens a semi-honest round to get there; the participant has its default policy."""
    config = small_config(7, MASKED_SEMI_HONEST)
    # The policy is asked when the participant is made: before that not even a public key exists.
    return settle(lambda: substitute(start(config, policy=Policy()), unsigned), held="policy", got=EXACT)


def replay_keys() -> Outcome:
    """Signed keys of an earlier round, whose secrets came out since, stand in this round's roster."""
    last = Adversary(start(small_config(7), seed=1), colluders=OTHERS)
    run = start(small_config(7), seed=2)

    def attack() -> bool:
        adversary = Adversary(run)
        impostor = Impostor(adversary, OTHERS)
        adversary.channel_keys |= last.channel_keys
        adversary.mask_keys |= last.mask_keys
        for name in OTHERS:
            keys = last.advertised[name]
            impostor.advertise(name, signature=keys.signature, certificates=keys.certificates)
        return _open_victim(adversary, impostor, run)

    return settle(attack, held="signatures bound to the round", got=EXACT, refusing=session_of(run, VICTIM))


def without_context(_: object) -> Callable[[object, ParticipantId, AdvertiseKeys], bytes]:
    """What a signature of keys would cover if it were not bound to the round."""
    return lambda _context, owner, keys: frame(b"", owner.encode(), keys.channel_public_key, keys.mask_public_key)


# --- one who counts as many -------------------------------------------------------------------------------------------

Padding = list[tuple[ParticipantId, AdvertiseKeys, KeyPair, KeyPair]]
"""Members that the adversary made up, and the keys that it holds in their names."""


def colluder_six_times(run: Run) -> Padding:
    """Six pairs of keys, each well signed by the one colluder, under its one id."""
    adversary, identity, padding = Adversary(run), deployment().identities[COLLUDERS[0]], []
    for number in range(6):
        rng = SeededRng(number.to_bytes(32, "big"))
        channel, mask = KeyPair.generate(rng), KeyPair.generate(rng)
        keys = signed_by(identity, adversary, COLLUDERS[0], AdvertiseKeys(channel.public, mask.public))
        padding.append((COLLUDERS[0], keys, channel, mask))
    return padding


def one_key_under_six_names(_: Run) -> Padding:
    """Where names are free, the cheapest way to look like a cohort."""
    rng = SeededRng(bytes(32))
    channel, mask = KeyPair.generate(rng), KeyPair.generate(rng)
    return [(name, AdvertiseKeys(channel.public, mask.public), channel, mask) for name in SEVEN[:6]]


def pad_cohort(made: Callable[[Run], Padding], mode: Mode = MASKED_ACTIVE) -> Outcome:
    """All other members of the victim's roster are made up, and receive six shares, one more than t."""
    run, victim = start(small_config(7, mode)), SEVEN[6]
    participant = session_of(run, victim)

    def attack() -> bool:
        padding = made(run)
        entries = [(name, keys) for name, keys, _, _ in padding] + [(victim, participant.advertisement)]
        members = tuple(Member(Index(i), name, keys) for i, (name, keys) in enumerate(entries, start=1))
        dealt = participant.receive(Roster(members), run.now)
        if not isinstance(dealt, ShareKeys):
            raise LocalError("no shares were dealt")
        return np.array_equal(_open_dealt(run, victim, members, dealt, padding), truth(run, victim))

    return settle(attack, got=EXACT, refusing=participant)


def _open_dealt(
    run: Run, victim: ParticipantId, members: tuple[Member, ...], dealt: ShareKeys, padding: Padding
) -> Integers:
    """The update of `victim`, the last of `members`, out of the shares that it dealt to `padding`."""
    mine, round_ = members[-1], run.coordinator.round
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


# --- keys that give no secret -----------------------------------------------------------------------------------------

# X25519 points whose order divides 8, in their reduced encodings (RFC 7748 §6.1 asks to check for the result zero).
LOW_ORDER: Final = (
    bytes(32),
    (1).to_bytes(32, "little"),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
)


class _NoKey(KeyPair):
    """What someone who listens knows: that every agreement with a point of low order gives zero."""

    def agree(self, peer_public: bytes, *, peer: str) -> Secret:
        return Secret(bytes(32))


def low_order_key() -> Outcome:
    """Peers have points of low order for keys: the victim agrees on a secret that all know, so its shares lie open."""
    run, names = start(small_config(3, MASKED_SEMI_HONEST, threshold=3, max_colluding=0)), participant_names(3)
    victim, known = names[2], _NoKey.from_private(Secret(bytes(range(32))))

    def attack() -> bool:
        adversary = Adversary(run)
        for name, channel, mask in zip(names[:2], LOW_ORDER[:2], LOW_ORDER[2:4], strict=True):
            adversary.advertised[name] = AdvertiseKeys(channel, mask)
        impostor = Impostor(adversary, names[:2])
        adversary.channel_keys |= dict.fromkeys(names[:2], known)
        adversary.mask_keys |= dict.fromkeys(names[:2], known)
        adversary.reassign()
        adversary.ask(victim, adversary.roster)
        impostor.deal(victim)
        adversary.deliver(victim, names)
        adversary.ask(victim, adversary.sets(names))  # its own share of the seed makes three
        return exposed(adversary, run, victim)

    return settle(attack, held="points of low order are refused", got=EXACT, refusing=session_of(run, victim))


def agreeing_on_zero(agree: Callable[..., Secret]) -> Callable[..., Secret]:
    """An agreement that does not look whether its result is zero."""

    def unchecked(self: KeyPair, peer_public: bytes, *, peer: str) -> Secret:
        return Secret(bytes(32)) if peer_public in LOW_ORDER else agree(self, peer_public, peer=peer)

    return unchecked


_VERIFIED: Final = (Check(rosters, "verify_member", "C13"),)
_FORGED: Final = Refusal(AuthenticationError)

KEY_GAMES: Final = (
    Game(
        "key-substitution", "The others' keys are the coordinator's own", "malicious coordinator, 1 colludes",
        "[B17] §6.2", True, "keys are signed under the deployment's CA",
        partial(substituted, signed_by_a_colluder, "signed keys"), Kind.LYING, defences=_VERIFIED,
        refused=_FORGED,
    ),
    Game(
        "signature-of-something-else", "The same, with signatures of the others that cover other keys",
        "malicious coordinator", "[B17] §6.2", True, "a signature covers the keys",
        partial(substituted, signed_something_else), Kind.LYING, defences=_VERIFIED,
        refused=_FORGED,
    ),
    Game(
        "certified-elsewhere", "The same, under a CA of the coordinator's own", "malicious coordinator", "[B17] §6.2",
        True, "certificates are verified up to the deployment's CA", partial(substituted, certified_elsewhere),
        Kind.LYING, defences=(Check(TrustAnchors, "verify_participant", "C11"),), refused=_FORGED,
    ),
    Game(
        "key-substitution-unsigned", "The same in a round of the semi-honest threat model", "malicious coordinator",
        "[B17] §6.1", False, "the active threat model: semi-honest rounds trust the coordinator to follow the rules",
        partial(substituted, unsigned, mode=MASKED_SEMI_HONEST), Kind.LYING, "masked-semi-honest",
    ),
    Game(
        "downgrade", "A semi-honest round where an active one is wanted", "malicious coordinator", "threat model", True,
        "the participant's own policy", downgrade, Kind.LYING, "masked-semi-honest",
        defences=(Check(Policy, "check", "threat-model"),), refused=Refusal(PolicyViolation),
    ),
    Game(
        "replay-keys", "Signed keys of an earlier round", "malicious coordinator, secrets of an earlier round leaked",
        "threat model", True, "signatures cover the round's context", replay_keys, Kind.LYING,
        defences=(Measure(rosters, "advertisement_to_sign", without_context),),
        refused=Refusal(AuthenticationError, at=_VERIFIED[0]),
    ),
    Game(
        "one-name-many-times", "One colluder stands for the whole cohort", "malicious coordinator, 1 colludes",
        "Douceur 2002", True, "certificates name their owner",
        partial(substituted, certified_as_a_colluder, "certificates name their owner"), Kind.SYBILS,
        defences=(Check(rosters, "verify_member", "C12"),), refused=Refusal(),
    ),
    Game(
        "one-id-many-times", "The same, under the colluder's own id", "malicious coordinator, 1 colludes",
        "Douceur 2002", True, "ids on a roster are distinct", partial(pad_cohort, colluder_six_times), Kind.SYBILS,
        defences=(Check(rosters, "check", "C8-ids"),), refused=Refusal(),
    ),
    Game(
        "one-key-many-names", "One key under the names of the whole cohort", "malicious coordinator", "Douceur 2002",
        True, "keys on a roster are distinct", partial(pad_cohort, one_key_under_six_names, MASKED_SEMI_HONEST),
        Kind.SYBILS, "masked-semi-honest", defences=(Check(rosters, "check", "C9-distinct"),), refused=Refusal(),
    ),
    Game(
        "low-order-key", "Public keys that give no secret", "malicious coordinator", "RFC 7748 §6.1", True,
        "points of low order are refused", low_order_key, Kind.LYING, "masked-semi-honest",
        defences=(Measure(KeyPair, "agree", agreeing_on_zero),),
        refused=Refusal(AuthenticationError, participant_names(3)[0], "gives no secret (low order)"),
    ),
)  # fmt: skip
