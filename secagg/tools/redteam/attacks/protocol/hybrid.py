"""Attacks that the hybrid suite is there for, and attacks on what it adds: secrets that each of a pair gives the other.

Sources: "design": of our own making (PROTOCOL, "Pair secrets"); [B17] Bonawitz et al. 2017.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from secagg.config import RoundConfig, Suite
from secagg.crypto import labels, xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.crypto.xwing import HybridKeyPair
from secagg.errors import AuthenticationError, LocalError, PolicyViolation
from secagg.masked import pair_secrets, shares
from secagg.masked.masked_input import AwaitingShares
from secagg.masked.unmask import Unmasking
from secagg.messages import Index, MaskedInputChunk, ShareKeys
from secagg.policy import Policy
from secagg.rounds import dealing, peer_sealing
from secagg.tools.redteam.adversary import Adversary, exposed, session_of, true_sum
from secagg.tools.redteam.arena import COLLUDERS, EXACT, OTHERS, SEVEN, VICTIM, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.attacks.protocol.unmasking import late_message, without_self_mask
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode
from secagg.tools.simulation.network import Envelope, Run, Up

_LIAR: Final = COLLUDERS[1]
_X25519, _ML_KEM = "_handle", "_decapsulation"
"""The two halves of a `HybridKeyPair`."""


def _config(mode: Mode = MASKED_ACTIVE) -> RoundConfig:
    return replace(small_config(7, mode), suite=Suite.XWING_SHA256_AES256)


def _broken(pair: KeyPair, half: str) -> KeyPair:
    """What somebody has of a key pair who broke one half of it: that half, beside another one of its own making."""
    if not isinstance(pair, HybridKeyPair):
        return pair
    found = HybridKeyPair(Secret(bytes(32)), pair.public)
    object.__setattr__(found, half, getattr(pair, half))
    return found


def _open_record(run: Run, half: str) -> bool:
    """The round is played and recorded. Years later, one half of all keys is broken: whether the update comes out."""
    adversary = Adversary(run, SEVEN)
    channels, masks = adversary.channel_keys, adversary.mask_keys
    adversary.channel_keys, adversary.mask_keys = {}, {}
    run.hook = adversary
    run.play()
    adversary.assemble()
    if VICTIM not in adversary.inputs:
        raise LocalError(f"there is no input to open: {run.coordinator.failure}")
    adversary.channel_keys = {name: _broken(pair, half) for name, pair in channels.items()}
    with suppress(AuthenticationError):  # shares of the victim's mask key would do, too
        adversary.open_shares(VICTIM)
    adversary.mask_keys = {name: _broken(pair, half) for name, pair in masks.items()}
    with suppress(AuthenticationError):
        return exposed(adversary, run, VICTIM)
    return False


def recorded(half: str) -> Outcome:
    """A round of the hybrid suite, of which one half is broken later."""
    return settle(partial(_open_record, start(_config()), half), held="the other half of each key", got=EXACT)


def recorded_without() -> Outcome:
    """The same in a round of the default suite, whose keys have one half."""
    return settle(partial(_open_record, start(small_config(7)), _X25519), got=EXACT)


def downgraded() -> Outcome:
    """The coordinator opens a round of the default suite, and breaks X25519 later; the participant wants no other than
    the hybrid one.
    """
    policy = Policy(require_hybrid=True)
    return settle(lambda: _open_record(start(small_config(7), policy=policy), _X25519), held="policy", got=EXACT)


def half_alone(half: str) -> Measure:
    """X-Wing as it would be if its secret came from one half of the key."""

    def combined(ml_kem: bytes, x25519: bytes, *_: bytes) -> Secret:
        return Secret(x25519 if half == _X25519 else ml_kem)

    return Measure(xwing, "_combined", lambda _: combined)


# --- pair secrets -----------------------------------------------------------------------------------------------------


def false_pair_secret() -> Outcome:
    """A colluder gives the victim a secret that does not follow from its mask key, and drops out: nobody could take the
    victim's mask out of the sum.
    """
    run = start(_config(MASKED_SEMI_HONEST))

    def attack() -> bool:
        adversary = Adversary(run, [_LIAR])
        mask, round_ = adversary.mask_keys[_LIAR], adversary.round
        victim, secret = adversary.members[VICTIM], Secret(bytes(dealing.PAIR_SECRET_SIZE))
        sealed = peer_sealing.seal_to(
            round_, labels.PAIR_SECRET_SEALING, mask, victim.keys.mask_public_key,
            ends=(_LIAR, VICTIM), plaintext=secret.expose(),
        )  # fmt: skip

        def lie(message: ShareKeys) -> ShareKeys:
            kind, entry = dealing.masked(round_.config.suite), message.sealed[victim.index]
            digests = entry[kind.seals_size :][:64] + pair_secrets.digest_of(round_, _LIAR, VICTIM, secret)
            given = entry[: kind.seal_size] + sealed + digests
            return replace(message, sealed={**message.sealed, Index(victim.index): given})

        def hook(envelope: Envelope) -> Iterable[Envelope]:
            message = envelope.message
            if isinstance(envelope, Up) and envelope.participant == _LIAR:
                if isinstance(message, MaskedInputChunk):
                    return ()
                if isinstance(message, ShareKeys):
                    return (replace(envelope, message=lie(message)),)
            return (envelope,)

        run.hook = hook
        aggregate, failure = run.play().aggregate, run.coordinator.failure
        if aggregate is not None:
            return not np.array_equal(aggregate.sums, true_sum(run, [name for name in SEVEN if name != _LIAR]))
        if failure is None or failure.culprits != (_LIAR,):
            raise LocalError(f"the round ended otherwise: {failure}")
        return False

    return settle(attack, held="what a dropout gave is derived again, and its digests name it", got="a wrong sum")


def sealed_in_others_names() -> Outcome:
    """The coordinator encapsulates to the victim's keys, as anybody can, and deals it shares and pair secrets in the
    names of all others.
    """
    run = start(_config())

    def attack() -> bool:
        adversary, forger = Adversary(run), HybridKeyPair.generate(rng_of(0, "forger"))
        adversary.collect_shares()
        victim = adversary.members[VICTIM]
        for name in OTHERS:
            gift = pair_secrets.give(adversary.round, forger, name, victim, xwing.encapsulate)
            entry = shares.seal(adversary.round, forger, name, victim, _JUNK, gift=gift)
            adversary.shared[name] = ShareKeys(bytes(32), {victim.index: entry})
        adversary.deliver(VICTIM, SEVEN)
        return VICTIM in adversary.inputs

    return settle(attack, got="an input of the victim, for shares and secrets that the coordinator made",
                  refusing=session_of(run, VICTIM))  # fmt: skip


_JUNK: Final = shares.SharePair(Secret(bytes(33)), Secret(bytes(33)))
_TRAFFIC: Final = "whoever recorded the round, and has a quantum computer later"

HYBRID_GAMES: Final = (
    Game(
        "recorded", "A round is recorded, and X25519 is broken years later", _TRAFFIC, "threat model", False,
        "the hybrid suite: in the others a key is X25519 alone", recorded_without, Kind.READING,
    ),
    Game(
        "recorded-hybrid", "The same in a round of the hybrid suite", _TRAFFIC, "threat model", True,
        "keys are of ML-KEM-768, too", partial(recorded, _X25519), Kind.READING, defences=(half_alone(_X25519),),
    ),
    Game(
        "recorded-hybrid-ml-kem", "The same, and ML-KEM-768 is broken in place of X25519", _TRAFFIC, "threat model",
        True, "keys are of X25519, too", partial(recorded, _ML_KEM), Kind.READING,
        defences=(half_alone(_ML_KEM), Measure(peer_sealing, "_joined", lambda _: lambda fresh, _agreed: fresh)),
    ),
    Game(
        "downgrade-hybrid", "A round of the default suite where the hybrid one is wanted", "malicious coordinator",
        "threat model", True, "the participant's own policy", downgraded, Kind.LYING,
        defences=(Check(Policy, "check", "hybrid-suite"),), refused=Refusal(PolicyViolation),
    ),
    Game(
        "late-message-hybrid", "An input after its sender was declared dropped, in a round of the hybrid suite",
        "malicious coordinator", "[B17] §6.1", True, "double masking",
        partial(late_message, suite=Suite.XWING_SHA256_AES256), Kind.LYING,
        defences=(Measure(AwaitingShares, "_masks", without_self_mask),),
    ),
    Game(
        "false-pair-secret", "A dropout gave a secret that its mask key does not say", "1 colludes", "design", True,
        "what it gave is derived again, and its own digest names it", false_pair_secret, Kind.COLLUDING,
        MASKED_SEMI_HONEST.name, defences=(Check(Unmasking, "_shared", "C112"),),
    ),
    Game(
        "sealed-in-others-names", "Shares and secrets that the coordinator encapsulates in the names of others",
        "malicious coordinator", "design", True, "keys also come from an agreement with the sender",
        sealed_in_others_names, Kind.LYING,
        defences=(Measure(peer_sealing, "_joined", lambda _: lambda fresh, _agreed: fresh),),
        refused=Refusal(AuthenticationError, None, "does not open"),
    ),
)  # fmt: skip
