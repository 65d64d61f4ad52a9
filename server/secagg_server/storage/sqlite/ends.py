"""How a round ended as columns and back, strictly. Everything is encoded as on the wire; the sum is in a file."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, assert_never

from secagg.config import DIGEST_SIZE
from secagg.encoding.packed import Chunks
from secagg.errors import DecodeError, RoundAborted, SecAggError, StoreError
from secagg.messages import CoordinatorMessage, Index, Phase
from secagg.receipts import Receipt
from secagg.rounds.finished import LastAnswers
from secagg.wire.calls import CODECS
from secagg.wire.codecs import Codec
from secagg.wire.counting import Budget
from secagg.wire.failures import decode_failure, encode_failure
from secagg.wire.fields import decode_participant_id, exactly
from secagg.wire.parsing import parse
from secagg.wire.progress import WatchedEvent, decode_event, encode_event
from secagg.wire.v1 import control_plane_pb2, errors_pb2
from secagg_server.storage.records import Combined, Ended, Outcome, Released, Withheld
from secagg_server.storage.sqlite.entries import join, parts_of, split, value_of
from secagg_server.storage.sqlite.sums import FileChunks

_NUMBER_SIZE: Final = 8
_MAX_FIELDS: Final = 400_000
"""A roster of 10,000 with chains of certificates has about 150,000 protobuf fields."""

_ANSWERS: Final[dict[str, Codec[Any]]] = {kind.__name__: codec for kind, codec in CODECS.items()}


@dataclass(frozen=True, slots=True)
class EndColumns:
    """How a round ended, as it is kept.

    Attributes:
        time_s: when, in seconds since 1970.
        kind: name of the outcome's class.
        outcome: what it says, without the sum.
        receipt: as it is exported; None where there is none.
        events: what happened, each with its time.
        last: what participants may still ask; None if nothing.
        opened: 1 if somebody may know the sum.
    """

    time_s: float
    kind: str
    outcome: bytes
    receipt: bytes | None
    events: bytes
    last: bytes | None
    opened: int


def encode_end(ended: Ended) -> EndColumns:
    """The end as columns. Of a sum that was released, its chunks must be in a file already."""
    return EndColumns(
        ended.time_s,
        type(ended.outcome).__name__,
        _outcome(ended.outcome),
        None if ended.receipt is None else ended.receipt.export(),
        join(encode_event(event, at).SerializeToString(deterministic=True) for at, event in ended.events),
        None if ended.last is None else _last(ended.last),
        int(ended.opened),
    )


def decode_end(kept: EndColumns, open_sum: Callable[[int], Chunks]) -> Ended:
    """How the round ended.

    Args:
        kept: the columns.
        open_sum: opens the file of the sum, which has this many bytes.

    Raises:
        StoreError: they are none that this release writes, or the sum is gone.
    """
    try:
        if not isfinite(kept.time_s) or kept.opened not in {0, 1}:
            raise DecodeError("its time is no number, or it is neither opened nor not")
        return Ended(
            kept.time_s,
            _read_outcome(kept, open_sum),
            None if kept.receipt is None else Receipt.parse(kept.receipt),
            tuple(map(_read_event, split(kept.events))),
            None if kept.last is None else _read_last(kept.last),
            bool(kept.opened),
        )
    except StoreError:
        raise
    except (SecAggError, ValueError, KeyError) as error:
        raise StoreError(f"how the round ended is not well-formed: {error}") from None


def _outcome(outcome: Outcome | Combined) -> bytes:
    match outcome:
        case Released(survivors=survivors, payloads=payloads, digest=digest):
            if not isinstance(payloads, FileChunks):
                raise TypeError("the sum is not in its file")
            return join((digest, _number(payloads.size), *_names(survivors)))
        case Withheld(survivors=survivors, digest=digest):
            return join((digest, *_names(survivors)))
        case RoundAborted():
            return encode_failure(outcome).SerializeToString(deterministic=True)
        case Combined(groups=groups):
            return join(map(_number, groups))
        case _:
            assert_never(outcome)


def _read_outcome(kept: EndColumns, open_sum: Callable[[int], Chunks]) -> Outcome | Combined:
    match kept.kind:
        case Released.__name__:
            digest, size, *survivors = split(kept.outcome)
            exactly(digest, DIGEST_SIZE, "digest")
            return Released(_read_names(survivors), open_sum(_read_number(size)), digest)
        case Withheld.__name__:
            digest, *survivors = split(kept.outcome)
            return Withheld(_read_names(survivors), exactly(digest, DIGEST_SIZE, "digest"))
        case RoundAborted.__name__:
            failure = decode_failure(parse(errors_pb2.ErrorDetail, kept.outcome))
            if not isinstance(failure, RoundAborted):
                raise DecodeError("it ended with an error of another kind")
            return failure
        case Combined.__name__:
            return Combined(tuple(map(_read_number, split(kept.outcome))))
        case _:
            raise DecodeError(f"its kind is {kept.kind!r}")


def _read_event(kept: bytes) -> tuple[float, WatchedEvent]:
    return decode_event(parse(control_plane_pb2.RoundEvent, kept))


def _last(last: LastAnswers) -> bytes:
    answers = (_answer(phase, message) for phase, message in last.answers.items())
    chunks = (_number(phase.value) + _number(count) for phase, count in last.chunks.items())
    return join((join(answers), join(chunks), join(map(_number, sorted(last.finishers)))))


def _read_last(kept: bytes) -> LastAnswers:
    answers, chunks, finishers = split(kept)
    return LastAnswers(
        dict(map(_read_answer, split(answers))),
        {Phase(_read_number(pair[:_NUMBER_SIZE])): _read_number(pair[_NUMBER_SIZE:]) for pair in split(chunks)},
        frozenset(Index(_read_number(number)) for number in split(finishers)),
    )


def _answer(phase: Phase, message: CoordinatorMessage) -> bytes:
    kind = type(message).__name__
    return join((phase.name.encode(), kind.encode(), *parts_of(_ANSWERS[kind], message)))


def _read_answer(kept: bytes) -> tuple[Phase, CoordinatorMessage]:
    phase, kind, *parts = split(kept)
    return Phase[phase.decode()], value_of(_ANSWERS[kind.decode()], parts, Budget(_MAX_FIELDS))


def _names(names: Iterable[str]) -> Iterator[bytes]:
    return (name.encode() for name in names)


def _read_names(names: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(decode_participant_id(name.decode()) for name in names)


def _number(number: int) -> bytes:
    return number.to_bytes(_NUMBER_SIZE, "big")


def _read_number(kept: bytes) -> int:
    return int.from_bytes(exactly(kept, _NUMBER_SIZE, "number"), "big")
