"""Games that aim at what is released, or use what the protocol is meant to do. Masking stops none of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from secagg.context import RoundId
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.schema import ArraySpec, Schema
from secagg.errors import PolicyViolation, RoundAborted, SecAggError
from secagg.messages import MaskedInputChunk, ParticipantId, SurvivorSet
from secagg.policy import Policy
from secagg.rounds import releases
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.opening_and_closing import OpeningAndClosing
from secagg.rounds.releases import Claim, Release, ReleaseMemory, nothing_before, remembering
from secagg.tools.redteam.adversary import truth
from secagg.tools.redteam.arena import deployment, random_updates, rng_of, small_config, start
from secagg.tools.redteam.attacks.protocol.game import Check, Game, Kind, Measure, Outcome, Refusal, settle
from secagg.tools.redteam.modes import MASKED_ACTIVE
from secagg.tools.redteam.views import record
from secagg.tools.simulation.cohort import participant_names
from secagg.tools.simulation.network import Envelope, Hook, Run

Claimed = Callable[[RoundId, Release], frozenset[ParticipantId]]
"""A memory's way to check and record a sum, with its round."""

PEOPLE: Final = 8
NAMES: Final = participant_names(PEOPLE)
VICTIM: Final = NAMES[5]


def without_victim(envelope: Envelope) -> tuple[Envelope, ...]:
    """A `Hook`: the victim's input never arrives."""
    lost = envelope.participant == VICTIM and isinstance(envelope.message, MaskedInputChunk)
    return () if lost else (envelope,)


def _two_sums(*, coordinator: bool, participants: bool, nudged: bool = False) -> Outcome:
    """A round of everybody, then one without the victim: the difference of two correct sums.

    Args:
        coordinator: whether the coordinator remembers the first.
        participants: whether those who were in the first remember it.
        nudged: whether the second round is about a model that is as good as the same.
    """

    def attack() -> bool:
        config = small_config(PEOPLE)
        # The same rounding, as where a participant sends a cached update again; else it is off by a step at most.
        first = start(config, seed=4)
        one = first.play().aggregate
        before = Release(config.model_digest, frozenset(NAMES), config.threshold)
        again = replace(config, model_digest=b"\1" * 32) if nudged else config
        memory = remembering(before)
        second = start(
            again,
            seed=4,
            claim=memory if coordinator else nothing_before,
            recall=lambda _: memory if participants else nothing_before,
        )
        second.hook = without_victim
        other = second.play()
        if one is None or other.aggregate is None:
            raise _refusal(second)
        return np.array_equal(one.sums - other.aggregate.sums, truth(first, VICTIM))

    return settle(attack, got="the victim's exact update: one released sum less the other")


def _refusal(*runs: Run) -> SecAggError:
    """What these rounds ended with: the refusal of a participant, or else what the coordinator said."""
    ends = [*(e for run in runs for e in run.errors.values()), *(run.coordinator.failure for run in runs)]
    found = [error for error in ends if error is not None]
    return next((error for error in found if isinstance(error, PolicyViolation)), found[0])


def _hidden_sum(memories: Callable[[], Mapping[ParticipantId, Claimed]], *, at_once: bool = False) -> Outcome:
    """A round of everybody whose end nobody is told, and one without the victim at a coordinator with no past.

    Args:
        memories: what each participant remembers, asked for anew by each of the two rounds.
        at_once: whether the second round runs while the first one's survivors are on their way.
    """

    def arranged(number: int, hook: Hook) -> Run:
        mine = memories()

        def recall(name: ParticipantId) -> Claim:
            return lambda release: mine[name](RoundId(bytes([number]) * 16), release)

        run = start(small_config(PEOPLE), seed=4, recall=recall)
        run.hook = hook
        return run

    def attack() -> bool:
        second = arranged(2, without_victim)

        def meanwhile(envelope: Envelope) -> tuple[Envelope, ...]:
            if at_once and not second.events and isinstance(envelope.message, SurvivorSet):
                second.play()
            return (envelope,)

        first = arranged(1, meanwhile)
        one, other = first.play(), second.coordinator if at_once else second.play()
        if one.aggregate is None or other.aggregate is None:
            raise _refusal(first, second)
        return np.array_equal(one.aggregate.sums - other.aggregate.sums, truth(first, VICTIM))

    return settle(attack, got="the victim's exact update: one hidden sum less the other")


def _remembering() -> dict[ParticipantId, Claimed]:
    return {name: ReleaseMemory(100).claim for name in NAMES}


