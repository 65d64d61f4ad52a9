"""What a caller does to its arrays after `participate` began is noticed, and nothing of it is sent.

`tensor.numpy()` shares its memory with the model, and a training loop that goes on is the usual case.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation import session
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.encoding.arrays import FloatArray
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.encoding.sources import BLOCK, SteadyArray
from secagg.errors import InputError, LocalError, SecAggError
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import ParticipantId
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.cohort import participant_names
from secagg.variants import Variant
from secagg.wire.calls import ADVERTISE
from secagg.wire.configuration import encode_config
from tests.conversing import Conversation, make_terms, makes
from tests.rounds import SEMI_HONEST, make_config

NAMES = participant_names(4)
SIZE = BLOCK + 4096  # the block that was read last is kept
DIRECTION = np.random.default_rng(1).choice([-1.0, 1.0], SIZE) / SIZE**0.5
NOISY = Pipeline.parse("clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z=0.01)")
FEEDBACK = Pipeline.parse("feedback | clip(l2=1.0) | quantise(bits=8, range=1.0)")
PLAIN = FixedPoint(1.0, 16)
Change = Callable[[FloatArray], object]


def larger(array: FloatArray) -> None:
    array *= 20


def spoilt(array: FloatArray) -> None:
    array.fill(np.nan)


def unprotected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the digests of blocks."""
    without_check(monkeypatch, SteadyArray, "block", "same-update")


def put_in(encoding: FixedPoint | Pipeline, change: Change) -> tuple[float, SecAggError | None]:
    """What the first participant puts into a sum along the direction of its update, of length 0.5 when it was handed
    in, and how it failed. Its program changes it while the others are waited for.
    """
    schema = Schema((ArraySpec("values", (SIZE,)),))
    config = make_config(4, SEMI_HONEST, schema=schema, encoding=encoding, threshold=3)
    own = {"values": (0.5 * DIRECTION).astype(np.float32)}
    changed = False

    def meanwhile(call: PreparedCall[Any], name: ParticipantId, parts: Parts) -> Parts:
        nonlocal changed
        if makes(call, ADVERTISE) and not changed:
            changed = True
            change(own["values"])
        return parts

    zero = {"values": np.zeros(SIZE, np.float32)}
    people = {
        name: Participation(
            make_terms(name),
            Contribution(update=own if name == NAMES[0] else zero, weight=1, model_digest=config.model_digest),
            FindRound(task=config.task),
        )
        for name in NAMES
    }
    round_ = Conversation(config, meanwhile)
    round_.play(people)
    assert changed
    assert set(round_.errors) <= {NAMES[0]}
    mean = round_.results[NAMES[1]].mean
    assert mean is not None
    return 4 * float(mean.arrays["values"] @ DIRECTION), round_.errors.get(NAMES[0])


@pytest.mark.parametrize(("encoding", "change"), [(NOISY, larger), (PLAIN, larger), (PLAIN, spoilt)])
def test_nothing_of_a_changed_update_is_in_the_sum(encoding: FixedPoint | Pipeline, change: Change) -> None:
    put, error = put_in(encoding, change)
    assert put == pytest.approx(0.0, abs=0.1)
    assert isinstance(error, InputError)
    assert "array 'values' was changed while it was being sent" in str(error)
    assert error.array == "values"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_without_digests_the_clip_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is sized for a norm of 1: ε would say nothing any more."""
    unprotected(monkeypatch)
    assert put_in(NOISY, larger)[0] > 4


VARIANTS = [
    Variant(),
    Variant(Scheme.CKKS, Custody.PARTICIPANTS),
    Variant(Scheme.BFV, Custody.PARTICIPANTS),
    Variant(Scheme.BFV, Custody.THRESHOLD),
]


def encoder_of(variant: Variant, encoding: FixedPoint | Pipeline, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The encoder of a participation that has joined its round, and the caller's array."""
    schema = Schema((ArraySpec("values", (SIZE,)),))
    model = variant.threat_model(ThreatModel.SEMI_HONEST)
    config = variant.encrypting(make_config(4, model, schema=schema, encoding=encoding, threshold=3))
    own = np.asfortranarray((0.5 * DIRECTION).astype(np.float32))
    seen: list[Any] = []

    def joined(membership: Any, vector: Any, backend: Any) -> Any:
        del membership, backend
        seen.append(vector)
        raise LocalError("nothing more is looked at")

    monkeypatch.setattr(session, "take_part", joined)
    offer = Offer(RoundId(bytes(16)), config, encode_config(config))
    contribution = Contribution(update={"values": own}, weight=1, model_digest=config.model_digest)
    with pytest.raises(LocalError, match="nothing more"):
        Participation(make_terms(NAMES[0]), contribution, offer).advance(None)
    return seen[0], own, config


def words(encoder: Any, config: RoundConfig) -> Any:
    return encoder.read(0, config.vector_len, np.dtype(np.uint64))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
@pytest.mark.parametrize("encoding", [PLAIN, NOISY, FEEDBACK], ids=["plain", "noisy", "feedback"])
def test_no_scheme_sends_a_changed_update(
    variant: Variant, encoding: FixedPoint | Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, own, config = encoder_of(variant, encoding, monkeypatch)
    words(encoder, config)
    own *= 3
    with pytest.raises(InputError, match="was changed"):
        words(encoder, config)
    if encoding is FEEDBACK:  # what is carried over to the next round, which is computed when this one is over
        with pytest.raises(InputError, match="was changed"):
            encoder.lost()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_without_digests_every_scheme_does(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    unprotected(monkeypatch)
    encoder, own, config = encoder_of(variant, NOISY, monkeypatch)
    before = words(encoder, config)
    own *= 3
    assert (words(encoder, config) != before).any()
