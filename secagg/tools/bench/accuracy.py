"""What privacy and compression cost in accuracy: small models, trained through the real codes of many pipelines."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf, isinf, sqrt
from statistics import fmean
from typing import Final

from secagg.encoding.pipeline import Pipeline
from secagg.encoding.steps.clip import Clip
from secagg.encoding.steps.rotate import block_size
from secagg.encoding.steps.sample import kept_size
from secagg.errors import ConfigError
from secagg.noise.laws import Law
from secagg.privacy.finder import DEFAULT_DELTA, Task, find
from secagg.tools.bench.accuracy_results import RATIO_BITS, AccuracyResult, Outcome, Study, Trial
from secagg.tools.bench.federation import Schedule, Trained, code_of, cohort_of, train
from secagg.tools.bench.learning import Clients, DataSet, share_out
from secagg.tools.bench.machine import describe
from secagg.tools.bench.privacy import error_ratio

EPSILONS: Final = (inf, 8.0, 2.5, 1.0)
BITS: Final = (8, 12, 16)
VALUE_BITS: Final = (16, 8, 4, 2, 1)
_SPREAD_OF_A_COORDINATE: Final = 4.0  # a rotated coordinate is hardly ever beyond so many standard deviations


@dataclass(frozen=True, slots=True)
class Setting:
    """How one data set is trained on.

    Attributes:
        participants: for `Study.BITS`; a client has two or three records.
        cohorts: for `Study.COHORT`; none where it is left out.
        schedule: of both.
        few: participants for `Study.COMPRESSION`.
        compressed: schedule there.
        range: of a value there, in the updates' own unit.
        budgets: uploads there that are so many times smaller than one of all values of 16 bits.
    """

    participants: int
    cohorts: tuple[int, ...]
    schedule: Schedule
    few: int
    compressed: Schedule
    range: float
    budgets: tuple[int, ...]


SETTINGS: Final = {
    DataSet.DIGITS: Setting(
        participants=700,
        cohorts=(10, 30, 100, 300),
        schedule=Schedule(rounds=15, clip=1.0, server_step=2.0),
        few=60,
        compressed=Schedule(rounds=25, clip=1.0, server_step=2.0),
        range=0.1,
        budgets=(4, 16, 64),
    ),
    DataSet.CANCER: Setting(
        participants=200,
        cohorts=(),
        schedule=Schedule(rounds=10, clip=1.0, server_step=4.0),
        few=60,
        compressed=Schedule(rounds=10, clip=1.0, server_step=4.0),
        range=0.25,
        budgets=(4, 16),
    ),
}


Progress = Callable[[int, int, str], None]
"""Told trainings done, trainings in all, and what comes next."""


def measure(settings: dict[DataSet, Setting], seeds: int, progress: Progress) -> AccuracyResult:
    """Train everything.

    Args:
        settings: by data set.
        seeds: trainings of each trial; each shares the records out anew.
        progress: told before every training.

    Raises:
        MissingExtraError: scikit-learn or dp_accounting is not installed.
    """
    machine = describe()
    trials = [trial for data_set, setting in settings.items() for trial in trials_of(data_set, setting)]
    total, outcomes = seeds * sum(not trial.refusal for trial in trials), []
    dealt: dict[tuple[DataSet, int, int], Clients] = {}
    known: dict[tuple[DataSet, int, Schedule, Pipeline | None, int], Trained] = {}  # some trials are in two studies
    done = 0
    for trial in trials:
        trained = []
        for seed in range(0 if trial.refusal else seeds):
            progress(done, total, f"{trial.data_set.value}, {trial.study.value}")
            shared = (trial.data_set, trial.participants, seed)
            key = (trial.data_set, trial.participants, trial.schedule, trial.pipeline, seed)
            if key not in known:
                clients = dealt[shared] = dealt.get(shared) or share_out(*shared)
                known[key] = _train(trial, clients, seed)
            trained.append(known[key])
            done += 1
        outcomes.append(_outcome(trial, trained))
    progress(done, total, "error of 20,000 values")
    ratios = {law.value: error_ratio(law, RATIO_BITS)[0] for law in Law}
    return AccuracyResult(machine, seeds, DEFAULT_DELTA, tuple(outcomes), ratios)


def _train(trial: Trial, clients: Clients, seed: int) -> Trained:
    code = None
    if trial.pipeline is not None:
        code = code_of(trial.pipeline, _values(trial.data_set), trial.participants)
    return train(clients, code, trial.schedule, seed)


def _outcome(trial: Trial, trained: list[Trained]) -> Outcome:
    values, ratio = _values(trial.data_set), None
    size = 0 if trial.refusal else 4 * values
    if trial.pipeline is not None:
        code = code_of(trial.pipeline, values, trial.participants)
        size = -(-code.vector_len * code.ring_bits // 8)
        if trial.pipeline.noise is not None:
            gaussian = trial.pipeline.noise.z * trial.schedule.clip
            gaussian /= sqrt(cohort_of(trial.participants).honest * trial.participants)
            ratio = sqrt(fmean(one.error**2 for one in trained)) / gaussian
    return Outcome(trial, tuple(one.accuracy for one in trained), size, ratio)


def _values(data_set: DataSet) -> int:
    """m: softmax regression, a weight for each input and class, and a bias for each class."""
    return {DataSet.DIGITS: 65 * 10, DataSet.CANCER: 31 * 2}[data_set]


def trials_of(data_set: DataSet, setting: Setting) -> Iterator[Trial]:
    """All trainings that are tried with a data set."""
    clients, schedule = setting.participants, setting.schedule
    yield Trial(study=Study.BITS, data_set=data_set, participants=clients, schedule=schedule)
    for epsilon in EPSILONS:
        for bits in BITS:
            yield from _with_bits(data_set, clients, schedule, epsilon, bits)
    for cohort in (*setting.cohorts, *([clients] if setting.cohorts else [])):
        yield Trial(study=Study.COHORT, data_set=data_set, participants=cohort, schedule=schedule)
        for epsilon in EPSILONS[1:]:
            pipeline = _pipeline(data_set, cohort, schedule, epsilon, BITS[-1])
            yield Trial(
                study=Study.COHORT,
                data_set=data_set,
                participants=cohort,
                schedule=schedule,
                epsilon=epsilon,
                bits=BITS[-1],
                pipeline=pipeline,
            )
    yield from compressed_trials(data_set, setting)


def _with_bits(data_set: DataSet, clients: int, schedule: Schedule, epsilon: float, bits: int) -> Iterator[Trial]:
    """The trial; where it is impossible, the refusal and then the nearest possible, unless that is tried anyway."""

    def trial(width: int, pipeline: Pipeline | None, refusal: str = "") -> Trial:
        return Trial(
            study=Study.BITS,
            data_set=data_set,
            participants=clients,
            schedule=schedule,
            epsilon=epsilon,
            bits=width,
            pipeline=pipeline,
            refusal=refusal,
            instead_of=0 if width == bits else bits,
        )

    try:
        yield trial(bits, _pipeline(data_set, clients, schedule, epsilon, bits))
    except ConfigError as reason:
        yield trial(bits, None, str(reason))
        for width in range(bits + 1, min((b for b in BITS if b > bits), default=33)):
            try:
                pipeline = _pipeline(data_set, clients, schedule, epsilon, width)
            except ConfigError:
                continue
            yield trial(width, pipeline)
            return


def _pipeline(data_set: DataSet, clients: int, schedule: Schedule, epsilon: float, bits: int) -> Pipeline:
    """The least noise that keeps ε in rounds of `bits` bits; without noise the finest values whose sum has room."""
    values = _values(data_set)
    if not isinf(epsilon):
        cohort, rounds, clip = cohort_of(clients), schedule.rounds, schedule.clip
        return find(Task(values=values, cohort=cohort, rounds=rounds, clip=clip, bits=bits, epsilon=epsilon)).pipeline
    room = (clients - 1).bit_length()
    if bits <= room:
        raise ConfigError(f"a sum of {clients} values has {room} bits more than one of them; use {room + 1} bits")
    bound = _SPREAD_OF_A_COORDINATE * schedule.clip / sqrt(block_size(values))
    return Pipeline(bits=bits - room, range=bound, clips=(Clip(l2=schedule.clip),), rotate=True)


def compressed_trials(data_set: DataSet, setting: Setting) -> Iterator[Trial]:
    """The trials of `Study.COMPRESSION`: plain numbers first, then every number of bits with ever smaller budgets."""
    values, room = _values(data_set), (setting.few - 1).bit_length()
    full = (values + 1) * (VALUE_BITS[0] + room)  # one more coordinate is the weight

    def trial(bits: int, pipeline: Pipeline | None) -> Trial:
        return Trial(
            study=Study.COMPRESSION,
            data_set=data_set,
            participants=setting.few,
            schedule=setting.compressed,
            bits=bits,
            pipeline=pipeline,
        )

    yield trial(0, None)
    for feedback in (False, True):
        for bits in VALUE_BITS:
            sampled = [_rate(full / budget / (bits + room), values) for budget in setting.budgets]
            for rate in (1.0, *(rate for rate in sampled if rate < 1)):
                clips = (Clip(l2=setting.compressed.clip),)
                pipeline = Pipeline(bits=bits, range=setting.range, clips=clips, rate=rate, feedback=feedback)
                yield trial(bits, pipeline)


def _rate(coordinates: float, values: int) -> float:
    """The rate with which at most so many coordinates are sent, that of the weight among them, but at least two."""
    kept = max(1, int(coordinates) - 1)
    rate = round(kept / values, 6)
    return rate if kept_size(values, rate) <= kept else rate - 1e-6
