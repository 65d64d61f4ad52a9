"""A whole run: audit, games, self-test, and attacks where the extra `redteam` is installed."""

import platform
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from secagg import __version__
from secagg.errors import ConfigError, MissingExtraError
from secagg.redteam.arena import deployment
from secagg.redteam.audit import CHECKS, missing_extra
from secagg.redteam.games import play
from secagg.redteam.modes import homomorphic_available
from secagg.redteam.results import Checked, Findings
from secagg.redteam.self_test import GAMES, self_test

Tell = Callable[[str], None]
Clock = Callable[[], float]

PROFILES: Final = ("quick", "full")
_PACKAGES: Final = ("numpy", "cryptography", "tenseal", "torch", "scikit-learn")


def run(profile: str, seed: int, *, tell: Tell, clock: Clock) -> Findings:
    """Everything that the profile asks for.

    Args:
        profile: `quick` or `full`.
        seed: of every round and attack.
        tell: hears what is going on.
        clock: seconds.

    Raises:
        ConfigError: no such profile.
    """
    if profile not in PROFILES:
        raise ConfigError(f"no profile {profile!r}; one of: {', '.join(PROFILES)}")
    began = clock()
    findings = _empty(profile, f"secagg redteam run --profile {profile} --seed {seed}", seed)
    for step in (audited, played, self_tested, attacked):
        findings = step(findings, tell)
    return replace(findings, seconds=clock() - began)


def only_self_test(seed: int, *, tell: Tell) -> Findings:
    """Nothing but the mutants."""
    return self_tested(_empty("self-test", f"secagg redteam self-test --seed {seed}", seed), tell)


def single(name: str, seed: int) -> Findings:
    """One check, game or attack, by name.

    Raises:
        ConfigError: there is none.
        MissingExtraError: it needs an extra.
    """
    findings = _empty("one attack", f"secagg redteam attack {name} --seed {seed}", seed)
    if name in CHECKS:
        check = CHECKS[name]
        return replace(findings, checks=(Checked(name, check.title, tuple(check.run(seed))),))
    if name in GAMES:
        return replace(findings, games=(play(GAMES[name]),))
    from secagg.redteam import campaign  # noqa: PLC0415 - needs the extra

    return campaign.conduct_one(findings, name)


def _empty(profile: str, command: str, seed: int) -> Findings:
    return Findings(profile=profile, seed=seed, command=command, versions=_versions())


def audited(findings: Findings, tell: Tell) -> Findings:
    """With every check of the audit, ten times as many seeds in the full profile."""
    rounds = 10 if findings.profile == "full" else 1
    checks, left = [], list(findings.left_out)
    deployment()
    for check in CHECKS.values():
        extra = missing_extra(encrypted=check.encrypted, server=check.server)
        if extra:
            left.append(f"{check.title}: needs secagg[{extra}]")
            continue
        tell(f"audit: {check.title}")
        said = [line for i in range(rounds) for line in check.run(findings.seed * 1000 + i)]
        checks.append(Checked(check.name, check.title, tuple(said)))
    return replace(findings, checks=tuple(checks), left_out=tuple(left))


def played(findings: Findings, tell: Tell) -> Findings:
    """With every protocol game."""
    possible, left, games = homomorphic_available(), list(findings.left_out), []
    for game in GAMES.values():
        if game.encrypted and not possible:
            left.append(f"{game.title}: needs secagg[ckks]")
            continue
        tell(f"game: {game.title}")
        games.append(play(game))
    return replace(findings, games=tuple(games), left_out=tuple(left))


def self_tested(findings: Findings, tell: Tell) -> Findings:
    """With every mutant."""
    found = self_test(seed=findings.seed, told=lambda v: tell(f"mutant: {v.mutant.title}"))
    left = tuple(
        f"mutant {mutant.title}: needs secagg[{missing_extra(encrypted=mutant.encrypted, server=mutant.server)}]"
        for mutant in found.left_out
    )
    return replace(findings, self_test=found, left_out=findings.left_out + left)


def attacked(findings: Findings, tell: Tell) -> Findings:
    """With attacks; named as left out where their libraries are missing."""
    try:
        from secagg.redteam import campaign  # noqa: PLC0415 - needs the extra
    except MissingExtraError as error:
        return replace(findings, left_out=(*findings.left_out, str(error)))
    tell("attacks on what adversaries see of real rounds")
    return campaign.conduct(findings)


def _versions() -> dict[str, str]:
    found = {"secagg": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
