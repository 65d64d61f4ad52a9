"""What one round writes into the audit log.

Each entry follows from an entry of the round's journal and has its number, its `step`. A round that is built again from
its journal after a crash takes the same steps again; what is in the log already is passed over, so nothing is there
twice, and what was not there yet is written then. So the journal is flushed first, then the audit log, and then people
are told.
"""

from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, Final, assert_never

from secagg.config import RoundConfig
from secagg.crypto.certificates import UNREADABLE, CertificateError, organisation_of, parse_der_chain
from secagg.errors import RoundAborted, StoreError, printable
from secagg.events import (
    Accused,
    Event,
    MasksRemoved,
    MessageAccepted,
    ParticipantDropped,
    PhaseStarted,
    RoundFailed,
    SumDelivered,
    SumReady,
    WrongShares,
)
from secagg.messages import AdvertiseKeys, Leave, ParticipantId, Phase
from secagg.programs.audit.log import AuditLog, Draft
from secagg.programs.ledgers.budgets import Charge
from secagg.receipts import Receipt
from secagg.rounds.releases import Claim, Release
from secagg_server.audit import configurations
from secagg_server.audit.people import People
from secagg_server.storage.records import (
    Aborted,
    Combined,
    Ended,
    Entry,
    Excluded,
    Expected,
    Received,
    Rejoined,
    Resumed,
    RoundRecord,
)

MOST_OF_ONE: Final = 8
"""Entries about coming and going of one participant in a round; it may do both as often as it likes."""

MOST_CONFLICTS: Final = 100
_DETAIL_CHARS: Final = 500


