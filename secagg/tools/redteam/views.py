"""What one adversary really holds after a round: taken from the real participants and coordinator, over the network's
hook, through the real encoding.

A view of a victim is a vector of residues with as much protection left on it as that adversary cannot take off. For
attacks it is decoded "as if it were the update": into the named float arrays of the schema. Against a scheme that
holds, these arrays are noise.
"""

import io
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from secagg.config import RoundConfig
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.code import BoundedCode, NoisyCode
from secagg.encoding.schema import Flat, NewArrays, Update
from secagg.errors import LocalError, ProtocolViolation
from secagg.homomorphic.dealt_key.report_sum import AwaitingSum as AwaitingDealtSum
from secagg.homomorphic.joint_key.consistency_check import AwaitingSum as AwaitingJointSum
from secagg.homomorphic.profile import profile_of
from secagg.homomorphic.session import HomomorphicParticipant
from secagg.lattice.decoding import bfv_decode, ckks_decode
from secagg.lattice.layout import Layout
from secagg.lattice.parameters import Custody, Profile, Scheme
from secagg.lattice.residues import unpack_chunk
from secagg.lattice.rlwe import SecretKey, add
from secagg.lattice.slots import bfv_values
from secagg.lattice.streams import SeededPolynomials
from secagg.lattice.summation import upload_layout
from secagg.messages import EncryptedInputChunk, Index, ParticipantId, Phase
from secagg.rounds.uploads import MemorySpool
from secagg.schemes import coordinate
from secagg.tools.redteam.adversary import Adversary, Integers, truth
from secagg.tools.simulation.cohort import Contribution, Deployment, set_up
from secagg.tools.simulation.faults import chain
from secagg.tools.simulation.network import Envelope, Hook, Run, Up, pass_on

Arrays = dict[str, FloatArray]
"""Named float arrays: what attacks take."""


class Sight(Enum):
    """Whose eyes. The value is the title for people."""

    PLAIN = "a server without secure aggregation"
    """The positive control: the very vector that the participant encodes, with nothing over it."""
    TRAFFIC = "one participant's traffic"
    COORDINATOR = "everything that the coordinator receives"
    COLLUDERS = "the coordinator and colluding participants with their secrets"
    RELEASED = "the released aggregate"


