"""Shamir sharing over GF(2^256 + 297): reconstruction, correction, and that t − 1 shares say nothing."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import pytest

from secagg.crypto import polynomial, shamir
from secagg.crypto.polynomial import PRIME
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError

SECRET = Secret(bytes(range(32)))


def values(threshold: int, holders: int, secret: Secret = SECRET) -> dict[int, int]:
    dealt = shamir.share(secret, threshold, range(1, holders + 1), SeededRng(bytes(32)))
    return {x: shamir.decode_share(y.expose()) for x, y in dealt.items()}


def is_secret(candidate: Secret) -> bool:
    return candidate == SECRET


def test_the_modulus_is_prime() -> None:
    """Miller–Rabin with 40 bases: a composite passes with a chance below 4^-40."""
    odd, twos = PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    rng = SeededRng(bytes(32))
    for _ in range(40):
        x = pow(2 + int.from_bytes(rng.token(32), "big"), odd, PRIME)
        seen = [x := x if i == 0 else x * x % PRIME for i in range(twos)]
        assert seen[0] == 1 or PRIME - 1 in seen


@pytest.mark.parametrize(("threshold", "holders"), [(1, 1), (1, 4), (3, 3), (3, 6), (5, 7)])
def test_any_t_shares_give_the_secret(threshold: int, holders: int) -> None:
    dealt = values(threshold, holders)
    for size in range(threshold, holders + 1):
        for chosen in combinations(dealt, size):
            found = shamir.Decoder(chosen, threshold).recover({x: dealt[x] for x in chosen}, is_secret)
            assert found is not None
            assert found.secret == SECRET
            assert found.wrong == ()


def test_secrets_at_the_ends_of_the_range() -> None:
    for secret in (Secret(bytes(32)), Secret(b"\xff" * 32)):
        dealt = values(3, 5, secret)
        found = shamir.Decoder(range(1, 6), 3).recover(dealt, secret.__eq__)
        assert found is not None
        assert found.secret == secret


def test_fewer_than_t_shares_fit_every_secret() -> None:
    """Perfect secrecy: for every candidate there is exactly one polynomial through it and the t − 1 shares."""
    dealt = values(4, 6)
    held = [2, 3, 6]
    for candidate in (0, 1, int.from_bytes(SECRET.expose(), "big"), 2**256 - 1, PRIME - 1):
        f = polynomial.interpolate([0, *held], [candidate, *(dealt[x] for x in held)])
        assert len(f) <= 4
        assert polynomial.evaluate(f, 0) == candidate
        assert [polynomial.evaluate(f, x) for x in held] == [dealt[x] for x in held]


def test_t_minus_one_shares_are_distributed_alike_for_every_secret() -> None:
    """Over many dealings the top bits of a pair of shares (t = 3) do not depend on the secret."""
    counts: dict[int, Counter[int]] = {}
    for number, secret in enumerate((Secret(bytes(32)), Secret(b"\xff" * 32))):
        rng = SeededRng(number.to_bytes(32, "big"))
        counts[number] = Counter()
        for _ in range(8_000):
            dealt = shamir.share(secret, 3, [1, 2], rng)
            tops = [int.from_bytes(y.expose(), "big") * 4 // PRIME for y in dealt.values()]
            counts[number][4 * tops[0] + tops[1]] += 1
    for seen in counts.values():
        statistic = sum((seen[cell] - 500) ** 2 / 500 for cell in range(16))
        assert statistic < 15 + 6 * 30**0.5  # 15 degrees of freedom, six standard deviations


def test_shares_of_two_secrets_differ_everywhere() -> None:
    one, other = values(3, 5), values(3, 5, Secret(bytes(32)))
    assert all(one[x] != other[x] for x in one)


@pytest.mark.parametrize("wrong", [(1,), (7,), (2, 5), (1, 2), (6, 7), (1, 4, 7), (1, 2, 3)])
def test_wrong_shares_are_corrected_and_named(wrong: tuple[int, ...]) -> None:
    """n = 7, t = 4: one by Reed–Solomon decoding, up to three by the search that the commitment decides."""
    dealt = values(4, 7)
    for x in wrong:
        dealt[x] = (dealt[x] + x * x + 1) % PRIME
    found = shamir.Decoder(range(1, 8), 4).recover(dealt, is_secret)
    assert found is not None
    assert found.secret == SECRET
    assert found.wrong == wrong


@pytest.mark.parametrize("wrong", [(1, 2), (4, 5)])
def test_liars_cannot_put_the_blame_on_others(wrong: tuple[int, int]) -> None:
    """n = 5, t = 3: an error c·x·(x − 3) leaves the secret and holder 3 as they are: the shares of the two liars
    lie on one polynomial through the secret with 3's, and those of the two others on another. Nobody is named.
    """
    dealt = values(3, 5)
    for x in wrong:
        dealt[x] = (dealt[x] + 7 * x * (x - 3)) % PRIME
    found = shamir.Decoder(range(1, 6), 3).recover(dealt, is_secret)
    assert found is not None
    assert found.secret == SECRET
    assert found.wrong == ()


def test_known_liars_are_left_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sent wrong shares of one secret is tried last for the next."""
    decoder = shamir.Decoder(range(1, 10), 4)
    tried: list[set[int]] = []
    interpolate = polynomial.interpolate

    def watched(xs: Sequence[int], ys: Sequence[int]) -> list[int]:
        tried.append(set(xs))
        return interpolate(xs, ys)

    monkeypatch.setattr(polynomial, "interpolate", watched)
    for number in range(3):
        dealt = values(4, 9)
        for x in (1, 2, 3, 4):
            dealt[x] = (dealt[x] + x * x + 1 + number) % PRIME
        tried.clear()
        found = decoder.recover(dealt, is_secret)
        assert found is not None
        assert found.secret == SECRET
    assert tried[1].isdisjoint({1, 2, 3, 4}), "the first but for the decoding of all points"


