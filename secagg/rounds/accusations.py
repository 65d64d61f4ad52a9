"""Who accuses whom in a round, what the coordinator can prove of it, and whom a failed round names."""

from collections import Counter
from typing import Final

from secagg.config import RoundConfig, ThreatModel
from secagg.errors import AbortReason, RoundAborted
from secagg.events import Accused, Verdict
from secagg.messages import Dealt, Leave, ParticipantId
from secagg.rounds import dealing
from secagg.rounds.coordinator_phase import DealingPhase
from secagg.rounds.shared_state import SharedState

_NAMES_CULPRITS: Final = frozenset({AbortReason.BELOW_THRESHOLD, AbortReason.WRONG_SHARES})
"""Failures that name who may have caused them."""


class Accusations:
    """The words of members that left because they refused what another one had dealt to them, and proofs of wrong
    shares.
    """

    def __init__(self, state: SharedState, dealing_phase: DealingPhase) -> None:
        """Args:
        state: of the round.
        dealing_phase: knows what passed through the coordinator.
        """
        self._state = state
        self._dealing = dealing_phase
        self._by_accuser: dict[ParticipantId, Accused] = {}
        self._dealt: dict[ParticipantId, Dealt] = {}
        self._signed: dict[ParticipantId, bool] = {}

    def hear(self, accuser: ParticipantId, message: Leave) -> list[Accused]:
        """Keep and judge the word of a member about one that dealt to it; one accusation each. A signature is
        verified once for each that is accused.
        """
        accused, index = message.accused, self._state.members.index
        if accuser in self._by_accuser or accused is None or accused not in index:
            return []
        if index[accused] not in self._state.graph.of(index[accuser]):  # check: accused-dealt-to-accuser
            return []
        told = Accused(accused, accuser, self._judge(accused, accuser, message.refused_entry))
        self._by_accuser[accuser] = told
        return [told]

    def shown(self, accuser: ParticipantId, message: Leave) -> Dealt | None:
        """What the accused signed of all that it dealt, for an accuser that refuses what the coordinator passed on. So
        the accuser learns whether the accused signed that.
        """
        accused, members = message.accused, self._state.members
        if accused not in members.identities or accuser not in members.index:
            return None
        dealt = self._dealt_by(accused)
        if message.refused_entry not in dealt.each:  # check: shown-to-refuser
            return None
        return dealt

    def _judge(self, accused: ParticipantId, accuser: ParticipantId, refused: bytes) -> Verdict:
        members = self._state.members
        entry = self._dealing.dealt(members.index[accused], members.index[accuser])
        if not refused or entry is None:
            return Verdict.HEARSAY
        if dealing.entry_digest(accuser, entry) != refused:  # check: C94
            return Verdict.UNFOUNDED
        if accused not in members.identities:
            return Verdict.HEARSAY
        if accused not in self._signed:
            dealt = self._dealt_by(accused)
            covered = dealing.to_sign(self._state.round.context, members.digest, accused, dealt.digests)
            self._signed[accused] = dealing.made_by(members.identities[accused].public_key, covered, dealt.signature)
        return Verdict.HEARSAY if self._signed[accused] else Verdict.PROVEN

    def _dealt_by(self, accused: ParticipantId) -> Dealt:
        """Its digests are made once, however many accuse it. Empty where nothing of it is held, or no longer."""
        if accused in self._dealt:
            return self._dealt[accused]
        members = self._state.members
        message = self._state.shared.get(members.index[accused])
        if message is None or not message.sealed:
            return Dealt(b"", b"")
        self._dealt[accused] = Dealt(dealing.digests_of(members.at, message.sealed), message.signature)
        return self._dealt[accused]

    def name_culprits(self, error: RoundAborted) -> RoundAborted:
        """`error`, with everyone who is proven to be at fault, and those whom many accuse."""
        if error.reason not in _NAMES_CULPRITS:
            return error
        proven = {told.accused for told in self._by_accuser.values() if told.proven} | set(self._state.wrong_holders)
        culprits = tuple(sorted(proven | set(error.culprits)))
        accused = tuple(name for name in self._accused_by_many() if name not in culprits)
        return RoundAborted(error.reason, str(error), culprits=culprits).accusing(accused)

    def _accused_by_many(self) -> list[ParticipantId]:
        """Those whom more members accuse than may be liars, and two at least. No proof."""
        enough = max(most_liars(self._state.round.config), 1) + 1
        heard = Counter(told.accused for told in self._by_accuser.values() if told.verdict is Verdict.HEARSAY)
        return sorted(name for name, count in heard.items() if count >= enough)


def most_liars(config: RoundConfig) -> int:
    """The most participants that may accuse one falsely: n_C. On a ring only its neighbours can accuse it, and fewer of
    them collude than would learn its secrets.
    """
    ring, colluding = config.ring, config.max_colluding
    if ring is None:
        return colluding
    active = config.threat_model is ThreatModel.ACTIVE
    about_one = 2 * ring.neighbour_threshold - ring.degree - 2 if active else ring.neighbour_threshold - 1
    return min(colluding, about_one)
