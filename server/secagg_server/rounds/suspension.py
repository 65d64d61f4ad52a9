"""Why a call ends although its round goes on: the coordinator stops, and takes the round up again when it starts."""


class Suspended(Exception):
    """The call can be made again, with the same bytes, when the coordinator is there again."""

    def __init__(
        self, why: str = "the coordinator stops and goes on with this round when it is there again: try again"
    ) -> None:
        super().__init__(why)
