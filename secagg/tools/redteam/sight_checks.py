"""Secrets and values where they must not be: in messages, in logs, on disk."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any

import numpy as np

from secagg.crypto.secret import Secret
from secagg.messages import EncryptedInputChunk
from secagg.tools.redteam.adversary import truth
from secagg.tools.redteam.arena import WIDE, deployment, layers, random_updates, rng_of
from secagg.tools.redteam.cipher_checks import recorded
from secagg.tools.redteam.modes import MASKED_ACTIVE, Mode
from secagg.tools.redteam.views import record
from secagg.tools.simulation.cohort import participant_names


@contextmanager
def _made_secrets() -> Iterator[set[bytes]]:
    """Every value that becomes a `Secret` in the block, as the interpreter tells of each call: nothing is replaced."""
    made, code, before = set[bytes](), Secret.__init__.__code__, sys.getprofile()

    def told(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is code:
            made.add(bytes(frame.f_locals["value"]))

    sys.setprofile(told)
    try:
        yield made
    finally:
        sys.setprofile(before)


def secrets_in_sight(mode: Mode, seed: int = 0) -> list[str]:
    """No secret that a participant holds stands in a message, on disk or in a log (but for shares that it reveals)."""
    with _made_secrets() as held:
        recording = recorded(mode, seed)
    # The seeds of c1 are public, and pass for secrets only because keys are derived from them.
    held -= {e.message.seed for e in recording.envelopes if isinstance(e.message, EncryptedInputChunk)}
    haystack = b"\0".join([*_public_bytes(recording.envelopes), recording.disk, recording.log.encode()])
    found = [s for s in held if len(s) >= 16 and len(set(s)) > 1 and (s in haystack or s.hex().encode() in haystack)]
    return [f"a secret of {len(s)} bytes stands in a message, on disk or in a log" for s in found]


def _public_bytes(value: Any) -> Iterator[bytes]:
    """All bytes in messages that are not secrets on purpose."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _public_bytes(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _public_bytes(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _public_bytes(getattr(value, field.name))


def values_in_sight(seed: int = 0) -> list[str]:
    """No number of an update stands in a log or on disk, be it as text or as a word."""
    config = MASKED_ACTIVE.config(layers(4096), 4, encoding=WIDE)
    names = participant_names(4)
    updates = random_updates(config.schema, names, seed)
    recording = record(config, updates, rng=rng_of(seed, "canary"), deployment=deployment())
    canaries = {name: truth(recording.run, name)[:256].tolist() for name in names}
    texts = {str(number) for numbers in canaries.values() for number in numbers if number > 10**6}
    texts |= {f"{number:x}" for numbers in canaries.values() for number in numbers if number > 1 << 28}
    texts |= {repr(float(v))[:9].lstrip("-") for u in updates.values() for v in u["first"][:256] if abs(v) > 1e-3}
    found = [text for text in texts if text in recording.log]
    words = set(np.frombuffer(recording.disk[: len(recording.disk) // 4 * 4], "<u4").tolist())
    clear = sum(number in words for numbers in canaries.values() for number in numbers)
    said = [f"{len(found)} numbers of updates stand in logs, such as {found[0]}"] if found else []
    return said + ([f"{clear} of {256 * len(names)} encoded numbers lie on disk as they are"] if clear > 3 else [])
