"""The table of flaws that `mutants` plants: what loses data, or shows two different things, when a machine dies.

Each names the module, a piece of its source that stands there once, and what takes its place. `seed` is that of a
history that found it; it is tried first, and others follow if the histories have changed since.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Need(Enum):
    """What a history must have so that a flaw can show itself in it."""

    CRASH = auto()
    """The coordinator is killed in one of its operations on the disk, or its power is cut."""
    CUT = auto()
    """Its power is cut."""
    REFUSED = auto()
    """Its disk is full, or refuses a write or a flush."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """One flaw.

    Attributes:
        name: for the command line.
        what: is wrong with the coordinator, for people.
        module: that has it, by its dotted name.
        old: a piece of the module that stands there once.
        new: what takes its place.
        needs: what a history must have.
        seed: of a history that found it.
    """

    name: str
    what: str
    module: str
    old: str
    new: str
    needs: tuple[Need, ...] = (Need.CUT,)
    seed: int = 0


_SQLITE: Final = "secagg_server.storage.sqlite"
_ROUNDS: Final = "secagg_server.rounds"

FLAWS: Final = (
    # The database.
    Flaw(
        "database-not-flushed",
        "commits are not flushed at all",
        f"{_SQLITE}.database",
        '"synchronous = FULL"',
        '"synchronous = OFF"',
        seed=22,
    ),
    Flaw(
        "log-not-flushed",
        "commits wait in the log of writes for a checkpoint",
        f"{_SQLITE}.database",
        '"synchronous = FULL"',
        '"synchronous = NORMAL"',
        seed=22,
    ),
    Flaw(
        "journal-mode-without-extra",
        "a rollback journal, whose removal is not flushed",
        f"{_SQLITE}.database",
        '"journal_mode = WAL"',
        '"journal_mode = DELETE"',
        seed=37,
    ),
    # The spool and the sum.
    Flaw(
        "spool-not-flushed",
        "chunks that the database counts are not flushed",
        f"{_SQLITE}.spool",
        "            self._file.flush()\n            if not",
        "            if not",
        seed=37,
    ),
    Flaw(
        "spool-folder-not-flushed",
        "the name of the file of chunks is not flushed",
        f"{_SQLITE}.spool",
        "                self._disk.flush_folder(self._path.parent)\n",
        "                pass\n",
        seed=163,
    ),
    Flaw(
        "spool-after-the-commit",
        "the database counts chunks before they are flushed",
        f"{_SQLITE}.journal",
        "        self.spool.flush()\n        if not self._pending",
        "        if not self._pending",
        seed=37,
    ),
    Flaw(
        "sum-not-flushed",
        "the file of a finished sum is not flushed before the round is over",
        f"{_SQLITE}.sums",
        "        file.flush()\n",
        "",
        seed=26,
    ),
    Flaw(
        "sum-folder-not-flushed",
        "the name of the file of a finished sum is not flushed",
        f"{_SQLITE}.sums",
        "    disk.flush_folder(path.parent)\n",
        "",
        seed=37,
    ),
    # Keys and seals.
    Flaw(
        "key-not-flushed",
        "the key of a round is not flushed before what it seals",
        f"{_SQLITE}.seals",
        "            file.write_at(0, key.expose())\n            file.flush()\n",
        "            file.write_at(0, key.expose())\n",
        seed=145,
    ),
    Flaw(
        "key-folder-not-flushed",
        "the name of the key of a round is not flushed",
        f"{_SQLITE}.seals",
        "        self._disk.flush_folder(self._folder)\n        return RoundSeal",
        "        return RoundSeal",
        seed=137,
    ),
    Flaw(
        "key-destroyed-early",
        "the key of a round is destroyed before its end is written down",
        f"{_SQLITE}.journal",
        "        end = encode_end(ended)\n",
        "        end = encode_end(ended)\n        place.keys.destroy(self._round_id)\n",
        needs=(Need.CRASH,),
        seed=26,
    ),
    Flaw(
        "spool-destroyed-early",
        "the vectors of a round are removed before its end is written down",
        f"{_SQLITE}.journal",
        "        end = encode_end(ended)\n",
        "        end = encode_end(ended)\n        self._drop_spool()\n",
        needs=(Need.CRASH,),
        seed=141,
    ),
    # What is safe before somebody hears of it.
    Flaw(
        "told-before-it-is-safe",
        "what a step took is not flushed before somebody hears of the step",
        f"{_ROUNDS}.journalled",
        "        if self._due:\n            self.flush()\n",
        "        self._due, self._safe = False, True\n",
        seed=22,
    ),
    Flaw(
        "exclusion-not-kept",
        "whom the FL server excluded is not in the journal",
        f"{_ROUNDS}.journalled",
        "            self._append(Excluded(now, participants), events)\n",
        "            pass\n",
        needs=(Need.CRASH,),
        seed=174,
    ),
    Flaw(
        "abort-not-kept",
        "that the FL server ended a round is told before the end is written down",
        f"{_ROUNDS}.hosted",
        "kept = self._journalled.finish(Ended(now, outcome, self.receipt, tuple(happened), last, opened)).outcome",
        "kept = outcome",
        needs=(Need.CRASH,),
        seed=2,
    ),
    Flaw(
        "not-broken-off",
        "a round that failed because the disk did may go on after a restart",
        f"{_ROUNDS}.hosted",
        "        self._journalled.break_off()\n",
        "        pass\n",
        needs=(Need.REFUSED,),
        seed=87,
    ),
    # Going on after a restart.
    Flaw(
        "time-anew-not-kept",
        "that the open phase was given its time anew is not in the journal",
        f"{_ROUNDS}.journalled",
        "        self._append(Resumed(now), events)\n",
        "",
        needs=(Need.CRASH,),
        seed=22,
    ),
    Flaw(
        "replayed-at-another-time",
        "steps are made again with the time of the restart",
        f"{_ROUNDS}.journalled",
        "                return engine.tick(at)\n",
        "                return engine.tick(at + 1000.0)\n",
        needs=(Need.CRASH,),
        seed=26,
    ),
    Flaw(
        "answers-not-kept",
        "what participants may still ask is forgotten when a round ends",
        f"{_ROUNDS}.hosted",
        "Ended(now, outcome, self.receipt, tuple(happened), last, opened)",
        "Ended(now, outcome, self.receipt, tuple(happened), None, opened)",
        needs=(Need.CRASH,),
        seed=37,
    ),
    Flaw(
        "receipt-not-kept",
        "a receipt is not kept, and is missing after a restart",
        f"{_ROUNDS}.hosted",
        "Ended(now, outcome, self.receipt, tuple(happened), last, opened)",
        "Ended(now, outcome, None, tuple(happened), last, opened)",
        needs=(Need.CRASH,),
        seed=37,
    ),
    Flaw(
        "group-not-kept",
        "who is in which group is not kept",
        f"{_ROUNDS}.grouped",
        "            self._unsafe.append(Assigned(self._clock(), participant, number))\n",
        "",
        needs=(Need.CRASH,),
        seed=145,
    ),
    Flaw(
        "noise-seed-not-kept",
        "the seed of the coordinator's noise is not kept",
        f"{_SQLITE}.store",
        "    seed = None if record.noise_seed is None else ",
        "    seed = None if True else ",
        needs=(Need.CRASH,),
        seed=195,
    ),
)
