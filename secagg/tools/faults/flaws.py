"""The table of flaws that `mutants` plants: what loses data, or shows two different things, when a machine dies.

Each names the module, a piece of its source that stands there once, and what takes its place. `seed` is that of a
history that found it; it is tried first, and others follow if the histories have changed since.
"""

from dataclasses import dataclass, replace
from typing import Final

from secagg.tools.faults.aims import Aim
from secagg.tools.faults.history import Fault


@dataclass(frozen=True, slots=True)
class Flaw:
    """One flaw.

    Attributes:
        name: for the command line.
        what: is wrong with the coordinator, for people.
        module: that has it, by its dotted name.
        old: a piece of the module that stands there once.
        new: what takes its place.
        aim: what histories must have so that it can show itself.
        seed: of a history that found it.
    """

    name: str
    what: str
    module: str
    old: str
    new: str
    aim: Aim
    seed: int = 0


_SQLITE: Final = "secagg_server.storage.sqlite"
_ROUNDS: Final = "secagg_server.rounds"
_DISK: Final = "secagg.programs.disk"

CUTS: Final = Aim(faults=(Fault.POWER_CUT,))
ENDS: Final = Aim(faults=(Fault.COORDINATOR_KILLED, Fault.POWER_CUT))
REFUSALS: Final = Aim(faults=(Fault.DISK_FULL, Fault.DISK_ERROR))
LONG_ENDS: Final = replace(ENDS, kind="active", values=1000, since=165, within=200)
EXCLUDING_ENDS: Final = replace(ENDS, kind="active", excludes=True)
SEVERAL_ENDS: Final = replace(ENDS, kind="semi-honest", rounds=3, since=250, within=300)
GROUPS_ENDS: Final = replace(ENDS, kind="groups", within=600)
NOISY_ENDS: Final = replace(ENDS, kind="noisy")
NOISY_CUTS: Final = replace(CUTS, kind="noisy", since=150, within=200)
KILLED: Final = Aim(faults=(Fault.COORDINATOR_KILLED,))
CHANGED_CHUNKS: Final = replace(KILLED, kind="semi-honest", values=1000, since=165, within=90, rots_in=".chunks")
CHANGED_LOG: Final = replace(KILLED, rots_in=".sqlite-wal")

