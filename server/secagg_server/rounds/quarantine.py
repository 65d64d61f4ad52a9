"""Who is kept out of rounds because its fault was proven, until an operator forgives it."""

from collections.abc import Iterator, Sequence

import structlog

from secagg.context import RoundId
from secagg.errors import NotInRoundError
from secagg.events import Accused, Event, RoundFailed, Verdict, WrongShares
from secagg.messages import ParticipantId
from secagg.wire.strikes import MAX_STRIKES, Record, Strike
from secagg_server.audit.coordinator import CoordinatorAudit
from secagg_server.observability.facts import Fact, RoundEvent, RoundResumed
from secagg_server.storage.store import Store


def proven(event: Event) -> Iterator[tuple[ParticipantId, str]]:
    """Whose fault the event proves, and what it is. What others merely say of somebody proves nothing."""
    match event:
        case WrongShares(culprit):
            yield culprit, "dealt or revealed wrong shares"
        case Accused(accused, _, Verdict.PROVEN):
            yield accused, "sent another participant what it had to refuse"
        case RoundFailed(failure):
            for name in failure.culprits:
                yield ParticipantId(name), f"made the round fail: {failure.reason.name}"
        case _:
            pass


class Quarantine:
    """Counts strikes: a round in which a participant's fault was proven is one, however often it was. A listener of the
    observer.
    """

    def __init__(self, store: Store, after: int, audit: CoordinatorAudit | None = None) -> None:
        """Args:
        store: keeps the strikes.
        after: strikes that keep a participant out; 0 for never.
        audit: is told who is kept out.
        """
        self._audit = audit
        self._store = store
        self._after = after
        self._strikes: dict[ParticipantId, dict[RoundId, Strike]] = {}
        self._log = structlog.get_logger()
        for strike in store.strikes():
            self._strikes.setdefault(strike.participant, {})[strike.round_id] = strike

    def __call__(self, fact: Fact) -> None:
        """Take note of what a round proved. What a round that was taken up again had proved before counts once."""
        match fact:
            case RoundEvent(about, time_s, event):
                self._note(about.round_id, time_s, event)
            case RoundResumed(about, events=told):
                for time_s, event in told:
                    self._note(about.round_id, time_s, event)
            case _:
                pass

    def _note(self, round_id: RoundId, time_s: float, event: Event) -> None:
        for culprit, why in proven(event):
            known = self._strikes.setdefault(culprit, {})
            if round_id in known or len(known) >= MAX_STRIKES:  # check: one-strike-a-round
                continue
            known[round_id] = strike = Strike(culprit, round_id, time_s, why)
            self._store.strike(strike)
            if len(known) == self._after:
                self._log.warning("quarantined", participant=culprit, count=len(known), detail=why)
                if self._audit is not None:
                    self._audit.quarantined(culprit, len(known))

    def holds(self, participant: ParticipantId) -> bool:
        """Whether the participant is kept out."""
        return 0 < self._after <= len(self._strikes.get(participant, ()))

    def check(self, participant: ParticipantId) -> None:
        """Keep out who is to be kept out.

        Raises:
            NotInRoundError: says why, and who can change it.
        """
        if self.holds(participant):  # check: quarantined
            count = len(self._strikes[participant])
            raise NotInRoundError(
                f"{participant} is kept out of rounds: its fault was proven in {count} of them. The coordinator's "
                "operator can let it in again (secagg quarantine release)"
            )

    @property
    def records(self) -> Sequence[Record]:
        """Of everybody with strikes that nobody forgave, in the order of their ids."""
        known = sorted(self._strikes.items())
        return [Record(name, self.holds(name), tuple(strikes.values())) for name, strikes in known if strikes]

    def forgive(self, participant: ParticipantId) -> int:
        """Forget the strikes of a participant; how many it had. Blocks until that is safe.

        Raises:
            StoreError: the disk refuses; nothing is forgiven then.
        """
        self._store.forgive(participant)
        count = len(self._strikes.pop(participant, ()))
        self._log.info("strikes_forgiven", participant=participant, count=count)
        return count
