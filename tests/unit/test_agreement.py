"""Agreements: what is asked for in both directions is computed once, and kept no longer."""

import pytest

from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import SeededRng
from secagg.errors import AuthenticationError

RNG = SeededRng(bytes(32))


def test_both_directions_take_one_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    own, peers = KeyPair.generate(RNG), [KeyPair.generate(RNG) for _ in range(3)]
    agree, computed = KeyPair.agree, []

    def counted(self: KeyPair, peer_public: bytes, *, peer: str) -> object:
        computed.append(peer)
        return agree(self, peer_public, peer=peer)

    monkeypatch.setattr(KeyPair, "agree", counted)
    there = [own.agree_both_ways(other.public, peer=str(i)) for i, other in enumerate(peers)]
    back = [own.agree_both_ways(other.public, peer=str(i)) for i, other in enumerate(peers)]
    assert computed == ["0", "1", "2"]
    assert there == back == [other.agree_both_ways(own.public, peer="own") for other in peers]
    assert not own._agreed


def test_what_is_kept_is_not_shown() -> None:
    own, other = KeyPair.generate(RNG), KeyPair.generate(RNG)
    secret = own.agree_both_ways(other.public, peer="other")
    assert secret.expose().hex() not in repr(own)
    assert own == KeyPair.from_private(own.private)


def test_a_key_of_low_order_leaves_nothing_behind() -> None:
    own = KeyPair.generate(RNG)
    for _ in range(2):
        with pytest.raises(AuthenticationError, match="low order"):
            own.agree_both_ways(bytes(32), peer="mallory")
    assert not own._agreed
