"""The phases of a round and their order: the one table that code, tests and documentation read."""

from enum import Enum
from typing import Final

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.errors import ProtocolViolation
from secagg.messages import AdvertiseKeys, ConsistencyCheck, MaskedInputChunk, ParticipantMessage, ShareKeys, Unmask


class Phase(Enum):
    """Bonawitz et al. (2017), figure 4. The value is the round number there and the number on the wire less one."""

    ADVERTISE_KEYS = 0
    SHARE_KEYS = 1
    MASKED_INPUT = 2
    CONSISTENCY_CHECK = 3
    UNMASK = 4


MASKED_PHASES: Final = {
    ThreatModel.SEMI_HONEST: (Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.UNMASK),
    ThreatModel.ACTIVE: (
        Phase.ADVERTISE_KEYS,
        Phase.SHARE_KEYS,
        Phase.MASKED_INPUT,
        Phase.CONSISTENCY_CHECK,
        Phase.UNMASK,
    ),
}
"""The phases of a masked round, in order."""

SENT_IN: Final[dict[type[ParticipantMessage], frozenset[Phase]]] = {
    AdvertiseKeys: frozenset({Phase.ADVERTISE_KEYS}),
    ShareKeys: frozenset({Phase.SHARE_KEYS}),
    MaskedInputChunk: frozenset({Phase.MASKED_INPUT}),
    ConsistencyCheck: frozenset({Phase.CONSISTENCY_CHECK}),
    Unmask: frozenset({Phase.UNMASK}),
}
"""The phases in which a participant sends each message."""


def phases(config: RoundConfig) -> tuple[Phase, ...]:
    """The phases of a round with `config`, in order."""
    return MASKED_PHASES[config.threat_model]


def phase_of(message: ParticipantMessage, order: tuple[Phase, ...]) -> Phase:
    """The phase of a round with the given order in which a participant sends `message`.

    Raises:
        ProtocolViolation: there is none.
    """
    for phase in order:
        if phase in SENT_IN[type(message)]:
            return phase
    raise ProtocolViolation(f"{type(message).__name__} is not part of this round")


def time_limit_s(phase: Phase, deadlines: Deadlines) -> float:
    """How long `phase` may stay open, in seconds."""
    return {
        Phase.ADVERTISE_KEYS: deadlines.advertise_keys_s,
        Phase.SHARE_KEYS: deadlines.share_keys_s,
        Phase.MASKED_INPUT: deadlines.masked_input_s,
        Phase.CONSISTENCY_CHECK: deadlines.consistency_check_s,
        Phase.UNMASK: deadlines.unmask_s,
    }[phase]
