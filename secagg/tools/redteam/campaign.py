"""Attacks on what adversaries see of real rounds, piece by piece, in several processes. Needs the extra `redteam`.

Every piece draws from the run's seed alone, so what is found does not depend on how many processes there are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from secagg.errors import ConfigError, LocalError
from secagg.tools.redteam import gallery
from secagg.tools.redteam.attacks.inversion import ATTACKS
from secagg.tools.redteam.detection_rates import rates
from secagg.tools.redteam.dp_audit import audited_claims
from secagg.tools.redteam.measured import Measured
from secagg.tools.redteam.modes import EVERY_MODE, MASKED_ACTIVE, available, mode_named
from secagg.tools.redteam.power import powers
from secagg.tools.redteam.results import Attacks, RedTeamFindings
from secagg.tools.redteam.scenes import HIDDEN, STRONGEST, attempts
from secagg.tools.redteam.sweeps import KINDS, SLOW_KINDS, exposures, many_rounds, noise_sweep
from secagg.tools.redteam.targets import Subject, target_named
from secagg.tools.redteam.views import Sight
from secagg.tools.redteam.workers import Workers, single_threaded

_FULL: Final = 4  # times the trials of the quick profile
_CURVE: Final = 12
_COMPARED: Final = 8
_PICTURED: Final = 8
_QUICK_EPOCHS: Final = (0, 20)
_QUICK_RELEASES: Final = 1500
"""With a canary, and as many without: half the noise is found in all but one of ten thousand runs."""

_FACES: Final = "mlp-faces"
_LEAD: Final = ATTACKS["first-layer"]
_LISTED: Final = ATTACKS["membership"]


Piece = Callable[[], Attacks]


def begun(
    findings: RedTeamFindings, subject: Subject, workers: Workers
) -> Callable[[RedTeamFindings], RedTeamFindings]:
    """Begin with every attack of the findings' profile.

    Returns:
        What waits for all of them, and adds what they found to the findings that it is given.

    Raises:
        LocalError: the user's own model or data cannot be had; when waited for, none of the attacks fits it.
    """
    single_threaded()
    more = _FULL if findings.profile == "full" else 1
    sweeps = _sweeps(findings.seed, full=findings.profile == "full")
    pieces = [*_attacks(subject, findings, more), *sweeps, *_measures(subject, findings.seed, more)]
    results = [workers.begin(piece) for piece in pieces]

    return lambda found: _joined(found, [result() for result in results])


def _attacks(subject: Subject, findings: RedTeamFindings, more: int) -> Iterable[Piece]:
    """The slowest first, so that no process is left with one at the end."""
    lead = _against_every_mode(subject, findings.seed)
    for attack in sorted(ATTACKS.values(), key=lambda a: (not a.slow, a.participants == 1)):
        modes = available(EVERY_MODE) if attack.name == lead else (MASKED_ACTIVE,)
        sights = STRONGEST if attack.slow and findings.profile == "quick" else HIDDEN
        for mode in modes:
            trials, seed = attack.trials * more, findings.seed
            piece = partial(tried, subject, attack.name, mode.name, trials=trials, seed=seed, sights=sights)
            yield partial(_where_it_fits, subject, attack.title, piece)


def _against_every_mode(subject: Subject, seed: int) -> str:
    """The attack that is tried against every mode: a fast one that fits."""
    target = subject.target(_LEAD, seed)
    if target.first_layer is not None:
        return _LEAD.name
    return "text" if target.records.vocabulary else "idlg"


def tried(subject: Subject, attack: str, mode: str, *, trials: int, seed: int, sights: Sequence[Sight]) -> Attacks:
    """One attack against one mode. One that does not work on a user's own model is left out by name."""
    known = ATTACKS[attack]
    made = attempts(known, subject.target(known, seed), mode_named(mode), trials=trials, seed=seed, sights=sights)
    control = next(attempt for attempt in made if attempt.control)
    if not (subject.bundled or control.as_claimed):
        raise LocalError(f"proves nothing, since it fails on plain updates of this model ({control.achieved})")
    return Attacks(attempts=tuple(made))


