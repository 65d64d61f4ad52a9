"""Whether an audit log is whole: every entry follows from the one before it, and checkpoints are the coordinator's.

What was changed, taken out, put in or put elsewhere before the last checkpoint breaks the chain, or changes what a
checkpoint signs. A log that was cut off at an older checkpoint, together with its head, is whole in itself: only a head
that was seen earlier and kept elsewhere shows that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.audit import checkpoints, entries
from secagg.audit.entries import BEGINNING, Entry
from secagg.crypto.identity import TrustAnchors, VerifiedCoordinator
from secagg.errors import AuditError
from secagg.privacy.ledger import Head
from secagg.programs.audit import reading
from secagg.programs.audit.reading import Line

MOST_TOLD: Final = 20
"""Damages that are told one by one; of more, their number."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is wrong.

    Attributes:
        number: of the entry that it is about; None if it is about none.
        where: the file and the line; empty if it is about no line.
        what: a sentence.
    """

    number: int | None
    where: str
    what: str

    @property
    def text(self) -> str:
        """The sentence, with the place."""
        return f"{self.what} ({self.where})" if self.where else self.what


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of verifying a log.

    Attributes:
        first: number of its first entry; 0 if there is none.
        last: number and digest of its last entry.
        signed: number and digest of its last checkpoint that holds; None if there is none.
        signed_ms: when that was signed: milliseconds since 1970; 0 if there is none.
        checkpoints: how many hold.
        unsigned: entries behind that checkpoint.
        torn: bytes of a line behind the last whole one: a crash leaves such, or a coordinator that is writing.
        hosts: names of the coordinator in the certificates of the checkpoints, sorted.
        damages: what is wrong, the first `MOST_TOLD`.
        untold: how many more are.
    """

    first: int
    last: Head
    signed: Head | None
    signed_ms: int
    checkpoints: int
    unsigned: int
    torn: int
    hosts: tuple[str, ...]
    damages: tuple[Damage, ...]
    untold: int

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damages


def verify_files(
    where: Path,
    trust: TrustAnchors,
    *,
    after: Head = BEGINNING,
    seen: Sequence[Head] = (),
    coordinator: str | None = None,
) -> Verdict:
    """Verify a folder's log, or an exported one. The head is read first: a coordinator that runs may write meanwhile.

    Args:
        where: the folder, or the file.
        trust: the deployment's CA, and those that it had before.
        after: the last entry that is not there, of a log whose older segments were moved away.
        seen: heads that were seen before; the log must still have these entries.
        coordinator: a host name of the coordinator that must have signed; whoever signed first if None.

    Raises:
        ConfigError: there is no log.
        OSError: cannot be read.
    """
    exported = where.is_file()
    try:
        head, unreadable = reading.head_of(where), None
    except AuditError as error:
        head, unreadable = None, str(error)
    walk = Walk(trust, after, coordinator)
    for each in (*seen, *([head] if head else [])):
        walk.expect(each)
    for line in reading.lines(where):
        walk.take(line)
    if exported:
        walk.check_ends_signed()
    elif head is None:
        walk.find(None, "", unreadable or f"the file {reading.HEAD} is missing, which says how far the log goes")
    else:
        walk.check_head(head)
    return walk.verdict()


