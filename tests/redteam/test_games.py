"""Every attack on rounds, twice: it ends as the product says, and without the defence that it names it is won."""

from dataclasses import replace

import pytest

from secagg.config import ThreatModel
from secagg.errors import AbortReason, RemoteError, RoundAborted
from secagg.masked.masked_input import AwaitingShares
from secagg.messages import MASKED_PHASES, CoordinatorMessage, KeyConfirmation, Phase
from secagg.rounds.session import Session, unexpected
from secagg.tools.redteam import arena, runner
from secagg.tools.redteam.attacks.protocol import EVERY_GAME, GAMES
from secagg.tools.redteam.attacks.protocol.game import (
    Check,
    Game,
    Kind,
    Measure,
    Outcome,
    Played,
    Refusal,
    play,
    settle,
)
from secagg.tools.redteam.results import BROKEN
from secagg.tools.redteam.self_test.patches import Patch, take_away

DEFENDED = {name: game for name, game in GAMES.items() if game.defences}

UNDEFENDED = {
    "vote-twice": "the threshold is the defence: `two-majorities` is the same attack on a smaller one",
    "same-cohort": "a control: nothing is checked, since one equation tells nobody apart",
    "curious": "the coordinator has no key: there is nothing that could be taken away",
    "colluder": "no participant has the whole key: there is nothing that could be taken away",
    "second-decryption": "states hold what they can answer; `tests/security/test_joint_key.py` has the twin",
}
"""Why nothing is taken away for a twin, by the end of the names of games that are stopped."""


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)
def test_every_game_goes_as_claimed(game: Game) -> None:
    played = play(game)
    assert played.as_claimed, played.outcome
    assert played.outcome.by
    assert played.outcome.gave_up


def won_without(game: Game, defences: tuple[Check | Measure, ...]) -> bool:
    arena.deployment()
    with Patch() as patch:
        take_away(patch, defences)
        return not play(game).outcome.stopped


@pytest.mark.parametrize("game", DEFENDED.values(), ids=DEFENDED)
def test_without_its_defence_the_game_is_lost(game: Game) -> None:
    assert won_without(game, game.defences)
    assert play(game).as_claimed


def by_another_check(game: Game) -> Played:
    """The game, stopped by an error of the right class that blames the right peer, and that was raised here."""
    wanted = game.refused or Refusal()
    said = "Something was not expected now"

    def attack() -> bool:
        if issubclass(wanted.error, RemoteError):
            raise wanted.error(said, culprit=wanted.culprit)
        raise RoundAborted(AbortReason.DIFFERENCING, said) if wanted.error is RoundAborted else wanted.error(said)

    return play(replace(game, play=lambda: settle(attack, got="nothing")))


@pytest.mark.parametrize("game", [game for game in EVERY_GAME if game.stops], ids=lambda game: game.name)
def test_a_game_that_another_check_stops_is_not_as_claimed(game: Game) -> None:
    played = by_another_check(game)
    assert played.outcome.stopped
    assert played.astray
    assert not played.as_claimed
    held = play(replace(game, play=lambda: Outcome(True, "somehow")))
    assert held.astray is (game.refused is not None)


def test_every_refusal_says_where_it_comes_from() -> None:
    refused = [game for game in EVERY_GAME if game.refused]
    unplaced = [g.name for g in refused if g.refused and not g.refused.at]
    assert len(refused) > 40
    assert [name for name in unplaced if not any(isinstance(d, Check) for d in GAMES[name].defences)] == []
    by_text = [game.name for game in refused if game.refused and isinstance(game.refused.at, str)]
    assert by_text == [
        "low-order-key",  # the key agreement itself, which gives no secret
        "replay-shares",  # the seal itself, which does not open
        "different-models",  # as above
        "different-models-masked-active",  # the coordinator names the sender anew, without what was raised before
        "two-of-us",  # a bound of the configuration, which has no name
        "sealed-in-others-names",  # the seal itself, which does not open
        "ckks-threshold-second-decryption",  # the last arm of a `match`: what no state awaits
        "bfv-threshold-second-decryption",
    ]


