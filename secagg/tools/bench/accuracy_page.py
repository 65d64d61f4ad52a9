"""The page of `secagg bench privacy --accuracy`: what privacy and compression cost, to be looked at."""

from collections.abc import Callable, Iterator, Sequence
from math import floor, inf, isinf
from typing import Final

from markupsafe import Markup

from secagg.tools.bench.accuracy import EPSILONS, SETTINGS, VALUE_BITS
from secagg.tools.bench.accuracy_results import LARGEST_RATIO, AccuracyResult, Outcome, Study, as_percent
from secagg.tools.bench.learning import DataSet
from secagg.tools.charts.axes import Axis
from secagg.tools.charts.lines import Note, Point, Series, line_chart
from secagg.tools.charts.origin import Origin
from secagg.tools.charts.page import card, fill, page

_SIZE: Final = (560.0, 330.0)
_STYLES: Final = {inf: "s6", 8.0: "s1", 2.5: "s2", 1.0: "s4"}
_PACKAGES: Final = ("numpy", "scikit-learn", "dp-accounting")
_TITLES: Final = {DataSet.DIGITS: "Handwritten digits", DataSet.CANCER: "Breast tumours"}
_BIT_STYLES: Final = dict(zip(VALUE_BITS, ("s6", "s1", "s2", "s3", "s4"), strict=True))


def render(findings: AccuracyResult, command: str) -> str:
    """The page. Args: command: what makes it again."""
    return page(
        "bench/accuracy.html.j2",
        title="secagg: what privacy costs",
        heading="What privacy and compression cost in accuracy",
        lead="Small models, trained by many clients through the real code of each pipeline. ε is for the whole "
        "training and for a whole client: everything that one of them ever sends, against a coordinator that sees all "
        "and colludes with just under a third of them.",
        findings=findings,
        tiles=_tiles(findings),
        pairs=[
            [_bits_card(findings, data_set) for data_set in _data_sets(findings, Study.BITS)],
            [*_cohort_cards(findings), _ratio_card(findings)],
            *(
                [_compression_card(findings, data_set, feedback) for feedback in (False, True)]
                for data_set in _data_sets(findings, Study.COMPRESSION)
            ),
        ],
        columns=_COLUMNS,
        settings=[(_TITLES[data_set], SETTINGS[data_set]) for data_set in _data_sets(findings, Study.BITS)],
        delta=f"{findings.delta:g}".replace("e-0", "e-"),
        made=Origin.now(command, *_PACKAGES),
    )


def _data_sets(findings: AccuracyResult, study: Study) -> list[DataSet]:
    return [data_set for data_set in DataSet if findings.of(study, data_set)]


# --- figures ----------------------------------------------------------------------------------------------------------


def _epsilon(epsilon: float) -> str:
    return "ε = ∞" if isinf(epsilon) else f"ε = {epsilon:g}"


def _tiles(findings: AccuracyResult) -> list[tuple[str, str]]:
    data_set = _data_sets(findings, Study.BITS)[0]
    outcomes = findings.of(Study.BITS, data_set)
    widest = max(o.trial.bits for o in outcomes)
    tiles = [
        (as_percent(o), f"{_TITLES[data_set].lower()}, {_epsilon(o.trial.epsilon)}, {widest} bits")
        for o in outcomes
        if o.trial.bits == widest and o.accuracies
    ]
    worst = max(findings.ratios.values())
    said = f"times the error of continuous Gaussian noise, at 16 bits; the aim is {LARGEST_RATIO} at most"
    return [*tiles, (f"{worst:.3f}", said)]


def _accuracy_axis(outcomes: Sequence[Outcome]) -> Axis:
    """An axis from just below the least accuracy to 100 %, in even steps."""
    least = min(o.mean - o.spread for o in outcomes if o.accuracies)
    step = next(step for above, step in ((80, 5), (60, 10), (-inf, 20)) if least * 100 >= above)
    low = max(0, floor(least * 100 / step) * step)
    ticks = tuple((percent / 100, f"{percent}%") for percent in range(low, 101, step))
    return Axis("accuracy on test records", low / 100, 1.0, ticks)


