"""What a round is, agreed by all: `RoundConfig`. Unsafe parameters are refused here, with what to change."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

import numpy as np

from secagg.crypto import xwing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.mask_stream import MaskCipher
from secagg.crypto.prg import word_dtype
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.integers import IntegerCode, Integers
from secagg.encoding.packing import MAX_BITS
from secagg.encoding.pipeline import Noise, NoiseBy, Pipeline
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError, LocalError
from secagg.lattice.parameters import Custody, Profile
from secagg.robust.grouping import Combine, Groups
from secagg.scalars import settle, utf8
from secagg.sparse.finder import choose
from secagg.sparse.ring import Ring
from secagg.sparse.tails import check

MIN_COHORT: Final = 3
"""A sum of two shows each of the two the other's update."""

MIN_HONEST: Final = 2
"""Updates in a sum whose participants do not collude. Were there one, the sum less the colluders' own would be it."""

TRAIN: Final = "train"
"""The purpose of a round where nobody names one."""

METRICS: Final = "metrics"
"""The purpose of sums of what training reported. Beside the sums of updates they hold the same weights."""

_PURPOSE: Final = re.compile("[a-z0-9_-]{1,64}")

MAX_PARTICIPANTS: Final = 10_000
MAX_TASK_BYTES: Final = 128
MAX_VECTOR_LEN: Final = 2**32
MAX_HYBRID_NEIGHBOURS: Final = 2000
"""Neighbours of a participant in a round of the hybrid suite: its shares for so many take 5 MB."""

DIGEST_SIZE: Final = 32
UNNAMED_MODEL: Final = bytes(DIGEST_SIZE)
"""The model digest in the configuration of a round whose model is named later: 32 zero bytes."""


MAX_GRINDING_S: Final = 600.0
"""The longest time that a round on a ring may allow for collecting keys where the coordinator may lie, in seconds.
A participant refuses a list of members that comes later than this and a minute after its keys. What the parameters of a
ring bear is 2^60 tries.
"""


class ThreatModel(Enum):
    """What participants assume that the coordinator may do. The value is the number on the wire."""

    SEMI_HONEST = 1
    """The coordinator follows the protocol, and reads everything that it receives."""
    ACTIVE = 2
    """The coordinator may lie. So keys are signed, and survivors agree on who survived before anything is unmasked."""


class Suite(Enum):
    """The cryptographic primitives of a round. The value is the number on the wire."""

    X25519_SHA256_AES128 = 1
    """Key agreement X25519, hashes and key derivation SHA-256, masks and encryption AES-128."""
    X25519_SHA256_AEGIS128X4 = 2
    """The same, but for the masks: AEGIS-128X4, which is faster on processors that have VAES. Coordinator and
    participants need the extra `fast`.
    """
    XWING_SHA256_AES256 = 3
    """Key encapsulation X-Wing, which is X25519 and ML-KEM-768 together; masks and encryption AES-256. Whoever records
    a round and has a quantum computer later does not open it. Messages of keys and shares are longer.
    """

    @property
    def key_size(self) -> int:
        """Size of a key of masks and of encryption, in bytes."""
        return self.mask_cipher.key_size

    @property
    def hybrid(self) -> bool:
        """Whether secrets stay secret as long as one of X25519 and ML-KEM-768 holds."""
        return self is Suite.XWING_SHA256_AES256

    @property
    def key_pairs(self) -> type[KeyPair]:
        """What the key pairs of participants are."""
        return xwing.HybridKeyPair if self.hybrid else KeyPair

    @property
    def mask_cipher(self) -> MaskCipher:
        """What makes the masks."""
        match self:
            case Suite.X25519_SHA256_AES128:
                return MaskCipher.AES_128
            case Suite.X25519_SHA256_AEGIS128X4:
                return MaskCipher.AEGIS_128X4
            case Suite.XWING_SHA256_AES256:
                return MaskCipher.AES_256

    def require(self) -> None:
        """Refuse a suite that is not installed here.

        Raises:
            MissingExtraError: it needs the package `aeg`, which is missing or cannot be loaded.
            ConfigError: it needs ML-KEM-768, which the library of the primitives does not have here.
        """
        self.mask_cipher.require()
        if self.hybrid:
            xwing.require()


