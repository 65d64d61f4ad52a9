"""What a caller does to its arrays after `participate` began changes nothing of what is sent.

`tensor.numpy()` shares its memory with the model, and a training loop that goes on is the usual case.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import secagg_client.participation.terms
from secagg_client.calls.call import Parts, PreparedCall
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation import session
from secagg_client.participation.results import Offer
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution

from secagg.config import RoundConfig, ThreatModel
from secagg.context import RoundId
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, FloatArray, Schema
from secagg.errors import LocalError
from secagg.lattice.parameters import Custody, Scheme
from secagg.messages import ParticipantId
from secagg.tools.simulation.cohort import participant_names
from secagg.variants import Variant
from secagg.wire.calls import ADVERTISE
from secagg.wire.configuration import encode_config
from tests.conversing import Conversation, make_terms, makes
from tests.rounds import SEMI_HONEST, make_config

NAMES = participant_names(3)
SIZE = 3 * 4096  # blocks of a rotation: the one that was read last is kept
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
    """Without the copy."""
    monkeypatch.setattr(secagg_client.participation.terms, "owned", lambda update: update)


def put_in(encoding: FixedPoint | Pipeline, change: Change) -> float:
    """What the first participant puts into a sum along the direction of its update, of length 0.5 when it was handed
    in. Its program changes it while the others are waited for.
    """
    config = make_config(3, SEMI_HONEST, schema=Schema((ArraySpec("values", (SIZE,)),)), encoding=encoding, threshold=3)
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
    assert not round_.errors
    mean = round_.results[NAMES[1]].mean
    assert mean is not None
    return 3 * float(mean.arrays["values"] @ DIRECTION)


@pytest.mark.parametrize(("encoding", "change"), [(NOISY, larger), (PLAIN, larger), (PLAIN, spoilt)])
def test_the_sum_holds_what_was_handed_in(encoding: FixedPoint | Pipeline, change: Change) -> None:
    assert put_in(encoding, change) == pytest.approx(0.5, abs=0.1)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_without_a_copy_the_clip_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is sized for a norm of 1: ε would say nothing any more."""
    unprotected(monkeypatch)
    assert put_in(NOISY, larger) > 5


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
    config = variant.encrypting(make_config(3, model, schema=schema, encoding=encoding, threshold=3))
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
def test_no_scheme_reads_the_callers_array_again(
    variant: Variant, encoding: FixedPoint | Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, own, config = encoder_of(variant, encoding, monkeypatch)
    before, lost = words(encoder, config), encoder.lost() if encoding is FEEDBACK else None
    own *= 3
    assert (words(encoder, config) == before).all()
    if lost is not None:  # what is carried over to the next round, which is computed when this one is over
        assert (encoder.lost() == lost).all()


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_without_a_copy_every_scheme_does(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    unprotected(monkeypatch)
    encoder, own, config = encoder_of(variant, NOISY, monkeypatch)
    before = words(encoder, config)
    own *= 3
    assert (words(encoder, config) != before).any()
