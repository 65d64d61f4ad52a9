"""The encryption parameters of a round."""

from secagg.config import RoundConfig
from secagg.lattice.parameters import Profile


def profile_of(config: RoundConfig) -> Profile:
    """The encryption parameters that a homomorphic round's configuration names."""
    if config.homomorphic is None:
        raise ValueError("a masked round has no profile")
    return config.homomorphic
