"""Only what the schema names leaves: the rest is dropped on request, by name, or refused."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from secagg_client import minimised
from secagg_client.calls.call import PreparedCall
from secagg_client.calls.data_plane import FindRound
from secagg_client.participation.session import Participation
from secagg_client.participation.terms import Contribution

from secagg.config import RoundConfig
from secagg.crypto.rng import SeededRng
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, FlatUpdate, Schema
from secagg.encoding.sources import SteadyArray, SteadyUpdate
from secagg.errors import InputError
from secagg.messages import ParticipantId
from secagg.tools.simulation.cohort import participant_names
from tests.conversing import Conversation, make_terms
from tests.rounds import ACTIVE, make_config, random_update

SCHEMA = Schema((ArraySpec("w", (3, 4)), ArraySpec("b", (), "float64")))
NAMES = participant_names(3)
Arrays = dict[str, np.ndarray[Any, Any]]


def with_more(secret: float) -> Arrays:
    """What training gives: the task's arrays, and some that are nobody's business."""
    update = random_update(SCHEMA, 0)
    return {"optimiser/momentum": np.full(9, secret), **update, "patients": np.full(2, secret, np.float32)}


def test_the_schema_stays_and_the_rest_is_named() -> None:
    update = with_more(1.0)
    kept = minimised(dict(reversed(update.items())), SCHEMA)
    assert list(kept.update) == ["w", "b"]
    assert all(kept.update[name] is update[name] for name in kept.update)
    assert kept.dropped == ("patients", "optimiser/momentum")
    assert minimised(kept.update, SCHEMA).dropped == ()


def test_a_lone_array_is_called_values() -> None:
    values = np.zeros(3, np.float32)
    assert minimised(values, Schema.of(values)).update["values"] is values


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"w": None}, "array 'w' of the task's schema is missing"),
        ({"w": np.zeros((4, 3), np.float32)}, r"array 'w' has shape \(4, 3\)"),
        ({"w": np.zeros((3, 4))}, "array 'w' is float64, the task wants float32"),
        ({"b": np.array(np.nan)}, "array 'b' is nan"),
        ({"b": 1.0}, "array 'b' is float"),
    ],
)
def test_nothing_is_made_up_or_bent(changes: dict[str, Any], says: str) -> None:
    update = {name: array for name, array in (with_more(0.0) | changes).items() if array is not None}
    with pytest.raises(InputError, match=says) as caught:
        minimised(update, SCHEMA)
    assert caught.value.array in changes


@dataclass
class Tapped(Conversation):
    """Writes down every byte that the first participant sends."""

    sent: list[tuple[Any, ...]] = field(default_factory=list)

    def _deliver(self, name: ParticipantId, call: PreparedCall[Any]) -> None:
        if name == NAMES[0]:
            self.sent.append((call.method, call.metadata, *call.requests()))
        super()._deliver(name, call)


CONFIG = make_config(3, ACTIVE, schema=SCHEMA)


def traffic(
    update: Arrays, weight: int = 1, config: RoundConfig = CONFIG, carried: Arrays | None = None
) -> list[tuple[Any, ...]]:
    """All that leaves the first of three, whose randomness is the same every time."""
    round_ = Tapped(config)
    people = {}
    for i, name in enumerate(NAMES):
        brought = update if i == 0 else random_update(SCHEMA, i)
        given = Contribution(update=brought, weight=weight, model_digest=bytes(32))
        terms = make_terms(name, rng=SeededRng(bytes([i] * 32)))
        if i == 0:
            terms.feedback.restore("digits", carried or {})
        people[name] = Participation(terms, given, FindRound(task="digits"))
    round_.play(people)
    if round_.errors:
        raise round_.errors[NAMES[0]]
    return round_.sent


def test_what_is_carried_leaves_as_part_of_the_update_alone() -> None:
    """With it, what is sent is what another update would have sent without."""
    config = replace(CONFIG, encoding=Pipeline.parse("feedback | clip(l2=1.0) | quantise(bits=8, range=1.0)"))
    update, carried = ({s.name: np.full(s.shape, v, s.dtype) for s in SCHEMA.arrays} for v in (0.25, 0.5))
    carried = {name: np.asarray(array, np.float32) for name, array in carried.items()}
    both = {name: np.asarray(array + carried[name], array.dtype) for name, array in update.items()}
    assert traffic(update, config=config, carried=carried) == traffic(both, config=config)
    assert traffic(update, config=config, carried=carried) != traffic(update, config=config)


def test_nothing_beyond_schema_and_weight_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = minimised(with_more(1.0), SCHEMA).update, minimised(with_more(-7.5), SCHEMA).update
    assert traffic(one) == traffic(other) == traffic(random_update(SCHEMA, 0))
    assert traffic(one) != traffic(one, weight=2)

    # Not minimised, it is refused before anything but the search for a round left.
    with pytest.raises(InputError, match="'optimiser/momentum' is not in the task's schema; leave it out") as caught:
        traffic(with_more(1.0))
    assert caught.value.array == "optimiser/momentum"

    # The twin: a schema that lets other arrays through shows them in the traffic.
    def lax(self: Schema, update: SteadyUpdate) -> FlatUpdate:
        everything = np.concatenate([a.block(0).astype(np.float64) for a in update.values()])
        return FlatUpdate((SteadyArray("everything", everything[: self.size]),))

    monkeypatch.setattr(Schema, "check", lax)
    assert traffic(with_more(0.25)) != traffic(with_more(-0.75))
