"""Secure aggregation for federated learning: a coordinator learns the sum over participants, and no single update.

What an FL engineer writes about a round is here: its configuration, what it gives, what a participant insists on, and
every error. Taking part and opening rounds is in `secagg_client`. All names are loaded when they are first used.
Modules and names that neither package offers are internal.
"""

from secagg.lazy import exports

__version__ = "0.1.0.dev0"

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "secagg.aggregates": "Aggregate GroupSum GroupedAggregate",
        "secagg.config": "Deadlines Graph RoundConfig Suite ThreatModel",
        "secagg.context": "RoundId digest_model",
        "secagg.crypto.identity": "Identity TrustAnchors",
        "secagg.encoding.steps.clip": "Clip",
        "secagg.encoding.fixedpoint": "FixedPoint WeightedMean",
        "secagg.encoding.integers": "IntegerSums Integers",
        "secagg.encoding.pipeline": "Noise NoiseBy Pipeline",
        "secagg.encoding.schema": "ArraySpec Schema Update",
        "secagg.encoding.sources": "Pieces",
        "secagg.errors": (
            "AbortReason AuditError AuthenticationError BudgetExceeded ConfigError DecodeError Exhibit IdentityError "
            "InputError LedgerError LimitError LocalError MemoryFileError MissingExtraError ModelMismatch "
            "NotInRoundError ParticipationCancelled PolicyViolation PrecisionWarning ProtocolViolation "
            "RemoteError RoundAborted RoundTimeoutError SavedStateError SecAggError StoreError TransportError "
            "UnknownRoundError WorkerError"
        ),
        "secagg.events": (
            "Accused DropReason MasksRemoved MessageAccepted ParticipantDropped PhaseStarted RoundFailed Verdict "
            "WrongShares"
        ),
        "secagg.lattice.parameters": "Custody Profile Scheme find_profile",
        "secagg.messages": "Phase",
        "secagg.noise.laws": "Law",
        "secagg.policy": "Policy",
        "secagg.privacy.ledger": "Budget Ledger",
        "secagg.receipts": "Agreement Receipt ReceiptComparison compare_receipts",
        "secagg.robust.combining": "Anomaly",
        "secagg.robust.grouping": "Combine Groups",
        "secagg.sparse.finder": "find_ring",
        "secagg.sparse.ring": "Ring",
        "secagg.wire.ledgers": "TaskLedger",
        "secagg.wire.progress": "InGroup ResultReady WatchedEvent",
    },
)
