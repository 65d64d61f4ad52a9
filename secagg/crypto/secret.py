"""Key material that does not leak by accident."""

import hmac
from typing import NoReturn


class Secret:
    """Bytes that do not print, pickle or hash, compare in constant time and open by one searchable call.

    Python cannot promise wiping. Drop references early; claim no more.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def expose(self) -> bytes:
        """The bytes themselves. This is the only way to them, so a search for its name finds every use."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "Secret(<redacted>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")
