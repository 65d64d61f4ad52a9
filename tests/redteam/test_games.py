"""Every game goes as the product says, and each defence is what decides: without it the game is lost."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from secagg_client.participation import terms

from secagg import roster as rosters
from secagg.config import RoundConfig
from secagg.context import Context
from secagg.crypto.identity import TrustAnchors
from secagg.encoding.code import BoundedCode
from secagg.encoding.fixedpoint import Encoder
from secagg.masked import masks
from secagg.masked.participant import AwaitingShares, AwaitingSurvivors
from secagg.messages import AdvertiseKeys
from secagg.policy import Policy
from secagg.rounds import dealing, releases
from secagg.rounds.certification import Result
from secagg.rounds.checked_roster import CheckedRoster
from secagg.tools.redteam import arena
from secagg.tools.redteam.attacks.protocol.encrypted import ENCRYPTED_GAMES
from secagg.tools.redteam.attacks.protocol.game import Game, play
from secagg.tools.redteam.attacks.protocol.inputs import INPUT_GAMES
from secagg.tools.redteam.attacks.protocol.masked import MASKED_GAMES
from secagg.tools.redteam.attacks.protocol.modes import MODE_GAMES
from secagg.tools.redteam.attacks.protocol.releases import RELEASE_GAMES
from secagg.tools.redteam.self_test import mutants
from secagg.tools.redteam.self_test.surgery import Patch, without_check
from secagg.tools.simulation import cohort

EVERY_GAME = (MASKED_GAMES, RELEASE_GAMES, INPUT_GAMES, ENCRYPTED_GAMES, MODE_GAMES)
GAMES = {game.name: game for games in EVERY_GAME for game in games}


@pytest.mark.parametrize("game", GAMES.values(), ids=GAMES)
def test_every_game_goes_as_claimed(game: Game) -> None:
    played = play(game)
    assert played.as_claimed, played.outcome
    assert played.outcome.by


def drop_self_mask(patch: Patch) -> None:
    made = AwaitingShares._masks
    patch.setattr(AwaitingShares, "_masks", lambda self, delivery: made(self, delivery)[1:])


def forget_the_context(patch: Patch) -> None:
    def without_context(_context: Context, owner: str, keys: AdvertiseKeys) -> bytes:
        return owner.encode() + keys.channel_public_key + keys.mask_public_key

    patch.setattr(rosters, "advertisement_to_sign", without_context)


def few_honest(patch: Patch) -> None:
    without_check(patch, RoundConfig, "_check_thresholds", "honest-updates")
    without_check(patch, Policy, "check", "min-honest")


def forget_claims(patch: Patch) -> None:
    patch.setattr(releases.ReleaseMemory, "record", lambda *_: None)


def one_context(patch: Patch) -> None:
    patch.setattr(cohort, "bind", lambda *_: Context(bytes(32)))
    patch.setattr(masks, "derive", lambda material, **_: type(material)(material.expose()[:16]))


def weights_in_limbs(patch: Patch) -> None:
    """Weights in two coordinates of four bits each, instead of in one that is wide enough."""
    begin, read = Encoder.__init__, Encoder.read

    def longer(self: Encoder, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        self.vector_len += 1

    def limbs(self: Encoder, start: int, stop: int, dtype: Any = None) -> Any:
        whole = read(self, start, stop - 1, dtype)
        weight = int(whole[-1])
        return np.array([*whole[:-1].tolist(), weight & 15, weight >> 4], whole.dtype)

    one = BoundedCode.vector_len
    patch.setattr(BoundedCode, "vector_len", property(lambda self: one.fget(self) + 1))  # type: ignore[attr-defined]
    patch.setattr(Encoder, "__init__", longer)
    patch.setattr(Encoder, "read", limbs)


DEFENCES: dict[str, Callable[[Patch], None]] = {
    "late-message": drop_self_mask,
    "cohort-of-one": lambda p: without_check(p, AwaitingSurvivors, "check", "C24"),
    "two-survivor-sets": lambda p: without_check(p, CheckedRoster, "check_signatures", "C27"),
    "ring-fence": lambda p: without_check(p, AwaitingShares, "on_delivery", "C17"),
    "key-substitution": lambda p: without_check(p, rosters, "verify_member", "C13"),
    "one-name-many-times": lambda p: without_check(p, rosters, "verify_member", "C12"),
    "downgrade": lambda p: without_check(p, Policy, "check", "threat-model"),
    "sybils-one-organisation": lambda p: without_check(p, Policy, "check_organisations", "C14"),
    "threshold-of-colluders": few_honest,
    "all-but-one-collude": few_honest,
    "two-majorities": lambda p: without_check(p, RoundConfig, "_check_thresholds", "two-majorities"),
    "replay-keys": forget_the_context,
    "differencing": lambda p: p.setattr(releases, "singled_out", lambda _: frozenset()),
    "differencing-after-restart": lambda p: p.setattr(releases, "singled_out", lambda _: frozenset()),
    "hidden-receipt": forget_claims,
    "two-at-once": forget_claims,
    "fresh-processes": forget_claims,
    "restored-snapshot": one_context,
    "changed-update": lambda p: p.setattr(terms, "owned", lambda update: update),
    "limb-sums": weights_in_limbs,
    "framing": lambda p: p.setattr(dealing, "made_by", lambda *_: True),
    "two-results": lambda p: p.setattr(Result, "is_certified", lambda *_: True),
    "different-models-masked-active": mutants._model_left_out,
}


@pytest.mark.parametrize("name", DEFENCES)
def test_without_its_defence_the_game_is_lost(name: str) -> None:
    arena.deployment()
    with Patch() as patch:
        DEFENCES[name](patch)
        lost = play(GAMES[name])
    assert not lost.outcome.stopped, lost.outcome
    assert not lost.as_claimed
    assert play(GAMES[name]).as_claimed


def test_names_are_distinct_and_every_game_says_what_answers_it() -> None:
    assert len(GAMES) == sum(map(len, EVERY_GAME))
    assert all(game.answer and game.source and game.adversary for game in GAMES.values())


def test_trust_is_checked_before_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A game that ends in another error than its defence would prove nothing: signatures stand behind the chain."""
    without_check(monkeypatch, TrustAnchors, "verify_participant", "chain")
    assert play(GAMES["key-substitution"]).outcome.by.startswith("AuthenticationError: the signature of")
