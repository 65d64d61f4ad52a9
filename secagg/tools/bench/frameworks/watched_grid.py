"""Flower's grid with an observer: what goes to each client and comes back, in bytes, and one client's replies whole."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.run import Run


@dataclass(slots=True)
class Watched:
    """What passed the grid.

    Attributes:
        messages: messages to clients.
        down_bytes: in their contents.
        up_bytes: in the contents of replies.
        errors: replies that are errors.
        node: the client whose replies are kept: the first that was written to.
        kept: its replies of the last round.
    """

    messages: int = 0
    down_bytes: int = 0
    up_bytes: int = 0
    errors: int = 0
    node: int | None = None
    kept: list[RecordDict] = field(default_factory=list)

    def next_round(self) -> tuple[int, int, int]:
        """Messages, bytes down and bytes up since the last call; what was kept is dropped."""
        passed = self.messages, self.down_bytes, self.up_bytes
        self.messages = self.down_bytes = self.up_bytes = 0
        return passed

    def sent(self, message: Message) -> None:
        """Count a message to a client."""
        if self.node is None:
            self.node = message.metadata.dst_node_id
        if not self.messages:
            self.kept = []
        self.messages += 1
        self.down_bytes += size_of(message.content)

    def received(self, message: Message) -> None:
        """Count a reply."""
        if message.has_error():
            self.errors += 1
            return
        self.up_bytes += size_of(message.content)
        if message.metadata.src_node_id == self.node:
            self.kept.append(RecordDict(dict(message.content.items())))  # who reads it takes records out


class WatchedGrid(Grid):  # type: ignore[misc]  # Any, where Flower is not installed
    """Passes everything on to the grid that it is made with."""

    def __init__(self, grid: Grid, watched: Watched) -> None:
        self._grid, self._watched = grid, watched

    def set_run(self, run: Run) -> None:
        """As the grid's."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """As the grid's."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """As the grid's, without its warning that it will go."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """As the grid's."""
        return list(self._grid.get_node_ids())

    def get_nodes(self) -> Iterable[NodeInfo]:
        """As the grid's."""
        return list(self._grid.get_nodes())

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As the grid's, counted."""
        return list(self._grid.push_messages(self._sending(messages)))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """As the grid's, counted."""
        return self._receiving(self._grid.pull_messages(message_ids))

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """As the grid's, counted."""
        return self._receiving(self._grid.send_and_receive(self._sending(messages), timeout=timeout))

    def _sending(self, messages: Iterable[Message]) -> list[Message]:
        listed = list(messages)
        for message in listed:
            self._watched.sent(message)
        return listed

    def _receiving(self, messages: Iterable[Message]) -> list[Message]:
        listed = list(messages)
        for message in listed:
            self._watched.received(message)
        return listed


def size_of(content: RecordDict) -> int:
    """Bytes of a message's content: data of arrays, texts and bytes as they are, eight for each number."""
    total = 0
    for record in content.values():
        if isinstance(record, MetricRecord | ConfigRecord):
            total += sum(_size(value) for value in record.values())
        else:
            total += sum(len(array.data) for array in record.values())
    return total


def _size(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(value) if isinstance(value, bytes | str) else 8
