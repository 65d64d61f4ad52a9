"""Secure aggregation in NVIDIA FLARE: `secure(recipe, …)` before the recipe is run, and nothing else changes.

Needs the extra `nvflare`. Identities for the active threat model are put into start-up kits by `SecAggBuilder`.
"""

from importlib.util import find_spec

from secagg.errors import MissingExtraError
from secagg.lazy import exports

if find_spec("nvflare") is None:
    raise MissingExtraError("secagg_client.nvflare", "nvflare")

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "secagg_client.nvflare.recipes": "secure",
        "secagg_client.nvflare.builder": "SecAggBuilder",
    },
)
