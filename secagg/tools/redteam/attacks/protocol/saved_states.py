"""Attacks by whoever keeps participants' saved states: a framework, a cloud, or whoever restores a backup.

The seal does not hinder it, because it need not read a state. It hands an old one back, and the participant is where it
was before it answered.

Sources: [B17] Bonawitz et al. 2017, §6.2, for what a second answer shows.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

from secagg import schemes
from secagg.context import Round
from secagg.errors import SavedStateError
from secagg.lattice.jobs import Desk
from secagg.masked.scheme import Participant
from secagg.messages import ParticipantId
from secagg.rounds.membership import Membership
from secagg.rounds.saved_state import MemoryStateKeys
from secagg.tools.redteam.adversary import Adversary, exposed
from secagg.tools.redteam.arena import EXACT, OTHERS, SEVEN, VICTIM, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Outcome, Refusal, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE, MASKED_SEMI_HONEST, Mode


def restored_twice(mode: Mode = MASKED_ACTIVE) -> Outcome:
    """Everyone unmasks from a saved state; then everyone is given the same state again, and another survivor set."""
    run = start(small_config(7, mode))

    def attack() -> bool:
        adversary, keys = Adversary(run), MemoryStateKeys(rng_of(0, "state keys"))
        adversary.collect_inputs()
        memberships = {name: participant.membership for name, participant in adversary.people.items()}
        for name, membership in memberships.items():
            keys.join(membership.round.round_id, name)
        saved = {name: schemes.save(participant, keys) for name, participant in adversary.people.items()}
        for survivors in (SEVEN, OTHERS):
            adversary.people |= _restored(saved, memberships, keys)
            adversary.unmask(dict.fromkeys(survivors, adversary.sets(survivors)))
        return exposed(adversary, run, VICTIM)

    return settle(attack, got=EXACT)


def _restored(
    saved: Mapping[ParticipantId, bytes], memberships: Mapping[ParticipantId, Membership], keys: MemoryStateKeys
) -> dict[ParticipantId, Participant]:
    """Everyone from what was saved, each in a fresh process."""
    people = {}
    for name, sealed in saved.items():

        def membership_of(round_: Round, mine: Membership = memberships[name]) -> Membership:
            return replace(mine, round=round_)

        round_id = memberships[name].round.round_id
        person = schemes.restore(
            sealed, keys, round_id=round_id, participant_id=name, membership_of=membership_of, backend=Desk
        )
        if isinstance(person, Participant):
            people[name] = person
    return people


_ONCE: Final = (Check(schemes, "restore", "restored-once"),)
_KEY_GONE: Final = Refusal(SavedStateError, None, at=Check(MemoryStateKeys, "read", "key-there"))

STATE_GAMES: Final = (
    Game(
        "restored-twice", "A saved state is handed back a second time, and asked for another survivor set",
        "malicious coordinator that keeps the saved states", "[B17] §6.2", True, "a state's key is destroyed by its "
        "restore, before anything is answered", restored_twice, Kind.LYING, defences=_ONCE, refused=_KEY_GONE,
    ),
    Game(
        f"restored-twice-{MASKED_SEMI_HONEST.name}",
        f"{MASKED_SEMI_HONEST.title}: a saved state is handed back a second time, and asked for another survivor set",
        "malicious coordinator that keeps the saved states", "[B17] §6.2", True, "a state's key is destroyed by its "
        "restore, before anything is answered", partial(restored_twice, MASKED_SEMI_HONEST), Kind.LYING,
        MASKED_SEMI_HONEST.name, defences=_ONCE, refused=_KEY_GONE,
    ),
)  # fmt: skip
