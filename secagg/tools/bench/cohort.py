"""One participant and its neighbours in the middle of a round, so that its steps can be timed one by one."""

from dataclasses import dataclass
from typing import Final

from secagg import roster as rosters
from secagg.config import RoundConfig, Suite, ThreatModel
from secagg.context import Round, RoundId, bind
from secagg.crypto import xwing
from secagg.crypto.rng import SeededRng
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.vector import IntegerVector
from secagg.masked import pair_secrets, shares
from secagg.masked.advertise_keys import join
from secagg.masked.scheme import STATES
from secagg.masked.share_keys import AwaitingRoster
from secagg.masked.shares import SharePair
from secagg.messages import ParticipantId, Roster, ShareDelivery
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.session import Turn, Waiting
from secagg.tools.simulation.cohort import Deployment, participant_names
from secagg.wire.configuration import encode_config

NOW: Final = 1_700_000_000.0
SEED: Final = b"secagg benchmark, not a secret. "


def bench_config(
    participants: int,
    values: int,
    *,
    threat_model: ThreatModel,
    threshold: int = 0,
    value_bits: int = 16,
    suite: Suite = Suite.X25519_SHA256_AES128,
) -> RoundConfig:
    """A round of one float32 array; the threshold is the threat model's default if 0."""
    return RoundConfig(
        task="bench",
        schema=Schema((ArraySpec("values", (values,)),)),
        encoding=FixedPoint(clip=1.0, value_bits=value_bits),
        max_participants=participants,
        threshold=threshold,
        model_digest=bytes(32),
        threat_model=threat_model,
        suite=suite,
    )


@dataclass(frozen=True, slots=True)
class Cohort:
    """Everyone has advertised keys; the roster is known.

    Attributes:
        own: the participant that is timed, index 1.
        others: its neighbours.
        roster: of all of them.
    """

    own: AwaitingRoster
    others: tuple[AwaitingRoster, ...]
    roster: Roster

    @classmethod
    def gather(cls, config: RoundConfig) -> "Cohort":
        """As many participants as the configuration allows, with certificates if it is active."""
        rng, config_bytes = SeededRng(SEED), encode_config(config)
        round_id = RoundId(rng.token(16))
        round_ = Round(round_id, config, bind(round_id, config_bytes, config.model_digest))
        names = participant_names(config.max_participants)
        active = config.threat_model is ThreatModel.ACTIVE
        deployment = Deployment.create(names, NOW) if active else None
        policy = Policy(threat_models=frozenset({config.threat_model}))

        def membership(name: ParticipantId) -> Membership:
            credentials = Credentials(deployment.identities[name], deployment.trust) if deployment else None
            return Membership(round_, name, policy, rng, credentials)

        joined = {name: join(membership(name)) for name in names}
        roster = rosters.assign({name: keys for name, (_, keys) in joined.items()})
        own, *others = (state for state, _ in joined.values())
        return cls(own, tuple(others), roster)

    def turn(self, vector: IntegerVector) -> Turn:
        """What the timed participant's states may use; `vector` is its update."""
        round_ = self.own.membership.round
        return Turn(NOW, vector, round_.model_digest, STATES[round_.config.threat_model])

    def share_keys(self, vector: IntegerVector) -> Waiting:
        """The timed participant's step from the roster to its sealed shares."""
        state, _ = self.own.receive(self.roster, self.turn(vector))
        return state

    def delivery(self) -> ShareDelivery:
        """A share pair from every neighbour, sealed to the timed participant."""
        me, *members = self.roster.members
        round_ = self.own.membership.round
        rng = SeededRng(SEED)
        split = shares.split(self.own.mask.private, self.own.channel.private, round_.config.threshold, [me.index], rng)
        pair: SharePair = split[me.index]
        hybrid = round_.config.suite.hybrid
        sealed = {}
        for member, other in zip(members, self.others, strict=True):
            name = member.participant_id
            gift = pair_secrets.give(round_, other.mask, name, me, xwing.encapsulate) if hybrid else None
            sealed[member.index] = shares.seal(round_, other.channel, name, me, pair, gift=gift)
        return ShareDelivery(sealed)