class RoundAudit:
    """Writes for one round, or for a round in groups as a whole. One thread at a time."""

    def __init__(
        self,
        log: AuditLog | None,
        record: RoundRecord,
        config: RoundConfig,
        *,
        people: People,
        charge: Charge | None = None,
        groups: tuple[str, ...] = (),
    ) -> None:
        """Args:
        log: None if there is none: then nothing is written.
        record: opening of the round.
        config: decoded.
        people: who called with which certificate.
        charge: what its noise costs; None without noise.
        groups: ids of its groups, of a round in groups as a whole.
        """
        self._log = log
        self._round = record.round_id.hex()
        self._config = config
        self._people = people
        self._charge = charge
        self._step = 0
        self._of_step = 0
        self._written = (0, 0) if log is None else log.steps(self._round)
        self._drafts: list[Draft] = []
        self._claimed: Release | None = None
        self._moves: Counter[ParticipantId] = Counter()
        self._open(record, groups)

    @property
    def written(self) -> bool:
        """Whether there is a log."""
        return self._log is not None

    def _open(self, record: RoundRecord, groups: tuple[str, ...]) -> None:
        config = self._config
        if groups:
            combine = "" if config.groups is None else config.groups.text
            self._add("groups_opened", record.opened_s, task=config.task, combine=combine, groups=list(groups))
            return
        parent = {} if config.groups is None else {"parent": config.groups.parent.hex()}
        about = configurations.about(config)
        self._add(
            "round_opened",
            record.opened_s,
            **{name: about[name] for name in ("task", "model", "purpose")},
            scheme=config.scheme,
            config=configurations.readable(config),
            config_digest=configurations.digest_of(record.config_bytes),
            **parent,
        )

    def claiming(self, claim: Claim) -> Claim:
        """`claim`, and remember whose sum it was about."""

        def claimed(release: Release) -> frozenset[ParticipantId]:
            exposed = claim(release)
            if not exposed:
                self._claimed = release
            return exposed

        return claimed

    # --- what happens -------------------------------------------------------------------------------------------------

    def took(self, entry: Entry, events: Iterable[Event]) -> None:
        """The next entry of the journal, and what came of it. How the round ended is told by `ended`."""
        self._next_step()
        if self._log is None:
            return
        match entry:
            case Expected(at, participants):
                self._add("expected", at, participants=sorted(participants))
            case Excluded(at, participants):
                self._add("excluded", at, participants=sorted(participants))
            case Aborted(at, reason, message):
                self._add("abort_asked", at, reason=reason.name, detail=_words(message))
            case Resumed(at):
                self._add("resumed", at)
            case _:
                pass
        for event in events:
            self._tell(entry, event)

    def _tell(self, entry: Entry, event: Event) -> None:
        at = entry.time_s
        match event:
            case PhaseStarted(phase, _, expected):
                self._add("phase_opened", at, phase=str(phase), expected=expected)
            case MessageAccepted(Phase.ADVERTISE_KEYS, participant):
                self._add_move(participant, "joined", at, **self._identity(participant, entry), again=_again(entry))
            case MessageAccepted():
                pass
            case ParticipantDropped(phase, participant, reason):
                self._add_move(participant, "dropped", at, phase=str(phase), reason=reason.name)
            case WrongShares(culprit, conflicts):
                pairs = [list(pair) for pair in conflicts[:MOST_CONFLICTS]]
                check = "C48" if event.dealt else "C91"
                self._add("blamed", at, culprit=culprit, dealt=event.dealt, check=check, conflicts=pairs)
            case Accused(accused, accuser, verdict):
                evidence = _refused(entry).hex()
                self._add(
                    "accused",
                    at,
                    accused=accused,
                    accuser=accuser,
                    verdict=verdict.name,
                    check="C94",
                    evidence=evidence,
                )
            case MasksRemoved() | SumReady() | SumDelivered() | RoundFailed():
                pass
            case _:
                assert_never(event)

    def ended(self, ended: Ended, *, known: bool) -> None:
        """How the round ended; `known` says whether somebody may know its sum, if it has none."""
        outcome, at = ended.outcome, ended.time_s
        if isinstance(outcome, RoundAborted):
            self._add("round_failed", at, **self._failure(outcome, known=known))
        elif not isinstance(outcome, Combined):
            config = self._config
            knows = {"coordinator": config.release_to_coordinator, "participants": config.release_to_participants}
            self._add(
                "sum_released",
                at,
                **configurations.about(config),
                survivors=list(outcome.survivors),
                sums_digest=outcome.digest.hex(),
                receipt=_said(ended.receipt),
                known_to=[who for who, gets in knows.items() if gets],
                cost=self._cost(),
            )

    def combined(self, at: float, groups: Iterable[int], survivors: int) -> None:
        """A round in groups has one result."""
        self._next_step()
        self._add("groups_combined", at, groups=list(groups), survivors=survivors)

    def failed(self, at: float, failure: RoundAborted) -> None:
        """A round in groups failed as a whole."""
        self._next_step()
        self._add("round_failed", at, **self._failure(failure, known=False))

    def broke(self, at: float, told: RoundAborted, *, known: bool) -> None:
        """The round was broken off: nobody knows its state. What it was about to write has not happened.

        A disk that refuses must not keep it from failing, so this is written later then.
        """
        self._drafts.clear()
        self._next_step()
        self._add("round_failed", at, **self._failure(told, known=known))
        if self._log is not None:
            try:
                self.write()
            except StoreError:
                for draft in self._drafts:
                    self._log.note(draft)
                self._drafts.clear()

    def write(self, *others: "RoundAudit") -> None:
        """Return when all that was told of this round, and of the others, is safe.

        Raises:
            AuditError: the disk refuses.
        """
        drafts = [draft for each in (self, *others) for draft in each._drafts]
        if self._log is not None and drafts:
            self._log.write(drafts)
        for each in (self, *others):
            each._drafts.clear()

    # --- facts --------------------------------------------------------------------------------------------------------

    def _next_step(self) -> None:
        self._step, self._of_step = self._step + 1, 0

    def _add(self, kind: str, at: float, **facts: Any) -> None:
        if self._log is None:
            return
        place = self._step, self._of_step
        self._of_step += 1
        if place < self._written:  # check: audit-not-twice
            return
        self._drafts.append(Draft(kind, at, {**facts, "round": self._round, "step": self._step}))

    def _add_move(self, participant: ParticipantId, kind: str, at: float, **facts: Any) -> None:
        self._moves[participant] += 1
        if self._moves[participant] > MOST_OF_ONE:  # check: audit-coming-and-going
            return
        self._add(kind, at, participant=participant, **facts)

    def _failure(self, failure: RoundAborted, *, known: bool) -> dict[str, Any]:
        told: dict[str, Any] = {
            "reason": failure.reason.name,
            "detail": _words(str(failure)),
            "culprits": list(failure.culprits),
            "accused": list(failure.accused),
            "known": known and self._claimed is not None,
        }
        if known and self._claimed is not None:
            told |= configurations.about(self._config)
            told |= {"survivors": sorted(self._claimed.survivors), "cost": self._cost()}
        return told

    def _cost(self) -> dict[str, str]:
        ledger = None if self._charge is None or self._log is None else self._charge.ledger
        return {} if ledger is None else {"epsilon": f"{ledger.epsilon:.6g}", "head": ledger.head.text}

    def _identity(self, participant: ParticipantId, entry: Entry) -> dict[str, str]:
        """Whose certificate it is: that of the message, or else that of its connection."""
        keys = entry.message if isinstance(entry, Received | Rejoined) else None
        if isinstance(keys, AdvertiseKeys) and keys.certificates:
            try:
                organisation = organisation_of(parse_der_chain(keys.certificates)[0])
            except (CertificateError, *UNREADABLE):
                organisation = ""
            return {"organisation": organisation, "fingerprint": sha256(keys.certificates[0]).hexdigest()}
        return self._people.of(participant)


def _said(receipt: Receipt | None) -> str:
    """Digest of what a receipt says: the same when the receipt is made again after a crash, with other certificates."""
    if receipt is None:
        return ""
    return sha256(receipt.statement.to_sign(receipt.signed.signed_ms)).hexdigest()


def _again(entry: Entry) -> bool:
    return isinstance(entry, Rejoined)


def _refused(entry: Entry) -> bytes:
    message = entry.message if isinstance(entry, Received) else None
    return message.refused_entry if isinstance(message, Leave) else b""


def _words(text: str) -> str:
    """Somebody's words in one line."""
    return printable(" ".join(text[: 4 * _DETAIL_CHARS].split()), _DETAIL_CHARS)
