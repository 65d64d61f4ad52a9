"""Which phases the rounds of a configuration have, and how long each may stay open.

The phases themselves, and their orders, are declared in `secagg.messages`.
"""

from secagg.config import Deadlines, RoundConfig
from secagg.lattice.parameters import Custody
from secagg.messages import DEALT_KEY_PHASES, INPUT_PHASES, JOINT_KEY_PHASES, MASKED_PHASES, PHASES, Phase


def phases(config: RoundConfig) -> tuple[Phase, ...]:
    """The phases of a round with `config`, in order."""
    profile = config.homomorphic
    if profile is None:
        return MASKED_PHASES[config.threat_model]
    if profile.custody is Custody.THRESHOLD:
        return JOINT_KEY_PHASES
    return DEALT_KEY_PHASES if config.release_to_coordinator else DEALT_KEY_PHASES[:-1]


def input_phase(config: RoundConfig) -> Phase:
    """Where updates go up."""
    return next(phase for phase in phases(config) if phase in INPUT_PHASES)


def time_limit(phase: Phase, deadlines: Deadlines) -> tuple[str, float]:
    """Which setting says how long `phase` may stay open, and its seconds."""
    setting = PHASES[phase].time_limit
    return setting, getattr(deadlines, setting)


def time_limit_s(phase: Phase, deadlines: Deadlines) -> float:
    """How long `phase` may stay open, in seconds."""
    return time_limit(phase, deadlines)[1]
