"""Who dropped out of a round at the coordinator, when and why, and what those are told who come too late."""

from collections.abc import Iterable
from typing import Final

from secagg.errors import AbortReason, NotInRoundError, RoundAborted
from secagg.events import DropReason, ParticipantDropped
from secagg.messages import Index, LeaveReason, ParticipantId, Phase

DROP_REASONS: Final = {
    LeaveReason.CANCELLED: DropReason.CANCELLED,
    LeaveReason.REFUSED: DropReason.REFUSED,
    LeaveReason.FAILED: DropReason.FAILED,
}

_WHY: Final = {
    DropReason.CANCELLED: "it left",
    DropReason.REFUSED: "it left because it refused what it was sent",
    DropReason.FAILED: "it left because it failed",
    DropReason.EXCLUDED: "its FL server says that it is gone",
    DropReason.EXPIRED: "its certificate expired, or was about to, when the list of members was closed",
    DropReason.ISOLATED: "too few of its neighbours shared keys",
}


class Dropouts:
    """Records who dropped out of one round, and answers those who come too late.

    Attributes:
        dropped: who dropped out, with the phase and the reason.
        left: who left after it had delivered in the open phase. What it delivered stands; it is missed from the next
            phase on.
        excluded: without whom the FL server goes on.
        timed_out: the phases that the clock closed, each with the limit that passed.
    """

    def __init__(self) -> None:
        self.dropped: dict[ParticipantId, ParticipantDropped] = {}
        self.left: dict[Index, DropReason] = {}
        self.timed_out: dict[Phase, str] = {}
        self.excluded: set[ParticipantId] = set()

    def drop(self, phase: Phase, name: ParticipantId, reason: DropReason) -> ParticipantDropped:
        """Record a dropout in `phase`; the event that tells it."""
        self.dropped[name] = ParticipantDropped(phase, name, reason)
        return self.dropped[name]

    def exclude(self, participants: Iterable[ParticipantId]) -> list[ParticipantId]:
        """Record that the FL server does without these; those who were not excluded before, sorted."""
        fresh = sorted(set(participants) - self.excluded)
        self.excluded.update(fresh)
        return fresh

    def check_not_excluded(self, participant: ParticipantId) -> None:
        """Refuse whatever an excluded participant asks for or sends.

        Raises:
            NotInRoundError: it was excluded.
        """
        if participant in self.excluded:  # check: C96
            raise NotInRoundError(f"{participant} was excluded from this round: its FL server says that it is gone")

    def too_late(self, sender: ParticipantId, phase: Phase, current: Phase | None) -> NotInRoundError:
        """What to tell somebody who is too late in `phase`, while `current` is open."""
        dropped = self.dropped.get(sender)
        if dropped is not None and dropped.reason is not DropReason.DEADLINE:
            return NotInRoundError(f"{sender} dropped out of this round in {dropped.phase}: {_WHY[dropped.reason]}")
        missed = phase if dropped is None else dropped.phase
        if missed is current:
            return NotInRoundError(f"{sender} is not in this round")
        limit = self.timed_out.get(missed)
        closed = "all had delivered" if limit is None else f"its deadline passed ({limit})"
        return NotInRoundError(
            f"{sender} did not deliver in {missed} in time, or never took part in it; it closed when {closed}"
        )

    def below_threshold(self, phase: Phase, threshold: int, count: int, did: str) -> RoundAborted:
        """Why a round fails in which too few are left, or delivered (`did`), in `phase`."""
        limit = self.timed_out.get(phase)
        passed = "" if limit is None else f" when its deadline passed ({limit})"
        hint = ""
        if limit is not None and phase is Phase.ADVERTISE_KEYS:
            hint = "; where participants train before they come, raise join_s or advertise_keys_s"
        return RoundAborted(
            AbortReason.BELOW_THRESHOLD,
            f"{count} participants {did} in {phase}, fewer than the threshold {threshold}{passed}{hint}",
        )
