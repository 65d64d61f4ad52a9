"""Messages to nodes and their replies, over Flower's grid.

`Grid.send_and_receive` waits for everybody, and in a deployment it sleeps three seconds between two looks. Here each
node has a time limit of its own, and the grid is asked again after a twentieth of the time that passed.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flwr.app import Message, RecordDict

from secagg.errors import DecodeError, printable
from secagg_client.flower.records import Packet, VersionError, take

SHORTEST_POLL_S: Final = 0.005
LONGEST_POLL_S: Final = 0.5
POLL_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Silence:
    """A node did not answer in time, or could not be reached."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node answered, and with nothing of ours.

    Attributes:
        reason: why, in words that may be printed.
        named: whether that names the cause; an error that Flower reports need not.
    """

    reason: str
    named: bool = True


Answer = Packet | Silence | Refusal


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent to one node.

    Attributes:
        content: of the message.
        like: a message of the strategy; type, group and time to live are taken from it. Mods run only for message types
            that the app has a function for, so no type of our own could be used.
        limit_s: how long to wait for the reply, in seconds.
    """

    content: RecordDict
    like: Message
    limit_s: float


class Channel:
    """The grid, as secure rounds use it."""

    def __init__(
        self, grid: Any, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Args:
        grid: Flower's.
        clock: seconds, of any origin.
        sleep: waits so many seconds.
        """
        self._grid = grid
        self._clock = clock
        self._sleep = sleep

    def exchange(
        self,
        letters: Mapping[int, Letter],
        hear: Callable[[int, Answer], None] = lambda node, answer: None,
        enough: Callable[[], bool] = lambda: False,
    ) -> dict[int, Answer]:
        """Send each node its letter, and wait until all have answered, or the time limits are over.

        Args:
            letters: by node id.
            hear: called with each answer as soon as it is there.
            enough: asked again and again; if true, nobody is waited for any longer.
        """
        start = self._clock()
        answers: dict[int, Answer] = {}
        waiting: dict[str, int] = {}
        for node, letter in letters.items():  # one by one: all at once can be more than one HTTP request may hold
            message_id = self._push(node, letter)
            if message_id is None:
                answers[node] = Silence("the message could not be handed to Flower")
            else:
                waiting[message_id] = node
        while waiting:
            for reply in self._pull(waiting):
                about = reply.metadata.reply_to_message_id  # errors that the SuperLink makes up name no node
                if about in waiting:
                    node = waiting.pop(about)
                    answers[node] = _read(reply)
                    hear(node, answers[node])
            passed = self._clock() - start
            done = enough()
            late = {i: node for i, node in waiting.items() if done or passed >= letters[node].limit_s}
            for message_id, node in late.items():
                del waiting[message_id]
                answers[node] = Silence(f"no reply in {passed:.3g} s")
            if waiting:
                self._sleep(min(max(POLL_SHARE * passed, SHORTEST_POLL_S), LONGEST_POLL_S))
        return answers

    def _push(self, node: int, letter: Letter) -> str | None:
        about = letter.like.metadata
        message = Message(letter.content, node, about.message_type, group_id=about.group_id, ttl=about.ttl)
        ids = list(self._grid.push_messages([message]))
        return str(ids[0]) if ids and ids[0] else None

    def _pull(self, waiting: Iterable[str]) -> Iterable[Message]:
        return list(self._grid.pull_messages(list(waiting)))


def _read(reply: Message) -> Answer:
    if reply.has_error():
        return Refusal(f"error {reply.error.code}: {_shown(reply.error.reason)}", named=False)
    try:
        packet = take(reply.content)
    except VersionError as error:
        return Refusal(str(error))
    except DecodeError as error:
        return Refusal(f"its answer is malformed: {error}")
    if packet is None:
        return Refusal("its app answered without SecAggMod: add it to ClientApp(mods=[…]) there")
    return packet


def _shown(text: object) -> str:
    """The last line of a reason, which in a simulation is a whole traceback."""
    lines = [line.strip() for line in str(text or "").splitlines() if line.strip()]
    return printable((lines or ["no reason given"])[-1], 300)
