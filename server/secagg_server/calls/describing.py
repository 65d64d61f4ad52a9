"""What both planes answer to whoever asks for versions and time."""

from secagg import __version__
from secagg.wire.describing import PROTOCOLS, Description, encode_description


def described(now: float) -> bytes:
    """This release of secagg, the protocol's versions, and the coordinator's clock.

    Args:
        now: seconds since 1970.
    """
    return encode_description(Description(__version__, PROTOCOLS, round(now * 1000))).SerializeToString()
