"""Small homomorphic rounds with messages, their masked counterparts on the same inputs, and who drops out of either."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.rng import Rng, SeededRng
from secagg.crypto.secret import Secret
from secagg.encoding import packing
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.vector import EncodedUpdate
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.session import HomomorphicParticipant
from secagg.homomorphic.vectors import Backend
from secagg.lattice import layout
from secagg.lattice.jobs import Desk
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import (
    EncryptedInputChunk,
    Leave,
    LeaveReason,
    MaskedInputChunk,
    PartialChunk,
    ParticipantId,
    Phase,
    SumChunk,
)
from secagg.phases import phases
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.schemes import coordinate, take_part
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Hook, Run, Up, pass_on
from secagg.wire.configuration import encode_config
from tests.rounds import NOW, SEMI_HONEST, deployment, flat_schema, random_update

BFV, CKKS = Scheme.BFV, Scheme.CKKS
DEALT, JOINT = Custody.PARTICIPANTS, Custody.THRESHOLD
CASES = [(scheme, custody) for scheme in Scheme for custody in Custody]
TOLERANT = Policy(threat_models=frozenset({SEMI_HONEST}), allow_experimental=True, min_colluding_share=0.0)
ROUND_ID = RoundId(bytes(range(16)))
CHUNKED = (MaskedInputChunk, EncryptedInputChunk, PartialChunk, SumChunk)


def encrypted_config(
    scheme: Scheme,
    custody: Custody,
    people: int = 5,
    *,
    vector_len: int = 64,
    threshold: int = 0,
    **changes: Any,
) -> RoundConfig:
    """A round whose encoded vector has `vector_len` ≥ 2 coordinates (the last holds the weight)."""
    encoding = FixedPoint(1.0, 16, 100)
    threshold = threshold or max(3, people // 2 + 1)
    made: dict[str, Any] = {
        "task": "digits",
        "schema": flat_schema(vector_len - (encoding.vector_len(flat_schema(1)) - 1)),
        "encoding": encoding,
        "max_participants": people,
        "model_digest": bytes(32),
        "threshold": threshold,
        "max_colluding": max(0, min((people - 1) // 3, 2 * threshold - people - 1)) if custody is JOINT else -1,
        "release_to_coordinator": True,
        "threat_model": SEMI_HONEST,
        "homomorphic": find_profile(scheme, custody, people, encoding.value_bits),
        **changes,
    }
    return RoundConfig(**made)


def masked_config(config: RoundConfig) -> RoundConfig:
    """The same task with masks."""
    return replace(config, homomorphic=None, release_to_coordinator=True)


def inputs(config: RoundConfig, names: Iterable[ParticipantId], seed: int) -> dict[ParticipantId, EncodedUpdate]:
    """A random update and weight for each; the same for the same seed, whatever the scheme."""
    made = {}
    for name in names:
        tag = seed * 1000 + int(name.rsplit("-", 1)[1])
        flat = config.schema.check(random_update(config.schema, tag))
        rounding = Secret(SeededRng(tag.to_bytes(32, "big")).token(32))
        made[name] = config.code.encode(flat, 1 + tag % 100, rounding)
    return made


def prepare(
    config: RoundConfig,
    *,
    seed: int = 0,
    hook: Hook = pass_on,
    names: Iterable[ParticipantId] | None = None,
    policy: Policy = TOLERANT,
    backend: Callable[[], Backend] = Desk,
    rng: Rng | None = None,
    round_id: RoundId = ROUND_ID,
) -> Run:
    """A round of `names` (everyone if None), ready to be played."""
    names = list(participant_names(config.max_participants) if names is None else names)
    round_ = Round(round_id, config, bind(round_id, encode_config(config), config.model_digest))
    made, rng, vectors = deployment(), rng or SeededRng(seed.to_bytes(32, "big")), inputs(config, names, seed)
    people = {}
    for name in names:
        credentials = Credentials(made.identities[name], made.trust) if config.signed else None
        people[name] = take_part(Membership(round_, name, policy, rng, credentials), vectors[name], backend)
    coordinator = coordinate(round_, now=NOW, trust=made.trust if config.signed else None)
    return Run(coordinator, people, hook, NOW, vectors=vectors)


def machine(run: Run, name: ParticipantId) -> HomomorphicParticipant:
    participant = run.participants[name]
    assert isinstance(participant, HomomorphicParticipant)
    return participant


def dealt_state(run: Run) -> DealtKeyState:
    """What the coordinator knows."""
    assert isinstance(run.coordinator._state, DealtKeyState)
    return run.coordinator._state


def joint_state(run: Run) -> JointKeyState:
    """What the coordinator knows."""
    assert isinstance(run.coordinator._state, JointKeyState)
    return run.coordinator._state


def short_chunks(patch: pytest.MonkeyPatch) -> None:
    """One block a chunk, and 4 KiB of a packed sum, so that small vectors have several of both."""
    patch.setattr(layout, "CHUNK_BYTES", 1)
    patch.setattr(packing, "CHUNK_BYTES", 4096)


@dataclass(frozen=True)
class Dropout:
    """Somebody who leaves in `phase`, and how.

    Attributes:
        how: `silent`, `half-way` (within an upload, otherwise silent), `leaves before` or `leaves after` its message.
    """

    phase: Phase
    how: str

    def delivers(self, phase: Phase, order: tuple[Phase, ...]) -> bool:
        here, last = order.index(phase), order.index(self.phase)
        return here < last or (here == last and self.how == "leaves after")


HOW = ("silent", "half-way", "leaves before", "leaves after")
Gone = Mapping[ParticipantId, Dropout]


def dropping(config: RoundConfig, gone: Gone) -> Hook:
    """A hook under which these people leave as said."""
    order = phases(config)
    last_chunk: dict[Phase, int] = chunk_counts(config)

    def hook(envelope: Envelope) -> Iterable[Envelope]:
        dropout = gone.get(envelope.participant)
        if dropout is None or not isinstance(envelope, Up):
            return (envelope,)
        if order.index(envelope.phase) != order.index(dropout.phase):
            return (envelope,) if order.index(envelope.phase) < order.index(dropout.phase) else ()
        leave = Up(envelope.participant, Leave(LeaveReason.CANCELLED), envelope.phase)
        number = envelope.message.number if isinstance(envelope.message, CHUNKED) else None
        last = number is None or number == last_chunk[envelope.phase] - 1
        match dropout.how:
            case "leaves before":
                return (leave,) if not number else ()
            case "leaves after":
                return (envelope, leave) if last else (envelope,)
            case "half-way" if not last:
                return (envelope,)
        return ()

    return hook


def chunk_counts(config: RoundConfig) -> dict[Phase, int]:
    """Chunks of each upload."""
    profile, packed = config.homomorphic, -(-config.vector_len // packing.chunk_values(config.ring_bits))
    if profile is None:
        return {Phase.MASKED_INPUT: packed}
    polynomials = 1 if profile.custody is DEALT else 2
    return {
        Phase.ENCRYPTED_INPUT: layout.layout_of(profile, config.vector_len, polynomials).chunks,
        Phase.PARTIAL_DECRYPTION: layout.layout_of(profile, config.vector_len, 1).chunks,
        Phase.RELEASE_SUM: packed,
    }


def foreseen(config: RoundConfig, gone: Gone) -> list[ParticipantId] | None:
    """The survivors, or None where the round must fail."""
    order = phases(config)
    names = participant_names(config.max_participants)
    delivered = {p: [n for n in names if n not in gone or gone[n].delivers(p, order)] for p in order}
    needed = list(order)
    if Phase.RELEASE_SUM in order:
        needed.remove(Phase.RELEASE_SUM)  # one is enough there
    if Phase.RECOVERY_CHECK in order and len(delivered[Phase.PARTIAL_DECRYPTION]) == len(delivered[Phase.SHARE_KEYS]):
        needed = needed[:-2]  # nobody fell
    if any(len(delivered[phase]) < config.threshold for phase in needed):
        return None
    if Phase.RELEASE_SUM in order and not delivered[Phase.RELEASE_SUM]:
        return None
    return delivered[Phase.MASKED_INPUT if config.homomorphic is None else Phase.ENCRYPTED_INPUT]


def masked_sums(config: RoundConfig, survivors: Iterable[str], seed: int) -> "tuple[np.ndarray[Any, Any], bytes]":
    """What the masked mode releases of the same people on the same inputs: the sums, and the bits of the mean."""
    plain = masked_config(config)
    run = prepare(plain, seed=seed, names=[ParticipantId(name) for name in survivors])
    aggregate = run.play().aggregate
    assert aggregate is not None
    return aggregate.sums, aggregate.mean(plain).arrays["values"].tobytes()
