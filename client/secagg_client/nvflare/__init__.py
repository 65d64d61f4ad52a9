"""Secure aggregation in NVIDIA FLARE: `secure(recipe, …)` before the recipe is run, and nothing else changes.

Needs the extra `nvflare`. Identities for the active threat model are put into start-up kits by `SecAggBuilder`.
"""

from secagg.lazy import exports

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "secagg_client.nvflare.recipes": "secure",
        "secagg_client.nvflare.builder": "SecAggBuilder",
    },
)
