"""The audit log of a coordinator while it writes: what `write` took is safe when it returns.

New entries go behind the last line of the newest segment, and are flushed. A crash in between leaves lines that nobody
was told of: whole ones stay, because what they tell of may have happened, and a torn one is cut off and told of. When
the disk refuses, the file is cut back to what was safe before the next entry is written.

Nothing is ever removed. A segment of `SEGMENT_BYTES` ends with a checkpoint, and another one begins: an operator may
move the older ones elsewhere.
"""

import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, Final

from secagg.audit import checkpoints, entries
from secagg.audit.entries import BEGINNING, Entry
from secagg.context import ROUND_ID_SIZE
from secagg.crypto.identity import CoordinatorIdentity
from secagg.errors import AuditError, ConfigError
from secagg.privacy.ledger import Head
from secagg.programs import disk as disks
from secagg.programs.audit.reading import HEAD, first_of, is_segment, segment_name
from secagg.programs.disk import REAL_DISK, Disk

BEGAN: Final = "log_began"
LEFT_OUT: Final = "left_out"
ENDS: Final = frozenset({"sum_released", "round_failed", "groups_combined"})
"""Kinds that say how a round ended."""

SEGMENT_BYTES: Final = 16 << 20

_ROUND: Final = b'"round":"'
_ROUND_DIGITS: Final = 2 * ROUND_ID_SIZE

MOST_LOOSE: Final = 1000
"""Entries that wait to be written with others; more are left out, and counted."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that is not written yet; see `entries.Entry`. `at_s` is in seconds since 1970."""

    kind: str
    at_s: float
    facts: Mapping[str, Any]


