"""What a profile measures beside attacks on views, in pieces that know nothing of each other."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from secagg.crypto.rng import Rng
from secagg.encoding.pipeline import Pipeline
from secagg.tools.redteam.arena import rng_of
from secagg.tools.redteam.dp_audit import audit
from secagg.tools.redteam.measured import AuditedClaim, Detected, Measured
from secagg.tools.redteam.power import powers

Piece = Callable[[], Measured]

CLAIM: Final = 2.5
DELTA: Final = 1e-5
NOISE: Final = 1.634

_AUDITED: Final = "clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z={z!r})"
_QUICK_EPOCHS: Final = (0, 20)
_QUICK_RELEASES: Final = 1500
"""With a canary, and as many without: half the noise is found in all but one of ten thousand runs."""


def audited_claims(full: bool, seed: int) -> list[AuditedClaim]:
    """The product's noise for its claim; and half of it, which the audit must notice."""
    rng, trials = rng_of(seed, "audit-dp"), 20_000 if full else _QUICK_RELEASES
    return [
        _audited(f"z = {NOISE:g}, as the product adds it", NOISE, trials, True, rng),
        _audited(f"control: z = {NOISE / 2:g}, half the deviation", NOISE / 2, trials, False, rng),
    ]


def _audited(title: str, z: float, trials: int, true: bool, rng: Rng) -> AuditedClaim:
    found = audit(Pipeline.parse(_AUDITED.format(z=z)), CLAIM, trials=trials, delta=DELTA, rng=rng)
    return AuditedClaim(title, CLAIM, found.bound, found.gaussian, trials, true)


def pieces(profile: str, seed: int) -> Iterator[Piece]:
    """The slowest first. All but the audit need the extra `redteam`.

    Raises:
        MissingExtraError: it is not installed.
    """
    from secagg.tools.redteam.sweeps import KINDS, SLOW_KINDS  # noqa: PLC0415 - needs the extra

    full = profile == "full"
    yield partial(_rounds, 10 if full else 3, seed)
    yield partial(_detected, 10 if full else 2, full)
    yield partial(_noise, 20 if full else 5, seed, full)
    for kind in (*KINDS, *(SLOW_KINDS if full else ())):
        yield partial(_exposed, kind, 10 if full else 3, seed)
    yield partial(_claims, full, seed)


def _claims(full: bool, seed: int) -> Measured:
    claims = tuple(audited_claims(full, seed))
    return Measured(claims=claims, power=tuple(powers(claims[0].trials, seed)))


def _rounds(trials: int, seed: int) -> Measured:
    from secagg.tools.redteam.sweeps import many_rounds  # noqa: PLC0415 - needs the extra

    return Measured(rounds=tuple(many_rounds(trials, seed)))


def _noise(trials: int, seed: int, full: bool) -> Measured:
    from secagg.tools.redteam.sweeps import noise_sweep  # noqa: PLC0415 - needs the extra

    return Measured(noise=tuple(noise_sweep(trials, seed, full=full)))


def _exposed(kind: tuple[str, str], trials: int, seed: int) -> Measured:
    from secagg.tools.redteam.sweeps import exposures  # noqa: PLC0415 - needs the extra

    return Measured(exposures=tuple(exposures(kind, trials, seed)))


def _detected(seeds: int, full: bool) -> Measured:
    from secagg.tools.redteam.detection_rates import MALICIOUS, rates  # noqa: PLC0415 - needs the extra

    found = rates(seeds) if full else rates(seeds, _QUICK_EPOCHS)
    return Measured(
        detected=tuple(Detected(r.check, r.models, r.models in MALICIOUS, r.spoke, r.shown, r.interval) for r in found)
    )
