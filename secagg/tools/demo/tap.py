"""What a demo participant does beside taking part: keep a copy of what it sends, and die where it was told to.

The tap sits between the client and gRPC, in the participant's own process; the coordinator knows nothing of it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc

from secagg.tools.demo.plan import Dropout, Moment
from secagg.tools.demo.relay import CutRelay, die
from secagg.wire.calls import CALL_OF, INPUT_CALLS


@dataclass(slots=True)
class Tap(grpc.StreamStreamClientInterceptor):
    """A gRPC interceptor.

    Attributes:
        last_words: called right before the end with the bytes sent in this round.
        dropout: when to die; never, if None.
        relay: what the connection goes through if the upload is to break off.
        uploaded: every message of this round's upload exactly as gRPC got it.
        bytes_sent: in all calls of this round.
    """

    last_words: Callable[[int], None]
    dropout: Dropout | None = None
    relay: CutRelay | None = None
    uploaded: list[bytes] = field(default_factory=list)
    bytes_sent: int = 0

    def begin(self, dropout: Dropout | None, relay: CutRelay | None) -> None:
        """Forget the round before, and prepare for the dropout of this one."""
        self.dropout, self.relay = dropout, relay
        self.uploaded, self.bytes_sent = [], 0

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Iterator[Any]
    ) -> Any:
        """Hand a stream on to gRPC; what goes up on it is counted, uploads are kept, and the dropout strikes here."""
        call = client_call_details.method.rpartition("/")[2]
        return continuation(client_call_details, self._passing(call, request_iterator))

    def _passing(self, call: str, requests: Iterator[bytes]) -> Iterator[bytes]:
        for request in requests:
            self._strike(call, request)
            self.bytes_sent += len(request)
            if call in INPUT_CALLS:
                self.uploaded.append(request)
            yield request

    def _strike(self, call: str, request: bytes) -> None:
        if self.dropout is None or call != CALL_OF[self.dropout.phase].name:
            return
        if self.dropout.moment is Moment.BEFORE_SENDING:
            self.last_words(self.bytes_sent)
            die()
        elif self.relay is not None:
            self.last_words(self.bytes_sent + len(request) // 2)
            self.relay.cut_after(len(request) // 2)
