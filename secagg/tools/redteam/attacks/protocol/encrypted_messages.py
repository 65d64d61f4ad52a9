"""Attacks on what is checked of the messages of homomorphic rounds: key shares, inputs and sums.

Source: [M21] Mouchet et al. 2021.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from secagg.crypto.rng import SeededRng
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import AuthenticationError, LocalError
from secagg.homomorphic import encrypted_input, encrypted_sum
from secagg.homomorphic.dealt_key.encrypted_input import EncryptedInputPhase
from secagg.homomorphic.dealt_key.release_sum import AwaitingOrder
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares
from secagg.homomorphic.joint_key.share_keys import AwaitingRoster, ShareKeysPhase
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicParticipant
from secagg.lattice import tenseal_backend
from secagg.lattice.decoding import bfv_decode, decode
from secagg.lattice.keyshares import joint_key, pack_key_share, unpack_key_share
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody
from secagg.lattice.residues import pack_residues
from secagg.lattice.rlwe import SecretKey, add, sub
from secagg.lattice.streams import SEED_SIZE, SeededPolynomials
from secagg.messages import (
    EncryptedInputChunk,
    EncryptedSum,
    ParticipantId,
    Phase,
    ReleaseOrder,
    ShareKeys,
    SumChunk,
)
from secagg.tools.redteam.adversary import true_sum, truth
from secagg.tools.redteam.arena import small_config, start
from secagg.tools.redteam.attacks.protocol.encrypted import NAMES, VICTIM, play_to_inputs
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.modes import ENCRYPTED, Mode, mode_named
from secagg.tools.redteam.views import Recording
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up

ATTACKER: Final = NAMES[4]


def machine(run: Run, name: ParticipantId) -> HomomorphicParticipant:
    """The state machine of `name` in a homomorphic round."""
    participant = run.participants[name]
    if not isinstance(participant, HomomorphicParticipant):
        raise LocalError("this adversary plays homomorphic rounds")
    return participant


def cancelling_shares(run: Run) -> Hook:
    """The attacker, who speaks last, chooses its key share so that the joint key is its own."""
    others: list[U64] = []

    def hook(envelope: Envelope) -> tuple[Envelope, ...]:
        message, profile = envelope.message, run.coordinator.round.config.homomorphic
        if not isinstance(envelope, Up) or not isinstance(message, ShareKeys) or profile is None:
            return (envelope,)
        own = unpack_key_share(profile, message.key_share)
        if envelope.participant != ATTACKER:
            others.append(own)
            return (envelope,)
        forged = pack_key_share(profile, sub(profile.key_primes, own, joint_key(profile, others)))
        # Its own machine must not notice either.
        object.__setattr__(machine(run, ATTACKER)._state, "key_share", forged)
        return (replace(envelope, message=replace(message, key_share=forged)),)

    return hook


def rogue_key_share(mode: str) -> Outcome:
    """One participant alone can open every update, if nobody looks whether it had committed to its key share."""

    def attack() -> bool:
        recording = Recording(start(small_config(5, mode_named(mode))))
        run, profile = recording.run, profile_of(recording.config)
        state = machine(run, ATTACKER)._state
        if not isinstance(state, AwaitingRoster):
            raise LocalError("the round has begun")
        play_to_inputs(recording, cancelling_shares(run))
        if run.refused:
            raise run.refused[0][1]
        c0, c1 = recording.ciphertext(VICTIM)
        phase = add(profile.primes, c0, SecretKey(profile, state.seed, run.coordinator.round.context).times(c1))
        opened = decode(profile, np.ascontiguousarray(phase), recording.config.vector_len, 1)
        return np.array_equal(opened, truth(run, VICTIM))

    return settle(attack, got="the victim's exact update, and everybody else's")


def planted_sum() -> Outcome:
    """The victim is shown a transparent ciphertext for the sum: c1 = 0, and c0 the encoding of one in every slot."""
    # As many values as the slots of a block have: what is planted fills them.
    config = mode_named("bfv").config(Schema((ArraySpec("values", (8191,)),)), 5)
    run = start(config)
    profile = profile_of(config)

    def plant(envelope: Envelope) -> tuple[Envelope, ...]:
        message = envelope.message
        if envelope.participant != VICTIM or not (isinstance(envelope, Down) and isinstance(message, EncryptedSum)):
            return (envelope,)
        c0 = np.zeros((1, 1, 1, profile.ring_degree), np.uint64)
        c0[..., 0] = round(profile.modulus / profile.plain_modulus)
        planted = replace(message, c0=(pack_residues(c0, profile.prime_bits),), c1=(bytes(len(message.c1[0])),))
        return (replace(envelope, message=planted),)

    def attack() -> bool:
        run.hook = plant
        run.play()
        aggregate = machine(run, VICTIM).aggregate
        if aggregate is None:
            raise run.errors[VICTIM]
        low, high = np.split(aggregate.sums, [profile.ring_degree])  # the two fields of each slot
        return bool((low == 1).all()) and not high.any()

    return settle(attack, got="a sum of its own choice, which the victim believes")


def withheld_sum(mode: str) -> Outcome:
    """The task does not give the FL server the sum; its coordinator asks the victim for it all the same."""
    run = start(replace(small_config(5, mode_named(mode)), release_to_coordinator=False))
    handed_in = []

    def ask(envelope: Envelope) -> tuple[Envelope, ...]:
        if isinstance(envelope, Up) and isinstance(envelope.message, SumChunk):
            handed_in.append(envelope.message)
        if isinstance(envelope, Down) and (envelope.participant, envelope.phase) == (VICTIM, Phase.REPORT_SUM):
            return (replace(envelope, message=ReleaseOrder(upload=True)),)
        return (envelope,)

    def attack() -> bool:
        run.hook = ask
        run.play()
        if VICTIM in run.errors and not handed_in:
            raise run.errors[VICTIM]
        return bool(handed_in)

    return settle(attack, got="the sum")


def copied_input(mode: str) -> Outcome:
    """A participant sends the victim's ciphertext as its own, so that the victim's update counts twice."""

    def attack() -> bool:
        run = start(small_config(5, mode_named(mode)))
        copied: dict[int, EncryptedInputChunk] = {}

        def copy(envelope: Envelope) -> tuple[Envelope, ...]:
            message = envelope.message
            if not isinstance(envelope, Up) or not isinstance(message, EncryptedInputChunk):
                return (envelope,)
            if envelope.participant == VICTIM:
                copied[message.number] = message
            mine = envelope.participant == ATTACKER
            return (replace(envelope, message=copied[message.number]),) if mine else (envelope,)

        run.hook = copy
        aggregate = run.play().aggregate
        if run.refused:
            raise run.refused[0][1]
        return aggregate is not None and np.array_equal(aggregate.sums, true_sum(run, [*NAMES[:4], VICTIM]))

    return settle(attack, got="a wrong sum, in which the victim counts twice and which nobody notices")


class RepeatingRng(SeededRng):
    """Gives the first two participants the same stream seed, after the round id of the same size."""

    def __init__(self) -> None:
        super().__init__(bytes(32))
        self._drawn = 0

    def token(self, size: int) -> bytes:
        """The same as the seeded stream has, but for these two seeds."""
        self._drawn += size == SEED_SIZE
        return bytes(SEED_SIZE) if size == SEED_SIZE and self._drawn in {2, 3} else super().token(size)


def equal_seeds() -> Outcome:
    """Two participants draw the same seed for c1: the coordinator subtracts one ciphertext from the other."""

    def attack() -> bool:
        recording = Recording(start(small_config(5, mode_named("bfv")), rng=RepeatingRng()))
        run, profile = recording.run, profile_of(recording.config)
        play_to_inputs(recording)
        first, second = (recording.ciphertext(name)[0] for name in NAMES[:2])
        seen = bfv_decode(profile, sub(profile.primes, first, second))[0][: recording.config.vector_len]
        one, other = (truth(run, name).astype(object) for name in NAMES[:2])
        if np.array_equal(seen, ((one - other) % profile.plain_modulus).astype(np.uint64)):
            return True
        raise run.refused[0][1] if run.refused else LocalError("the streams are not the same")

    return settle(attack, got="the difference of two updates")


def nameless(made: Callable[..., SeededPolynomials]) -> Callable[..., SeededPolynomials]:
    """Streams of c1 that do not depend on whose they are."""
    return lambda *arguments, participant, **rest: made(*arguments, participant="", **rest)


_CHECKED_SHARES: Final = (
    Check(ShareKeysPhase, "check", "C71"),
    Check(AwaitingShares, "_checked", "C61"),
)


def _of_custody(mode: Mode) -> tuple[Game, ...]:
    if mode.variant.custody is Custody.PARTICIPANTS:
        return (
            Game(
                f"{mode.name}-withheld-sum", f"{mode.title}: a sum that is not the FL server's is asked for",
                "malicious coordinator", "threat model", True, "participants hand it in only where the task says so",
                partial(withheld_sum, mode.name), Kind.LYING, mode.name,
                defences=(Check(AwaitingOrder, "receive", "C58"),), refused=Refusal(),
            ),
        )  # fmt: skip
    return (
        Game(
            f"{mode.name}-rogue-key-share", f"{mode.title}: a key share that cancels all others",
            "one participant", "[M21] §5", True, "key shares are committed to before any is seen",
            partial(rogue_key_share, mode.name), Kind.COLLUDING, mode.name,
            defences=_CHECKED_SHARES, refused=Refusal(AuthenticationError, ATTACKER),
        ),
        Game(
            f"{mode.name}-copied-input", f"{mode.title}: another's ciphertext is sent as one's own",
            "one participant", "[M21] §5", True, "a ciphertext is bound to its sender",
            partial(copied_input, mode.name), Kind.COLLUDING, mode.name,
            defences=(Check(encrypted_input, "check_chunk", "C76"),), refused=Refusal(AuthenticationError, ATTACKER),
        ),
    )  # fmt: skip


def _games() -> tuple[Game, ...]:
    planted = Game(
        "bfv-planted-sum", f"{mode_named('bfv').title}: a sum is made up without any key", "malicious coordinator",
        "[M21] §5", True, "a ciphertext that hides nothing is not decrypted", planted_sum, Kind.LYING, "bfv",
        defences=(Check(encrypted_sum, "check_ciphertext", "C56"),), refused=Refusal(),
    )  # fmt: skip
    equal = Game(
        "bfv-equal-seeds", f"{mode_named('bfv').title}: two ciphertexts with one c1", "curious coordinator", "[M21]",
        True, "c1 depends on whose it is; the seed is nobody else's", equal_seeds, Kind.READING, "bfv",
        # The coordinator has both ciphertexts, whether or not it refuses the second.
        defences=(Measure(tenseal_backend, "SeededPolynomials", nameless),),
        refused=Refusal(culprit=NAMES[1], at=Check(EncryptedInputPhase, "_check_seed", "C75")),
    )  # fmt: skip
    return (*(game for mode in ENCRYPTED for game in _of_custody(mode)), planted, equal)


ENCRYPTED_MESSAGE_GAMES: Final = _games()
