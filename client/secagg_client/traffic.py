"""What a call sent and received."""

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """Message bytes, repetitions included, without HTTP/2 and TLS."""

    sent: int = 0
    received: int = 0
