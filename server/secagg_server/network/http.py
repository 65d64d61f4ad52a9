"""A connection of HTTP, as the status port and the gateway have them."""

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class HttpConnection(H11Protocol):
    """uvicorn's connection, which gives no request two answers."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP. Where the request before has no whole answer yet, only hang up: h11 refuses to write
        one answer into another, and whoever is to give the first would end in an error that the log is told of.
        """
        if self.conn.our_state is not h11.IDLE:  # check: one-answer
            self.transport.abort()
            return
        super().send_400_response(msg)
