"""Federated training through the real code of a pipeline: encode, sum mod 2^b, decode, for everyone in every round.

Masks and encryption are left out: they cancel to the bit, so a sum is the same integer with and without them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import sqrt

import numpy as np

from secagg.config import ThreatModel, default_max_colluding, default_threshold
from secagg.crypto.prg import word_dtype
from secagg.crypto.secret import Secret
from secagg.encoding.arrays import FloatArray
from secagg.encoding.calibration import Cohort
from secagg.encoding.code import Code, code_for
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema, Values
from secagg.tools.bench.learning import Clients, Floats


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a training goes, whatever its pipeline.

    Attributes:
        rounds: in each, everyone takes part.
        clip: L2 norm that an update is shortened to.
        server_step: how many times the mean of the clipped updates the model moves.
    """

    rounds: int
    clip: float
    server_step: float


@dataclass(frozen=True, slots=True)
class Trained:
    """How one training ended.

    Attributes:
        accuracy: on records that nobody trained with, 0 to 1.
        error: root mean square difference of a decoded mean from the mean of the clipped updates, over all rounds; in
            the updates' own unit.
    """

    accuracy: float
    error: float


def cohort_of(clients: int) -> Cohort:
    """Everyone, and the survivors that are certainly honest with a task's own threshold and collusion bound."""
    threshold = default_threshold(clients, ThreatModel.ACTIVE)
    return Cohort(clients, threshold - default_max_colluding(clients))


def code_of(pipeline: Pipeline, values: int, clients: int) -> Code:
    """The code of a masked round.

    Raises:
        ConfigError: parameters that do not fit together.
    """
    schema = Schema.of(np.zeros(values, np.float32))
    return code_for(pipeline, schema, cohort_of(clients), wraps=True)


def train(clients: Clients, code: Code | None, schedule: Schedule, seed: int) -> Trained:
    """Train a model, with the same result for the same arguments. Without a code, means are of float64."""
    model = np.zeros(clients.model_shape)
    schema = Schema.of(np.zeros(model.size, np.float32))
    rng = np.random.default_rng([seed, 2])
    carried: list[FloatArray | None] = [None] * len(clients.inputs)
    squares = 0.0
    for number in range(schedule.rounds):
        updates = clients.updates(model)
        clipped = _clipped(updates + _sum_of(carried), schedule.clip)
        if code is None:
            mean = clipped.mean(axis=0)
        else:
            context = sha256(f"{seed}/{number}".encode()).digest()
            sources = [schema.check(update) for update in updates.astype(np.float32)]
            mean = _through(code, sources, context, carried, rng)
        squares += float(np.mean((mean - clipped.mean(axis=0)) ** 2))
        model += schedule.server_step * mean.reshape(model.shape)
    return Trained(clients.accuracy(model), sqrt(squares / schedule.rounds))


def _through(
    code: Code, updates: Sequence[Values], context: bytes, carried: list[FloatArray | None], rng: np.random.Generator
) -> Floats:
    """One round: what comes out of the sum of what everyone sends. What is lost goes into `carried`."""
    dtype = word_dtype(code.ring_bits)
    total = np.zeros(code.vector_len, dtype)
    for number, update in enumerate(updates):
        seed = Secret(rng.bytes(32))  # of a generator that can be replayed: nobody's secret is at stake here
        encoded = code.encode(update, 1, seed, context, carried[number])
        total += encoded.read(0, code.vector_len, dtype)
        if code.feedback:
            carried[number] = encoded.lost()
    total &= dtype.type((1 << code.ring_bits) - 1)
    (mean,) = code.decode_mean(total, len(updates), context).arrays.values()
    return mean.astype(np.float64)


def _sum_of(carried: list[FloatArray | None]) -> Floats | float:
    """float64[clients, m] of what is carried over, or nothing in the first round."""
    known = [lost for lost in carried if lost is not None]
    return np.stack(known).astype(np.float64) if known else 0.0


def _clipped(updates: Floats, bound: float) -> Floats:
    lengths = np.linalg.norm(updates, axis=1, keepdims=True)
    clipped: Floats = updates * np.minimum(1.0, bound / np.maximum(lengths, bound * 1e-12))
    return clipped
