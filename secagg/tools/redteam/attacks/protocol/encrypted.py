"""Games against homomorphic rounds. Sources: [M21] Mouchet et al. 2021, [LM21] Li & Micciancio 2021."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from secagg.encoding.packing import unpack
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import AuthenticationError, LocalError
from secagg.homomorphic import encrypted_sum
from secagg.homomorphic.dealt_key.release_sum import AwaitingOrder
from secagg.homomorphic.joint_key.encrypted_input import AwaitingShares
from secagg.homomorphic.joint_key.share_keys import AwaitingRoster, ShareKeysPhase
from secagg.homomorphic.session import HomomorphicParticipant
from secagg.homomorphic.vectors import OnceVector
from secagg.lattice.decoding import decode
from secagg.lattice.keyshares import joint_key, pack_key_share, unpack_key_share
from secagg.lattice.layout import layout_of
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Profile
from secagg.lattice.residues import ResidueVector, pack_residues, unpack_chunk
from secagg.lattice.rlwe import SecretKey, add, sub
from secagg.messages import (
    ConsistencyCheck,
    ConsistencyProof,
    EncryptedSum,
    Index,
    ParticipantId,
    ReleaseOrder,
    ShareKeys,
    SumChunk,
    SurvivorSet,
)
from secagg.phases import Phase
from secagg.tools.redteam.adversary import Integers, truth
from secagg.tools.redteam.arena import SMALL, deployment, random_updates, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Outcome, Refusal, settle
from secagg.tools.redteam.modes import ENCRYPTED, Mode, mode_named
from secagg.tools.redteam.views import Recording, Sight, record
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Down, Envelope, Hook, Run, Up, pass_on

NAMES: Final = participant_names(5)
VICTIM: Final = NAMES[3]
EVERYONE: Final = SurvivorSet(tuple(Index(i) for i in range(1, 6)), ())


def _recorded(mode: str, colluders: list[ParticipantId] | None = None) -> Recording:
    config, updates = small_config(5, mode_named(mode)), random_updates(SMALL, NAMES)
    return record(config, updates, rng=rng_of(1, mode), colluders=colluders or [], deployment=deployment())


def _sees(recording: Recording, sight: Sight) -> bool:
    return np.array_equal(recording.residues(VICTIM, sight), truth(recording.run, VICTIM))


def curious_coordinator(mode: str) -> Callable[[], Outcome]:
    """Everything that the coordinator receives, without any key."""
    return lambda: settle(
        lambda: _sees(_recorded(mode), Sight.COORDINATOR), held="the key is not with the coordinator", got="the update"
    )


def colluder(mode: str) -> Callable[[], Outcome]:
    """One participant hands its key to the coordinator."""
    return lambda: settle(
        lambda: _sees(_recorded(mode, NAMES[:1]), Sight.COLLUDERS),
        held="parts of the key that the colluder does not have",
        got="the victim's exact update, decrypted with the dealt key",
    )


class _Halted(Exception):
    """The coordinator stops to think: inputs are in, and nobody has heard of the sum."""


def _with_inputs(mode: str) -> Recording:
    """A round up to the moment at which the coordinator says what is to be decrypted."""
    recording = Recording(start(small_config(5, mode_named(mode))))
    _play_to_inputs(recording)
    return recording


def _play_to_inputs(recording: Recording, hook: Hook = pass_on) -> None:
    def listen(envelope: Envelope) -> tuple[Envelope, ...]:
        if isinstance(envelope, Down) and isinstance(envelope.message, EncryptedSum):
            raise _Halted
        recording.envelopes.append(envelope)
        return (envelope,)

    recording.run.hook = chain(hook, listen)
    try:
        recording.run.play()
    except _Halted:
        return
    raise LocalError(f"the round ended before its inputs were in: {recording.run.coordinator.failure}")


def _ciphertext_of_victim(recording: Recording) -> EncryptedSum:
    """The victim's own ciphertext in the place of the sum."""
    profile = _profile(recording)
    layout = layout_of(profile, recording.config.vector_len, 1)
    c0, c1 = (tuple(ResidueVector(layout, c[:, None]).all_chunks()) for c in recording.ciphertext(VICTIM))
    return EncryptedSum(EVERYONE, c0 if profile.custody is Custody.PARTICIPANTS else (), c1)


def _decrypt(recording: Recording, asked: EncryptedSum) -> Integers:
    """Have the participants decrypt `asked`, each showing what the protocol wants it to be shown."""
    if _profile(recording).custody is Custody.PARTICIPANTS:
        return _handed_in(recording, asked)
    return _put_together(recording, asked)


def _handed_in(recording: Recording, asked: EncryptedSum) -> Integers:
    """Custody `participants`: one participant decrypts, and hands the result in."""
    run, config = recording.run, recording.config
    someone = run.participants[NAMES[0]]
    someone.receive(asked, run.now)
    upload = someone.receive(ReleaseOrder(upload=True), run.now)
    if not isinstance(upload, OnceVector):
        raise LocalError("nothing was handed in")
    return unpack(upload.chunk(0).payload, config.vector_len, config.ring_bits).astype(np.uint64)


