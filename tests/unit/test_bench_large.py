"""The benchmark of large cohorts: what it times is the real work, and comes out right."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from secagg_server.rounds.unmasking import Threads

from secagg.config import Graph, RoundConfig, ThreatModel
from secagg.crypto.agreement import KeyPair
from secagg.crypto.prg import Words
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.errors import ConfigError
from secagg.masked.masks import Mask, add_masks, pairwise_mask_key, self_mask_key
from secagg.masked.ranges import one_after_the_other
from secagg.tools.bench import large
from secagg.tools.bench.cohort import SEED, bench_config
from secagg.tools.bench.large import Client, LargeSetting, Revealed
from tests.rounds import SEMI_HONEST

SIZE = 90


def masks_of(revealed: Revealed) -> Iterator[Mask]:
    """What must be in the sum, found by the secrets themselves and not by their shares."""
    state, drawn = revealed.state, SeededRng(SEED)
    drawn.token(16)
    names = [member.participant_id for member in state.members.at.values()]
    pairs = {}
    for name in names:
        pairs[name] = KeyPair.generate(drawn)
    for _ in names:
        drawn.token(31)
    drawn.token(32 * (state.round.config.share_threshold - 1))
    for owner, member in state.members.at.items():
        seed = Secret(drawn.token(32))
        if owner in state.sets.survivors:
            yield Mask(self_mask_key(state.round, member.participant_id, seed), negative=True)
            continue
        for i in state.graph.of(owner):
            if i in state.sets.survivors:
                peer = state.members.at[i]
                shared = pairs[member.participant_id].agree(peer.keys.mask_public_key, peer="peer")
                key = pairwise_mask_key(state.round, member.participant_id, peer.participant_id, shared)
                yield Mask(key, negative=i > owner)


@pytest.mark.parametrize("ring", [False, True])
def test_all_masks_are_taken_out(ring: bool) -> None:
    config = small(ThreatModel.ACTIVE, ring=ring)
    revealed = Revealed.make(config, 9)
    masks = list(masks_of(revealed))
    expected: Words = np.zeros(config.vector_len, config.ring_dtype)
    add_masks(expected, 0, masks, config.suite)
    expected &= expected.dtype.type((1 << config.ring_bits) - 1)
    assert len(masks) == revealed.masks
    np.testing.assert_array_equal(revealed.unmask(one_after_the_other), expected)
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(revealed.unmask(Threads(pool, 2)), expected)


def small(threat_model: ThreatModel, *, ring: bool) -> RoundConfig:
    return large.config_of(LargeSetting(SIZE, 50, 9, colluding=1), threat_model, 9 if ring else None)


def test_a_ring_is_found_for_the_dropouts() -> None:
    config = small(ThreatModel.ACTIVE, ring=True)
    assert config.graph is not Graph.COMPLETE
    assert config.ring is not None
    assert config.ring.degree < SIZE - 1


@pytest.mark.parametrize("threat_model", ThreatModel)
def test_a_participant_plays_its_whole_round(threat_model: ThreatModel) -> None:
    client = Client(replace(bench_config(7, 50, threat_model=threat_model)))
    seconds = client.play(lambda: 0.0)
    steps = ["keys", "roster checked, shares sealed", "shares opened, keys agreed", "update masked and packed"]
    steps.append("survivors")
    if threat_model is not SEMI_HONEST:
        steps.append("signatures checked, shares revealed")
    assert list(seconds) == steps


def test_targets_are_those_of_the_sizes_that_they_speak_of() -> None:
    report = large.measure(LargeSetting(SIZE, 50, 9, expected=4, colluding=1, repeats=1))
    names = [section.name for section in report.sections]
    assert (names[0], names[3], len(names)) == ("participant_ring_semi_honest", "unmasking_ring_active", 8)
    assert not any(figure.target for figure in report.figures())
    assert all(figure.value >= 0 for figure in report.figures())


@pytest.mark.parametrize(
    "changes", [{}, {"threads": 1, "repeats": 1}, {"colluding": 1}, {"expected": 1}, {"dropped": 1}]
)
def test_an_easier_round_has_no_targets(changes: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    aims = []
    monkeypatch.setattr(large, "_client", lambda _config, _setting, _named, aim: aims.append(aim))
    monkeypatch.setattr(large, "_unmasking", lambda _config, _setting, _named, aim: aims.append(aim))
    monkeypatch.setattr(large, "config_of", lambda *_: None)
    large.measure(LargeSetting(**changes))
    easier = any(name in {"colluding", "expected", "dropped"} for name in changes)
    assert [aim is None for aim in aims] == 8 * [easier]


@pytest.mark.parametrize("option", ["dropped", "expected", "colluding"])
def test_somebody_must_be_left(option: str) -> None:
    sizes = {"dropped": 1, "expected": 1, "colluding": 1, option: 20}
    with pytest.raises(ConfigError, match=f"--{option} 20 leaves none of 20"):
        large.measure(LargeSetting(20, 10, **sizes))


def test_what_unmasking_cannot_fall_below_is_told_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on by one with each mask, and with each agreement."""
    config, spent = small(ThreatModel.ACTIVE, ring=True), [0]

    def add(words: object, start: int, masks: list[Mask], suite: object) -> None:
        spent[0] += len(masks)

    def agree(*_: object, **__: object) -> None:
        spent[0] += 1

    monkeypatch.setattr(large, "add_masks", add)
    monkeypatch.setattr(KeyPair, "agree", agree)
    monkeypatch.setattr(large, "cpu_clock", lambda: spent[0])
    for count in (7, 1000, 97_476):
        assert large._masks_alone(config, count) == count
        assert large._agreements_alone(count) == count
    assert spent[0] < 5000
