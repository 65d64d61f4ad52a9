"""Shamir sharing over GF(2^256 + 297): reconstruction, correction, and that t − 1 shares say nothing."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import pytest

from secagg.crypto import polynomial, reed_solomon, shamir
from secagg.crypto.polynomial import PRIME
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.errors import DecodeError
from tests.interpolation import interpolate

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
            assert found.consistent
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
        f = interpolate([0, *held], [candidate, *(dealt[x] for x in held)])
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


@pytest.mark.parametrize("wrong", [(1,), (3,), (1, 2), (2, 6), (1, 9)])
def test_wrong_shares_in_the_way_are_corrected_and_found(wrong: tuple[int, ...]) -> None:
    """n = 9, t = 4: two by decoding."""
    dealt = values(4, 9)
    for x in wrong:
        dealt[x] = (dealt[x] + x * x + 1) % PRIME
    found = shamir.Decoder(range(1, 10), 4).recover(dealt, is_secret)
    assert found == shamir.Recovered(SECRET, consistent=False, wrong=wrong)


@pytest.mark.parametrize("wrong", [(5,), (5, 6, 7, 8, 9)])
def test_wrong_shares_that_are_not_needed_are_noticed_without_a_decoding(
    wrong: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = shamir.Decoder(range(1, 10), 4)
    monkeypatch.setattr(reed_solomon.Code, "locate", lambda *_: pytest.fail("decoded"))
    dealt = values(4, 9)
    for x in wrong:
        dealt[x] = (dealt[x] + x * x + 1) % PRIME
    assert decoder.recover(dealt, is_secret) == shamir.Recovered(SECRET, consistent=False)


@pytest.mark.parametrize("errors", range(4))
def test_a_decoding_finds_every_pattern_within_its_radius(errors: int) -> None:
    """n = 8, t = 2, all patterns; what is beyond the radius is never taken for another codeword's by mistake."""
    code = reed_solomon.Code(range(1, 9), 2)
    honest = [values(2, 8)[x] for x in range(1, 9)]
    for wrong in combinations(range(8), errors):
        received = [(y + (i + 3) ** 5 if i in wrong else y) % PRIME for i, y in enumerate(honest)]
        assert code.locate(received) == reed_solomon.Located(wrong, int.from_bytes(SECRET.expose(), "big"))


def test_too_many_wrong_shares_give_nothing() -> None:
    """One more than a decoding corrects: no search is made, whatever the commitment would decide."""
    for wrong in combinations(range(1, 8), 2):
        dealt = values(4, 7)
        for x in wrong:
            dealt[x] = (dealt[x] + x * x + 1) % PRIME
        assert shamir.Decoder(range(1, 8), 4).corrected(dealt, is_secret) is None


def test_without_shares_to_spare_a_wrong_one_gives_nothing() -> None:
    dealt = values(4, 4)
    dealt[2] = (dealt[2] + 1) % PRIME
    assert shamir.Decoder(range(1, 5), 4).recover(dealt, is_secret) is None


def test_errors_chosen_to_cancel_in_the_check_show_once_it_is_salted() -> None:
    """A dealer that knew the check would only be spared the blame: the secret is compared all the same."""
    decoder = shamir.Decoder(range(1, 8), 4)
    dealt = values(4, 7)
    h = decoder._check
    dealt[1], dealt[2] = (dealt[1] + h[1]) % PRIME, (dealt[2] - h[0]) % PRIME
    assert sum(a * dealt[x] for a, x in zip(h, range(1, 8), strict=True)) % PRIME == 0
    assert decoder.recover(dealt, is_secret) is None
    salted = shamir.Decoder(range(1, 8), 4, shamir.Checks(b"not known when they were dealt"))
    assert sum(a * dealt[x] for a, x in zip(salted._check, range(1, 8), strict=True)) % PRIME != 0


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


def spoiled_by(dealt: dict[int, int], wrong: dict[int, int]) -> list[int]:
    return [(value + wrong.get(x, 0)) % PRIME for x, value in dealt.items()]


def test_nothing_is_located_beyond_half_of_what_is_spare() -> None:
    """A dealer may choose its error so that the algorithm ends with a locator of the right form all the same."""
    code = reed_solomon.Code(range(1, 6), 4)  # one spare: no error can be located
    dealt = values(4, 5)
    error = 3 * pow(code.weights[0], -1, PRIME) % PRIME  # the only syndrome is 3, which is a point
    assert code.locate(spoiled_by(dealt, {1: error})) is None
    assert code.locate([*dealt.values()]) == reed_solomon.Located((), int.from_bytes(SECRET.expose(), "big"))


def test_a_locator_without_roots_locates_nothing() -> None:
    code = reed_solomon.Code(range(1, 6), 3)  # two spare: one error can be located, two not
    dealt = values(3, 5)
    assert code.locate(spoiled_by(dealt, {2: 7})) == reed_solomon.Located((1,), int.from_bytes(SECRET.expose(), "big"))
    assert code.locate(spoiled_by(dealt, {2: 7, 4: 9})) is None


