"""Values that a store keeps, and stores to keep them in."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from secagg_server.storage.records import (
    Combined,
    DeadlinePassed,
    Ended,
    Entry,
    Excluded,
    Expected,
    Outcome,
    Received,
    Released,
    RoundRecord,
    UploadCompleted,
    Withheld,
)
from secagg_server.storage.sqlite.folder import held
from secagg_server.storage.sqlite.store import SqliteStore
from secagg_server.storage.store import Journal, KeptRound, Store

from secagg.aggregates import Aggregate
from secagg.context import Context, RoundId
from secagg.crypto.rng import Rng, SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, RoundAborted
from secagg.events import MessageAccepted, PhaseStarted, RoundFailed
from secagg.messages import (
    AdvertiseKeys,
    Index,
    MaskKeyShare,
    Member,
    ParticipantId,
    Phase,
    Roster,
    SelfMaskShare,
    SurvivorSet,
    Unmask,
)
from secagg.programs.disk import REAL_DISK, Disk
from secagg.receipts import CoordinatorSignature, Receipt, Statement
from secagg.rounds.finished import LastAnswers
from secagg.wire.progress import ResultReady
from tests.rounds import make_config

CONFIG = make_config(5)
ONE, TWO, THREE = (RoundId(bytes([number]) * 16) for number in (1, 2, 3))
NAMES = tuple(ParticipantId(f"site-{number}") for number in range(1, 6))
SHARE, SEED = Secret(b"\x01" + b"revealed share of somebody: 32 b"), Secret(b"the seed of central noise, 32 b.")
ROSTER = Roster(tuple(Member(Index(i), name, AdvertiseKeys(bytes(32), bytes(32))) for i, name in enumerate(NAMES, 1)))
SUMS = np.arange(500_001, dtype=CONFIG.ring_dtype)
"""Longer than a chunk."""

ENTRIES: tuple[Entry, ...] = (
    Expected(10.5, frozenset(NAMES)),
    Received(11.0, NAMES[0], AdvertiseKeys(bytes(32), b"m" * 32)),
    DeadlinePassed(12.0),
    UploadCompleted(13.0, NAMES[1], Phase.MASKED_INPUT),
    Received(14.0, NAMES[2], Unmask({Index(1): MaskKeyShare(SHARE), Index(2): SelfMaskShare(SHARE)})),
    Excluded(15.0, frozenset(NAMES[:1])),
)


def record(round_id: RoundId = ONE, opened_s: float = 10.25) -> RoundRecord:
    return RoundRecord(round_id, b"configuration of " + round_id, opened_s, b"-----BEGIN CERTIFICATE-----", SEED)


def released(length: int = len(SUMS)) -> Released:
    return Released.of(Aggregate(SUMS[:length].copy(), NAMES), CONFIG)


def outcomes() -> dict[str, Outcome | Combined]:
    return {
        "released": released(),
        "withheld": Withheld(NAMES, bytes(range(32))),
        "aborted": RoundAborted(AbortReason.WRONG_SHARES, "wrong: ‘ü’", culprits=(NAMES[0],)).accusing((NAMES[1],)),
        "combined": Combined((1, 2, 7)),
    }


def receipt(digest: bytes) -> Receipt:
    statement = Statement(
        round_id=ONE,
        context=Context(bytes(32)),
        task="digits",
        model_digest=bytes(32),
        roster_digest=bytes(32),
        survivors=NAMES,
        sums_digest=digest,
    )
    return Receipt(statement, CoordinatorSignature(b"signature", (b"certificate",), 1_700_000_000_123))


def ended(outcome: Outcome | Combined) -> Ended:
    events = ((10.25, PhaseStarted(Phase.ADVERTISE_KEYS, 70.25, 5)), (11.0, MessageAccepted(Phase.UNMASK, NAMES[0])))
    if isinstance(outcome, RoundAborted):
        return Ended(20.5, outcome, events=(*events, (20.5, RoundFailed(outcome))), opened=True)
    if isinstance(outcome, Combined):
        return Ended(20.5, outcome, events=events)
    last = LastAnswers(
        {Phase.ADVERTISE_KEYS: ROSTER, Phase.MASKED_INPUT: SurvivorSet((Index(1), Index(3)), (Index(2),))},
        {Phase.MASKED_INPUT: 2},
        frozenset({Index(1), Index(3)}),
    )
    ready = (20.5, ResultReady(len(outcome.survivors), outcome.digest))
    return Ended(20.5, outcome, receipt(outcome.digest), (*events, ready), last, opened=True)


def plain(end: Ended) -> object:
    """What can be compared of an end: errors of one text are equal, and so are sums wherever they are kept."""
    outcome = end.outcome
    if isinstance(outcome, Released):
        return end.time_s, outcome.survivors, outcome.digest, tuple(outcome.payloads), end.receipt, end.events, end.last
    told = (str(outcome), vars(outcome)) if isinstance(outcome, RoundAborted) else outcome
    events = [(at, (str(e.error), vars(e.error)) if isinstance(e, RoundFailed) else e) for at, e in end.events]
    return end.time_s, told, end.receipt, events, end.last, end.opened


def opened(store: Store, round_id: RoundId = ONE) -> Journal:
    (journal,) = store.open_rounds([record(round_id)])
    return journal


def filled(store: Store, round_id: RoundId = ONE) -> Journal:
    """An open round with `ENTRIES`, flushed."""
    journal = opened(store, round_id)
    for entry in ENTRIES:
        journal.append(entry)
    journal.flush()
    return journal


@contextmanager
def kept_in(folder: Path, disk: Disk = REAL_DISK, rng: Rng | None = None, releases: int = 200) -> Iterator[SqliteStore]:
    """The store in a folder, as long as a coordinator has it."""
    with (
        held(folder, disk) as state,
        closing(SqliteStore(state, disk, rng or SystemRng(), remember_releases=releases)) as store,
    ):
        yield store


def found(store: Store) -> list[KeptRound]:
    """What is kept, when nothing is lost."""
    rounds = list(store.kept())
    for each in rounds:
        assert isinstance(each, KeptRound), each
    return [each for each in rounds if isinstance(each, KeptRound)]
