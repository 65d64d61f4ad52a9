"""Steps of rounds in FLARE's messages: the aux messages between server and sites, and the results of tasks.

A message of ours is a `Shareable` with one entry of our own. It holds nothing but the version of this form and the
bytes of steps, so FLARE's serialisation carries it as it is.
"""

from collections.abc import Sequence
from typing import Any, Final

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable

from secagg import __version__
from secagg.context import ROUND_ID_SIZE, RoundId
from secagg.errors import DecodeError
from secagg_client.carried.participant import MAX_STEPS
from secagg_client.carried.steps import Step

TOPIC: Final = "secagg"
"""Of our aux messages."""

VERSION: Final = 1
"""Of the form of these messages. Server and sites refuse each other's with another number."""

_ENTRY: Final = "secagg"
_MAX_PARTS: Final = 1 << 20
_MAX_KIND_CHARS: Final = 64


class OtherVersion(DecodeError):
    """The other side has another version of this plug-in."""


def packed(steps: Sequence[Step] = (), **more: Any) -> Shareable:
    """A message with `steps`, and whatever else is in `more` (see `told`)."""
    message = Shareable()
    message[_ENTRY] = {
        "version": VERSION,
        "secagg": __version__,
        "steps": [{"round": bytes(step.round_id), "kind": step.kind, "parts": list(step.parts)} for step in steps],
        **more,
    }
    return message


def is_ours(message: Any) -> bool:
    """Whether a message was made by `packed`, in whatever version."""
    return isinstance(message, Shareable) and isinstance(message.get(_ENTRY), dict)


def unpacked(message: Any) -> list[Step]:
    """The steps in a message.

    Raises:
        OtherVersion: it is from another version of the plug-in.
        DecodeError: it is not ours, or holds something that is no step.
    """
    entry = _entry(message)
    steps = entry.get("steps")
    if not isinstance(steps, list) or len(steps) > MAX_STEPS:  # check: flare-steps
        raise DecodeError(f"a message holds a list of at most {MAX_STEPS} steps")
    return [_step(step) for step in steps]


def told(message: Any, name: str) -> Any:
    """What else a message of this version says under `name`; None if it says nothing. Its type is unchecked."""
    return _entry(message).get(name)


def return_code(message: Any) -> str:
    """FLARE's return code in a message, which may be of any form: its sender chose it."""
    if not isinstance(message, Shareable):
        return str(ReturnCode.OK)
    try:
        code = message.get_return_code(ReturnCode.OK)
    except ValueError:  # of FLARE, for headers that are no mapping
        return str(ReturnCode.BAD_REQUEST_DATA)
    return code if isinstance(code, str) else str(ReturnCode.BAD_REQUEST_DATA)


def _entry(message: Any) -> dict[str, Any]:
    if not is_ours(message):
        raise DecodeError("a message came that the secagg plug-in did not make")
    entry: dict[str, Any] = message[_ENTRY]
    version = entry.get("version")
    if type(version) is not int or version != VERSION:  # check: plug-in-version
        raise OtherVersion(
            f"it has secagg {entry.get('secagg')!s:.20}, whose plug-in speaks version {version!s:.20} of "
            f"its messages; ours, in secagg {__version__}, speaks version {VERSION}. Install the same secagg everywhere"
        )
    return entry


def _step(step: Any) -> Step:
    if not isinstance(step, dict):
        raise DecodeError("a step is a mapping")
    round_id, kind, parts = step.get("round"), step.get("kind"), step.get("parts")
    if not isinstance(round_id, bytes) or len(round_id) != ROUND_ID_SIZE:
        raise DecodeError(f"a step names its round with {ROUND_ID_SIZE} bytes")
    if not isinstance(kind, str) or len(kind) > _MAX_KIND_CHARS:
        raise DecodeError(f"a step's kind is a text of at most {_MAX_KIND_CHARS} characters")
    if not isinstance(parts, list) or len(parts) > _MAX_PARTS or not all(isinstance(part, bytes) for part in parts):
        raise DecodeError("a step's parts are bytes")
    return Step(RoundId(round_id), kind, tuple(parts))