class AuditLog:
    """A folder with a log, for one process alone. May be called from several threads.

    Attributes:
        cut: what `open` cut off because it was torn: how many bytes, and their SHA-256; None if nothing was.
    """

    def __init__(
        self, folder: Path, identity: Callable[[], CoordinatorIdentity], clock: Callable[[], float], disk: Disk
    ) -> None:
        """Use `open`."""
        self.cut: tuple[int, bytes] | None = None
        self._folder = folder
        self._identity = identity
        self._clock = clock
        self._disk = disk
        self._lock = Lock()
        self._last = BEGINNING
        self._signed = BEGINNING
        self._named = BEGINNING  # by the file of the head
        self._unsigned = 0
        self._unsigned_since_s = 0.0
        self._segment = folder / segment_name(1)
        self._size = 0  # of the segment, as far as it is safe
        self._unknown = False  # whether more than that may stand there
        self._loose: list[Draft] = []
        self._left_out = 0
        self._noting = Lock()
        self._steps: dict[str, tuple[int, int]] = {}
        self._over: set[str] = set()

    @classmethod
    def open(
        cls,
        folder: Path,
        identity: Callable[[], CoordinatorIdentity],
        clock: Callable[[], float],
        disk: Disk = REAL_DISK,
    ) -> "AuditLog":
        """The log in a folder, begun if there is none.

        Args:
            folder: made if there is none; who calls keeps other processes out.
            identity: gives the certificate and key that are in force; checkpoints are signed with them.
            clock: seconds since 1970.
            disk: where the folder is.

        Raises:
            AuditError: the log is damaged, or the disk refuses.
            ConfigError: others can write in the folder.
        """
        log = cls(folder, identity, clock, disk)
        with _telling(folder):
            log._begin()
        return log

    def _begin(self) -> None:
        self._disk.make_folder(self._folder)
        facts = self._disk.facts(self._folder)
        if facts is not None and facts.mode & 0o022:  # check: audit-folder-private
            raise ConfigError(f"the audit folder {self._folder} can be written by others").mended_by(
                f"chmod 700 {shlex.quote(str(self._folder))}"
            )
        if not self._take_up():
            self._write((Draft(BEGAN, self._clock(), {}),), sign=True)
            self._name_head()

    # --- what may be asked at any time --------------------------------------------------------------------------------

    @property
    def signed(self) -> Head:
        """Number and digest of the last checkpoint."""
        return self._signed

    @property
    def entries(self) -> int:
        """How many entries are safe."""
        return self._last.entries

    def steps(self, round_id: str) -> tuple[int, int]:
        """How far a round was written, among the rounds that `recall` looked for: the last `step`, and how many entries
        of that step there are. (0, 0) if it was not.
        """
        return self._steps.get(round_id, (0, 0))

    def is_over(self, round_id: str) -> bool:
        """Whether the log says how the round ended, among the rounds that `recall` looked for."""
        return round_id in self._over

    def recalled(self) -> None:
        """Nobody asks any longer for what `recall` found."""
        self._steps.clear()
        self._over.clear()

    def recall(self, rounds: Collection[str]) -> None:
        """Find out how many entries these rounds have, which an earlier process may have opened.

        The newest segments are read first, and no more of them than it takes.

        Args:
            rounds: ids in hexadecimal.

        Raises:
            AuditError: the disk refuses.
        """
        with _telling(self._folder):
            self._look_for(frozenset(rounds))

    def _look_for(self, rounds: frozenset[str]) -> None:
        missing = set(rounds)
        for name in reversed(self._segments()):
            if not missing:
                return
            for line in _whole_lines(self._disk.read(self._folder / name)):
                at = line.find(_ROUND) + len(_ROUND)
                if line[at : at + _ROUND_DIGITS].decode(errors="replace") in rounds and (entry := _entry(line)):
                    missing -= self._recall(entry)

    def _recall(self, entry: Entry) -> set[str]:
        """The round of an entry if that is its first."""
        round_id, step = entry.round_id, entry.facts.get("step")
        if round_id is None or not isinstance(step, int):
            return set()
        last, count = self._steps.get(round_id, (0, 0))
        if step >= last:
            self._steps[round_id] = step, count + 1 if step == last else 1
        if entry.kind in ENDS:
            self._over.add(round_id)
        return set() if step else {round_id}

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, drafts: Sequence[Draft], *, sign: bool = False) -> None:
        """Write these entries, after those that were `noted`; all of them are safe on return.

        Args:
            drafts: in order.
            sign: whether a checkpoint follows them.

        Raises:
            AuditError: the disk refuses, and none of `drafts` is in the log.
        """
        with self._lock, _telling(self._folder):
            with self._noting:
                noted, left_out = tuple(self._loose), self._left_out
            more = (Draft(LEFT_OUT, self._clock(), {"unlogged": left_out}),) if left_out else ()
            self._write((*noted, *more, *drafts), sign=sign)
            with self._noting:
                del self._loose[: len(noted)]
                self._left_out -= left_out

    def note(self, draft: Draft) -> None:
        """Keep an entry that nothing follows from, until others are written. It is lost in a crash. Does not wait."""
        with self._noting:
            if len(self._loose) >= MOST_LOOSE:  # check: audit-noted-entries
                self._left_out += 1
                return
            self._loose.append(draft)

    def sign_if_due(self) -> bool:
        """Write what was noted, and a checkpoint if the last one is `EVERY_S` old and something follows it; whether
        there is a new one.

        Raises:
            AuditError: the disk refuses.
        """
        with self._lock:
            waiting = self._unsigned > 0 and abs(self._clock() - self._unsigned_since_s) >= checkpoints.EVERY_S
            idle = not waiting and not self._loose and not self._left_out
        if not idle:
            before = self._signed
            self.write((), sign=waiting)
            return self._signed != before
        return False

    def _write(self, drafts: Sequence[Draft], *, sign: bool) -> None:
        if not drafts and not (sign and self._unsigned):
            return
        self._make_room()
        now = self._clock()
        batch = _Batch(self._last, self._signed, self._unsigned)
        for draft in drafts:
            if batch.unsigned >= checkpoints.EVERY_ENTRIES:
                batch.add_checkpoint(_ms(now), self._identity())
            batch.add(draft)
        since_s = self._unsigned_since_s if self._unsigned else now
        full = self._size + batch.size >= SEGMENT_BYTES
        if batch.unsigned and (sign or full or abs(now - since_s) >= checkpoints.EVERY_S):
            batch.add_checkpoint(_ms(now), self._identity())
        self._unknown = True
        self._append(b"".join(line + b"\n" for line in batch.lines))
        self._unknown = False
        self._size += batch.size
        self._unsigned_since_s = now if batch.signed != self._signed or not self._unsigned else since_s
        self._last, self._signed, self._unsigned = batch.last, batch.signed, batch.unsigned
        with suppress(OSError):  # made up for with the next: an older head is no damage
            self._name_head()

    def _make_room(self) -> None:
        """Take back what a write that failed may have left; begin a segment if this one is full."""
        if self._unknown:
            if self._disk.facts(self._segment) is not None:
                disks.cut(self._disk, self._segment, self._size)
            self._unknown = False
        if self._size >= SEGMENT_BYTES and not self._unsigned:
            self._segment = self._folder / segment_name(self._last.entries + 1)
            self._size = 0

    def _append(self, data: bytes) -> None:
        fresh = not self._size
        with self._disk.open(self._segment, make=True) as file:
            file.write_at(self._size, data)
            file.flush()
        if fresh:
            self._disk.flush_folder(self._folder)

    def _name_head(self) -> None:
        """Keep the last checkpoint apart."""
        if self._named != self._signed:
            disks.exchange(self._disk, self._folder / HEAD, self._signed.text.encode() + b"\n")
            self._named = self._signed

    # --- taking up what an earlier process left -----------------------------------------------------------------------

    def _take_up(self) -> bool:
        """Go on with the log of the folder; False if there is none."""
        head = self._read_head()
        names = self._segments()
        if not names:
            if head is not None:  # check: audit-gone
                raise AuditError(f"the entries of the audit log in {self._folder} are gone, and its head is there")
            return False
        self._segment = self._folder / names[-1]
        if len(names) > 1:
            self._last = self._end_of(names[-2])
        elif first_of(names[0]) > 1:
            self._last = self._start_of(names[0])
        content = self._disk.read(self._segment)
        self._check_head(head, self._follow(content, 0 if head is None else head.entries))
        self._unsigned_since_s = self._clock()
        rest = content[self._size :]
        if rest:
            self.cut = len(rest), sha256(rest).digest()
            disks.cut(self._disk, self._segment, self._size)
        self._write_again(content[: self._size])
        self._name_head()
        return self._last.entries > 0

    def _write_again(self, content: bytes) -> None:
        """Make sure of the lines behind the last checkpoint that a head names. The earlier process may have failed to
        flush them and died then: we read them from the system's memory, and the disk never gets them by itself.
        """
        signed = content.find(b'"number":%d,' % self._named.entries) if self._named.entries else 0
        start = content.find(b"\n", signed) + 1 if signed > 0 else 0
        with self._disk.open(self._segment, make=True) as file:
            file.write_at(start, content[start:])
            file.flush()
        self._disk.flush_folder(self._folder)

    def _follow(self, content: bytes, signed: int) -> dict[int, Head]:
        """Go on behind the newest segment as far as it is whole; the checkpoints in it from entry `signed` on. What is
        before that entry is fixed by its digest, so that to find its digest is enough.
        """
        found = {}
        for line in _whole_lines(content):
            if self._last.entries + 1 < signed:
                if b'"previous":"%s"' % self._last.digest.hex().encode() not in line:
                    break
                self._last = Head(self._last.entries + 1, entries.digest_of(line))
                self._size += len(line) + 1
                continue
            entry = _entry(line)
            if entry is None or (entry.number, entry.previous) != (self._last.entries + 1, self._last.digest):
                break
            self._last = entry.head
            self._size += entry.size + 1
            self._unsigned += 1
            if entry.kind == checkpoints.KIND:
                found[entry.number] = entry.head
                self._signed, self._unsigned = entry.head, 0
        return found

    def _check_head(self, head: Head | None, found: Mapping[int, Head]) -> None:
        """Whether the log goes as far as its head says, so that nothing that was signed is taken for torn."""
        begins = first_of(self._segment.name)
        if head is None:
            if begins > 1 or len(found) > 1:  # check: audit-head-gone
                raise self._damaged(f"has no file {HEAD}, which says how far it goes")
            return
        if head.entries >= begins and found.get(head.entries) != head:  # check: audit-head-at-start
            raise self._damaged(f"is damaged before entry {head.entries}, which was signed")
        self._named = head
        if not found:
            self._signed = head

    def _damaged(self, what: str) -> AuditError:
        return AuditError(f"the audit log in {self._folder} {what}").mended_by(
            f"secagg audit verify {shlex.quote(str(self._folder))}"
        )

    def _read_head(self) -> Head | None:
        if self._disk.facts(self._folder / HEAD) is None:
            return None
        try:
            return Head.parse(self._disk.read(self._folder / HEAD).decode("ascii").removesuffix("\n"))
        except (ConfigError, ValueError):
            raise AuditError(f"the file {HEAD} in {self._folder} holds no head of an audit log") from None

    def _segments(self) -> list[str]:
        return [name for name in self._disk.names(self._folder) if is_segment(name)]

    def _end_of(self, name: str) -> Head:
        """The head after a segment that is full."""
        *lines, _ = self._disk.read(self._folder / name).split(b"\n")
        entry = _entry(lines[-1]) if lines else None
        if entry is None:
            raise self._damaged(f"is damaged: the last line of {name} is no entry")
        return entry.head

    def _start_of(self, name: str) -> Head:
        """The head before a segment whose forerunners were moved away."""
        entry = _entry(self._disk.read(self._folder / name).split(b"\n")[0])
        if entry is None:
            raise self._damaged(f"is damaged: the first line of {name} is no entry")
        return Head(entry.number - 1, entry.previous)


