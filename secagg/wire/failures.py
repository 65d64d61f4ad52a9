"""Named errors across the wire: what the server raises is what the client raises."""

from secagg.errors import (
    AbortReason,
    AuthenticationError,
    BudgetExceeded,
    ConfigError,
    DecodeError,
    LedgerError,
    LimitError,
    NotInRoundError,
    ProtocolViolation,
    RemoteError,
    RoundAborted,
    SecAggError,
    StoreError,
    UnknownRoundError,
    printable,
)
from secagg.wire.v1 import errors_pb2 as pb

TRAILER = "secagg-error-bin"
"""gRPC trailing metadata that holds the serialised ErrorDetail."""

MAX_MESSAGE_CHARS = 1000
MAX_CULPRITS = 32

_KINDS: dict[type[SecAggError], pb.ErrorKind] = {
    ConfigError: pb.ERROR_KIND_CONFIG,
    DecodeError: pb.ERROR_KIND_DECODE,
    AuthenticationError: pb.ERROR_KIND_AUTHENTICATION,
    ProtocolViolation: pb.ERROR_KIND_PROTOCOL,
    NotInRoundError: pb.ERROR_KIND_NOT_IN_ROUND,
    RoundAborted: pb.ERROR_KIND_ABORTED,
    UnknownRoundError: pb.ERROR_KIND_UNKNOWN_ROUND,
    LimitError: pb.ERROR_KIND_LIMIT,
    BudgetExceeded: pb.ERROR_KIND_BUDGET,
    LedgerError: pb.ERROR_KIND_LEDGER,
    StoreError: pb.ERROR_KIND_STORE,
}


def encode_failure(error: SecAggError) -> pb.ErrorDetail:
    """What may be told of `error`: its kind, message, reason, culprits and who is accused."""
    kind = next((number for known, number in _KINDS.items() if isinstance(error, known)), pb.ERROR_KIND_PROTOCOL)
    message = str(error)[:MAX_MESSAGE_CHARS]
    if isinstance(error, RoundAborted):
        reason = pb.AbortReason.Name(error.reason.value)
        culprits, accused = error.culprits[:MAX_CULPRITS], error.accused[:MAX_CULPRITS]
        return pb.ErrorDetail(kind=kind, message=message, abort_reason=reason, culprits=culprits, accused=accused)
    culprit = error.culprit if isinstance(error, RemoteError) else None
    return pb.ErrorDetail(kind=kind, message=message, culprits=[] if culprit is None else [culprit])


def decode_failure(detail: pb.ErrorDetail) -> SecAggError:
    """The error that `detail` names, to be raised; of an unknown kind, a ProtocolViolation of the coordinator."""
    culprits, message = tuple(map(_shown, detail.culprits[:MAX_CULPRITS])), _shown(detail.message)
    culprit = culprits[0] if culprits else None
    kind = next((known for known, number in _KINDS.items() if number == detail.kind), None)
    if kind is RoundAborted and detail.abort_reason in {reason.value for reason in AbortReason}:
        accused = tuple(map(_shown, detail.accused[:MAX_CULPRITS]))
        return RoundAborted(AbortReason(detail.abort_reason), message, culprits=culprits).accusing(accused)
    if kind is None or kind is RoundAborted:
        return ProtocolViolation(f"unknown failure {detail.kind}: {message}", culprit="coordinator")
    if issubclass(kind, RemoteError):
        return kind(message, culprit=culprit)
    return kind(message)


def _shown(text: str) -> str:
    """A word of a failure, as `printable` shows it."""
    return printable(text, MAX_MESSAGE_CHARS)
