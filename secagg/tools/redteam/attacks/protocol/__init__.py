"""Attacks on rounds, each played as a game against real participants.

To add one, write a function that plays it and returns an `Outcome`, in the module that fits, and append a `Game` to the
table at the end of that module. The game says who the adversary is, whether the product stops it, and which defence
does. The red team then plays it in every run, and `tests/redteam/test_games.py` plays it twice: it must end as claimed,
and the adversary must win once the defence is taken away.
"""

from typing import Final

from secagg.tools.redteam.attacks.protocol.cohorts import COHORT_GAMES
from secagg.tools.redteam.attacks.protocol.colluders import COLLUDER_GAMES
from secagg.tools.redteam.attacks.protocol.encrypted import ENCRYPTED_GAMES
from secagg.tools.redteam.attacks.protocol.encrypted_messages import ENCRYPTED_MESSAGE_GAMES
from secagg.tools.redteam.attacks.protocol.hybrid import HYBRID_GAMES
from secagg.tools.redteam.attacks.protocol.inputs import INPUT_GAMES
from secagg.tools.redteam.attacks.protocol.keys import KEY_GAMES
from secagg.tools.redteam.attacks.protocol.malicious_models import MODEL_GAMES
from secagg.tools.redteam.attacks.protocol.releases import RELEASE_GAMES
from secagg.tools.redteam.attacks.protocol.saved_states import STATE_GAMES
from secagg.tools.redteam.attacks.protocol.shares import SHARE_GAMES
from secagg.tools.redteam.attacks.protocol.sparse import SPARSE_GAMES
from secagg.tools.redteam.attacks.protocol.unmasking import UNMASKING_GAMES

EVERY_GAME: Final = (
    *KEY_GAMES,
    *SHARE_GAMES,
    *UNMASKING_GAMES,
    *STATE_GAMES,
    *COLLUDER_GAMES,
    *SPARSE_GAMES,
    *HYBRID_GAMES,
    *INPUT_GAMES,
    *RELEASE_GAMES,
    *COHORT_GAMES,
    *MODEL_GAMES,
    *ENCRYPTED_GAMES,
    *ENCRYPTED_MESSAGE_GAMES,
)
"""In the order of the report: as a round goes, then what its sums tell, then homomorphic rounds."""

GAMES: Final = {game.name: game for game in EVERY_GAME}
