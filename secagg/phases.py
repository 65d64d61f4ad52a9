"""The phases of a round and their order: the one table that code, tests and documentation read."""

from dataclasses import dataclass
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
        """The name as the paper spells it, e.g. `MaskedInput`: in every text for people and in all JSON output."""
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


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """What is fixed for a phase in every round.

    Attributes:
        message: what a participant sends in it: one message, or the chunks of one vector.
        time_limit: the field of `Deadlines` that says how long it may stay open. Phases that move a whole vector have
            the time of an input.
        opens: whether somebody may know the sum as soon as the phase is open, whatever becomes of the round.
            Participants are then asked for what opens it or, where they hold the key, were given the encrypted sum
            itself. What they answer may reach somebody who colludes with n_C of them, although the coordinator sees too
            little of it. Before such a phase, nobody who follows the protocol gives away anything that opens a sum.
    """

    message: type[ParticipantMessage]
    time_limit: str
    opens: bool = False


PHASES: Final = {
    Phase.ADVERTISE_KEYS: PhaseRow(AdvertiseKeys, "advertise_keys_s"),
    Phase.SHARE_KEYS: PhaseRow(ShareKeys, "share_keys_s"),
    Phase.MASKED_INPUT: PhaseRow(MaskedInputChunk, "masked_input_s"),
    Phase.CONSISTENCY_CHECK: PhaseRow(ConsistencyCheck, "consistency_check_s"),
    Phase.UNMASK: PhaseRow(Unmask, "unmask_s", opens=True),
    Phase.CONFIRM_KEY: PhaseRow(KeyConfirmation, "share_keys_s"),
    Phase.ENCRYPTED_INPUT: PhaseRow(EncryptedInputChunk, "masked_input_s"),
    Phase.REPORT_SUM: PhaseRow(SumReport, "masked_input_s", opens=True),
    Phase.RELEASE_SUM: PhaseRow(SumChunk, "masked_input_s", opens=True),
    Phase.PARTIAL_DECRYPTION: PhaseRow(PartialChunk, "masked_input_s", opens=True),
    Phase.RECOVERY_CHECK: PhaseRow(RecoveryCheck, "consistency_check_s", opens=True),
    Phase.RECOVER_SEEDS: PhaseRow(RecoverSeeds, "unmask_s", opens=True),
}
"""Every phase, with its message and its time limit."""

SENT_IN: Final[dict[type[ParticipantMessage], Phase]] = {row.message: phase for phase, row in PHASES.items()}
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
    """Which setting says how long `phase` may stay open, and its seconds."""
    setting = PHASES[phase].time_limit
    return setting, getattr(deadlines, setting)


def time_limit_s(phase: Phase, deadlines: Deadlines) -> float:
    """How long `phase` may stay open, in seconds."""
    return time_limit(phase, deadlines)[1]
