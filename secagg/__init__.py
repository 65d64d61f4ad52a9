"""secagg: secure aggregation for federated learning. Only the sum over a cohort ever comes out."""

from typing import Final

__version__: Final = "0.1.0"