def _point(x: float, outcome: Outcome) -> Point:
    story = f"{as_percent(outcome)}, {outcome.upload_bytes:,} bytes an update"
    if outcome.trial.pipeline:
        story += f": {outcome.trial.pipeline.text}"
    return Point(x, outcome.mean, outcome.spread, story)


def _bits_card(findings: AccuracyResult, data_set: DataSet) -> str:
    outcomes = findings.of(Study.BITS, data_set)
    trained = [o for o in outcomes if o.accuracies]
    axis = _accuracy_axis(trained)
    plain = next(o for o in trained if o.trial.pipeline is None)
    series = [Series("plain", (Point(8, plain.mean), Point(16, plain.mean)), "s5", dashed=True, dots=False)]
    for number, epsilon in enumerate(EPSILONS):
        # a little apart, so that error bars do not cover each other
        shift = (number - 1.5) * 0.09
        with_it = sorted((o for o in trained if o.trial.pipeline and o.trial.epsilon == epsilon), key=_bits)
        points = tuple(_point(o.trial.bits + shift, o) for o in with_it)
        series.append(Series(_epsilon(epsilon), points, _STYLES[epsilon]))
    notes = list(_refused(outcomes, axis))
    x = Axis("bits of a value on the wire", 7.7, 16.3, tuple((bits, str(bits)) for bits in range(8, 17)))
    drawing = line_chart(f"Accuracy by bits: {_TITLES[data_set]}", x, axis, series, notes, size=_SIZE)
    trial = plain.trial
    return card(
        f"{_TITLES[data_set]}: accuracy by bits",
        f"{trial.participants} clients, {trial.schedule.rounds} rounds. Bars: standard deviation over "
        f"{findings.seeds} seeds.",
        drawing + _refusals(outcomes),
    )


def _bits(outcome: Outcome) -> int:
    return outcome.trial.bits


def _refused(outcomes: Sequence[Outcome], axis: Axis) -> Iterator[Note]:
    """An × for every width that some ε is impossible with, and which."""
    height = axis.low + 0.045 * (axis.high - axis.low)
    for bits in sorted({o.trial.bits for o in outcomes if o.trial.refusal}):
        refused = [o.trial.epsilon for o in outcomes if o.trial.refusal and o.trial.bits == bits]
        named = ", ".join("∞" if isinf(epsilon) else f"{epsilon:g}" for epsilon in refused)
        words = "no ε is possible" if len(refused) == len(EPSILONS) else f"ε = {named}: impossible"
        yield Note(bits, height, words, "refused")


def _refusals(outcomes: Sequence[Outcome]) -> Markup:
    """What was impossible, why, and what is nearest to it; the same reason once."""
    by_reason: dict[tuple[int, str], list[str]] = {}
    for outcome in outcomes:
        trial = outcome.trial
        if trial.refusal:
            by_reason.setdefault((trial.bits, trial.refusal), []).append(_epsilon(trial.epsilon))
    reasons = [(f"{bits} bits, {' and '.join(epsilons)}", reason) for (bits, reason), epsilons in by_reason.items()]
    return fill("bench/refusals.html.j2", reasons=reasons)


def _cohort_cards(findings: AccuracyResult) -> Iterator[str]:
    for data_set in _data_sets(findings, Study.COHORT):
        outcomes = findings.of(Study.COHORT, data_set)
        cohorts = sorted({o.trial.participants for o in outcomes})
        series = [
            Series(
                _epsilon(epsilon),
                tuple(_point(o.trial.participants, o) for o in outcomes if o.trial.epsilon == epsilon),
                _STYLES[epsilon],
            )
            for epsilon in EPSILONS
        ]
        x = Axis("clients that share the same records", cohorts[0], cohorts[-1], _ticks(cohorts), log=True)
        drawing = line_chart("Accuracy by number of clients", x, _accuracy_axis(outcomes), series, size=_SIZE)
        yield card(
            "A crowd is what makes privacy cheap",
            f"{_TITLES[data_set]}, 16 bits. The same records, shared out among fewer and fewer clients: each of them "
            "then weighs more, and needs more noise to hide.",
            drawing,
        )


def _ticks(values: Sequence[int]) -> tuple[tuple[float, str], ...]:
    return tuple((value, f"{value:,}") for value in values)