def test_a_liar_costs_one_decoding_however_many_secrets_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 600 holders a decoding takes a second, and there is one secret for each: 8 minutes of everybody's time."""
    decoder = shamir.Decoder(range(1, 10), 4)
    decodings: list[int] = []
    decode = polynomial.decode_reed_solomon

    def counted(xs: Sequence[int], ys: Sequence[int], dimension: int) -> list[int] | None:
        decodings.append(len(xs))
        return decode(xs, ys, dimension)

    monkeypatch.setattr(polynomial, "decode_reed_solomon", counted)
    for number, wrong in enumerate([(2, 9), (2, 9), (9,), (2,), (), (2, 9)]):
        secret = Secret(bytes([number] * 32))
        dealt = values(4, 9, secret)
        for x in wrong:
            dealt[x] = (dealt[x] + x + number) % PRIME
        found = decoder.recover(dealt, secret.__eq__)
        assert found is not None
        assert found.secret == secret
        assert found.wrong == wrong
    assert len(decodings) == 1


def test_a_liar_more_is_found_beside_those_that_are_known() -> None:
    decoder = shamir.Decoder(range(1, 10), 4)
    for wrong in [(2,), (2, 5), (7,)]:
        dealt = values(4, 9)
        for x in wrong:
            dealt[x] = (dealt[x] + x) % PRIME
        found = decoder.recover(dealt, is_secret)
        assert found is not None
        assert found.wrong == wrong


def test_a_search_is_shorter_where_asking_is_dear() -> None:
    """Five liars of twenty, beyond what decoding corrects: 40,000 questions of 10 ms would take seven minutes."""
    dealt = values(11, 20)
    for x in range(1, 6):
        dealt[x] = (dealt[x] + x * x + 1) % PRIME
    asked = 0

    def dear(candidate: Secret) -> bool:
        nonlocal asked
        asked += 1
        return is_secret(candidate)

    assert shamir.Decoder(range(1, 21), 11, accept_steps=10_000).recover(dealt, dear) is None
    assert 100 < asked < 1000


def test_too_many_wrong_shares_give_nothing() -> None:
    dealt = values(4, 7)
    for x in (1, 2, 3, 4):
        dealt[x] = (dealt[x] + x * x + 1) % PRIME
    assert shamir.Decoder(range(1, 8), 4).recover(dealt, is_secret) is None


def test_without_shares_to_spare_a_wrong_one_gives_nothing() -> None:
    dealt = values(4, 4)
    dealt[2] = (dealt[2] + 1) % PRIME
    assert shamir.Decoder(range(1, 5), 4).recover(dealt, is_secret) is None


def test_errors_chosen_to_cancel_in_the_check_are_corrected_all_the_same() -> None:
    """Two liars that know the check among the first t: the quick way fails, and decoding takes over."""
    decoder = shamir.Decoder(range(1, 8), 4)
    dealt = values(4, 7)
    h = decoder._check
    dealt[1], dealt[2] = (dealt[1] + h[1]) % PRIME, (dealt[2] - h[0]) % PRIME
    assert sum(a * dealt[x] for a, x in zip(h, range(1, 8), strict=True)) % PRIME == 0
    found = decoder.recover(dealt, is_secret)
    assert found is not None
    assert found.wrong == (1, 2)


def test_a_consistent_polynomial_of_another_secret_is_refused() -> None:
    """Whoever dealt it: all shares agree, but not on what was committed to."""
    assert shamir.Decoder(range(1, 8), 4).recover(values(4, 7, Secret(bytes(32))), is_secret) is None


def test_a_shared_value_beyond_256_bits_is_no_secret() -> None:
    constant = dict.fromkeys(range(1, 6), PRIME - 1)
    assert shamir.Decoder(range(1, 6), 3).recover(constant, lambda _: True) is None


@pytest.mark.parametrize("data", [b"", bytes(32), bytes(34), PRIME.to_bytes(33, "big"), b"\xff" * 33])
def test_a_share_outside_the_field_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="33 bytes below the field prime"):
        shamir.decode_share(data)


def test_shares_at_the_ends_of_the_field() -> None:
    assert shamir.decode_share(bytes(33)) == 0
    assert shamir.decode_share((PRIME - 1).to_bytes(33, "big")) == PRIME - 1


def test_polynomial_division_is_exact() -> None:
    f, g = [3, 1, 4, 1, 5], [2, 7, 1]
    quotient, remainder = polynomial.divide(f, g)
    product = [0] * 5
    for i, a in enumerate(quotient):
        for j, b in enumerate(g):
            product[i + j] = (product[i + j] + a * b) % PRIME
    for i, c in enumerate(remainder):
        product[i] = (product[i] + c) % PRIME
    assert product == f
    assert len(remainder) < len(g)