FLAWS: Final = (
    # The database.
    Flaw(
        "database-not-flushed",
        "commits are not flushed at all",
        f"{_SQLITE}.database",
        '"synchronous = FULL"',
        '"synchronous = OFF"',
        CUTS,
        seed=1,
    ),
    Flaw(
        "log-not-flushed",
        "commits wait in the log of writes for a checkpoint",
        f"{_SQLITE}.database",
        '"synchronous = FULL"',
        '"synchronous = NORMAL"',
        CUTS,
        seed=1,
    ),
    Flaw(
        "journal-mode-without-extra",
        "a rollback journal, whose removal is not flushed",
        f"{_SQLITE}.database",
        '"journal_mode = WAL"',
        '"journal_mode = DELETE"',
        CUTS,
        seed=34,
    ),
    # The spool and the sum.
    Flaw(
        "spool-not-flushed",
        "chunks that the database counts are not flushed",
        f"{_SQLITE}.spool",
        "            self._file.flush()\n            if not",
        "            if not",
        CUTS,
        seed=1,
    ),
    Flaw(
        "spool-folder-not-flushed",
        "the name of the file of chunks is not flushed",
        f"{_SQLITE}.spool",
        "                self._disk.flush_folder(self._path.parent)\n",
        "                pass\n",
        CUTS,
        seed=5,
    ),
    Flaw(
        "spool-after-the-commit",
        "the database counts chunks before they are flushed",
        f"{_SQLITE}.journal",
        "        self.spool.flush()\n        if not self._pending",
        "        if not self._pending",
        CUTS,
        seed=1,
    ),
    Flaw(
        "torn-tail-taken",
        "chunks that a crash left behind those that were flushed are taken for whole",
        f"{_SQLITE}.spool",
        "in heads(file, path, flushed):",
        "in heads(file, path, file.size()):",
        LONG_ENDS,
        seed=4,
    ),
    Flaw(
        "sum-not-flushed",
        "the file of a finished sum is not flushed before the round is over",
        f"{_SQLITE}.sums",
        "        file.flush()\n",
        "",
        CUTS,
        seed=6,
    ),
    Flaw(
        "sum-folder-not-flushed",
        "the name of the file of a finished sum is not flushed",
        f"{_SQLITE}.sums",
        "    disk.flush_folder(path.parent)\n",
        "",
        CUTS,
        seed=49,
    ),
    # Keys and seals.
    Flaw(
        "key-not-flushed",
        "the key of a round is not flushed before what it seals",
        f"{_SQLITE}.seals",
        "            file.write_at(0, key.expose())\n            file.flush()\n",
        "            file.write_at(0, key.expose())\n",
        CUTS,
        seed=2,
    ),
    Flaw(
        "key-folder-not-flushed",
        "the name of the key of a round is not flushed",
        f"{_SQLITE}.seals",
        "        self._disk.flush_folder(self._folder)\n        return RoundSeal",
        "        return RoundSeal",
        CUTS,
        seed=5,
    ),
    Flaw(
        "key-destroyed-early",
        "the key of a round is destroyed before its end is written down",
        f"{_SQLITE}.journal",
        "        end = encode_end(ended)\n",
        "        end = encode_end(ended)\n        place.keys.destroy(self._round_id)\n",
        ENDS,
        seed=2,
    ),
    Flaw(
        "spool-destroyed-early",
        "the vectors of a round are removed before its end is written down",
        f"{_SQLITE}.journal",
        "        end = encode_end(ended)\n",
        "        end = encode_end(ended)\n        self._drop_spool()\n",
        ENDS,
        seed=2,
    ),
    # What is safe before somebody hears of it.
    Flaw(
        "told-before-it-is-safe",
        "what a step took is not flushed before somebody hears of the step",
        f"{_ROUNDS}.journalled",
        "        if self._due:\n            self.flush()\n",
        "        self._due, self._safe = False, True\n",
        CUTS,
        seed=5,
    ),
    Flaw(
        "exclusion-not-kept",
        "whom the FL server excluded is not in the journal",
        f"{_ROUNDS}.journalled",
        "            self._append(Excluded(now, participants), events)\n",
        "            pass\n",
        EXCLUDING_ENDS,
        seed=15,
    ),
    Flaw(
        "abort-not-kept",
        "that the FL server ended a round is told before the end is written down",
        f"{_ROUNDS}.hosted",
        "kept = self._journalled.finish(Ended(now, outcome, self.receipt, tuple(happened), last, opened)).outcome",
        "kept = outcome",
        ENDS,
        seed=0,
    ),
    Flaw(
        "not-broken-off",
        "a round that failed because the disk did may go on after a restart",
        f"{_ROUNDS}.hosted",
        "        self._journalled.break_off()\n",
        "        pass\n",
        REFUSALS,
        seed=1,
    ),
    # Going on after a restart.
    Flaw(
        "time-anew-not-kept",
        "that the open phase was given its time anew is not in the journal",
        f"{_ROUNDS}.journalled",
        "        self._append(Resumed(now), events)\n",
        "",
        ENDS,
        seed=5,
    ),
    Flaw(
        "replayed-at-another-time",
        "steps are made again with the time of the restart",
        f"{_ROUNDS}.journalled",
        "                return engine.tick(at)\n",
        "                return engine.tick(at + 1000.0)\n",
        ENDS,
        seed=1,
    ),
    Flaw(
        "events-not-kept",
        "what happened in a round is forgotten when it ends",
        f"{_ROUNDS}.hosted",
        "Ended(now, outcome, self.receipt, tuple(happened), last, opened)",
        "Ended(now, outcome, self.receipt, (), last, opened)",
        ENDS,
        seed=0,
    ),
    Flaw(
        "answers-not-kept",
        "what participants may still ask is forgotten when a round ends",
        f"{_ROUNDS}.hosted",
        "Ended(now, outcome, self.receipt, tuple(happened), last, opened)",
        "Ended(now, outcome, self.receipt, tuple(happened), None, opened)",
        ENDS,
        seed=4,
    ),
    Flaw(
        "receipt-not-kept",
        "a receipt is not kept, and is missing after a restart",
        f"{_ROUNDS}.hosted",
        "Ended(now, outcome, self.receipt, tuple(happened), last, opened)",
        "Ended(now, outcome, None, tuple(happened), last, opened)",
        ENDS,
        seed=36,
    ),
    Flaw(
        "group-not-kept",
        "who is in which group is not kept",
        f"{_ROUNDS}.grouped",
        "            self._unsafe.append(Assigned(self._clock(), participant, number))\n",
        "",
        GROUPS_ENDS,
        seed=4,
    ),
    Flaw(
        "noise-seed-not-kept",
        "the seed of the coordinator's noise is not kept",
        f"{_SQLITE}.store",
        "    seed = None if record.noise_seed is None else ",
        "    seed = None if True else ",
        NOISY_ENDS,
        seed=1,
    ),
    Flaw(
        "sums-that-are-out-not-kept",
        "which sums are out is forgotten at a restart",
        f"{_SQLITE}.store",
        "        self._releases.load(self._database)\n",
        "",
        SEVERAL_ENDS,
        seed=0,
    ),
    # Bit rot.
    Flaw(
        "chunk-checksum-not-checked",
        "a chunk that the disk changed is taken",
        f"{_SQLITE}.framed",
        "if head.checksum != ",
        "if False and head.checksum != ",
        CHANGED_CHUNKS,
        seed=36,
    ),
    Flaw(
        "database-may-go-back",
        "a database that went back by some commits is taken for the last one",
        f"{_SQLITE}.counting",
        "        if known > self._number:",
        "        if False:",
        CHANGED_LOG,
        seed=20,
    ),
    # Budgets.
    Flaw(
        "ledger-entry-not-flushed",
        "an entry of a ledger is not flushed",
        _DISK,
        "        file.write_at(file.size(), data)\n        file.flush()\n",
        "        file.write_at(file.size(), data)\n",
        NOISY_CUTS,
        seed=0,
    ),
    Flaw(
        "ledger-folder-not-flushed",
        "the names of a ledger's files are not flushed",
        _DISK,
        "    disk.rename(new, path)\n    disk.flush_folder(path.parent)\n",
        "    disk.rename(new, path)\n",
        NOISY_CUTS,
        seed=0,
    ),
)
