"""What each way to sum protects against, as claims that games and checks bear out, the gaps among them.

Evidence counts for the mode that it was played against, and for no other: where a run attacked nothing of a cell, the
cell says so.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.tools.redteam.results import RedTeamFindings


class Holds(Enum):
    """What is claimed of a threat in a way to sum. The value is what the report says."""

    YES = "holds"
    NO = "does not hold"
    IF = "holds only if"


@dataclass(frozen=True, slots=True)
class Column:
    """Modes that are spoken of together. Attributes: title: for people. modes: by name."""

    title: str
    modes: tuple[str, ...]


COLUMNS: Final = (
    Column("masked, semi-honest", ("masked-semi-honest",)),
    Column("masked, active", ("masked-active",)),
    Column("CKKS, BFV: key with participants", ("ckks", "bfv")),
    Column("CKKS, BFV: key shared", ("ckks-threshold", "bfv-threshold")),
)

SUM_ALONE: Final = "curve"
"""Evidence from released sums, made outside a round: they are the same whatever made them."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One piece of evidence. Attributes: name: of a game, check or attack. as_claimed: whether it went as said."""

    name: str
    as_claimed: bool


@dataclass(frozen=True, slots=True)
class Cell:
    """One threat under one column.

    Attributes:
        holds: what is claimed.
        column: the modes.
        evidence: games, checks and attacks that show it, by name; NAME stands for NAME-MODE too.
        condition: of `IF`.
    """

    holds: Holds
    column: Column
    evidence: tuple[str, ...]
    condition: str = ""

    def found(self, findings: RedTeamFindings) -> tuple[Shown, ...]:
        """What this run has of the evidence, played against a mode of this column."""
        wanted = {name for base in self.evidence for name in (base, *(f"{base}-{mode}" for mode in self.column.modes))}
        played = [(p.game.name, p.game.mode, p.as_claimed) for p in findings.games]
        played += [(check.name, check.mode, not check.said) for check in findings.checks]
        shown = [Shown(name, good) for name, mode, good in played if name in wanted and mode in self.column.modes]
        tried: dict[str, bool] = {}
        for a in findings.attempts:
            if a.name in wanted and a.mode in self.column.modes:
                tried[a.name] = tried.get(a.name, True) and a.as_claimed
        shown += [Shown(f"attack {name}", good) for name, good in tried.items()]
        if SUM_ALONE in self.evidence and findings.curve:
            shown.append(Shown("sums of growing cohorts, outside a round", findings.curve[0].beyond_chance))
        return tuple(shown)

    def shown(self, findings: RedTeamFindings) -> bool | None:
        """Whether the evidence says so; None if this run attacked nothing of it."""
        found = self.found(findings)
        return all(one.as_claimed for one in found) if found else None

    def verdict(self, findings: RedTeamFindings) -> str:
        """For people: the claim, that it was not borne out, or that nothing was attacked."""
        shown = self.shown(findings)
        if shown is None:
            return "not attacked"
        return self.holds.value if shown else "NOT SHOWN"


@dataclass(frozen=True, slots=True)
class Claim:
    """One threat under every mode, in the order of `COLUMNS`."""

    threat: str
    cells: tuple[Cell, ...]


_Part = tuple[Holds, tuple[str, ...], str]


def _yes(*evidence: str) -> _Part:
    return Holds.YES, evidence, ""


def _no(*evidence: str) -> _Part:
    return Holds.NO, evidence, ""


def _if(condition: str, *evidence: str) -> _Part:
    return Holds.IF, evidence, condition


def _everywhere(part: _Part) -> tuple[_Part, ...]:
    return (part,) * len(COLUMNS)


def _claim(threat: str, parts: tuple[_Part, ...]) -> Claim:
    pairs = zip(parts, COLUMNS, strict=True)
    return Claim(threat, tuple(Cell(holds, column, proof, condition) for (holds, proof, condition), column in pairs))


def _taints(*modes: str) -> tuple[str, ...]:
    return tuple(f"taint-{kind}{mode}" for mode in modes for kind in ("", "compressed-", "noisy-"))


CLAIMS: Final = (
    _claim("A coordinator that follows the rules and reads everything", (
        _yes("masks", "mask-chunks", "seeds", "two-rounds", "first-layer"),
        _yes("masks-active", "two-rounds-active", "first-layer", "low-rank", "membership", "text"),
        _yes("ckks-curious", "bfv-curious", "ciphertexts-ckks", "ciphertexts-bfv"),
        _yes("ckks-threshold-curious", "bfv-threshold-curious", "ciphertexts-bfv-threshold", "smudging-ckks-threshold",
             "smudging-bfv-threshold"),
    )),
    _claim("The same, helped by colluding participants", (
        _if("at most t − 2 collude", "threshold-of-colluders", "masks"),
        _if("at most n_C, and at most t − 2, collude", "vote-twice", "two-majorities", "all-but-one-collude"),
        _no("ckks-colluder", "bfv-colluder"),
        _if("fewer than t collude", "ckks-threshold-colluder", "bfv-threshold-colluder"),
    )),
    _claim("A coordinator that lies: keys, survivor sets, replays", (
        _no("key-substitution-unsigned"),
        _yes("key-substitution", "two-survivor-sets", "both-shares", "replay-keys", "replay-proof", "ring-fence",
             "two-results", "framing"),
        _no("ckks-one-for-the-sum", "bfv-one-for-the-sum"), _no("ckks-threshold-one-for-the-sum"),
    )),
    _claim("Everyone but the victim is a Sybil with a genuine certificate", (
        _no("sybils"), _if("policies demand several organisations", "sybils", "sybils-one-organisation"),
        _no("sybils"), _no("sybils"),
    )),
    _claim("Different models for different participants", _everywhere(_yes("different-models"))),
    _claim("One malicious model for everybody (imprint, trap weights)", _everywhere(_no(
        "malicious-model", "imprint", "trap-weights"
    ))),
    _claim("Inversion of a small released sum", _everywhere(_no("curve"))),
    _claim("Differencing of sums of the same model", _everywhere(_yes(
        "differencing", "differencing-after-restart", "hidden-receipt", "two-at-once", "fresh-processes",
        "same-cohort",
    ))),
    _claim("Differencing of sums of nearly the same model; averaging over many", _everywhere(_if(
        "updates carry distributed noise", "differencing-nudged-model", "varying-cohorts", "averaging",
        "released-noise", "fresh-noise", "unmix",
    ))),
    _claim("A second decryption, a second unmasking", (
        _yes("both-shares", "restored-twice"), _yes("both-shares", "restored-twice"),
        _yes("ckks-second-decryption", "bfv-second-decryption"),
        _yes("ckks-threshold-second-decryption", "bfv-threshold-second-decryption"),
    )),
    _claim("Sizes, counts and order of messages", (
        _yes(*_taints("masked-semi-honest")), _yes(*_taints("masked-active")), _yes(*_taints("ckks", "bfv")),
        _yes(*_taints("ckks-threshold", "bfv-threshold")),
    )),
    _claim("Secrets or values in messages, logs and on disk", (
        _yes("secrets-masked-semi-honest"),
        _yes("secrets-masked-active", "values-in-sight", "shell-in-sight"),
        _yes("secrets-ckks", "secrets-bfv"), _yes("secrets-ckks-threshold", "secrets-bfv-threshold"),
    )),
)  # fmt: skip
"""What is not claimed at all: who takes part, when, and how large the model is; that nobody poisons the sum."""
