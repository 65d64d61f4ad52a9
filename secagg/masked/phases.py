"""The rounds of the protocol and their order: the one table that code, tests and documentation read."""

from enum import Enum
from typing import Final

from secagg.config import Deadlines, ThreatModel
from secagg.messages import AdvertiseKeys, ConsistencyCheck, MaskedInputChunk, ShareKeys, Unmask


class Phase(Enum):
    """Bonawitz et al. (2017), figure 4. The value is the round number there and the number on the wire less one."""

    ADVERTISE_KEYS = 0
    SHARE_KEYS = 1
    MASKED_INPUT = 2
    CONSISTENCY_CHECK = 3
    UNMASK = 4


PHASES: Final = {
    ThreatModel.SEMI_HONEST: (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK),
    ThreatModel.ACTIVE: tuple(Phase),
}
"""The phases of a round, in order."""


def following(phase: Phase, threat_model: ThreatModel) -> Phase | None:
    """The phase after `phase`; None after the last."""
    order = PHASES[threat_model]
    position = order.index(phase) + 1
    return order[position] if position < len(order) else None


def time_limit_s(phase: Phase, deadlines: Deadlines) -> float:
    """How long `phase` may stay open, in seconds."""
    return {
        Phase.ADVERTISE_KEYS: deadlines.advertise_keys_s,
        Phase.SHARE_KEYS: deadlines.share_keys_s,
        Phase.MASKED_INPUT: deadlines.masked_input_s,
        Phase.CONSISTENCY_CHECK: deadlines.consistency_check_s,
        Phase.UNMASK: deadlines.unmask_s,
    }[phase]


PHASE_OF: Final = {
    AdvertiseKeys: Phase.ADVERTISE_KEYS,
    ShareKeys: Phase.SHARE_KEYS,
    MaskedInputChunk: Phase.MASKED_INPUT,
    ConsistencyCheck: Phase.CONSISTENCY_CHECK,
    Unmask: Phase.UNMASK,
}
"""The phase in which a participant sends each message."""