def _measures(subject: Subject, seed: int, more: int) -> Iterable[Piece]:
    yield partial(_where_it_fits, subject, "pictures", partial(_faces, subject, seed))
    yield partial(_where_it_fits, subject, "sums of growing cohorts", partial(_curve, subject, _CURVE * more, seed))
    yield partial(_where_it_fits, subject, "compression", partial(_defences, subject, _COMPARED * more, seed))


def _sweeps(seed: int, *, full: bool) -> Iterable[Piece]:
    """On bundled models, whatever the subject is: they are about noise, rounds and checks, not about one model.

    The slowest first.
    """
    yield partial(_measured, "rounds", partial(many_rounds, 10 if full else 3, seed))
    yield partial(_measured, "detected", partial(rates, 10) if full else partial(rates, 2, _QUICK_EPOCHS))
    yield partial(_measured, "noise", partial(noise_sweep, 20 if full else 5, seed, full=full))
    for kind in (*KINDS, *(SLOW_KINDS if full else ())):
        yield partial(_measured, "exposures", partial(exposures, kind, 10 if full else 3, seed))
    releases = 20_000 if full else _QUICK_RELEASES
    yield partial(_measured, "claims", partial(audited_claims, releases, seed))
    yield partial(_measured, "power", partial(powers, releases, seed))


def _measured(what: str, measure: Callable[[], Iterable[Any]]) -> Attacks:
    rows: dict[str, Any] = {what: tuple(measure())}
    return Attacks(measured=Measured(**rows))


def _curve(subject: Subject, trials: int, seed: int) -> Attacks:
    target, listed = subject.target(_LEAD, seed), subject.target(_LISTED, seed)
    return Attacks(curve=tuple(gallery.curve(_LEAD, (target, listed), trials, seed)))


def _defences(subject: Subject, trials: int, seed: int) -> Attacks:
    target, listed = subject.target(_LEAD, seed), subject.target(_LISTED, seed)
    return Attacks(defences=tuple(gallery.defences(target, listed, trials, seed)))


def _faces(subject: Subject, seed: int) -> Attacks:
    target = target_named(_FACES, seed) if subject.bundled else subject.target(_LEAD, seed)
    return Attacks(faces=gallery.faces(_LEAD, target, _PICTURED, seed)) if target.records.picture else Attacks()


def _where_it_fits(subject: Subject, what: str, piece: Piece) -> Attacks:
    """The piece; where it does not fit a user's own model or data, the reason instead."""
    try:
        return piece()
    except LocalError as error:
        if subject.bundled:
            raise
        return Attacks(left_out=(f"{what}: {error}",))


def _joined(findings: RedTeamFindings, parts: Sequence[Attacks]) -> RedTeamFindings:
    """In the order of attacks and modes, each attack's control once.

    Raises:
        ConfigError: no attack fits.
    """
    order = {name: place for place, name in enumerate(ATTACKS)}
    found = [attempt for part in parts for attempt in part.attempts]
    if not found:
        reasons = "; ".join(dict.fromkeys(said for part in parts for said in part.left_out))
        raise ConfigError(f"no attack works on plain updates of this model, so nothing can be shown: {reasons}")
    controls = {attempt.name: attempt for attempt in reversed(found) if attempt.control}
    kept = [a for a in found if not a.control or a is controls[a.name]]
    return replace(
        findings,
        attempts=tuple(sorted(kept, key=lambda attempt: order[attempt.name])),
        curve=sum((part.curve for part in parts), ()),
        defences=sum((part.defences for part in parts), ()),
        faces=sum((part.faces for part in parts), ()),
        measured=sum((part.measured for part in parts), Measured()),
        left_out=findings.left_out + tuple(dict.fromkeys(said for part in parts for said in part.left_out)),
    )


def conduct_one(findings: RedTeamFindings, name: str, subject: Subject) -> RedTeamFindings:
    """One attack against the control and the views of the masked mode.

    Raises:
        ConfigError: no attack of that name.
        LocalError: the attack does not fit the user's own model or data.
    """
    if name not in ATTACKS:
        raise ConfigError(f"no attack, game or check {name!r}; attacks are {', '.join(ATTACKS)}")
    single_threaded()
    attack = ATTACKS[name]
    target = subject.target(attack, findings.seed)
    made = attempts(attack, target, MASKED_ACTIVE, trials=attack.trials, seed=findings.seed)
    return replace(findings, attempts=tuple(made))
