"""Whole live rounds: programs in some of the places, our own participants in the others, somebody gone in every phase.

What a program draws itself is looked at as well: with stated random values nobody sees whether it draws fresh ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from secagg.crypto import polynomial, shamir
from secagg.masked import shares
from secagg.messages import AdvertiseKeys, Index, ShareKeys
from secagg.roster import names_of
from secagg.tools.conformance import fixtures, wire
from secagg.tools.conformance.failures.script import ACTIVE, ME, SEMI_HONEST
from secagg.tools.conformance.rounds.inputs import AUTHORITY
from secagg.tools.runner import settings
from secagg.tools.runner.cases import Case, Programs, Unlike
from secagg.tools.runner.live import LiveRound, round_of
from secagg.tools.runner.needs import needs_of_round

ROUNDS: Final = (
    SEMI_HONEST,
    ACTIVE,
    "round-semi-honest-model-later",
    "round-active-model-later",
    "round-semi-honest-sparse",
    "round-active-sparse",
    "round-noise",
    "round-aegis",
    "round-hybrid",
    *settings.NAMES,
)

LONG: Final = "integers-chunks"
"""Takes seconds, so a program has one place in it."""

PLACES: Final = (ME, "cedar", "elm", "hazel", "fir")
"""Whose places programs take: ME survives, and each of the others is gone in another phase."""


def cases() -> Iterator[Case]:
    """All of them."""
    for name in ROUNDS:
        round_ = round_of(name)
        places = [place for place in PLACES if place in round_["participants"]]
        for some in (places[:1],) if name == LONG else (places[:1], places):
            yield Case(
                f"live-{name.removeprefix('round-')}/{len(some)}",
                f"{round_['title']}, live, with {len(some)} of {len(round_['participants'])} in other hands",
                "",
                needs_of_round(round_),
                partial(_whole, name, some),
            )
    needs = needs_of_round(round_of(ACTIVE))
    title = "A certificate by a CA below the deployment's"
    yield Case("live-chain-of-two", title, "", needs, _chain_of_two)
    for name in (SEMI_HONEST, ACTIVE):
        kind = name.removeprefix("round-")
        title = f"Keys, seeds and polynomials of two live rounds are fresh, {kind}"
        yield Case(f"live-fresh-{kind}", title, "", needs_of_round(round_of(name)), partial(_fresh, name))


def _whole(name: str, places: Sequence[str], programs: Programs) -> None:
    live = LiveRound(name, round_of(name), dict(zip(places, programs.take(len(places)), strict=True)))
    live.go()
    live.check_sum()


def _chain_of_two(programs: Programs) -> None:
    """ME's certificate is by a CA that the deployment's CA certified."""
    [program], round_, below = programs.take(1), round_of(ACTIVE), "A CA below, test only"
    own = fixtures.certificate(ME, "Chained", below)
    mine = round_["participants"][ME]
    mine = mine | {"identity": mine["identity"] | {"certificate": own.hex()}}
    chained = round_ | {
        "authority": {"certificate": fixtures.der(fixtures.authority(AUTHORITY, below=1)).hex()},
        "participants": round_["participants"] | {ME: mine},
    }
    terms = {"issuers": [fixtures.intermediate(below, AUTHORITY).hex()]}
    live = LiveRound(ACTIVE, chained, {ME: program}, terms)
    live.go()
    live.check_sum()


def _fresh(name: str, programs: Programs) -> None:
    """What a program dealt in two rounds, as the others together can see it."""
    [program] = programs.take(1)
    seen: set[bytes] = set()
    for _ in range(2):
        live = LiveRound(name, round_of(name), {ME: program})
        live.go()
        for what, value in _dealt(live):
            if value in seen:
                raise Unlike(f"{name}: the program drew {what} twice: in two rounds, or for two purposes")
            seen.add(value)


def _dealt(live: LiveRound) -> Iterator[tuple[str, bytes]]:
    """What must be fresh, and in no two places the same: keys, secrets, and the coefficients of both polynomials.

    Raises:
        Unlike: the shares are not those of a polynomial of degree t − 1.
    """
    script = live.script()
    keys: AdvertiseKeys = script.members[ME].keys
    yield "its channel key", keys.channel_public_key
    yield "its mask key", keys.mask_public_key
    sent: ShareKeys = wire.decode(live.known[f"{ME}/share-keys"])
    names = names_of(script.roster)
    open_ = partial(shares.open_sealed, live.round)
    pairs = {
        at: open_(script.insider(names[at - 1]).channel, script.members[ME], names[at - 1], entry)
        for at, entry in sent.sealed.items()
    }
    for what in ("mask_key", "self_mask_seed"):
        points = {at: shamir.decode_share(getattr(pair, what).expose()) for at, pair in pairs.items()}
        coefficients = _coefficients(points, live.config.share_threshold)
        for number, coefficient in enumerate(coefficients):
            if coefficient == 0:
                raise Unlike(f"{live.name}: coefficient {number} of the program's polynomial for {what} is zero")
            yield f"a coefficient of its polynomial for {what}", coefficient.to_bytes(33, "big")


def _coefficients(points: Mapping[Index, int], threshold: int) -> list[int]:
    """The polynomial of degree < t through the points, the secret first.

    Raises:
        Unlike: there is none.
    """
    first = dict(list(points.items())[:threshold])
    weights = polynomial.barycentric_weights(list(first))
    coefficients = [0] * threshold
    for (x, y), weight in zip(first.items(), weights, strict=True):
        basis = [1]  # Π (X − x_i) over the others
        for other in first:
            if other != x:
                basis = [
                    (low - other * high) % polynomial.PRIME for low, high in zip([0, *basis], [*basis, 0], strict=True)
                ]
        coefficients = [
            (known + y * weight * factor) % polynomial.PRIME for known, factor in zip(coefficients, basis, strict=True)
        ]
    if any(polynomial.evaluate(coefficients, x) != y for x, y in points.items()):
        raise Unlike(f"the program's shares of one secret are on no polynomial of degree {threshold - 1}")
    return coefficients
