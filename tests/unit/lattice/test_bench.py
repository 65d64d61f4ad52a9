"""The benchmark runs, checks its sums, and reports every figure as plain JSON."""

import json

import pytest

from secagg.errors import LocalError
from secagg.tools.bench import homomorphic
from tests.encrypted import numbers


def test_every_figure_is_there() -> None:
    figures = json.loads(json.dumps(homomorphic.run(values=5_000, repeat=1)))
    assert figures["values"] == 5_000
    for scheme in ("ckks", "bfv"):
        dealt, joint = figures[scheme]["participants"], figures[scheme]["threshold"]
        assert set(dealt["against_tenseal"]) == {"participant", "coordinator", "bytes"}
        for name in ("encrypt_and_pack", "unpack_check_fold", "expand_c1_per_participant", "decrypt_and_decode"):
            assert dealt[f"{name}_s"] > 0
        for name in ("key_share", "encrypt_and_pack", "unpack_check_fold", "partial", "combine", "decode"):
            assert joint[f"{name}_s"] > 0
        both = joint["ciphertext_bytes_per_value"] + joint["partial_bytes_per_value"]
        assert joint["bytes_per_value_up"] == pytest.approx(both)
    assert figures["tenseal"]["encrypt_and_serialize_s"] > 0


def test_a_sum_that_is_not_exact_stops_it() -> None:
    vectors = [numbers(i, 10) for i in range(2)]
    homomorphic._check(vectors[0] + vectors[1], vectors)
    with pytest.raises(LocalError, match="exact"):
        homomorphic._check(vectors[0], vectors)
