"""Rounds without a lie, and faults of the network: the program must end with the sum, or say what happened."""

from typing import Any, Final

import grpc

from secagg.config import ThreatModel
from secagg.messages import Phase
from secagg.tools.runner.over_grpc.cohort import PEER, Cohort
from secagg.tools.runner.over_grpc.host import Change, Fault, Silence, Told
from secagg.tools.runner.over_grpc.lie import ANYBODY, FOREVER, Lie
from secagg.wire.v1 import errors_pb2

_CALLS: Final = ("FindRound", "Advertise", "Share", "SendInput", "Check", "Reveal", "Certify", "FetchAggregate")
_MANY: Final = 600_000
"""Values that take two chunks."""


def fails(status: grpc.StatusCode, detail: errors_pb2.ErrorDetail | bytes | None = None) -> Change:
    """The call fails."""
    trailer = detail if isinstance(detail, bytes) or detail is None else detail.SerializeToString()

    def change(_: Cohort, parts: list[Any]) -> Told:
        del parts
        raise Fault(status, trailer)

    return change


def breaks_in_the_middle(_: Cohort, parts: list[Any]) -> Told:
    """The connection breaks when the first part was sent."""
    raise Fault(grpc.StatusCode.UNAVAILABLE, None, parts[:1])


def silent(_: Cohort, parts: list[Any]) -> Told:
    """Nothing comes."""
    del parts
    raise Silence


def _says(kind: str, **more: Any) -> errors_pb2.ErrorDetail:
    return errors_pb2.ErrorDetail(kind=f"ERROR_KIND_{kind}", message="as it says", **more)


_STATUS = grpc.StatusCode
_ABORTED = _says("ABORTED", abort_reason=errors_pb2.AbortReason.Value("ABORT_REASON_BELOW_THRESHOLD"))

# fmt: off
LIES: Final = (
    Lie(number="call-001", check="", title="An honest round"),
    Lie(number="call-002", check="", title="An honest round that certifies its result", config={"certify": True}),
    Lie(number="call-003", check="", title="An honest round of two chunks", config={"size": _MANY}),
    Lie(number="call-004", check="", title="An honest round of the semi-honest threat model",
        config={"threat_model": ThreatModel.SEMI_HONEST}, policy={"threat_models": ["SEMI_HONEST"]}),
    *(Lie(number=f"call-00{5 + at}", check="", title=f"Two participants are gone before {phase.name}",
          gone={PEER: phase, "fir": phase})  # type: ignore[dict-item]
      for at, phase in enumerate((Phase.SHARE_KEYS, Phase.MASKED_INPUT, Phase.CONSISTENCY_CHECK, Phase.UNMASK))),
    *(Lie(number=f"call-01{at}", check="", title=f"The first answer of {call} is lost: UNAVAILABLE, without a trailer",
          at=call, change=fails(_STATUS.UNAVAILABLE), times=1, config={"certify": True})
      for at, call in enumerate(_CALLS)),
    *(Lie(number=f"call-02{at}", check="", title=f"The answer of {call} breaks after its first part, twice",
          at=call, change=breaks_in_the_middle, times=2, config={"certify": True})
      for at, call in enumerate(_CALLS)),
    Lie(number="call-030", check="", title="The upload breaks between two chunks", config={"size": _MANY},
        breaks_after=1),
    Lie(number="call-031", check="", title="The upload breaks when all chunks are there", config={"size": _MANY},
        breaks_after=2),
    Lie(number="call-032", check="", title="The coordinator is full at first", at="Advertise",
        change=fails(_STATUS.RESOURCE_EXHAUSTED, _says("LIMIT")), times=2),
    Lie(number="call-033", check="", title="A proxy answers for a coordinator that is away", at="Share",
        change=fails(_STATUS.UNAVAILABLE), times=3),
    Lie(number="call-040", check="", title="The coordinator has forgotten the round", at="Share",
        change=fails(_STATUS.NOT_FOUND, _says("UNKNOWN_ROUND")), error=("UnknownRoundError",), culprit=None,
        leaves=True),
    Lie(number="call-041", check="", title="The coordinator has forgotten the round when shares are revealed",
        at="Reveal", change=fails(_STATUS.NOT_FOUND, _says("UNKNOWN_ROUND")), error=("UnknownRoundError",),
        culprit=None, leaves=True),
    Lie(number="call-042", check="", title="The round is aborted", at="SendInput",
        change=fails(_STATUS.ABORTED, _ABORTED), error=("RoundAborted",), culprit=None, leaves=True),
    Lie(number="call-043", check="", title="The round is aborted, with a status that says otherwise", at="SendInput",
        change=fails(_STATUS.INTERNAL, _ABORTED), error=("RoundAborted",), culprit=None, leaves=True),
    Lie(number="call-044", check="", title="The round is aborted, with the status of a broken connection", at="Check",
        change=fails(_STATUS.UNAVAILABLE, _ABORTED), error=("RoundAborted",), culprit=None, leaves=True),
    Lie(number="call-045", check="C33", title="We are told that we came too late", at="SendInput",
        change=fails(_STATUS.PERMISSION_DENIED, _says("NOT_IN_ROUND")), error=("NotInRoundError",), culprit=None,
        leaves=True),
    Lie(number="call-046", check="", title="A failure of a kind that does not exist", at="Share",
        change=fails(_STATUS.FAILED_PRECONDITION, errors_pb2.ErrorDetail(kind=77, message="x")),  # type: ignore[arg-type]
        error=("ProtocolViolation",), leaves=True),
    Lie(number="call-047", check="C5", title="A trailer that is no ErrorDetail", at="Share",
        change=fails(_STATUS.FAILED_PRECONDITION, b"\xff\xff\xff"), error=("DecodeError", "ProtocolViolation"),
        culprit=ANYBODY, leaves=True),
    Lie(number="call-048", check="", title="A failure without a trailer, which no retry mends", at="Share",
        change=fails(_STATUS.PERMISSION_DENIED), error=("TransportError", "ProtocolViolation", "NotInRoundError"),
        culprit=ANYBODY, leaves=True),
    Lie(number="call-049", check="", title="A failure that blames 100 people in a text of 100 kB", at="Check",
        change=fails(_STATUS.ABORTED, _says("PROTOCOL", culprits=[f"p{i}" for i in range(100)])),
        error=("ProtocolViolation",), culprit=ANYBODY, leaves=True),
    Lie(number="call-050", check="", title="No answer to the shares comes", at="Share", change=silent,
        error=("RoundTimeoutError",), culprit=None, leaves=True, request={"timeout_ms": 1500}),
    Lie(number="call-051", check="", title="No answer to the input comes", at="SendInput", change=silent,
        error=("RoundTimeoutError",), culprit=None, leaves=True, request={"timeout_ms": 1500}),
    Lie(number="call-052", check="", title="No receipt comes", at="Reveal", change=silent,
        error=("RoundTimeoutError",), culprit=None, leaves=True, request={"timeout_ms": 1500}),
    *(Lie(number=f"call-06{at}", check="", title=f"The server's certificate is not the coordinator's: {kind}",
          server=kind, error=("AuthenticationError", "TransportError"), culprit=ANYBODY, leaves=True, times=FOREVER,
          request={"timeout_ms": 5000})
      for at, kind in enumerate(("host", "foreign", "expired", "yet", "purpose", "participant"))),
)
# fmt: on
