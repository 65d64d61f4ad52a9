"""A coordinator and its participants for one simulated round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from secagg.config import RoundConfig
from secagg.context import Round, RoundId, bind
from secagg.crypto.authority import Authority, IssuedCertificate, create_authority, issue_participant, issue_server
from secagg.crypto.identity import CoordinatorIdentity, Identity, TrustAnchors
from secagg.crypto.rng import Rng
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import NumberArray
from secagg.encoding.schema import Update
from secagg.encoding.vector import IntegerVector
from secagg.lattice.jobs import Desk
from secagg.messages import ParticipantId, Phase
from secagg.policy import Policy
from secagg.rounds.membership import Credentials, Membership
from secagg.rounds.releases import Claim, nothing_before
from secagg.schemes import Participant, coordinate, take_part
from secagg.tools.simulation.network import MODEL, Hook, Run, pass_on
from secagg.tools.simulation.stopwatch import Side, Stopwatch
from secagg.wire.configuration import encode_config

ROUNDING_SEED_SIZE = 32

START: Final = 1_700_000_000.0
"""When simulated rounds begin, in seconds since 1970; identities for them must be valid then."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one participant brings: its update and its weight."""

    update: Update | NumberArray
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Deployment:
    """A CA, one identity for each participant and one for the coordinator. Certificates are slow to make: use one
    deployment for many rounds.
    """

    trust: TrustAnchors
    coordinator: CoordinatorIdentity
    identities: Mapping[ParticipantId, Identity]

    @classmethod
    def create(cls, names: Mapping[ParticipantId, str] | list[ParticipantId], now: float) -> "Deployment":
        """Args: names: participant ids, with their organisations where a mapping is given."""
        ca, at = create_ca(now), datetime.fromtimestamp(now, UTC)
        authority = Authority.from_pem(ca.certificate_pem, ca.key_pem.expose())
        organisations = names if isinstance(names, Mapping) else dict.fromkeys(names, "simulated organisation")
        server = issue_server(authority, hosts=["coordinator.simulated"], now=at)
        coordinator = CoordinatorIdentity.from_pem(server.certificate_pem, server.key_pem.expose(), at)
        return cls(TrustAnchors.from_pem(ca.certificate_pem), coordinator, identities_of(authority, organisations, at))


def create_ca(now: float) -> IssuedCertificate:
    """Certificate and key of the CA of a deployment that exists in simulations alone."""
    return create_authority(name="simulated deployment", now=datetime.fromtimestamp(now, UTC))


def identities_of(
    authority: Authority, organisations: Mapping[ParticipantId, str], at: datetime
) -> dict[ParticipantId, Identity]:
    """An identity for each participant. Args: organisations: that they belong to, by their ids."""
    identities = {}
    for name, organisation in organisations.items():
        made = issue_participant(authority, participant_id=name, organisation=organisation, now=at)
        identities[name] = Identity.from_pem(made.certificate_pem, made.key_pem.expose())
    return identities


def participant_names(count: int) -> list[ParticipantId]:
    """Ids that sort in the order of their numbers."""
    return [ParticipantId(f"participant-{i:05d}") for i in range(1, count + 1)]


def set_up(
    config: RoundConfig,
    contributions: Mapping[ParticipantId, Contribution],
    *,
    rng: Rng,
    now: float = START,
    deployment: Deployment | None = None,
    policy: Policy | None = None,
    hook: Hook = pass_on,
    stopwatch: Stopwatch | None = None,
    claim: Claim = nothing_before,
    recall: Callable[[ParticipantId], Claim] = lambda _: nothing_before,
    models: Mapping[ParticipantId, bytes] | None = None,
    rngs: Mapping[ParticipantId, Rng] | None = None,
) -> Run:
    """A coordinator and participants that are ready to `play()`.

    Args:
        config: the round's configuration.
        contributions: by participant.
        rng: every key, share and rounding comes from it, so a `SeededRng` makes the run repeatable.
        now: the simulated clock, in seconds since 1970.
        deployment: identities; made here if None and the threat model is active.
        policy: every participant's policy; None stands for one that allows what `config` asks for.
        hook: sees and may change every message.
        stopwatch: measures both sides; one that stands still if None.
        claim: the coordinator's memory of what other rounds released.
        recall: each participant's memory of the same.
        models: digests of the models that participants hold in a round whose model is named later; `MODEL` where none
            is given.
        rngs: where each participant's keys, shares and rounding come from instead, so that they do not depend on the
            order of messages.
    """
    signed, models = config.signed, models or {}
    if signed and deployment is None:
        deployment = Deployment.create(list(contributions), now)
    round_ = new_round(config, rng)
    policy, stopwatch = policy or lenient(config), stopwatch or Stopwatch()
    participants: dict[ParticipantId, Participant] = {}
    vectors: dict[ParticipantId, IntegerVector] = {}
    for name, contribution in contributions.items():
        credentials = Credentials(deployment.identities[name], deployment.trust) if deployment and signed else None
        own_rng = rngs[name] if rngs else rng
        membership = Membership(round_, name, policy, own_rng, credentials, recall(name))
        vectors[name] = encoded(round_, contribution, own_rng, models.get(name, MODEL))
        stopwatch.start()
        participants[name] = take_part(membership, None if config.model_later else vectors[name], Desk)
        stopwatch.count(Side.PARTICIPANT, Phase.ADVERTISE_KEYS)
    noise_seed = Secret(rng.token(ROUNDING_SEED_SIZE)) if config.central_noise else None
    coordinator = coordinate(
        round_, now=now, trust=deployment.trust if deployment else None, claim=claim, noise_seed=noise_seed
    )
    return Run(coordinator, participants, hook, now, vectors=vectors, models=models, stopwatch=stopwatch)


def new_round(config: RoundConfig, rng: Rng) -> Round:
    """A round with this configuration and an id that nobody had."""
    config_bytes = encode_config(config)
    round_id = RoundId(rng.token(16))
    return Round(round_id, config, bind(round_id, config_bytes, config.model_digest))


def lenient(config: RoundConfig) -> Policy:
    """A participant's policy that allows what `config` asks for."""
    return Policy(threat_models=frozenset({config.threat_model}), allow_experimental=True, min_colluding_share=0.0)


def encoded(round_: Round, contribution: Contribution, rng: Rng, model: bytes) -> IntegerVector:
    """What a participant puts in, before masking. Args: model: digest of what it holds, if the model is named later."""
    config = round_.config
    return config.code.encode(
        config.schema.check(contribution.update),
        contribution.weight,
        Secret(rng.token(ROUNDING_SEED_SIZE)),
        round_.about(model if config.model_later else config.model_digest).input_context,
    )
