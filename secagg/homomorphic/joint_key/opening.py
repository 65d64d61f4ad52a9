"""How the coordinator opens the sum of a round with a joint key, once every part of the key is taken out of it."""

from collections.abc import Mapping

import numpy as np

from secagg.aggregates import Aggregate
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, AuthenticationError, ProtocolViolation, RoundAborted
from secagg.events import Event
from secagg.homomorphic.joint_key.state import JointKeyState
from secagg.homomorphic.profile import profile_of
from secagg.lattice.decoding import decode
from secagg.lattice.keyshares import check_recovered_seed, fallen_part
from secagg.lattice.modular import U64
from secagg.lattice.residues import Accumulator
from secagg.lattice.rlwe import SecretKey, add
from secagg.messages import Index, RecoverSeeds
from secagg.rounds.recovery import Recovery, Wanted, salt_from


def open_sum(
    state: JointKeyState, partials: Accumulator, revealed: Mapping[Index, RecoverSeeds]
) -> tuple[list[Event], Aggregate]:
    """c0 + Σ d_u, plus the parts of the fallen, whose seeds are recovered; then decoded and rounded.

    Args:
        state: of the round.
        partials: Σ d_u.
        revealed: shares of the seeds of the fallen, by holder.

    Raises:
        RoundAborted: BELOW_THRESHOLD or WRONG_SHARES, see `Recovery`; MALFORMED_SUM if it is no sum of inputs.
    """
    if state.total is None:
        raise ValueError("there is no sum to decrypt")
    profile = profile_of(state.round.config)
    salt = salt_from({i: m.shares for i, m in revealed.items()})
    recovery = Recovery(state.members.at, state.round.config.threshold, salt)
    seeds = recovery.secrets(_wanted(state, owner, revealed) for owner in state.fallen)
    c0, c1 = state.total.c0.residues[:, 0], state.total.c1.residues[:, 0]
    phase = add(profile.primes, c0, partials.finish().residues[:, 0])
    for owner in state.fallen:
        key = SecretKey(profile, seeds[owner], state.round.context)
        phase = add(profile.primes, phase, fallen_part(key, c1))
    return [*recovery.wrong_shares()], Aggregate(_decoded(state, phase), state.survivors)


def _decoded(state: JointKeyState, phase: U64) -> U64:
    config = state.round.config
    survivors = len(state.sets.survivors)
    try:
        values = decode(profile_of(config), np.ascontiguousarray(phase), config.vector_len, survivors)
    except ProtocolViolation as error:
        # Nothing proves which input or partial decryption was wrong.
        raise RoundAborted(AbortReason.MALFORMED_SUM, f"the sum cannot be opened: {error}") from None
    return values.astype(config.ring_dtype)


def _wanted(state: JointKeyState, owner: Index, revealed: Mapping[Index, RecoverSeeds]) -> Wanted:
    name, profile = state.members.name(owner), profile_of(state.round.config)

    def accepts(seed: Secret) -> bool:
        try:
            check_recovered_seed(profile, seed, state.round.context, name, state.shared[owner].key_share)
        except AuthenticationError:
            return False
        return True

    return Wanted(owner, {i: m.shares[owner] for i, m in revealed.items()}, accepts)