class _Batch:
    """Lines that are written together, and what is last and what is signed once they are."""

    def __init__(self, last: Head, signed: Head, unsigned: int) -> None:
        self.lines: list[bytes] = []
        self.size = 0
        self.last = last
        self.signed = signed
        self.unsigned = unsigned

    def add(self, draft: Draft) -> None:
        self._add(*entries.write(draft.kind, _ms(draft.at_s), draft.facts, self.last))
        self.unsigned += 1

    def add_checkpoint(self, at_ms: int, identity: CoordinatorIdentity) -> None:
        self._add(*checkpoints.write(at_ms, self.last, identity))
        self.signed, self.unsigned = self.last, 0

    def _add(self, line: bytes, head: Head) -> None:
        self.lines.append(line)
        self.size += len(line) + 1
        self.last = head


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """What the disk refuses, by its name."""
    try:
        yield
    except OSError as error:
        raise AuditError(f"the audit log in {folder} is out of reach: {error.strerror or error}") from error


def _ms(seconds: float) -> int:
    return min(max(0, int(seconds * 1000)), entries.MAX_AT_MS)


def _whole_lines(content: bytes) -> Iterator[bytes]:
    start = 0
    while (end := content.find(b"\n", start)) >= 0:
        yield content[start:end]
        start = end + 1


def _entry(line: bytes) -> Entry | None:
    try:
        return entries.read(line)
    except AuditError:
        return None
