"""A whole run: audit, games, self-test, and attacks where the extra `redteam` is installed."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from secagg.errors import ConfigError, MissingExtraError
from secagg.tools.charts.origin import Origin
from secagg.tools.redteam.arena import deployment
from secagg.tools.redteam.attacks.protocol import GAMES
from secagg.tools.redteam.attacks.protocol.game import play
from secagg.tools.redteam.audit import CHECKS, missing_extra
from secagg.tools.redteam.results import Checked, RedTeamFindings
from secagg.tools.redteam.self_test.run import judge, self_test
from secagg.tools.redteam.workers import Workers
from secagg.tools.simulation.stopwatch import Clock

Tell = Callable[[str], None]

PROFILES: Final = ("quick", "full")
_PACKAGES: Final = ("numpy", "cryptography", "tenseal", "torch", "scikit-learn")


def run(profile: str, seed: int, *, tell: Tell, clock: Clock, jobs: int = 1, model: str = "") -> RedTeamFindings:
    """Everything that the profile asks for.

    Args:
        profile: `quick` or `full`.
        seed: of every round and attack.
        tell: hears what is going on.
        clock: seconds.
        jobs: processes for attacks, beside this one; the findings are the same for any number.
        model: module:function of the user's own; bundled models if empty.

    Raises:
        ConfigError: no such profile, or no attack fits the user's own model.
        LocalError: the user's own model cannot be had.
    """
    if profile not in PROFILES:
        raise ConfigError(f"no profile {profile!r}; one of: {', '.join(PROFILES)}")
    began = clock()
    findings = _empty(profile, _command(f"run --profile {profile}", seed, model), seed)
    with Workers(jobs) as workers:
        finished = attacking(findings, model, workers)
        for step in (audited, played, self_tested):
            findings = step(findings, tell)
        tell("attacks on what adversaries see of real rounds")
        return replace(finished(findings), seconds=clock() - began)


def only_self_test(seed: int, *, tell: Tell) -> RedTeamFindings:
    """The findings of a run that only tests the red team itself, with every mutant."""
    return self_tested(_empty("self-test", _command("self-test", seed, ""), seed), tell)


def single(name: str, seed: int, model: str = "") -> RedTeamFindings:
    """One check, game or attack, by name.

    Args:
        name: of it.
        seed: of every round.
        model: module:function of the user's own, for attacks; the attack's bundled model if empty.

    Raises:
        LocalError: there is none, or it does not fit the user's own model.
        MissingExtraError: it needs an extra.
    """
    findings = _empty("one attack", _command(f"attack {name}", seed, model), seed)
    if name in CHECKS:
        check = CHECKS[name]
        return replace(findings, checks=(Checked(name, check.title, tuple(check.run(seed)), check.mode),))
    if name in GAMES:
        return replace(findings, games=(play(GAMES[name]),))
    from secagg.tools.redteam import campaign, targets  # noqa: PLC0415 - need the extra

    return campaign.conduct_one(findings, name, targets.Subject(model))


def _command(what: str, seed: int, model: str) -> str:
    return f"secagg redteam {what} --seed {seed}" + (f" --model {model}" if model else "")


def _empty(profile: str, command: str, seed: int) -> RedTeamFindings:
    return RedTeamFindings(profile=profile, seed=seed, command=command, origin=Origin.now(command, *_PACKAGES))


def audited(findings: RedTeamFindings, tell: Tell) -> RedTeamFindings:
    """The findings with every check of the audit; the full profile runs each with ten seeds."""
    rounds = 10 if findings.profile == "full" else 1
    checks, left = [], list(findings.left_out)
    deployment()
    for check in CHECKS.values():
        extra = missing_extra(check)
        if extra:
            left.append(f"{check.title}: needs secagg[{extra}]")
            continue
        tell(f"audit: {check.title}")
        said = [line for i in range(rounds) for line in check.run(findings.seed * 1000 + i)]
        checks.append(Checked(check.name, check.title, tuple(said), check.mode))
    return replace(findings, checks=tuple(checks), left_out=tuple(left))


def played(findings: RedTeamFindings, tell: Tell) -> RedTeamFindings:
    """The findings with every attack on rounds, played once."""
    left, games = list(findings.left_out), []
    for game in GAMES.values():
        extra = missing_extra(game)
        if extra:
            left.append(f"{game.title}: needs secagg[{extra}]")
            continue
        tell(f"game: {game.title}")
        games.append(play(game))
    return replace(findings, games=tuple(games), left_out=tuple(left))


def self_tested(findings: RedTeamFindings, tell: Tell) -> RedTeamFindings:
    """The findings with the red team's self-test: every mutant, and what noticed it."""
    found = self_test(seed=findings.seed, told=lambda v: tell(f"mutant: {v.mutant.title}"))
    left = tuple(f"mutant {mutant.title}: needs secagg[{missing_extra(judge(mutant))}]" for mutant in found.left_out)
    return replace(findings, self_test=found, left_out=findings.left_out + left)


def attacking(findings: RedTeamFindings, model: str, workers: Workers) -> Callable[[RedTeamFindings], RedTeamFindings]:
    """Begin with attacks; they are named as left out where their libraries are missing.

    Returns:
        What waits for them, and adds what they found to the findings that it is given.

    Raises:
        LocalError: the user's own model cannot be had.
    """
    try:
        from secagg.tools.redteam import campaign, targets  # noqa: PLC0415 - need the extra
    except MissingExtraError as error:
        if model:
            raise
        missing = str(error)
        return lambda found: replace(found, left_out=(*found.left_out, missing))
    return campaign.begun(findings, targets.Subject(model), workers)