WITHOUT_MESSAGES = {
    "downgrade", "threshold-of-colluders", "all-but-one-collude", "two-majorities", "small-cohort", "two-of-us",
    "changed-update", "different-models-masked-active", "ring-ground", "ring-cut", "ring-foreseen", "downgrade-hybrid",
}  # fmt: skip
"""Games that end before the coordinator says anything to a participant."""


def test_participants_who_refuse_everything_turn_the_run_red(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attack begins then. Each is stopped, by an error of a class that many games claim, and none is as claimed."""

    def refuse(self: object, message: CoordinatorMessage, now: float) -> None:
        del self, now
        raise unexpected(message)

    monkeypatch.setattr(Session, "receive", refuse)
    found = runner.played(runner._empty("quick", "", 0), lambda _: None)
    assert {p.game.name for p in found.games if p.as_claimed} <= WITHOUT_MESSAGES
    assert len(found.astray) > 40
    assert found.exit_code == BROKEN
    for game in found.astray:
        assert any(game.game.title in line for line in found.broken)


def test_an_adversary_that_does_not_know_a_phase_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    known = MASKED_PHASES[ThreatModel.ACTIVE]
    longer = (*known[:2], Phase.CONFIRM_KEY, *known[2:])
    monkeypatch.setitem(MASKED_PHASES, ThreatModel.ACTIVE, longer)
    played = play(GAMES["both-shares"])
    assert "does not know how ConfirmKey is closed" in played.outcome.by
    assert played.astray


def test_an_adversary_that_does_not_know_a_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phase that stands between ShareKeys and MaskedInput: shares are answered with something else than an input."""
    monkeypatch.setattr(AwaitingShares, "receive", lambda self, *_: (self, KeyConfirmation(bytes(32), b"")))
    for name in ("late-message", "both-shares", "vote-twice", "replay-proof", "two-results"):
        played = play(GAMES[name])
        assert "does not know what to do with KeyConfirmation" in played.outcome.by
        assert played.astray


def test_a_check_is_told_from_its_neighbour_by_where_an_error_was_raised() -> None:
    """Of one function, one class of error and one culprit: only the line is another."""
    few, strangers = (play(GAMES[name]).outcome.refused for name in ("two-survivor-sets", "signed-by-the-dropped"))
    assert few is not None
    assert strangers is not None
    assert (few.error, few.culprit) == (strangers.error, strangers.culprit)
    assert GAMES["two-survivor-sets"].claims(few)
    assert not GAMES["two-survivor-sets"].claims(strangers)
    assert not GAMES["signed-by-the-dropped"].claims(few)


IN_DEPTH = [
    "overlapping-sets",
    "cohort-with-a-stranger",
    "threshold-of-colluders",
    "all-but-one-collude",
    "two-of-us",
    "bfv-threshold-rogue-key-share",
]


@pytest.mark.parametrize("name", IN_DEPTH)
def test_of_several_defences_each_would_do_alone(name: str) -> None:
    game = GAMES[name]
    assert len(game.defences) > 1
    for kept in game.defences:
        try:
            won = won_without(game, tuple(defence for defence in game.defences if defence is not kept))
        except IndexError:  # a sum is remembered by the names on the roster
            won = False
        assert not won, kept


def test_whatever_is_stopped_names_its_defence() -> None:
    bare = [game.name for game in EVERY_GAME if game.stops and not game.defences]
    assert [name for name in bare if not name.endswith(tuple(UNDEFENDED))] == []
    assert all(any(name.endswith(end) for name in bare) for end in UNDEFENDED)
    assert not [game.name for game in EVERY_GAME if game.defences and not game.stops]


def test_names_are_distinct_and_every_game_says_what_answers_it() -> None:
    assert len(GAMES) == len(EVERY_GAME)
    assert all(game.answer and game.source and game.adversary for game in EVERY_GAME)
    assert {game.kind for game in EVERY_GAME} == set(Kind)


def test_trust_is_checked_before_names() -> None:
    """A game that ends in another error than its defence would prove nothing: signatures stand behind the chain."""
    with Patch() as patch:
        take_away(patch, GAMES["certified-elsewhere"].defences)
        assert play(GAMES["key-substitution"]).outcome.by.startswith("AuthenticationError: the signature of")
