"""What each way to sum protects against, as claims that games and checks bear out, the gaps among them."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.redteam.results import Findings


class Holds(Enum):
    """The value is for people."""

    YES = "holds"
    NO = "does not hold"
    IF = "holds only if"


@dataclass(frozen=True, slots=True)
class Cell:
    """One threat under one mode.

    Attributes:
        evidence: games, checks and attacks that show it, by name.
        condition: of `IF`.
    """

    holds: Holds
    evidence: tuple[str, ...]
    condition: str = ""

    def shown(self, findings: Findings) -> bool | None:
        """Whether the evidence says so; None if none of it was run."""
        games = {played.game.name: played.as_claimed for played in findings.games}
        checks = {check.name: not check.said for check in findings.checks}
        shown = games | checks
        for attempt in findings.attempts:
            shown[attempt.name] = shown.get(attempt.name, True) and attempt.as_claimed
        known = [shown[name] for name in self.evidence if name in shown]
        if "curve" in self.evidence and findings.curve:
            known.append(findings.curve[0].identified > 3 * findings.curve[0].chance)
        return all(known) if known else None


@dataclass(frozen=True, slots=True)
class Claim:
    """One threat under every mode, in the order of `COLUMNS`."""

    threat: str
    cells: tuple[Cell, Cell, Cell, Cell]


COLUMNS: Final = ("masked, semi-honest", "masked, active", "CKKS, BFV: key with participants", "CKKS, BFV: key shared")


def _yes(*evidence: str) -> Cell:
    return Cell(Holds.YES, evidence)


def _no(*evidence: str) -> Cell:
    return Cell(Holds.NO, evidence)


def _if(condition: str, *evidence: str) -> Cell:
    return Cell(Holds.IF, evidence, condition)


def _everywhere(cell: Cell) -> tuple[Cell, Cell, Cell, Cell]:
    return cell, cell, cell, cell


def _taints(*modes: str) -> tuple[str, ...]:
    return tuple(f"taint-{kind}{mode}" for mode in modes for kind in ("", "compressed-", "noisy-"))


CLAIMS: Final = (
    Claim("A coordinator that follows the rules and reads everything", (
        _yes("masks", "mask-chunks", "seeds", "two-rounds"), _yes("masks", "mask-chunks", "seeds", "two-rounds"),
        _yes("ckks-curious", "bfv-curious", "ciphertexts-ckks", "ciphertexts-bfv"),
        _yes("ckks-threshold-curious", "bfv-threshold-curious", "ciphertexts-bfv-threshold", "smudging-ckks-threshold",
             "smudging-bfv-threshold"),
    )),
    Claim("The same, helped by colluding participants", (
        _if("at most t − 2 collude", "threshold-of-colluders", "all-but-one-collude", "masks"),
        _if("at most n_C collude", "vote-twice", "two-majorities"),
        _no("ckks-colluder", "bfv-colluder"),
        _if("fewer than t collude", "ckks-threshold-colluder", "bfv-threshold-colluder"),
    )),
    Claim("A coordinator that lies: keys, survivor sets, replays", (
        _no("key-substitution-unsigned"),
        _yes("key-substitution", "two-survivor-sets", "both-shares", "replay-keys", "replay-proof", "ring-fence"),
        _no("ckks-one-for-the-sum", "bfv-one-for-the-sum"), _no("ckks-threshold-one-for-the-sum"),
    )),
    Claim("Everyone but the victim is a Sybil with a genuine certificate", (
        _no("sybils"), _if("policies demand several organisations", "sybils", "sybils-one-organisation"),
        _no("sybils"), _no("sybils"),
    )),
    Claim("Different models for different participants", _everywhere(_yes("different-models"))),
    Claim("One malicious model for everybody (imprint, trap weights)", _everywhere(_no(
        "malicious-model", "imprint", "trap-weights"
    ))),
    Claim("Inversion of a small released sum", _everywhere(_no("curve"))),
    Claim("Differencing of sums of the same model", _everywhere(_yes(
        "differencing", "differencing-after-restart", "hidden-receipt", "two-at-once", "fresh-processes", "same-cohort"
    ))),
    Claim("Differencing of sums of nearly the same model; averaging over many", _everywhere(_if(
        "updates carry distributed noise", "differencing-nudged-model", "varying-cohorts", "averaging",
        "released-noise", "fresh-noise",
    ))),
    Claim("A second decryption, a second unmasking", (
        _yes("both-shares"), _yes("both-shares"), _yes("ckks-second-decryption", "bfv-second-decryption"),
        _yes("ckks-threshold-second-decryption", "bfv-threshold-second-decryption"),
    )),
    Claim("Sizes, counts and order of messages", (
        _yes(*_taints("masked-semi-honest")), _yes(*_taints("masked-active")), _yes(*_taints("ckks", "bfv")),
        _yes(*_taints("ckks-threshold", "bfv-threshold")),
    )),
    Claim("Secrets or values in messages, logs and on disk", (
        _yes("secrets-masked-semi-honest", "values-in-sight", "shell-in-sight"),
        _yes("secrets-masked-active", "values-in-sight", "shell-in-sight"),
        _yes("secrets-ckks", "secrets-bfv"), _yes("secrets-ckks-threshold", "secrets-bfv-threshold"),
    )),
)  # fmt: skip
"""What is not claimed at all: who takes part, when, and how large the model is; that nobody poisons the sum."""
