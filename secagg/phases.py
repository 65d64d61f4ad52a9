"""The phases of a round and their order: the one table that code, tests and documentation read."""

from enum import Enum
from typing import Final

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.lattice.parameters import Custody
from secagg.messages import (
    AdvertiseKeys,
    ConsistencyCheck,
    EncryptedInputChunk,
    KeyConfirmation,
    MaskedInputChunk,
    PartialChunk,
    ParticipantMessage,
    RecoverSeeds,
    RecoveryCheck,
    ShareKeys,
    SumChunk,
    SumReport,
    Unmask,
)


class Phase(Enum):
    """A phase of a round. Participants send what it asks for, and the coordinator answers all of them when it closes.

    The value is the number on the wire less one. 0 to 4 are the rounds of Bonawitz et al. (2017), figure 4.
    """

    ADVERTISE_KEYS = 0
    """Participants join with their public keys, and receive the roster."""
    SHARE_KEYS = 1
    """Each participant deals shares of its secrets to the others."""
    MASKED_INPUT = 2
    """Participants send masked updates, and learn who survived."""
    CONSISTENCY_CHECK = 3
    """Against an active coordinator: survivors sign who survived."""
    UNMASK = 4
    """Survivors reveal the shares that take the masks off the sum."""
    CONFIRM_KEY = 5
    """Homomorphic, custody `participants`: participants confirm that they hold the dealer's key."""
    ENCRYPTED_INPUT = 6
    """Homomorphic: participants send encrypted updates."""
    REPORT_SUM = 7
    """Custody `participants`: each reports the digest of the sum that it decrypted."""
    RELEASE_SUM = 8
    """Custody `participants`, where the FL server gets the sum: one participant hands it in."""
    PARTIAL_DECRYPTION = 9
    """Custody `threshold`: each decrypts the sum with its part of the key."""
    RECOVERY_CHECK = 10
    """Custody `threshold`, when some did not decrypt: the others sign who they are."""
    RECOVER_SEEDS = 11
    """Custody `threshold`: the others reveal their shares of the missing parts of the key."""

    def __str__(self) -> str:
        """As the paper spells it, in every text for people and in all JSON of the command line: `MaskedInput`."""
        return self.name.title().replace("_", "")


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

DEALT_KEY_PHASES: Final = (
    Phase.ADVERTISE_KEYS,
    Phase.SHARE_KEYS,
    Phase.CONFIRM_KEY,
    Phase.ENCRYPTED_INPUT,
    Phase.REPORT_SUM,
    Phase.RELEASE_SUM,
)
"""The phases of a homomorphic round whose key one participant deals; the last only where the FL server gets the sum."""

JOINT_KEY_PHASES: Final = (
    Phase.ADVERTISE_KEYS,
    Phase.SHARE_KEYS,
    Phase.ENCRYPTED_INPUT,
    Phase.CONSISTENCY_CHECK,
    Phase.PARTIAL_DECRYPTION,
    Phase.RECOVERY_CHECK,
    Phase.RECOVER_SEEDS,
)
"""The phases of a homomorphic round with a joint key; the last two only when decryptors fell."""

INPUT_PHASES: Final = frozenset({Phase.MASKED_INPUT, Phase.ENCRYPTED_INPUT})
"""Where updates go up: who delivers there is in the sum."""

SENT_IN: Final[dict[type[ParticipantMessage], Phase]] = {
    AdvertiseKeys: Phase.ADVERTISE_KEYS,
    ShareKeys: Phase.SHARE_KEYS,
    MaskedInputChunk: Phase.MASKED_INPUT,
    ConsistencyCheck: Phase.CONSISTENCY_CHECK,
    Unmask: Phase.UNMASK,
    KeyConfirmation: Phase.CONFIRM_KEY,
    EncryptedInputChunk: Phase.ENCRYPTED_INPUT,
    SumReport: Phase.REPORT_SUM,
    SumChunk: Phase.RELEASE_SUM,
    PartialChunk: Phase.PARTIAL_DECRYPTION,
    RecoveryCheck: Phase.RECOVERY_CHECK,
    RecoverSeeds: Phase.RECOVER_SEEDS,
}
"""The phase in which a participant sends each message."""


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
    """Which setting says how long `phase` may stay open, and its seconds. Phases that move a whole vector have the time
    of an input.
    """
    match phase:
        case Phase.ADVERTISE_KEYS:
            return "advertise_keys_s", deadlines.advertise_keys_s
        case Phase.SHARE_KEYS | Phase.CONFIRM_KEY:
            return "share_keys_s", deadlines.share_keys_s
        case Phase.CONSISTENCY_CHECK | Phase.RECOVERY_CHECK:
            return "consistency_check_s", deadlines.consistency_check_s
        case Phase.UNMASK | Phase.RECOVER_SEEDS:
            return "unmask_s", deadlines.unmask_s
        case _:
            return "masked_input_s", deadlines.masked_input_s


def time_limit_s(phase: Phase, deadlines: Deadlines) -> float:
    """How long `phase` may stay open, in seconds."""
    return time_limit(phase, deadlines)[1]
