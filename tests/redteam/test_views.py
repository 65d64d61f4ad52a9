"""Views hold what an adversary holds, no less and no more: the control shows the update, protected views do not."""

import numpy as np
import pytest

from secagg.config import RoundConfig
from secagg.crypto.rng import SeededRng
from secagg.encoding.arrays import FloatArray
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import LocalError
from secagg.masked.vector import MaskedVector
from secagg.messages import MaskedInputChunk, ParticipantId
from secagg.tools.redteam.adversary import truth
from secagg.tools.redteam.modes import ENCRYPTED, EVERY_MODE, MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode, mode_named
from secagg.tools.redteam.self_test.patches import Patch
from secagg.tools.redteam.views import Recording, Sight, record
from secagg.tools.simulation.cohort import participant_names
from tests.rounds import deployment

NAMES = participant_names(5)
VICTIM = NAMES[3]
SCHEMA = Schema((ArraySpec("layer.weight", (30, 20)), ArraySpec("layer.bias", (30,))))
ENCODINGS = {
    "plain": None,
    "compressed": Pipeline.parse("clip(l2=30.0) | sample(rate=0.5) | rotate | quantise(bits=8, range=1.0)"),
    "noisy": Pipeline.parse("clip(l2=30.0) | rotate | quantise(bits=22) | noise(law=skellam, z=0.01)"),
}


def updates() -> dict[ParticipantId, dict[str, FloatArray]]:
    rng = np.random.default_rng(5)
    return {n: {a.name: rng.uniform(-1, 1, a.shape).astype("f4") for a in SCHEMA.arrays} for n in NAMES}


def likeness(seen: FloatArray, true: FloatArray) -> float:
    return float(np.corrcoef(seen.reshape(-1), true.reshape(-1))[0, 1])


def recorded(config: RoundConfig, colluders: int = 1) -> Recording:
    made = deployment() if config.signed else None
    return record(config, updates(), rng=SeededRng(bytes(32)), colluders=NAMES[:colluders], deployment=made)


def seen(recording: Recording, sight: Sight) -> float:
    return likeness(recording.observation(VICTIM, sight)["layer.weight"], updates()[VICTIM]["layer.weight"])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("mode", EVERY_MODE, ids=lambda mode: mode.name)
def test_the_control_shows_the_update_and_hidden_views_do_not(mode: Mode, encoding: str) -> None:
    recording = recorded(mode.config(SCHEMA, 5, encoding=ENCODINGS[encoding]))
    assert seen(recording, Sight.PLAIN) > (0.95 if encoding == "plain" else 0.6)
    for sight in (Sight.TRAFFIC, Sight.COORDINATOR):
        assert abs(seen(recording, sight)) < 0.2
    assert 0.2 < seen(recording, Sight.RELEASED) < 0.7  # one of five is in the mean


@pytest.mark.parametrize("mode", [MASKED_ACTIVE, *ENCRYPTED], ids=lambda mode: mode.name)
def test_one_colluder_opens_everything_only_where_the_key_is_dealt(mode: Mode) -> None:
    recording = recorded(mode.config(SCHEMA, 5))
    exposed = np.array_equal(recording.residues(VICTIM, Sight.COLLUDERS), truth(recording.run, VICTIM))
    assert exposed is (mode.name in {"ckks", "bfv"})


@pytest.mark.parametrize("colluders", [3, 4])
def test_a_masked_victim_is_hidden_as_long_as_one_other_is_honest(colluders: int) -> None:
    others = [name for name in NAMES if name != VICTIM][:colluders]
    made = record(MASKED_SEMI_HONEST.config(SCHEMA, 5), updates(), rng=SeededRng(bytes(32)), colluders=others)
    exposed = np.array_equal(made.residues(VICTIM, Sight.COLLUDERS), truth(made.run, VICTIM))
    assert exposed is (colluders == 4)


def test_every_message_is_in_the_recording_and_the_disk_holds_uploads_alone() -> None:
    recording = recorded(MASKED_ACTIVE.config(SCHEMA, 5))
    kinds = {type(e.message).__name__ for e in recording.envelopes}
    assert kinds == {
        "AdvertiseKeys", "Roster", "ShareKeys", "ShareDelivery", "MaskedInputChunk", "SurvivorSet", "ConsistencyCheck",
        "ConsistencyProof", "Unmask",
    }  # fmt: skip
    uploads = [e.message for name in NAMES for e in recording.sent(name) if isinstance(e.message, MaskedInputChunk)]
    assert sorted(recording.disk) == sorted(b"".join(chunk.payload for chunk in uploads))
    assert "PhaseStarted" in recording.log


def test_what_is_printed_during_a_round_is_heard() -> None:
    with Patch() as patch:
        chunk = MaskedVector.chunk

        def talkative(self: MaskedVector, number: int):  # type: ignore[no-untyped-def]
            print("the update is", self._vector)  # noqa: T201, what a careless change would do
            return chunk(self, number)

        patch.setattr(MaskedVector, "chunk", talkative)
        assert "the update is" in recorded(MASKED_SEMI_HONEST.config(SCHEMA, 5)).log


def test_a_round_without_a_sum_released_nothing() -> None:
    config = MASKED_SEMI_HONEST.config(SCHEMA, 5)
    recording = record(config, updates(), rng=SeededRng(bytes(32)), hook=lambda _: ())
    with pytest.raises(LocalError, match="released nothing"):
        recording.released()


def test_modes_have_names() -> None:
    assert mode_named("bfv-threshold") in ENCRYPTED