class Graph(Enum):
    """Which participants share masks and key shares with each other. The value is the number on the wire. A sparse
    graph is a `Ring` instead, which has its parameters.
    """

    COMPLETE = 1
    """Every participant with every other."""


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Longest time that each phase stays open, in seconds, 0.001 to 604,800. A participant that has not delivered by
    then has dropped out.

    Attributes:
        advertise_keys_s: for participants to join.
        share_keys_s: for key shares, and for the confirmations of a dealt key.
        masked_input_s: for updates, masked or encrypted, and for all other phases that move whole vectors.
        consistency_check_s: for the agreement on who survived, and for the signatures of a certified result.
        unmask_s: for the shares of secrets that open the sum.
        join_s: how long the coordinator waits for the first participant; `advertise_keys_s` begins when it has come.
            With 0, the default, `advertise_keys_s` begins when the round is opened.
    """

    advertise_keys_s: float = 60.0
    share_keys_s: float = 60.0
    masked_input_s: float = 300.0
    consistency_check_s: float = 60.0
    unmask_s: float = 60.0
    join_s: float = 0.0

    @classmethod
    def for_cohort(cls, participants: int, join_s: float = 0.0) -> "Deadlines":
        """Time limits for so many participants: those above, and 0.2 s more in each phase for each participant beyond
        500, because many of them may share a machine. `advertise_keys_s` is never above 600 s: on a ring it may not be.
        """
        more = 0.2 * max(0, participants - 500)
        keys = min(60.0 + more, MAX_GRINDING_S)
        return cls(keys, 60.0 + more, 300.0 + more, 60.0 + more, 60.0 + more, join_s)

    def __post_init__(self) -> None:
        settle(self, numbers=self.__slots__)
        for name in self.__slots__:
            if name == "join_s" and self.join_s == 0:
                continue
            if not 0.001 <= getattr(self, name) <= 604_800:
                raise ConfigError(f"{name} must be 0.001 to 604800 seconds, not {getattr(self, name)}")


_BY_COHORT: Final = Deadlines()
"""Stands for the time limits of `Deadlines.for_cohort` where a round is configured without any."""


def check_purpose(purpose: str) -> None:
    """Raise `ConfigError` if that is no purpose of a round."""
    if not isinstance(purpose, str) or not _PURPOSE.fullmatch(purpose):
        raise ConfigError(f"a purpose is 1 to 64 of a-z, 0-9, _ and -, not {purpose!r:.80}")


def check_digest(model_digest: bytes) -> None:
    """Raise `ConfigError` if that is no digest of a model."""
    if not isinstance(model_digest, bytes):
        raise ConfigError(
            f"model_digest must be {DIGEST_SIZE} bytes, not {type(model_digest).__name__}; "
            "bytes.fromhex reads what is written in hexadecimal digits"
        )
    if len(model_digest) != DIGEST_SIZE:  # check: model-digest-size
        raise ConfigError(f"model_digest must be {DIGEST_SIZE} bytes, not {len(model_digest)}")


def check_named(model_digest: bytes) -> None:
    """Raise `ConfigError` if that cannot be the digest of a model that is named later."""
    check_digest(model_digest)
    if model_digest == UNNAMED_MODEL:  # check: unnamed-model
        raise ConfigError(
            "32 zero bytes stand for a model that is not named yet; pass the digest of the model (secagg.digest_model)"
        )


def default_max_colluding(participants: int) -> int:
    """Largest n_C < n/3: what the active threat model can stand at its best threshold."""
    return (participants - 1) // 3


def default_threshold(participants: int, threat_model: ThreatModel) -> int:
    """⌊2n/3⌋ + 1 against an active coordinator, ⌊n/2⌋ + 1 against a semi-honest one (Bonawitz et al. 2017, §6); 3 at
    least.
    """
    share = 2 * participants // 3 if threat_model is ThreatModel.ACTIVE else participants // 2
    return max(MIN_COHORT, share + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundConfig:
    """Everything about a round but its id. Every key of the round is bound to the bytes of its configuration, so all
    participants have the same one, or there is no sum.

    A configuration that is unsafe, or whose parts do not fit together, is a `ConfigError` that says what to change.

    Attributes:
        task: name of the task that participants wait for, and that a policy allows; 1 to 128 bytes of UTF-8.
        schema: arrays of the update.
        encoding: how values become integers: a plain fixed-point code, a pipeline, or exact sums of integers.
        max_participants: most participants, n_max; 3 to 10,000. Ask for more than the threshold.
        threshold: fewest survivors, t; fewer give no sum. With 0 it is the default of the threat model; under a joint
            key, the default of the active one.
        max_colluding: participants that may collude with the coordinator, n_C; at most t − 2. With −1 it is the largest
            number below n_max/3 (and at most t − 2), or 0 where every participant holds the key (custody
            `participants`), where no more is allowed.
        threat_model: what the coordinator may do.
        suite: the cryptographic primitives.
        graph: which participants share masks: every one with every other, or in a large cohort those who stand near
            each other on a `Ring`, which `find_ring` finds. A ring is for masked rounds. With "auto" it is a ring where
            each then has at most half as many peers, and else the complete graph.
        model_digest: 32 bytes, SHA-256 over the model that the update belongs to, from `digest_model`. Participants
            compare it with that of their own model. With `model_later` it is 32 zero bytes.
        release_to_participants: whether participants get the aggregate, or a receipt only.
        release_to_coordinator: whether the coordinator, and so the FL server, gets the aggregate. With None it does,
            unless the participants hold the key of a homomorphic round. Only in such rounds can this be chosen.
        homomorphic: parameters of the encryption, from `find_profile`; None for a masked round.
        certify: whether survivors sign the result at the end, so that `RoundResult.certified` can be true. Needs signed
            messages, and 2t > n_max + n_C. In a round in groups each group certifies its own sum.
        deadlines: longest time of each phase; those of `Deadlines.for_cohort` by default.
        purpose: what participants compute for the model, such as "train" or "evaluate"; 1 to 64 of `a-z 0-9 _ -`. Sums
            of one model for different purposes are different questions. Participants name the purpose, too, and refuse
            another one.
        model_later: whether the coordinator names the model only when keys and shares are exchanged
            (`Engine.name_model`), so that this can be done before the model exists. Only in masked rounds.
        groups: how the round is split into groups; None for one cohort. With groups, `max_participants`, `threshold`,
            `max_colluding` and the noise are those of each group.
        code: how `encoding` is applied in this round; computed from the rest.
    """

    task: str
    schema: Schema
    encoding: FixedPoint | Pipeline | Integers
    max_participants: int
    model_digest: bytes
    threshold: int = 0
    max_colluding: int = -1
    threat_model: ThreatModel = ThreatModel.ACTIVE
    suite: Suite = Suite.X25519_SHA256_AES128
    graph: Graph | Ring | Literal["auto"] = Graph.COMPLETE
    release_to_participants: bool = True
    release_to_coordinator: bool | None = None
    homomorphic: Profile | None = None
    certify: bool = False
    deadlines: Deadlines = _BY_COHORT
    groups: Groups | None = None
    purpose: str = TRAIN
    model_later: bool = False
    code: Code = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        settle(self, integers=("max_participants", "threshold", "max_colluding"))
        if not 1 <= len(utf8(self.task, "task")) <= MAX_TASK_BYTES:
            raise ConfigError(f"task must be 1 to {MAX_TASK_BYTES} bytes of UTF-8")
        check_digest(self.model_digest)
        self._check_model_later()
        check_purpose(self.purpose)
        self._fill_defaults()
        self._check_thresholds()
        self._check_graph()
        self._check_groups()
        self._check_central_noise()
        cohort = Cohort(self.max_participants, self.guaranteed_honest)
        parent = self.groups.parent if self.groups else b""
        code = code_for(self.encoding, self.schema, cohort, wraps=self.homomorphic is None, parent=parent)
        object.__setattr__(self, "code", code)
        self._check_widths()
        self._check_scheme()
        self._check_suite()
        self._check_certify()

    def _check_model_later(self) -> None:
        if not self.model_later:
            return
        if self.model_digest != UNNAMED_MODEL:  # check: model-named-twice
            raise ConfigError(
                "the model of this round is named when its shares are delivered, so model_digest must be 32 zero bytes "
                "until then; if the model is known already, leave model_later out"
            )
        if self.homomorphic is not None:  # check: model-later-homomorphic
            raise ConfigError(
                "in a homomorphic round everything is bound to the model from the beginning; leave model_later out and "
                "name the model in model_digest, or use the masked scheme"
            )

    def _fill_defaults(self) -> None:
        if self.threshold == 0:
            needs_majority = ThreatModel.ACTIVE if self.joint else self.threat_model
            object.__setattr__(self, "threshold", default_threshold(self.max_participants, needs_majority))
        if self.max_colluding == -1:
            most = max(0, min(default_max_colluding(self.max_participants), self.threshold - MIN_HONEST))
            object.__setattr__(self, "max_colluding", 0 if self.dealt else most)
        if self.deadlines is _BY_COHORT:
            object.__setattr__(self, "deadlines", Deadlines.for_cohort(self.max_participants))
        if self.release_to_coordinator is None:
            object.__setattr__(self, "release_to_coordinator", not self.dealt)

    def _check_thresholds(self) -> None:
        n, t, colluding = self.max_participants, self.threshold, self.max_colluding
        if not MIN_COHORT <= n <= MAX_PARTICIPANTS:
            raise ConfigError(f"max_participants must be {MIN_COHORT} to {MAX_PARTICIPANTS}, not {n}")
        if not MIN_COHORT <= t <= n:
            raise ConfigError(f"threshold must be {MIN_COHORT} to max_participants ({n}), not {t}")
        if not 0 <= colluding < n:
            raise ConfigError(f"max_colluding must be 0 to {n - 1}, not {colluding}")
        if self.guaranteed_honest < MIN_HONEST:  # check: honest-updates
            raise ConfigError(
                f"with {colluding} colluding participants, a sum of {t} holds {max(0, self.guaranteed_honest)} updates "
                f"of others, and they can compute what these add up to; lower max_colluding to {t - MIN_HONEST} or less"
                + (f", or raise threshold to {colluding + MIN_HONEST} or more" if colluding + MIN_HONEST <= n else "")
            )

    def _check_graph(self) -> None:
        if self.graph == "auto":
            object.__setattr__(self, "graph", self._best_ring() or Graph.COMPLETE)
        n, t, colluding = self.max_participants, self.threshold, self.max_colluding
        if self.ring is not None:
            self._check_ring(self.ring)
        elif not isinstance(self.graph, Graph):
            raise ConfigError(f'graph must be Graph.COMPLETE, a Ring or "auto", not {self.graph!r:.80}')
        elif self.threat_model is ThreatModel.ACTIVE and 2 * t <= n + colluding:  # check: two-majorities
            raise ConfigError(
                f"against an active coordinator with {colluding} colluding participants, 2t > n + n_C must hold: "
                f"raise threshold from {t} to {(n + colluding) // 2 + 1} or more, or lower max_participants"
            )

    def _best_ring(self) -> Ring | None:
        active = self.threat_model is ThreatModel.ACTIVE
        if self.homomorphic is not None or (active and self.deadlines.advertise_keys_s > MAX_GRINDING_S):
            return None
        return choose(
            max_participants=self.max_participants,
            max_colluding=self.max_colluding,
            threshold=self.threshold,
            active=active,
        )

    def _check_ring(self, ring: Ring) -> None:
        if self.homomorphic is not None:  # check: ring-homomorphic
            raise ConfigError("a ring is for masked rounds; homomorphic rounds have the complete graph")
        active = self.threat_model is ThreatModel.ACTIVE
        if active is not bool(ring.committee):  # check: C101-who-signs
            raise ConfigError(
                "against an active coordinator a committee signs who survived, and against a semi-honest one nobody "
                "does: set committee and committee_threshold exactly where the threat model is ACTIVE"
            )
        if not self.threshold <= ring.min_participants <= self.max_participants:  # check: C101-cohort
            raise ConfigError(
                f"min_participants must be threshold ({self.threshold}) to max_participants ({self.max_participants}), "
                f"not {ring.min_participants}"
            )
        if active and self.deadlines.advertise_keys_s > MAX_GRINDING_S:  # check: C101-grinding
            raise ConfigError(
                f"while keys are collected, a coordinator can try lists of members until one gives a ring that it "
                f"likes; advertise_keys_s must be at most {MAX_GRINDING_S:g} seconds, not "
                f"{self.deadlines.advertise_keys_s:g}"
            )
        check(
            ring,
            threshold=self.threshold,
            max_participants=self.max_participants,
            max_colluding=self.max_colluding,
            active=active,
        )  # check: C101

    def _check_groups(self) -> None:
        per_group = isinstance(self.encoding, Pipeline) and self.encoding.per_group
        if self.groups is None:
            if per_group:
                raise ConfigError("sample(per=group) needs groups; leave per out, or set groups")
            return
        if not self.release_to_coordinator:
            raise ConfigError("the coordinator combines the sums of groups; set release_to_coordinator")
        if isinstance(self.encoding, Integers) and self.groups.combine is not Combine.MEAN:
            raise ConfigError(
                f"the integer sums of groups are added up, and a {self.groups.text} of them is no sum; "
                "combine the groups by mean, which adds up integers"
            )
        if per_group and self.groups.combine is not Combine.MEAN:
            raise ConfigError(
                f"groups that sample coordinates of their own have no common ones for a {self.groups.text}; "
                "combine them by mean, or leave per=group out"
            )

    def _check_central_noise(self) -> None:
        if not self.central_noise or self.homomorphic is None:
            return
        if self.homomorphic.custody is Custody.PARTICIPANTS:
            raise ConfigError(
                "participants decrypt the sum before the coordinator knows it, so it cannot add noise; "
                "leave by=coordinator out, and each adds its share"
            )
        raise ConfigError(
            "the coordinator adds noise mod 2^b, and homomorphic sums do not wrap; "
            "leave by=coordinator out, or use the masked scheme"
        )

    def _check_widths(self) -> None:
        if self.groups is not None and isinstance(self.code, IntegerCode):
            self.code.check_total(self.groups.count * self.max_participants)
        if self.ring_bits > MAX_BITS:
            raise ConfigError(
                f"{self.max_participants} summands of {self.code.value_bits} bits need {self.ring_bits} bits, "
                f"more than {MAX_BITS}; lower value_bits, or the bounds of integers"
            )
        if self.vector_len > MAX_VECTOR_LEN:
            raise ConfigError(f"the update has {self.vector_len} coordinates, more than {MAX_VECTOR_LEN}; split it")

    def _check_scheme(self) -> None:
        profile, dealt = self.homomorphic, self.dealt
        if not self.release_to_coordinator and not dealt:  # check: release-without-dealt-key
            raise ConfigError("the coordinator always learns this scheme's sum; set release_to_coordinator")
        if profile is None:
            return
        profile.check()
        profile.check_summands(self.max_participants)  # check: summands
        if profile.value_bits != self.code.value_bits:  # check: profile-value-bits
            raise ConfigError(
                f"the profile is for {profile.value_bits} bits a value, the encoding has {self.code.value_bits}; find "
                "another profile (values are as wide as max_weight where that is 2^value_bits or more)"
            )
        if self.threat_model is not ThreatModel.SEMI_HONEST:  # check: joint-key-active
            raise ConfigError(
                "homomorphic rounds stand against a semi-honest coordinator only; "
                "set threat_model to SEMI_HONEST, or use the masked scheme"
            )
        if self.joint and 2 * self.threshold <= self.max_participants + self.max_colluding:  # check: two-majorities
            least = (self.max_participants + self.max_colluding) // 2 + 1
            raise ConfigError(
                "with a joint key, 2t > n + n_C must hold, or two lists of whose key seeds are recovered could both be "
                f"signed: raise threshold from {self.threshold} to {least} or more, or lower max_colluding"
            )
        if dealt and self.max_colluding > 0:  # check: dealt-key-colluders
            raise ConfigError(
                "every participant holds the key of this round: one that works with the coordinator opens every "
                f"update, so max_colluding must be 0, not {self.max_colluding}; to stand some, use the masked scheme "
                "or custody threshold"
            )
        if dealt and not self.release_to_participants:
            raise ConfigError("participants hold the key and decrypt the sum; set release_to_participants")
        profile.blocks(self.vector_len)

    def _check_suite(self) -> None:
        neighbours = self.max_participants - 1 if self.ring is None else self.ring.degree
        if self.suite.hybrid and neighbours > MAX_HYBRID_NEIGHBOURS:  # check: hybrid-neighbours
            raise ConfigError(
                f"with suite {self.suite.name} a participant shares secrets with at most {MAX_HYBRID_NEIGHBOURS} "
                f'others, not {neighbours}; set graph="auto", or lower max_participants'
            )
        if self.homomorphic is not None and self.suite is not Suite.X25519_SHA256_AES128:  # check: suite-without-masks
            raise ConfigError(
                f"a homomorphic round has no masks, and its suite is {Suite.X25519_SHA256_AES128.name}, not "
                f"{self.suite.name}; leave suite out, or use the masked scheme"
            )

    def _check_certify(self) -> None:
        if not self.certify:
            return
        if not self.signed:
            raise ConfigError(
                "certify needs the participants' signatures, and a masked round in the semi-honest threat model has "
                "none; set threat_model to ACTIVE, or leave certify out"
            )
        n, t, colluding = self.max_participants, self.threshold, self.max_colluding
        if self.ring is None and 2 * t <= n + colluding:
            raise ConfigError(
                "certify needs 2t > n + n_C, or two results could both be signed by t participants: "
                f"raise threshold from {t} to {(n + colluding) // 2 + 1} or more"
            )

    @property
    def scheme(self) -> str:
        """How updates are protected: `masked`, `ckks` or `bfv`."""
        return "masked" if self.homomorphic is None else self.homomorphic.scheme.value

    @property
    def dealt(self) -> bool:
        """Whether every participant holds the key of this round (custody `participants`)."""
        return self.homomorphic is not None and self.homomorphic.custody is Custody.PARTICIPANTS

    @property
    def joint(self) -> bool:
        """Whether every participant holds a part of this round's key (custody `threshold`)."""
        return self.homomorphic is not None and self.homomorphic.custody is Custody.THRESHOLD

    @property
    def signed(self) -> bool:
        """Whether participants sign their messages: in the active threat model, and in every homomorphic round."""
        return self.threat_model is ThreatModel.ACTIVE or self.homomorphic is not None

    @property
    def ring(self) -> Ring | None:
        """The sparse graph of the round; None where it is complete."""
        return self.graph if isinstance(self.graph, Ring) else None

    @property
    def fewest_members(self) -> int:
        """Without so many members the round does not begin: t, or the least for which the ring is safe, n_min."""
        return self.threshold if self.ring is None else self.ring.min_participants

    @property
    def share_threshold(self) -> int:
        """Shares that open a secret of a masked round: t, or of neighbours on a ring t_k."""
        return self.threshold if self.ring is None else self.ring.neighbour_threshold

    @property
    def signatures_needed(self) -> int:
        """Signatures that make survivors, or a result, agreed: those of t survivors, or of t_c in the committee."""
        return self.threshold if self.ring is None else self.ring.committee_threshold

    @property
    def guaranteed_honest(self) -> int:
        """Fewest survivors of a released sum that do not collude: t − n_C, at least 2. Distributed noise is sized for
        them alone.
        """
        return self.threshold - self.max_colluding

    @property
    def known_noises(self) -> int:
        """How many participants' shares of the noise somebody who sees the sum may know, and take off: those of the n_C
        that collude with the coordinator. It is at least one where participants get the sum, because each knows its
        own.
        """
        return max(self.max_colluding, int(self.release_to_participants))

    @property
    def fixed_point(self) -> FixedPoint:
        """The plain fixed-point code.

        Raises:
            LocalError: the encoding is another.
        """
        if isinstance(self.encoding, Pipeline):
            raise LocalError(f"the round's encoding is a pipeline: {self.encoding.text}")
        if isinstance(self.encoding, Integers):
            raise LocalError("the round adds up integers exactly: it has no fixed-point code")
        return self.encoding

    @property
    def noise(self) -> Noise | None:
        """The noise of the round, if there is any."""
        return self.encoding.noise if isinstance(self.encoding, Pipeline) else None

    @property
    def central_noise(self) -> bool:
        """Whether the coordinator adds the noise. It then sees the sum without noise."""
        return self.noise is not None and self.noise.by is NoiseBy.COORDINATOR

    @property
    def ring_bits(self) -> int:
        """Sums are taken modulo two to this power, b. Without noise no sum of n_max encoded vectors wraps around; with
        noise in a masked round, sums are meant to.
        """
        return self.code.ring_bits

    @property
    def vector_len(self) -> int:
        """Number of coordinates of the encoded vector."""
        return self.code.vector_len

    @property
    def ring_dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest unsigned dtype that holds a value modulo 2^b."""
        return word_dtype(self.ring_bits)
