"""What brings a call to the coordinator: gRPC, or the gateway."""

from typing import Any, Protocol


class Carrier(Protocol):
    """What a handler uses of a call. A context of gRPC has it, and more."""

    def invocation_metadata(self) -> Any:
        """Pairs of key and value that came before the messages; None if there are none."""
        ...

    def auth_context(self) -> Any:
        """What is known of the caller, by the names that gRPC has for it; None if nothing is."""
        ...

    async def read(self) -> Any:
        """The next message, as bytes; something else behind the last."""
        ...
