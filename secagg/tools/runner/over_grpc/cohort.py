"""The honest round: the coordinator's engine, and every participant but the program."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from secagg.config import Deadlines, RoundConfig, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import NotInRoundError
from secagg.masked import scheme as masked
from secagg.masked.vector import MaskedVector
from secagg.messages import ParticipantId, Phase
from secagg.policy import Policy
from secagg.receipts import Receipt, Statement
from secagg.rounds.certification import Certification, Result
from secagg.rounds.membership import Credentials, Membership
from secagg.tools.runner.over_grpc.site import Site
from secagg.wire.configuration import encode_config
from secagg.wire.results import PackedAggregate

ME: Final = ParticipantId("cedar")
"""The program."""
PEER: Final = ParticipantId("birch")
"""The participant about whom most lies are."""
ORGANISATIONS: Final = {
    ParticipantId("aspen"): "north",
    PEER: "south",
    ME: "north",
    ParticipantId("elm"): "south",
    ParticipantId("fir"): "north",
}
"""Everyone, in the order of the roster, with their organisations."""
NAMES: Final = tuple(ORGANISATIONS)
THRESHOLD: Final = 3
UPDATE: Final = 0.25
"""Each number of the program's update; it is exact in the round's encoding, so no rounding hides a wrong sum."""


def configuration(**changes: Any) -> RoundConfig:
    """Of the rounds here: five participants, of whom three suffice.

    Args:
        changes: what is otherwise; `size` is the number of values.
    """
    limits = ("advertise_keys_s", "share_keys_s", "masked_input_s", "consistency_check_s", "unmask_s")
    size = changes.pop("size", 50)
    given: dict[str, Any] = {
        "task": "conformance",
        "schema": Schema((ArraySpec("values", (size,)),)),
        "encoding": FixedPoint(1.0, 16, 100),
        "max_participants": len(NAMES),
        "model_digest": bytes(32),
        "threshold": THRESHOLD,
        "max_colluding": 0,
        "threat_model": ThreatModel.ACTIVE,
        "release_to_participants": True,
        "deadlines": Deadlines(**dict.fromkeys(limits, 30.0)),
    }
    return RoundConfig(**given | changes)


class Cohort:
    """One round.

    Attributes:
        engine: the coordinator's.
        round: as everyone was told of it.
        shared: what each of the others sent in ShareKeys.
    """

    def __init__(self, site: Site, config: RoundConfig, gone: Mapping[ParticipantId, Phase]) -> None:
        """Args:
        site: who everyone is.
        config: of the round.
        gone: those who send nothing any more from a phase on.
        """
        self.site, self._gone = site, gone
        self.config_bytes = encode_config(config)
        round_id = RoundId(os.urandom(16))
        self.round = Round(round_id, config, bind(round_id, self.config_bytes, config.model_digest))
        self.engine = masked.coordinator(self.round, now=time.time(), trust=site.trust)
        self._others: dict[ParticipantId, masked.Participant] = {}
        self._next: dict[ParticipantId, Any] = {}
        self.shared: dict[ParticipantId, Any] = {}
        policy = Policy(threat_models=frozenset(ThreatModel), min_colluding_share=0.0)
        update = config.schema.check({"values": np.full(config.schema.arrays[0].shape, UPDATE, np.float32)})
        for name in NAMES:
            if name == ME:
                continue
            credentials = Credentials(site.identities[name], site.trust) if config.signed else None
            membership = Membership(self.round, name, policy, SystemRng(), credentials)
            vector = config.code.encode(update, 1, Secret(bytes(32)), self.round.context)
            other = masked.Participant(membership, vector)
            self._others[name], self._next[name] = other, other.advertisement

    @property
    def config(self) -> RoundConfig:
        """Of the round."""
        return self.round.config

    def take(self, phase: Phase, messages: Sequence[Any]) -> None:
        """Take the program's messages of a phase, and everyone's; then the phase is over.

        Raises:
            RemoteError: what the program sent is refused.
        """
        now = time.time()
        for message in messages:
            self.engine.receive(ME, message, now)
        for name in [name for name in self._others if self._gone.get(name) is phase]:
            del self._others[name], self._next[name]
        for name, said in self._next.items():
            if phase is Phase.SHARE_KEYS:
                self.shared[name] = said
            for message in said if isinstance(said, MaskedVector) else [said]:
                self.engine.receive(name, message, now)
        if self.engine.phase is phase:
            self.engine.tick(self.engine.deadline)
        if self.engine.failure is not None:
            raise self.engine.failure
        if phase is Phase.UNMASK:
            return
        for name in list(self._others):
            try:
                answer = self.engine.answer(name, phase)
            except NotInRoundError:
                del self._others[name], self._next[name]
                continue
            self._next[name] = self._others[name].receive(answer, now)

    def receipt(self, survivors: tuple[str, ...], sums_digest: bytes) -> Receipt:
        """What the coordinator can sign, be it true or not."""
        statement = Statement.of(self.round, self.engine.roster, survivors, sums_digest)
        return Receipt.sign(statement, self.site.coordinator, time.time())

    @property
    def packed(self) -> PackedAggregate:
        """The sum of the round.

        Raises:
            ValueError: there is none yet.
        """
        if self.engine.aggregate is None:
            raise ValueError("the round has no sum yet")
        return PackedAggregate.of(self.engine.aggregate, self.config)

    def certification(self, signature: bytes) -> Certification:
        """Everyone's signatures of the result, the program's among them."""
        result = self.result
        certification = Certification(result, self.engine.finishers)
        certification.receive(ME, signature)
        for name in self._others:
            certification.receive(name, result.signature(name, self.site.identities[name].sign))
        certification.close()
        return certification

    @property
    def result(self) -> Result:
        """The true one."""
        return self.result_of(self.packed.digest)

    def result_of(self, sums_digest: bytes) -> Result:
        """The result of another sum of the same survivors."""
        return Result.of(self.round, self.engine.roster, self.packed.survivors, sums_digest)

    def elsewhere(self, round_id: bytes) -> Round:
        """The same round under another id."""
        other = RoundId(round_id)
        return Round(other, self.config, bind(other, self.config_bytes, self.config.model_digest))
