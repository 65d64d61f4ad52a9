"""What a healthy product must pass. Each check plays real rounds and says what is wrong; nothing if all is well."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from secagg.encoding.pipeline import Pipeline
from secagg.lattice.parameters import Custody
from secagg.tools.redteam.arena import SMALL, random_updates, zero_updates
from secagg.tools.redteam.attacks.protocol.game import Game
from secagg.tools.redteam.cipher_checks import ciphertexts, encryption_noise, exact_release, smudging
from secagg.tools.redteam.mask_checks import FEWER, chunks, masks, seeds, two_rounds
from secagg.tools.redteam.modes import (
    ENCRYPTED,
    EVERY_MODE,
    MASKED_ACTIVE,
    MASKED_SEMI_HONEST,
    Mode,
    homomorphic_available,
    mode_named,
)
from secagg.tools.redteam.noise_checks import fresh_noise, released_noise
from secagg.tools.redteam.shell_checks import shell_available, shell_in_sight
from secagg.tools.redteam.sight_checks import secrets_in_sight, values_in_sight
from secagg.tools.redteam.taint import compare
from secagg.tools.simulation.cohort import participant_names


@dataclass(frozen=True, slots=True)
class Check:
    """One part of the audit.

    Attributes:
        name: for reports.
        title: for people.
        run: what is wrong, given a seed.
        mode: the way to sum whose rounds it looks at, by name.
        server: whether it needs the server.
    """

    name: str
    title: str
    run: Callable[[int], list[str]]
    mode: str
    server: bool = False


_SEMI_HONEST: Final = MASKED_SEMI_HONEST.name
_ACTIVE: Final = MASKED_ACTIVE.name

PIPELINES: Final = {
    "compressed": "clip(l2=1.0) | sample(rate=0.5) | rotate | quantise(bits=8, range=0.5)",
    "noisy": "clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z=1.634)",
}
"""What can make sizes depend on data where it is done badly: dropping coordinates, and noise."""


def _taint(mode: Mode, pipeline: str, seed: int) -> list[str]:
    names = participant_names(4)
    encoding = Pipeline.parse(PIPELINES[pipeline]) if pipeline else None
    config = mode.config(SMALL, 4, encoding=encoding)
    found = compare(config, random_updates(config.schema, names, seed), zero_updates(config, names), seed)
    return [f"{leak.where}: {leak.what}" for leak in found]


def _checks() -> Iterator[Check]:
    yield from (
        Check("masks", "masks are uniform and independent, each stream alone", masks, _SEMI_HONEST),
        Check("mask-chunks", "no piece of a mask comes again in it", chunks, _SEMI_HONEST),
        Check("seeds", "mask streams never begin alike", seeds, _SEMI_HONEST),
        Check("two-rounds", "no mask comes again in another round", two_rounds, _SEMI_HONEST),
        Check(
            "masks-active", "the same of masks, each stream alone, in the active threat model",
            partial(masks, values=FEWER, mode=MASKED_ACTIVE), _ACTIVE,
        ),
        Check(
            "two-rounds-active", "no mask comes again in another round, in the active threat model",
            partial(two_rounds, mode=MASKED_ACTIVE), _ACTIVE,
        ),
        Check("values-in-sight", "no value in logs or on disk", values_in_sight, _ACTIVE),
        Check(
            "shell-in-sight",
            "the running server: no value and no secret in logs, files, events, journal, traces or status port",
            shell_in_sight, _ACTIVE, server=True,
        ),
        Check("released-noise", "noise has its full size with dropouts", released_noise, _SEMI_HONEST),
        Check("fresh-noise", "noise never comes again", fresh_noise, _SEMI_HONEST),
    )  # fmt: skip
    for mode in EVERY_MODE:
        yield _of(mode, "secrets", "no secret in messages", partial(secrets_in_sight, mode))
        yield _of(mode, "taint", "only payloads depend on the data", partial(_taint, mode, ""))
        for name in PIPELINES:
            told = f"{mode.title}, {name}: only payloads depend on the data"
            yield Check(f"taint-{name}-{mode.name}", told, partial(_taint, mode, name), mode.name)
    for mode in ENCRYPTED:
        yield _of(mode, "ciphertexts", "residues are uniform and independent", partial(ciphertexts, mode))
        yield _of(mode, "release", "the released sum holds no encryption noise", partial(exact_release, mode))
        if mode.variant.custody is Custody.PARTICIPANTS:
            yield _of(mode, "encryption-noise", "encryption noise is fresh", partial(encryption_noise, mode))
        else:
            title = "smudging noise is whole, fresh, and knows nothing of the data"
            yield _of(mode, "smudging", title, partial(smudging, mode))


def _of(mode: Mode, name: str, title: str, run: Callable[[int], list[str]]) -> Check:
    return Check(f"{name}-{mode.name}", f"{mode.title}: {title}", run, mode.name)


CHECKS: Final = {check.name: check for check in _checks()}


def missing_extra(played: Check | Game) -> str:
    """The extra of `secagg` that a check or game needs and that is not installed; empty if none."""
    if mode_named(played.mode).encrypted and not homomorphic_available():
        return "ckks"
    return "server" if isinstance(played, Check) and played.server and not shell_available() else ""
