"""The types of the names that `secagg` loads when they are first used."""

from typing import Final

from secagg.aggregates import Aggregate as Aggregate, GroupSum as GroupSum, GroupedAggregate as GroupedAggregate
from secagg.config import (
    Deadlines as Deadlines,
    Graph as Graph,
    RoundConfig as RoundConfig,
    Suite as Suite,
    ThreatModel as ThreatModel,
)
from secagg.context import RoundId as RoundId, digest_model as digest_model
from secagg.crypto.identity import Identity as Identity, TrustAnchors as TrustAnchors
from secagg.encoding.steps.clip import Clip as Clip
from secagg.encoding.fixedpoint import FixedPoint as FixedPoint, WeightedMean as WeightedMean
from secagg.encoding.integers import Integers as Integers, IntegerSums as IntegerSums
from secagg.encoding.pipeline import Noise as Noise, NoiseBy as NoiseBy, Pipeline as Pipeline
from secagg.encoding.schema import ArraySpec as ArraySpec, Schema as Schema, Update as Update
from secagg.encoding.sources import Pieces as Pieces
from secagg.errors import (
    AbortReason as AbortReason,
    AuditError as AuditError,
    AuthenticationError as AuthenticationError,
    BudgetExceeded as BudgetExceeded,
    ConfigError as ConfigError,
    DecodeError as DecodeError,
    Exhibit as Exhibit,
    IdentityError as IdentityError,
    InputError as InputError,
    LedgerError as LedgerError,
    LimitError as LimitError,
    LocalError as LocalError,
    MemoryFileError as MemoryFileError,
    MissingExtraError as MissingExtraError,
    ModelMismatch as ModelMismatch,
    NotInRoundError as NotInRoundError,
    ParticipationCancelled as ParticipationCancelled,
    PolicyViolation as PolicyViolation,
    PrecisionWarning as PrecisionWarning,
    ProtocolViolation as ProtocolViolation,
    RemoteError as RemoteError,
    RoundAborted as RoundAborted,
    RoundTimeoutError as RoundTimeoutError,
    SavedStateError as SavedStateError,
    SecAggError as SecAggError,
    StoreError as StoreError,
    TransportError as TransportError,
    UnknownRoundError as UnknownRoundError,
    WorkerError as WorkerError,
)
from secagg.events import (
    Accused as Accused,
    DropReason as DropReason,
    MasksRemoved as MasksRemoved,
    MessageAccepted as MessageAccepted,
    ParticipantDropped as ParticipantDropped,
    PhaseStarted as PhaseStarted,
    RoundFailed as RoundFailed,
    Verdict as Verdict,
    WrongShares as WrongShares,
)
from secagg.lattice.parameters import (
    Custody as Custody,
    Profile as Profile,
    Scheme as Scheme,
    find_profile as find_profile,
)
from secagg.noise.laws import Law as Law
from secagg.messages import Phase as Phase
from secagg.policy import Policy as Policy
from secagg.privacy.ledger import Budget as Budget, Ledger as Ledger
from secagg.receipts import (
    Agreement as Agreement,
    Receipt as Receipt,
    ReceiptComparison as ReceiptComparison,
    compare_receipts as compare_receipts,
)
from secagg.robust.combining import Anomaly as Anomaly
from secagg.robust.grouping import Combine as Combine, Groups as Groups
from secagg.sparse.finder import find_ring as find_ring
from secagg.sparse.ring import Ring as Ring
from secagg.wire.ledgers import TaskLedger as TaskLedger
from secagg.wire.progress import InGroup as InGroup, ResultReady as ResultReady, WatchedEvent as WatchedEvent

__version__: Final[str]
__all__: list[str]