@dataclass(slots=True)
class Recording:
    """One round and everything that was said in it.

    Attributes:
        run: the round, over.
        envelopes: every message, in order.
        colluders: whose secrets the adversary has.
        disk: what the coordinator spooled.
        log: everything written to logs, standard output and standard error, and what events and errors print as.
    """

    run: Run
    colluders: tuple[ParticipantId, ...] = ()
    envelopes: list[Envelope] = field(default_factory=list)
    disk: bytes = b""
    log: str = ""
    _masked: Adversary | None = None
    _key_seeds: dict[ParticipantId, Secret] = field(default_factory=dict)

    @property
    def config(self) -> RoundConfig:
        """The configuration of the round that was recorded."""
        return self.run.coordinator.round.config

    def residues(self, victim: ParticipantId, sight: Sight) -> Integers:
        """The victim's vector as that adversary holds it: uint64[vector_len], mod 2^b (masked) or as decrypted.

        A ciphertext that cannot be opened gives its residues modulo its primes, which are all of one width.
        """
        if sight is Sight.RELEASED:
            raise LocalError("the aggregate is nobody's vector; see `released`")
        if sight is Sight.PLAIN:
            return truth(self.run, victim)
        if self._masked is not None:
            return self._unmasked_as_far_as(victim, sight, self._masked)
        return self._opened_as_far_as(victim, sight)

    def observation(self, victim: ParticipantId, sight: Sight) -> Arrays:
        """The victim's vector decoded as if it were the update: float arrays in the schema's names and shapes."""
        if sight is Sight.RELEASED:
            return self.released()
        residues = self.residues(victim, sight)
        return decode_as_update(self.config, residues, self.run.coordinator.round.context, self._modulus(sight))

    def released(self) -> Arrays:
        """The weighted mean that the round releases.

        Raises:
            LocalError: there was no sum.
        """
        aggregate = self.run.coordinator.aggregate
        if aggregate is None:
            raise LocalError(f"the round released nothing: {self.run.coordinator.failure}")
        return aggregate.mean(self.config, self.run.coordinator.round.context).arrays

    # --- masked rounds ------------------------------------------------------------------------------------------------

    def _unmasked_as_far_as(self, victim: ParticipantId, sight: Sight, adversary: Adversary) -> Integers:
        """The upload less every mask that is known: b from the shares that everyone revealed, s_uv of colluders."""
        adversary.assemble()
        vector = adversary.inputs[victim]
        if sight is Sight.TRAFFIC:
            return vector
        masks = adversary.self_mask(victim)
        if sight is Sight.COLLUDERS:
            masks = masks + [
                mask for peer in self.colluders if peer != victim for mask in adversary.pairwise(victim, peer)
            ]
        return adversary.strip(vector, masks)

    # --- encrypted rounds ---------------------------------------------------------------------------------------------

    def _opened_as_far_as(self, victim: ParticipantId, sight: Sight) -> Integers:
        profile, (c0, c1) = profile_of(self.config), self.ciphertext(victim)
        if sight is not Sight.COLLUDERS or not self._key_seeds:
            # As many residues as there are values, whatever a ciphertext packs: c0 prime by prime, then c1.
            residues = np.concatenate([c.transpose(1, 0, 2).reshape(-1) for c in (c0, c1)])
            return np.resize(residues, self.config.vector_len)
        seeds = list(self._key_seeds.values())
        if profile.custody is Custody.PARTICIPANTS:
            seeds = seeds[:1]  # each colluder has the whole key
        phase = c0
        for seed in seeds:
            phase = add(profile.primes, phase, SecretKey(profile, seed, self.run.coordinator.round.context).times(c1))
        return _decoded(profile, np.ascontiguousarray(phase))[: self.config.vector_len]

    def ciphertext(self, victim: ParticipantId) -> tuple[Integers, Integers]:
        """The polynomials c0 and c1 of the victim's upload: uint64[blocks, primes, N] each.

        Raises:
            LocalError: it never came in.
        """
        profile, layout = profile_of(self.config), self._layout()
        chunks = [e.message for e in self.sent(victim) if isinstance(e.message, EncryptedInputChunk)]
        if not chunks:
            raise LocalError(f"no encrypted input came from {victim}")
        residues = np.concatenate([unpack_chunk(layout, chunk.number, chunk.payload) for chunk in chunks])
        if layout.polynomials == 2:
            return residues[:, 0], residues[:, 1]
        context = self.run.coordinator.round.context
        stream = SeededPolynomials(profile, chunks[0].seed, context=context, participant=victim)
        return residues[:, 0], np.ascontiguousarray(stream.blocks(range(layout.blocks)))

    def sent(self, name: ParticipantId) -> Iterator[Up]:
        """What a participant sent, in order."""
        return (e for e in self.envelopes if isinstance(e, Up) and e.participant == name)

    def _layout(self) -> Layout:
        return upload_layout(profile_of(self.config), self.config.vector_len)

    def _modulus(self, sight: Sight) -> int:
        """What the residues of a view are taken modulo."""
        profile = self.config.homomorphic
        opened = sight is Sight.PLAIN or (sight is Sight.COLLUDERS and self._key_seeds)
        return 1 << self.config.ring_bits if profile is None or opened else profile.primes[0]

    def _note(self, envelope: Envelope) -> Iterable[Envelope]:
        self.envelopes.append(envelope)
        name = envelope.participant
        if name in self.colluders and isinstance(envelope.message, EncryptedInputChunk):
            participant = self.run.participants[name]
            state = participant._state if isinstance(participant, HomomorphicParticipant) else None
            if isinstance(state, AwaitingDealtSum | AwaitingJointSum):
                self._key_seeds[name] = state.seed
        return (envelope,)