def _put_together(recording: Recording, asked: EncryptedSum) -> Integers:
    """Custody `threshold`: everybody signs what is to be decrypted, sees the others' signatures, and decrypts."""
    run, profile, count = recording.run, _profile(recording), recording.config.vector_len
    signatures = {}
    for i, name in enumerate(NAMES, start=1):
        signed = run.participants[name].receive(asked, run.now)
        if isinstance(signed, ConsistencyCheck):
            signatures[Index(i)] = signed.signature
    phase, layout = recording.ciphertext(VICTIM)[0], layout_of(profile, count, 1)
    for name in NAMES:
        partial = run.participants[name].receive(ConsistencyProof(signatures), run.now)
        if isinstance(partial, OnceVector):
            phase = add(profile.primes, phase, unpack_chunk(layout, 0, partial.chunk(0).payload)[:, 0])
    return decode(profile, np.ascontiguousarray(phase), count, len(NAMES))


def _profile(recording: Recording) -> Profile:
    profile = recording.config.homomorphic
    if profile is None:
        raise LocalError("a masked round has no ciphertexts")
    return profile


def one_for_the_sum(mode: str) -> Callable[[], Outcome]:
    """The coordinator hands out the victim's own ciphertext where the encrypted sum belongs."""

    def attack() -> bool:
        recording = _with_inputs(mode)
        opened = _decrypt(recording, _ciphertext_of_victim(recording))
        return np.array_equal(opened, truth(recording.run, VICTIM))

    return lambda: settle(attack, held="nobody decrypts it", got="the victim's exact update, decrypted by the others")


def second_decryption(mode: str) -> Callable[[], Outcome]:
    """After the honest decryption everyone is asked for one more, of the victim's ciphertext."""

    def attack() -> bool:
        recording = _with_inputs(mode)
        _decrypt(recording, _ciphertext_of_victim(recording))
        again = recording.run.participants[NAMES[0]].receive(_ciphertext_of_victim(recording), recording.run.now)
        return again is not None

    return lambda: settle(attack, held="one decryption a round", got="a second decryption under one key")


# --- what participants check of a key and of a sum --------------------------------------------------------------------

ATTACKER: Final = NAMES[4]


def machine(run: Run, name: ParticipantId) -> HomomorphicParticipant[Any]:
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
        run, profile = recording.run, _profile(recording)
        state = machine(run, ATTACKER)._state
        if not isinstance(state, AwaitingRoster):
            raise LocalError("the round has begun")
        _play_to_inputs(recording, cancelling_shares(run))
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
    profile = _profile(Recording(run))

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


_CHECKED_SHARES: Final = (
    Check(ShareKeysPhase, "check", "C71"),
    Check(AwaitingShares, "_checked", "C61"),
)


def _games_of_custody(mode: Mode) -> tuple[Game, ...]:
    if mode.variant.custody is Custody.PARTICIPANTS:
        return (
            Game(
                f"{mode.name}-withheld-sum", f"{mode.title}: a sum that is not the FL server's is asked for",
                "malicious coordinator", "threat model", True, "participants hand it in only where the task says so",
                partial(withheld_sum, mode.name), Kind.LYING, mode.name, encrypted=True,
                defences=(Check(AwaitingOrder, "on_order", "C58"),), refused=Refusal(),
            ),
        )  # fmt: skip
    return (
        Game(
            f"{mode.name}-rogue-key-share", f"{mode.title}: a key share that cancels all others",
            "one participant", "[M21] §5", True, "key shares are committed to before any is seen",
            partial(rogue_key_share, mode.name), Kind.COLLUDING, mode.name, encrypted=True,
            defences=_CHECKED_SHARES, refused=Refusal(AuthenticationError, ATTACKER),
        ),
    )  # fmt: skip


def _games() -> tuple[Game, ...]:
    games: list[Game] = []
    for mode in ENCRYPTED:
        dealt = mode.variant.custody is Custody.PARTICIPANTS
        games += [
            Game(
                f"{mode.name}-curious", f"{mode.title}: the coordinator reads every ciphertext", "curious coordinator",
                "[M21]", True, "the coordinator has no key", curious_coordinator(mode.name), Kind.READING, mode.name,
                encrypted=True,
            ),
            Game(
                f"{mode.name}-colluder", f"{mode.title}: one participant helps the coordinator",
                "curious coordinator, 1 of 5 colludes", "[M21] §1", not dealt,
                "custody threshold, or masked rounds" if dealt else "no participant has the whole key",
                colluder(mode.name), Kind.COLLUDING, mode.name,
                encrypted=True,
            ),
            Game(
                f"{mode.name}-one-for-the-sum", f"{mode.title}: one ciphertext is passed off as the sum",
                "malicious coordinator", "[M21] §5", False,
                "masked rounds, active threat model: homomorphic rounds trust the coordinator to follow the rules",
                one_for_the_sum(mode.name), Kind.LYING, mode.name,
                encrypted=True,
            ),
            Game(
                f"{mode.name}-second-decryption", f"{mode.title}: a second decryption is asked for",
                "malicious coordinator", "[LM21]; [M21] §5", True, "a participant answers once",
                second_decryption(mode.name), Kind.LYING, mode.name,
                encrypted=True, refused=Refusal(),
            ),
            *_games_of_custody(mode),
        ]  # fmt: skip
    planted = Game(
        "bfv-planted-sum", f"{mode_named('bfv').title}: a sum is made up without any key", "malicious coordinator",
        "[M21] §5", True, "a ciphertext that hides nothing is not decrypted", planted_sum, Kind.LYING, "bfv",
        encrypted=True, defences=(Check(encrypted_sum, "check_ciphertext", "C56"),), refused=Refusal(),
    )  # fmt: skip
    return (*games, planted)


ENCRYPTED_GAMES: Final = _games()
