"""Small rounds for tests: configurations, updates, identities that are made once, and the sum that must come out."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

import numpy as np

from secagg.config import Graph, RoundConfig, ThreatModel
from secagg.crypto.rng import Rng, SeededRng
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.sparse.ring import Ring
from secagg.tools.redteam.adversary import Integers, session_of, true_sum, truth
from secagg.tools.simulation.cohort import Contribution, Deployment, participant_names, set_up
from secagg.tools.simulation.network import Hook, Run, pass_on

ACTIVE, SEMI_HONEST = ThreatModel.ACTIVE, ThreatModel.SEMI_HONEST
NOW = 1_700_000_000.0
MOST_PEOPLE = 24

__all__ = ["Integers", "session_of", "true_sum", "truth"]


@cache
def deployment() -> Deployment:
    """A CA and identities for `MOST_PEOPLE`, of two organisations in turn."""
    names = participant_names(MOST_PEOPLE)
    return Deployment.create({name: ("north", "south")[i % 2] for i, name in enumerate(names)}, NOW)


def flat_schema(size: int = 64) -> Schema:
    return Schema((ArraySpec("values", (size,)),))


def make_config(
    participants: int,
    threat_model: ThreatModel = ACTIVE,
    *,
    schema: Schema | None = None,
    encoding: FixedPoint | Pipeline | None = None,
    threshold: int = 0,
    max_colluding: int = -1,
    task: str = "digits",
    certify: bool = False,
    model_later: bool = False,
    graph: Graph | Ring | Literal["auto"] = Graph.COMPLETE,
) -> RoundConfig:
    return RoundConfig(
        task=task,
        schema=schema or flat_schema(),
        encoding=encoding or FixedPoint(1.0, 16, 100),
        max_participants=participants,
        model_digest=bytes(32),
        threshold=threshold,
        max_colluding=max_colluding,
        threat_model=threat_model,
        certify=certify,
        model_later=model_later,
        graph=graph,
    )


def random_update(schema: Schema, seed: int) -> dict[str, np.ndarray[Any, np.dtype[np.floating[Any]]]]:
    rng = np.random.default_rng(seed)
    return {a.name: np.asarray(rng.uniform(-1, 1, a.shape), a.dtype) for a in schema.arrays}


def start(
    config: RoundConfig,
    *,
    seed: int = 0,
    hook: Hook = pass_on,
    policy: Policy | None = None,
    weights: Mapping[ParticipantId, int] | None = None,
    people: int | None = None,
    rng: Rng | None = None,
    models: Mapping[ParticipantId, bytes] | None = None,
) -> Run:
    """A round of `people` (max_participants if None) with random updates; the same for the same seed."""
    names = participant_names(config.max_participants if people is None else people)
    brought = {
        name: Contribution(
            random_update(config.schema, seed + i), (weights or {}).get(name, min(1 + i, config.encoding.max_weight))
        )
        for i, name in enumerate(names)
    }
    made = deployment() if config.threat_model is ACTIVE else None
    rng = rng or SeededRng(seed.to_bytes(32, "big"))
    return set_up(config, brought, rng=rng, now=NOW, deployment=made, policy=policy, hook=hook, models=models)
