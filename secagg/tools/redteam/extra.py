"""Torch, from the extra `redteam`: importing it from here says what to install where it is missing."""

from secagg.errors import MissingExtraError

try:
    import torch as torch  # noqa: PLC0414 - exported
except ImportError:
    raise MissingExtraError("the red team's attacks", "redteam") from None