def record(
    config: RoundConfig,
    updates: Mapping[ParticipantId, Update],
    *,
    rng: Rng,
    colluders: Collection[ParticipantId] = (),
    deployment: Deployment | None = None,
    hook: Hook = pass_on,
) -> Recording:
    """Play a round of the real participants and coordinator, and keep everything.

    Args:
        config: of the round.
        updates: by participant, each of weight 1.
        rng: all keys, shares and roundings come from it.
        colluders: participants that hand their secrets to the coordinator. They follow the protocol otherwise.
        deployment: identities; made here if None and messages are signed.
        hook: sees and may change every message, after it was noted.
    """
    contributions = {name: Contribution(update) for name, update in updates.items()}
    run = set_up(config, contributions, rng=rng, deployment=deployment)
    spool = RememberingSpool()
    trust = next(iter(run.participants.values())).membership.credentials
    run.coordinator = coordinate(run.coordinator.round, now=run.now, trust=trust.trust if trust else None, spool=spool)
    recording = Recording(run, tuple(colluders))
    hooks: list[Hook] = [recording._note]
    if config.homomorphic is None:
        recording._masked = Adversary(run, colluders)
        hooks.append(recording._masked)
    run.hook = chain(*hooks, hook)
    with listening() as heard:
        run.play()
    recording.disk = b"".join(spool.written.values())
    recording.log = heard.getvalue() + "\n".join(
        map(repr, [*run.events, *run.errors.items(), *[(up.participant, str(e)) for up, e in run.refused]])
    )
    return recording


def decode_as_update(config: RoundConfig, residues: Integers, context: bytes, modulus: int) -> Arrays:
    """Residues as the floats that they would stand for: by the real decoder where it takes them, else in proportion.

    Args:
        config: of the round.
        residues: uint64[vector_len], each in [0, modulus).
        context: of the round; coordinate sampling and rotations are undone with it, as anybody can.
        modulus: what residues are taken modulo; their whole range is laid over the range of a value.
    """
    try:
        return config.code.decode_mean(residues.astype(np.uint64), 1, context).arrays
    except ProtocolViolation:
        pass
    if not isinstance(config.code, BoundedCode | NoisyCode):
        raise LocalError("this encoding cannot be read in parts")
    steps = config.code.steps
    spread = residues[: steps.size].astype(np.float64) / modulus * 2 - 1
    clip = config.code.code.clip if isinstance(config.code, BoundedCode) else 1.0
    return steps.schema.fill(NewArrays(), steps.undo(Flat(spread * clip), context))


def _decoded(profile: Profile, phase: Integers) -> Integers:
    """Values of phases, with no regard to whether they make sense: uint64[values]."""
    if profile.scheme is Scheme.BFV:
        values: Integers = bfv_values(profile, bfv_decode(profile, phase)).reshape(-1)
        return values
    slots = ckks_decode(profile, phase)
    parts = np.rint(np.concatenate([slots.real, slots.imag], axis=-1)).reshape(-1)
    rounded: Integers = np.clip(parts, 0, 2.0**62).astype(np.uint64)
    return rounded


class RememberingSpool(MemorySpool):
    """A spool that remembers every byte written to it, by its owner."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[int, bytes] = {}

    def append(self, phase: Phase, owner: Index, payload: bytes) -> None:
        """Keep the payload in the spool, and a copy of what was written for each owner."""
        self.written[owner] = self.written.get(owner, b"") + payload
        super().append(phase, owner, payload)


@contextmanager
def listening() -> Iterator[io.StringIO]:
    """Everything that is logged or printed."""
    heard = io.StringIO()
    handler, root = logging.StreamHandler(heard), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(heard), redirect_stderr(heard):
            yield heard
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
