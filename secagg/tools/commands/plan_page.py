"""The page of `secagg plan --draw`: what a plan costs, and what its neighbours would."""

from dataclasses import replace
from math import inf, sqrt
from typing import Final

from secagg.encoding.pipeline import MAX_RING_BITS
from secagg.errors import ConfigError
from secagg.privacy.charges import View
from secagg.privacy.finder import Plan, Task, epsilon_for, find
from secagg.privacy.gaussian import noise_multiplier
from secagg.tools.charts.axes import Axis, powers
from secagg.tools.charts.lines import Note, Point, Series, line_chart
from secagg.tools.charts.origin import Origin
from secagg.tools.charts.page import card, page

_EYES: Final = {
    View.COORDINATOR: "the coordinator and those who collude with it",
    View.PARTICIPANT: "a fellow participant, who knows its own noise",
}
_SIZE: Final = (560.0, 340.0)
_MORE_ROUNDS: Final = 10  # the chart of ε goes on to so many times the task's rounds
_WIDER: Final = 4  # and that of the error to so many bits more
_DRAWN: Final = 1e3  # larger factors of the least error are beyond the chart


def render(task: Task, plan: Plan, command: str) -> str:
    """The page. Args: command: what makes it again."""
    honest, n = task.cohort.honest, task.cohort.summands
    tiles = (
        (
            f"ε = {plan.epsilon:.3g}",
            f"for a whole participant, over {_rounds(task.rounds)}, at δ = {task.delta:g}, ".replace("e-0", "e-")
            + f"in the eyes of {_EYES[task.view]}",
        ),
        (f"z = {plan.z:g}", f"noise of the {honest} certainly honest of {n}, in units of the clip {task.clip:g}"),
        (f"{plan.error:.3g}", f"standard deviation of each value of a mean of {n}"),
        (f"{plan.error / plan.gaussian_error:.4f}", "times the error of continuous Gaussian noise of the same z"),
        (f"{plan.upload_bytes:,} B", f"an update of {task.values:,} values in {task.bits} bits"),
    )
    return page(
        "commands/plan.html.j2",
        title="secagg plan",
        heading=f"{_rounds(task.rounds).capitalize()} at ε = {plan.epsilon:.3g}",
        lead=plan.pipeline.text,
        tiles=tiles,
        cards=(_rounds_card(task, plan), _bits_card(task, plan)),
        made=Origin.now(command, "numpy", "dp-accounting"),
    )


def _rounds(rounds: int) -> str:
    return f"{rounds:,} round{'s' if rounds > 1 else ''}"


def _rounds_card(task: Task, plan: Plan) -> str:
    last = max(100, task.rounds * _MORE_ROUNDS)
    rounds = sorted({round(last ** (i / 24)) for i in range(25)} | {task.rounds})
    spent = [(r, epsilon_for(replace(task, rounds=r), plan.z)) for r in rounds]
    series = (
        Series("budget", (Point(1, plan.epsilon), Point(last, plan.epsilon)), "s6", dashed=True, dots=False),
        Series(f"z = {plan.z:g}", tuple(Point(r, epsilon) for r, epsilon in spent), "s1", dots=False),
    )
    drawing = line_chart(
        "ε against rounds",
        powers("rounds", 1, last),
        powers("ε", min(spent[0][1], plan.epsilon), max(spent[-1][1], plan.epsilon)),
        series,
        [Note(task.rounds, plan.epsilon, _rounds(task.rounds), anchor="start" if task.rounds == 1 else "middle")],
        size=_SIZE,
    )
    note = "The same noise, for more and for fewer rounds: what is released adds up."
    return card("ε against rounds", note, drawing)


def _bits_card(task: Task, plan: Plan) -> str:
    budget = replace(task, epsilon=plan.epsilon)
    errors = {bits: _error(budget, plan, bits) for bits in range(4, min(MAX_RING_BITS, task.bits + _WIDER) + 1)}
    possible = {bits: error for bits, error in errors.items() if error < _DRAWN * min(errors.values())}
    refused = [bits for bits in errors if bits not in possible and bits >= min(possible) - 3]
    first, last = min([*refused, *possible]), max(possible)
    n = task.cohort.summands
    central = noise_multiplier(min(plan.epsilon, 500.0), task.delta, task.rounds) * task.clip / sqrt(task.counted * n)
    y = powers("error of a mean, in the update's own unit", min(central, *possible.values()), max(possible.values()))
    series = (
        Series("continuous", (Point(first, central), Point(last, central)), "s6", dashed=True, dots=False),
        Series(task.law.value, tuple(Point(bits, error) for bits, error in possible.items()), "s1"),
    )
    height = y.low * (y.high / y.low) ** 0.045
    notes = [Note(bits, height, "impossible" if bits == refused[-1] else "", "refused") for bits in refused]
    notes.append(Note(task.bits, plan.error, f"{task.bits} bits", anchor="middle"))
    x = Axis("bits of the ring", first, last, tuple((bits, str(bits)) for bits in range(first, last + 1)))
    drawing = line_chart("Error against bits", x, y, series, notes, size=_SIZE)
    note = (
        f"The least noise for ε = {plan.epsilon:.3g} in each ring. Dashed: continuous Gaussian noise of as many "
        "participants, exactly accounted; no ring is below it."
    )
    return card("Error against bits", note, drawing)


def _error(task: Task, plan: Plan, bits: int) -> float:
    """The error of a mean with the least noise that keeps the budget; infinite where no noise does."""
    if bits == task.bits:
        return plan.error
    try:
        return find(replace(task, bits=bits)).error
    except ConfigError:
        return inf
