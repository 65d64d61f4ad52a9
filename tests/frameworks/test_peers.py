"""`secagg bench peers` at toy sizes: both peers are called, and both sides come to the right result."""

import pytest

from secagg.errors import LocalError
from secagg.tools.bench.lines import Beside, of_kind
from secagg.tools.bench.peers import flower, nvflare
from secagg.tools.bench.peers.measure import PeersSetting, measure

SETTING = PeersSetting(neighbours=4, values=500, unmasked=4, repeats=1)


def test_every_work_is_done_by_both() -> None:
    found = of_kind(Beside, measure(SETTING, "it"))
    works = {(each.peer.rpartition(" ")[0], each.work, each.ours) for each in found}
    assert works >= {
        ("Flower", "share keys", "semi-honest"),
        ("Flower", "share keys", "active"),
        ("Flower", "masked input", "AES"),
        ("Flower", "unmask", "AES"),
        ("NVIDIA FLARE", "encrypt an update", "CKKS"),
        ("NVIDIA FLARE", "add an encrypted update", "CKKS"),
        ("NVIDIA FLARE", "open the sum", "CKKS"),
    }
    for each in found:
        assert min(each.ours_cpu_s, each.peer_cpu_s, each.ratio) > 0
        assert each.at_least is None  # what is aimed at is for other sizes
    masked = next(each for each in found if each.work == "masked input")
    assert masked.peer_bytes is not None
    assert masked.ours_bytes is not None
    assert masked.peer_bytes > 8 * 500 > masked.ours_bytes > 2 * 500


def test_a_wrong_mean_of_flower_is_no_figure() -> None:
    flowers = flower.Flowers.gather(4, 4)
    run = flowers.unmasking(1, 50)
    assert run() > 0
    flowers.states[1].pk1 = flowers.states[2].pk1  # a mask of the client that dropped out comes out wrong
    with pytest.raises(LocalError, match="not that of the updates"):
        run()


def test_a_wrong_value_of_flare_is_no_figure() -> None:
    flare = nvflare.Flare(50)
    flare.open()
    flare._update = flare._update + 1
    with pytest.raises(LocalError, match="not those of the update"):
        flare.open()


def test_a_wrong_value_of_ours_is_no_figure() -> None:
    ours = nvflare.Ours(50)
    ours.open()
    ours._update = ours._update * 0.5
    with pytest.raises(LocalError, match="not those of the update"):
        ours.open()