def _ratio_card(findings: AccuracyResult) -> str:
    data_set = _data_sets(findings, Study.BITS)[0]
    outcomes = [o for o in findings.of(Study.BITS, data_set) if o.error_ratio]
    series = [Series("at most", (Point(8, LARGEST_RATIO), Point(16, LARGEST_RATIO)), "s5", dashed=True, dots=False)]
    for epsilon in EPSILONS[1:]:
        with_it = sorted((o for o in outcomes if o.trial.epsilon == epsilon), key=_bits)
        points = tuple(Point(o.trial.bits, o.error_ratio or 0.0) for o in with_it)
        series.append(Series(_epsilon(epsilon), points, _STYLES[epsilon]))
    largest = max(1.06, *(o.error_ratio or 0.0 for o in outcomes))
    step = 0.02 if largest < 1.2 else 0.1
    ticks = tuple((0.98 + i * step, f"{0.98 + i * step:.2f}") for i in range(int((largest - 0.98) / step) + 2))
    x = Axis("bits of a value on the wire", 8, 16, tuple((bits, str(bits)) for bits in range(8, 17)))
    y = Axis("error of a mean ÷ continuous Gaussian", 0.98, ticks[-1][0], ticks)
    drawing = line_chart("Error over continuous Gaussian noise by bits", x, y, series, size=_SIZE)
    both = ", ".join(f"{ratio:.3f} with {law} noise" for law, ratio in findings.ratios.items())
    return card(
        "Whole numbers cost next to nothing",
        f"{_TITLES[data_set]}: root mean square error of every decoded mean over that of continuous Gaussian noise of "
        f"the same z. Means of 100 updates of 20,000 values at 16 bits: {both}.",
        drawing,
    )


def _compression_card(findings: AccuracyResult, data_set: DataSet, feedback: bool) -> str:
    everything = findings.of(Study.COMPRESSION, data_set)
    plain = next(o for o in everything if o.trial.pipeline is None)
    series = []
    for bits in VALUE_BITS:
        outcomes = [
            o for o in everything if o.trial.bits == bits and o.trial.pipeline and o.trial.pipeline.feedback == feedback
        ]
        points = tuple(_point(o.upload_bytes, o) for o in sorted(outcomes, key=lambda o: -o.upload_bytes))
        series.append(Series(f"{bits} bit{'s' if bits > 1 else ''}", points, _BIT_STYLES[bits]))
    largest = max(o.upload_bytes for o in everything if o.trial.pipeline)
    smallest = min(o.upload_bytes for o in everything)
    ends = (Point(smallest, plain.mean), Point(largest, plain.mean))
    series.insert(0, Series("plain", ends[::-1], "s5", dashed=True, dots=False))
    sizes = [largest, *(largest // budget for budget in SETTINGS[data_set].budgets)]
    x = Axis("bytes of an update on the wire", largest * 1.1, smallest / 1.1, _ticks(sizes), log=True)
    drawing = line_chart("Accuracy by bytes", x, _accuracy_axis(everything), series, size=_SIZE)
    trial = plain.trial
    how = "What few bits and sampling lose is sent later." if feedback else "What few bits and sampling lose is lost."
    room = (trial.participants - 1).bit_length()
    return card(
        f"{_TITLES[data_set]}: compression {'with' if feedback else 'without'} feedback",
        f"{how} {trial.participants} clients, {trial.schedule.rounds} rounds, no noise. A line begins with all "
        f"coordinates in so many bits each, and {room} more for the sum of {trial.participants}; then it sends fewer "
        "and fewer of them, as many bytes as the other lines.",
        drawing,
    )


# --- tables -----------------------------------------------------------------------------------------------------------

_COLUMNS: Final[tuple[tuple[str, Callable[[Outcome], str]], ...]] = (
    ("clients", lambda o: f"{o.trial.participants}"),
    ("rounds", lambda o: f"{o.trial.schedule.rounds}"),
    ("ε", lambda o: "∞" if isinf(o.trial.epsilon) else f"{o.trial.epsilon:g}"),
    ("accuracy", lambda o: as_percent(o) if o.accuracies else "–"),
    ("bytes", lambda o: f"{o.upload_bytes:,}" if o.accuracies else "–"),
    ("error ÷ Gaussian", lambda o: f"{o.error_ratio:.3f}" if o.error_ratio else "–"),
)
