"""Every attack on rounds, twice: it ends as the product says, and without the defence that it names it is won."""

import pytest

from secagg.tools.redteam import arena
from secagg.tools.redteam.attacks.protocol import EVERY_GAME, GAMES
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, play
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
    assert played.outcome.refused == game.refused
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
        except KeyError:  # a sum is remembered by the names on the roster
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
