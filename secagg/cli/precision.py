"""How precise a mean is, as commands print it."""

from math import isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secagg.encoding.fixedpoint import WeightedMean


def precision(mean: "WeightedMean | None") -> dict[str, Any]:
    """Fields for JSON, which has no infinity: null stands for it, and for all where there is no mean."""
    if mean is None:
        return dict.fromkeys(("total_weight", "error_bound", "relative_error", "precise"))
    return {
        "total_weight": mean.weight,
        "error_bound": mean.error_bound if isfinite(mean.error_bound) else None,
        "relative_error": mean.relative_error,
        "precise": mean.precise,
    }