class Walk:
    """Goes through a log from its first line to its last. A line that is wrong does not end it: what follows is held
    against that line as it stands.
    """

    def __init__(self, trust: TrustAnchors, after: Head = BEGINNING, coordinator: str | None = None) -> None:
        self._trust = trust
        self._coordinator = coordinator
        self._last = after
        self._known = True  # whether the digest of the entry before is known
        self._first = 0
        self._file: int | None = None
        self._torn: Line | None = None
        self._signer: VerifiedCoordinator | None = None
        self._hosts: set[str] = set()
        self._signed: Entry | None = None
        self._checkpoints = 0
        self._since = 0  # entries behind the last checkpoint, whether that holds or not
        self._wanted: dict[int, set[bytes]] = {}
        self._signing: set[int] = set()
        self._damages: list[Damage] = []
        self._untold = 0

    def expect(self, head: Head) -> None:
        """The log must have this entry. To be said before the first line."""
        self._wanted.setdefault(head.entries, set()).add(head.digest)

    def take(self, line: Line) -> None:
        """The next line."""
        if self._torn is not None:
            self._find_torn(self._torn)
            self._torn = None
        if not line.whole:
            self._torn = line  # wrong unless it is the last
            return
        number = self._last.entries + 1
        try:
            entry = entries.read(line.text)
        except AuditError as error:
            self.find(number, line.where, f"entry {number} {error}")
            self._last, self._known = Head(number, bytes(32)), False
            self._since += 1
            return
        self._check_place(entry, number, line)
        self._last, self._known = entry.head, True
        self._first = self._first or entry.number
        for digest in self._wanted.pop(entry.number, ()):
            if digest != entry.head.digest:  # check: audit-another-head
                self.find(entry.number, line.where, f"entry {entry.number} is not the one that was seen before")
        if entry.kind == checkpoints.KIND:
            self._check_checkpoint(entry, line)
        else:
            self._count_unsigned(entry, line)

    def _check_place(self, entry: Entry, number: int, line: Line) -> None:
        """Whether the entry stands where it belongs."""
        if entry.number > number:  # check: audit-missing
            missing = (
                f"entry {number} is" if entry.number == number + 1 else f"entries {number} to {entry.number - 1} are"
            )
            self.find(number, line.where, f"{missing} missing before entry {entry.number}")
        if entry.number < number:  # check: audit-order
            self.find(entry.number, line.where, f"entry {entry.number} stands where entry {number} belongs")
        follows = entry.number == number and self._known
        if follows and entry.previous != self._last.digest:  # check: audit-chain
            before = f"entry {number - 1} was changed, or " if number > 1 else ""
            self.find(
                number,
                line.where,
                f"{before}entry {number} does not belong there: it holds another digest than that of "
                "the entry before it",
            )
        if line.first is not None and line.first != self._file:
            self._file = line.first
            if entry.number != line.first:  # check: audit-segment-name
                self.find(entry.number, line.where, f"entry {entry.number} begins a file that is named after another")

    def _check_checkpoint(self, entry: Entry, line: Line) -> None:
        self._since = 0
        self._signing.add(entry.number)
        try:
            signer = checkpoints.verify(entry, self._trust)
        except AuditError as error:
            self.find(entry.number, line.where, f"entry {entry.number} {error}")
            return
        if self._coordinator is not None and self._coordinator not in signer.hosts:  # check: audit-named-coordinator
            names = ", ".join(sorted(signer.hosts))
            self.find(
                entry.number, line.where, f"entry {entry.number} is signed by {names}, not by {self._coordinator}"
            )
            return
        if self._signer is not None and not signer.is_same_as(self._signer):  # check: audit-same-coordinator
            names = ", ".join(sorted(signer.hosts))
            self.find(
                entry.number,
                line.where,
                f"entry {entry.number} is signed by another coordinator than the checkpoint before it: {names}",
            )
            return
        self._signer, self._signed = signer, entry
        self._hosts |= signer.hosts
        self._checkpoints += 1

    def _count_unsigned(self, entry: Entry, line: Line) -> None:
        self._since += 1
        if self._since == checkpoints.EVERY_ENTRIES + 1:  # check: audit-unsigned-for-long
            self.find(
                entry.number,
                line.where,
                f"entry {entry.number} is the {self._since}th without a checkpoint: a "
                f"coordinator signs after {checkpoints.EVERY_ENTRIES} at the latest, so a checkpoint was taken out, or "
                "somebody without its key wrote on",
            )

    def check_head(self, head: Head) -> None:
        """Whether the entry that the head of a folder names is a checkpoint. To be said behind the last line."""
        if head.entries not in self._signing and head.entries <= self._last.entries:  # check: audit-head-signed
            self.find(
                head.entries, "", f"entry {head.entries} is named by the file {reading.HEAD} and is no checkpoint"
            )

    def check_ends_signed(self) -> None:
        """Whether an exported log ends with a checkpoint. To be said behind the last line."""
        if self._last.entries not in self._signing or self._torn is not None:  # check: audit-export-ends-signed
            self.find(None, "", "the end is missing: an exported log ends with a checkpoint")

    def find(self, number: int | None, where: str, what: str) -> None:
        """Note that something is wrong."""
        if len(self._damages) < MOST_TOLD:
            self._damages.append(Damage(number, where, what))
        else:
            self._untold += 1

    def _find_torn(self, line: Line) -> None:
        number = self._last.entries + 1
        self.find(number, line.where, f"entry {number} was cut off, or bytes were put in before it")
        self._last, self._known = Head(number, bytes(32)), False

    def verdict(self) -> Verdict:
        """What came of it. To be asked once, behind the last line."""
        for number in sorted(self._wanted):
            if number > self._last.entries:  # check: audit-cut-off
                lost = f"entries {self._last.entries + 1} to {number} are missing"
                self.find(number, "", f"{lost}: the log was cut off, for entry {number} was there before")
            else:
                self.find(number, "", f"entry {number} was there before and is missing")
        if self._signed is None:  # check: audit-signed-at-all
            self.find(None, "", "no checkpoint of the log holds, so nothing of it is signed")
        signed = self._signed
        return Verdict(
            self._first,
            self._last,
            None if signed is None else signed.head,
            0 if signed is None else signed.at_ms,
            self._checkpoints,
            self._last.entries - (0 if signed is None else signed.number),
            0 if self._torn is None else len(self._torn.text),
            tuple(sorted(self._hosts)),
            tuple(self._damages),
            self._untold,
        )
