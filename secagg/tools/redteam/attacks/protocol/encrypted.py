"""Games against homomorphic rounds. Sources: [M21] Mouchet et al. 2021, [LM21] Li & Micciancio 2021."""

from collections.abc import Callable
from typing import Final

import numpy as np

from secagg.encoding.packing import unpack
from secagg.errors import LocalError
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.vectors import OnceVector
from secagg.lattice.decoding import decode
from secagg.lattice.layout import layout_of
from secagg.lattice.parameters import Custody
from secagg.lattice.residues import ResidueVector, unpack_chunk
from secagg.lattice.rlwe import add
from secagg.messages import (
    ConsistencyCheck,
    ConsistencyProof,
    EncryptedSum,
    Index,
    ParticipantId,
    ReleaseOrder,
    SurvivorSet,
)
from secagg.rounds.session import Session
from secagg.tools.redteam.adversary import Integers, must_go_well, truth
from secagg.tools.redteam.arena import SMALL, deployment, random_updates, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Outcome, Refusal, settle
from secagg.tools.redteam.modes import ENCRYPTED, mode_named
from secagg.tools.redteam.views import Recording, Sight, record
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Down, Envelope, Hook, pass_on

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
    play_to_inputs(recording)
    return recording


def play_to_inputs(recording: Recording, hook: Hook = pass_on) -> None:
    """Play and keep the messages, up to the moment at which the coordinator says what is to be decrypted.

    Args:
        recording: of a round that has not begun.
        hook: sees and may change every message, before it is kept.

    Raises:
        LocalError: the round ended before all inputs were in.
    """

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
    profile = profile_of(recording.config)
    layout = layout_of(profile, recording.config.vector_len, 1)
    c0, c1 = (tuple(ResidueVector(layout, c[:, None]).all_chunks()) for c in recording.ciphertext(VICTIM))
    return EncryptedSum(EVERYONE, c0 if profile.custody is Custody.PARTICIPANTS else (), c1)


def _decrypt(recording: Recording, asked: EncryptedSum) -> Integers:
    """Have the participants decrypt `asked`, each showing what the protocol wants it to be shown."""
    if profile_of(recording.config).custody is Custody.PARTICIPANTS:
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
    run, profile, count = recording.run, profile_of(recording.config), recording.config.vector_len
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
        with must_go_well("the first decryption"):
            _decrypt(recording, _ciphertext_of_victim(recording))
        again = recording.run.participants[NAMES[0]].receive(_ciphertext_of_victim(recording), recording.run.now)
        return again is not None

    return lambda: settle(attack, held="one decryption a round", got="a second decryption under one key")


_ANSWERED: Final = Refusal(at=Check(Session, "receive", "C64"))
_NO_STATE_TAKES_IT: Final = Refusal(at="EncryptedSum was not expected now")
"""Whoever decrypted may yet be asked for shares of a part of the key that is missing, and for nothing else."""


def _games() -> tuple[Game, ...]:
    games: list[Game] = []
    for mode in ENCRYPTED:
        dealt = mode.variant.custody is Custody.PARTICIPANTS
        games += [
            Game(
                f"{mode.name}-curious", f"{mode.title}: the coordinator reads every ciphertext", "curious coordinator",
                "[M21]", True, "the coordinator has no key", curious_coordinator(mode.name), Kind.READING, mode.name,
            ),
            Game(
                f"{mode.name}-colluder", f"{mode.title}: one participant helps the coordinator",
                "curious coordinator, 1 of 5 colludes", "[M21] §1", not dealt,
                "custody threshold, or masked rounds" if dealt else "no participant has the whole key",
                colluder(mode.name), Kind.COLLUDING, mode.name,
            ),
            Game(
                f"{mode.name}-one-for-the-sum", f"{mode.title}: one ciphertext is passed off as the sum",
                "malicious coordinator", "[M21] §5", False,
                "masked rounds, active threat model: homomorphic rounds trust the coordinator to follow the rules",
                one_for_the_sum(mode.name), Kind.LYING, mode.name,
            ),
            Game(
                f"{mode.name}-second-decryption", f"{mode.title}: a second decryption is asked for",
                "malicious coordinator", "[LM21]; [M21] §5", True, "a participant answers once",
                second_decryption(mode.name), Kind.LYING, mode.name,
                refused=_ANSWERED if dealt else _NO_STATE_TAKES_IT,
            ),
        ]  # fmt: skip
    return tuple(games)


ENCRYPTED_GAMES: Final = _games()
