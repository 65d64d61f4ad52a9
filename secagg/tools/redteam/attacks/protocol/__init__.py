"""Attacks on rounds, each played as a game against real participants.

To add one, write a function that plays it and returns an `Outcome`, in the module that fits, and append a `Game` to the
table at the end of that module. The game says who the adversary is, whether the product stops it, and which defence
does. The red team then plays it in every run, and `tests/redteam/test_games.py` plays it twice: it must end as claimed,
and the adversary must win once the defence is taken away.
"""

from typing import Final

from secagg.tools.redteam.attacks.protocol.cohorts import COHORT_GAMES
from secagg.tools.redteam.attacks.protocol.encrypted import ENCRYPTED_GAMES
from secagg.tools.redteam.attacks.protocol.inputs import INPUT_GAMES
from secagg.tools.redteam.attacks.protocol.masked import MASKED_GAMES
from secagg.tools.redteam.attacks.protocol.modes import MODE_GAMES
from secagg.tools.redteam.attacks.protocol.releases import RELEASE_GAMES

GAMES: Final = {
    game.name: game
    for game in (*MASKED_GAMES, *RELEASE_GAMES, *INPUT_GAMES, *COHORT_GAMES, *ENCRYPTED_GAMES, *MODE_GAMES)
}
"""By name, in the order of the report."""
