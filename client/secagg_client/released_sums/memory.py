"""What a participant remembers of sums that may hold its update, so that later ones do not show it.

A claim is checked and recorded in one step, under one lock, before anything leaves that opens the sum. What may have
been opened counts as opened, whatever the coordinator, or our own caller, says afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

from secagg.context import RoundId
from secagg.errors import ConfigError, PolicyViolation
from secagg.messages import ParticipantId
from secagg.policy import Policy
from secagg.roster import COORDINATOR
from secagg.rounds.releases import Release, ReleaseMemory
from secagg_client.released_sums.file import Claimed, Entry, MemoryFile, Received

MAX_SUMS: Final = 1000
"""Sums that are remembered; the oldest is forgotten first."""


class Memory:
    """What a participant remembers of sums that may hold its update, so that later sums do not show that update.

    One memory serves every client of a participant, from several threads; if it is kept in a file, also from several
    processes, which then share what they know. It remembers by model and purpose. It does not keep updates.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """The memory of a file, or a new one.

        Args:
            path: the file that keeps it, made when there is none. With None it lasts as long as this object.
        """
        self._file = None if path is None else MemoryFile(Path(path))
        self._lock = Lock()
        self._owner: ParticipantId | None = None
        self._sums = ReleaseMemory(MAX_SUMS)
        self._received: set[RoundId] = set()

    @property
    def durable(self) -> bool:
        """Whether it is kept in a file, and so outlives this process."""
        return self._file is not None

    def belong_to(self, owner: ParticipantId) -> None:
        """Serve this participant, and no other.

        Raises:
            ConfigError: it belongs to another.
        """
        with self._lock:
            if self._owner not in {None, owner}:  # check: memory-of-another
                raise ConfigError(f"this memory is that of {self._owner}; give {owner} one of its own")
            self._owner = owner

    def check(self, question: tuple[bytes, str], policy: Policy) -> None:
        """Refuse a question that the policy lets us answer no more, before anything of a round leaves.

        Raises:
            PolicyViolation: a sum of it came out, and once is enough.
            MemoryFileError: the file cannot be read or written, or is damaged.
        """
        with self._turn():
            self._check(question, policy)

    def claim(self, round_id: RoundId, release: Release, policy: Policy) -> frozenset[ParticipantId]:
        """Check a sum and record it in one step, before anything that opens it leaves (`secagg.rounds.releases.Claim`).

        Raises:
            PolicyViolation: the policy allows no second sum, or the round asked for another one before. Nothing was
                recorded.
            MemoryFileError: as `check`.
        """
        with self._turn():
            self._check(release.question, policy, round_id)  # check: once-per-model
            self._check_first(round_id, release)  # check: second-sum
            policy.check_cohorts({release.survivors, *(one.survivors for one in self._sums.others(round_id, release))})
            exposed = self._sums.exposed(round_id, release)
            if not exposed:
                self._append(Claimed(round_id, release))
            return exposed

    def receive(self, round_id: RoundId) -> None:
        """The coordinator says that the round's sum came out. The claim stands without, too.

        Raises:
            MemoryFileError: as `check`.
        """
        with self._turn():
            self._append(Received(round_id))

    def _check(self, question: tuple[bytes, str], policy: Policy, own: RoundId | None = None) -> None:
        """Without the sum of our own round: who goes on in it after a crash may have its receipt already."""
        known = self._sums.rounds
        policy.check_past(sum(known[of].question == question for of in self._received - {own} if of in known))

    def _check_first(self, round_id: RoundId, release: Release) -> None:
        """A round has one sum; a coordinator that lies can ask another process of ours for a second under its id."""
        if self._sums.rounds.get(round_id, release) != release:
            raise PolicyViolation(
                f"round {round_id.hex()} asks for a second sum; an earlier one that may hold our update is on record",
                culprit=COORDINATOR,
            )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Alone, and knowing what other processes recorded."""
        with self._lock:
            if self._file is None:
                yield
                return
            with self._file.turn(self._owner or "", self._entries) as news:
                for entry in news:
                    self._take(entry)
                yield

    def _append(self, entry: Entry) -> None:
        if self._file is not None:
            self._file.append(entry)  # safe on the disk before it counts
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        match entry:
            case Claimed(round_id, release):
                self._sums.record(round_id, release)
            case Received(round_id):
                self._received.add(round_id)
        self._received &= self._sums.rounds.keys()

    def _entries(self) -> list[Entry]:
        """All that is known, as the shortest file would hold it."""
        claims: list[Entry] = [Claimed(round_id, release) for round_id, release in self._sums.rounds.items()]
        return claims + [Received(round_id) for round_id in sorted(self._received)]


def memory_of(memory: "Memory | str | Path | None", owner: ParticipantId) -> Memory:
    """The memory that a caller gave a client of `owner`: one, its file, or none for a fresh one."""
    given = memory if isinstance(memory, Memory) else Memory(memory)
    given.belong_to(owner)
    return given
