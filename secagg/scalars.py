"""Numbers and names as callers hand them in: NumPy's become Python's own, what is neither is refused.

`np.int64(3)` counts as 3 and `np.float32(0.5)` as 0.5, wherever a caller passes a number. A `bool` is no number, and a
float is no integer even where it is whole.
"""

from math import isinf
from numbers import Real
from operator import index
from typing import Any

from secagg.errors import ConfigError, LocalError


def as_integer(value: object, name: str, error: type[LocalError] = ConfigError) -> int:
    """The Python integer of an integer, NumPy's too.

    Raises:
        ConfigError: it is none; or `error`, if told.
    """
    if not isinstance(value, bool):
        try:
            return index(value)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise error(f"{name} must be an integer, not {value!r}")


def as_number(value: object, name: str) -> float:
    """The Python float of a real number, NumPy's too.

    Raises:
        ConfigError: it is none, or too large for a float.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            number = float(value)
            if number == value or not isinf(number):  # NumPy's wide floats become infinite without a word
                return number
        except OverflowError:
            pass
    raise ConfigError(f"{name} must be a number, not {value!r}")


def settle(instance: Any, *, integers: tuple[str, ...] = (), numbers: tuple[str, ...] = ()) -> None:
    """Replace fields of a frozen dataclass, while it is made, by what `as_integer` and `as_number` make of them."""
    for name in integers:
        object.__setattr__(instance, name, as_integer(getattr(instance, name), name))
    for name in numbers:
        object.__setattr__(instance, name, as_number(getattr(instance, name), name))


def utf8(value: object, name: str) -> bytes:
    """The UTF-8 of a text.

    Raises:
        ConfigError: it is no text, or holds half a surrogate pair, which UTF-8 cannot say.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {value!r}")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{name} {ascii(value)[:60]} has a lone surrogate, which UTF-8 cannot write") from None