@pytest.mark.parametrize("threshold", [1, 2, 16, 17, 33, 67])
def test_two_secrets_are_split_as_each_alone(threshold: int) -> None:
    """Also with the largest coefficients and indices there are: what grows for one secret does not reach the other."""
    holders = [1, 2, 77, 9_999, 10_000]
    other = Secret(bytes(range(32, 64)))

    class Largest:
        def token(self, size: int) -> bytes:
            return (PRIME - 1).to_bytes(48, "big") * (size // 48)

    for one, again in ((SeededRng(bytes(32)), SeededRng(bytes(32))), (Largest(), Largest())):
        first = shamir.share(SECRET, threshold, holders, one)
        second = shamir.share(other, threshold, holders, one)
        both = shamir.share_both(SECRET, other, threshold, holders, again)
        assert both == {x: (first[x], second[x]) for x in holders}


@pytest.mark.parametrize("xs", [[0], [1, 0], [2, 3], [1_023, 1], [10_000], [2**16 - 1, 2**15], [2**30 - 1]], ids=str)
@pytest.mark.parametrize("degree", [0, 1, 29, 30, 31, 64])
def test_two_polynomials_are_evaluated_as_each_alone(degree: int, xs: list[int]) -> None:
    """Limbs have room for whatever x and coefficients there may be between two carries."""
    f = [PRIME - 1] * (degree + 1)
    g = [2**256 - 1 - k for k in range(degree + 1)]
    values = polynomial.evaluate_both(f, g, xs)
    assert values == [(polynomial.evaluate(f, x), polynomial.evaluate(g, x)) for x in xs]


def test_inverses_are_inverses() -> None:
    numbers = [1, -1, 2, 10_000, PRIME - 1, -77]
    assert [v * i % PRIME for v, i in zip(numbers, polynomial.inverses(numbers), strict=True)] == [1] * len(numbers)
    checks = shamir.Checks()
    assert all(checks.inverses(d)[d] * d % PRIME == 1 for d in (3, 1, 9_999, 5, 10_000))


@pytest.mark.parametrize(
    "holders",
    [
        range(2, 42),  # one has gone
        range(1, 45),  # some came
        [*range(2, 30), *range(33, 44)],  # both
        range(1, 42),  # the same
        range(60, 90),  # all others
        range(1, 8),
    ],
    ids=str,
)
def test_a_decoder_made_of_another_is_as_one_made_anew(holders: Sequence[int]) -> None:
    checks, threshold = shamir.Checks(b"salt"), 7
    anew = shamir.Decoder(holders, threshold, checks)
    made = shamir.Decoder(holders, threshold, checks, near=shamir.Decoder(range(1, 42), threshold, checks))
    assert (made._weights, made._at_zero, made._check) == (anew._weights, anew._at_zero, anew._check)
    dealt = {
        x: int.from_bytes(s.expose(), "big") for x, s in shamir.share(SECRET, 7, holders, SeededRng(bytes(32))).items()
    }
    assert made.recover(dealt, is_secret) == shamir.Recovered(SECRET, consistent=True)
    if len(holders) > threshold + 1:
        last = list(holders)[-1]
        dealt[last] ^= 1
        assert made.recover(dealt, is_secret) == shamir.Recovered(SECRET, consistent=False)
        dealt[last] ^= 1
        first = next(iter(holders))
        dealt[first] ^= 1
        assert made.recover(dealt, is_secret) == shamir.Recovered(SECRET, consistent=False, wrong=(first,))


def test_near_decoders_cost_a_factor_for_each_other_holder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights anew take m² products; of much the same holders they take m for each that is another."""
    near = shamir.Decoder(range(1, 101), 60)
    monkeypatch.setattr(shamir.Decoder, "_anew", lambda _: pytest.fail("made anew"))
    shamir.Decoder(range(3, 103), 60, near=near)


def test_shares_that_do_not_fit_together_are_joined_without_weights_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are to spare: whoever deals such shares must not cost much more than others."""
    for holders in (41, 60, 79):
        dealt = values(40, holders)
        decoder = shamir.Decoder(range(1, holders + 1), 40)
        dealt[holders] ^= 1
        with monkeypatch.context() as patch:
            patch.setattr(shamir.Decoder, "_anew", lambda _: pytest.fail("made anew"))
            assert decoder.joined(dealt, is_secret) == shamir.Recovered(SECRET, consistent=False)


def test_every_wrong_share_shows_in_the_check() -> None:
    """Whoever's it is, whatever is spare: one, several, all but enough."""
    for holders in range(5, 12):
        checks = shamir.Checks(b"salt")
        dealt = values(4, holders)
        decoder = shamir.Decoder(range(1, holders + 1), 4, checks)
        for x in range(1, holders + 1):
            spoilt = dealt | {x: (dealt[x] + 1) % PRIME}
            assert not decoder._consistent([spoilt[i] for i in decoder.holders])
        f = [dealt[x] + x**4 for x in decoder.holders]  # a polynomial of one degree more
        assert not decoder._consistent([y % PRIME for y in f])
        assert decoder._consistent([dealt[x] for x in decoder.holders])
