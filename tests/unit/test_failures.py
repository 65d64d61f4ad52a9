"""Named errors across the wire."""

import pytest

from secagg.errors import AbortReason, ProtocolViolation, RemoteError, RoundAborted, SecAggError
from secagg.wire.failures import MAX_CULPRITS, MAX_MESSAGE_CHARS, decode_failure, encode_failure
from secagg.wire.v1 import errors_pb2 as pb

ESCAPES = "all is well\x1b[2K\r\x1b]0;owned\x07\u202e"


@pytest.mark.parametrize(
    "error",
    [
        ProtocolViolation("too much: ‘ü’", culprit="hospital-7"),
        RoundAborted(AbortReason.WRONG_SHARES, "wrong shares", culprits=("a", "b")).accusing(("c",)),
    ],
)
def test_an_error_comes_back_as_it_was(error: SecAggError) -> None:
    found = decode_failure(encode_failure(error))
    assert type(found) is type(error)
    assert (str(found), vars(found)) == (str(error), vars(error))


@pytest.mark.parametrize("kind", pb.ErrorKind.values())
def test_a_peers_words_cannot_steer_a_terminal(kind: int) -> None:
    """They end on one: a coordinator that could erase a line could show another outcome than the real one."""
    detail = pb.ErrorDetail(
        kind=pb.ErrorKind.Name(kind),
        message=ESCAPES,
        culprits=[ESCAPES] * 100,
        accused=[ESCAPES] * 100,
        abort_reason=pb.AbortReason.Name(AbortReason.CANCELLED.value),
    )
    error = decode_failure(detail)
    assert str(error).isprintable()
    assert "all is well" in str(error)
    if isinstance(error, RemoteError) and error.culprit is not None:
        assert error.culprit.isprintable()
    if isinstance(error, RoundAborted):
        assert len(error.culprits) == len(error.accused) == MAX_CULPRITS
        assert all(name.isprintable() for name in (*error.culprits, *error.accused))


def test_a_peers_words_are_few() -> None:
    error = decode_failure(pb.ErrorDetail(kind=pb.ERROR_KIND_DECODE, message="x" * 10_000))
    assert len(str(error)) == MAX_MESSAGE_CHARS