def hidden_receipt() -> Outcome:
    """Reveal is answered with "aborted": no receipt ever says that the first sum is out."""
    known = _remembering()
    return _hidden_sum(lambda: known)


def two_at_once() -> Outcome:
    """Both rounds are open at the same time, at coordinators that do not know of each other."""
    known = _remembering()
    return _hidden_sum(lambda: known, at_once=True)


def fresh_processes() -> Outcome:
    """Every participant is a new process for each round, and keeps its memory in a file."""
    from secagg_client.released_sums.memory import memory_of  # noqa: PLC0415, an extra

    with TemporaryDirectory() as folder:

        def opened() -> dict[ParticipantId, Claimed]:
            return {name: partial(memory_of(Path(folder) / name, name).claim, policy=Policy()) for name in NAMES}

        return _hidden_sum(opened)


def averaging() -> Outcome:
    """The same update in many rounds: what each release adds to rounding (not to noise) averages away."""

    def attack() -> bool:
        names: list[ParticipantId] = NAMES[:4]
        schema = Schema((ArraySpec("values", (64,), "float64"),))
        updates = random_updates(schema, names, 3)
        config = MASKED_ACTIVE.config(schema, 4, encoding=FixedPoint(1.0, 4))
        true = np.mean([updates[name]["values"] for name in names], axis=0)
        means = [
            record(config, updates, rng=rng_of(i, "averaging"), deployment=deployment()).released()["values"]
            for i in range(24)
        ]
        return bool(np.abs(np.mean(means, axis=0) - true).mean() < 0.5 * np.abs(means[0] - true).mean())

    return settle(attack, got="the mean, finer with every round than its rounding")


_CELLS: Final = (Measure(releases, "singled_out", lambda _: lambda _: frozenset()),)
_CLAIM: Final = (Measure(ReleaseMemory, "record", lambda _: lambda *_: None),)
_TOLD_APART: Final = Refusal(RoundAborted, None, Check(OpeningAndClosing, "_claim_release", "C85"))
_REMEMBERED: Final = Refusal(PolicyViolation, at=Check(CheckedRoster, "claim_sum", "C86"))

RELEASE_GAMES: Final = (
    Game(
        "differencing", "Two releases whose cohorts differ by the victim", "curious FL server",
        "Dwork & Roth 2014 §1", True, "sums of one model must show nobody, taken together: at the coordinator",
        # The coordinator remembers what it released.
        partial(_two_sums, coordinator=True, participants=False), Kind.SUMS,
        defences=_CELLS, refused=_TOLD_APART,
    ),
    Game(
        "differencing-after-restart", "The same, where the coordinator has forgotten the first", "curious FL server",
        "Dwork & Roth 2014 §1", True, "the same rule at the participants, over the sums that they are in",
        # The coordinator forgot, or is another one; the participants remember.
        partial(_two_sums, coordinator=False, participants=True), Kind.SUMS,
        defences=_CELLS, refused=_REMEMBERED,
    ),
    Game(
        "hidden-receipt", "The same, where the coordinator calls the first round aborted", "malicious coordinator",
        "Dwork & Roth 2014 §1", True, "a sum counts before the shares that open it leave", hidden_receipt,
        Kind.SUMS, defences=_CLAIM, refused=_REMEMBERED,
    ),
    Game(
        "two-at-once", "The same, with both rounds at the same time", "malicious coordinator",
        "Dwork & Roth 2014 §1", True, "a sum is checked and recorded in one step", two_at_once,
        Kind.SUMS, defences=_CLAIM, refused=_REMEMBERED,
    ),
    Game(
        "fresh-processes", "The same, where participants are new processes", "malicious coordinator",
        "Dwork & Roth 2014 §1", True, "what is remembered is kept in a file", fresh_processes,
        Kind.SUMS, defences=_CLAIM, refused=_REMEMBERED,
    ),
    Game(
        "differencing-nudged-model", "The same, with a bit of the model changed in between", "malicious FL server",
        "Dwork & Roth 2014 §1", False, "distributed noise; inspect models before training",
        # Both remember, but the second model differs in a bit: another digest, and as good as the same update.
        partial(_two_sums, coordinator=True, participants=True, nudged=True), Kind.SUMS,
    ),
    Game(
        "averaging", "The same updates in many rounds", "curious coordinator", "Dwork & Roth 2014 §1", False,
        "distributed noise and a privacy ledger: rounding is no noise", averaging,
        Kind.SUMS,
    ),
)  # fmt: skip
