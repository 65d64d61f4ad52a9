"""The ledger of proto/PROTOCOL.md, section 21, a second time: from its text alone, with nothing of secagg."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import takewhile
from typing import Any

from tests.conformance import pipeline_reference as pipelines
from tests.conformance import reference as ref

ORDERS = [*range(2, 65), *range(68, 129, 4), *range(144, 257, 16), 320, 384, 512, 768, 1024, 2048, 4096]
Curve = list[float]
Head = tuple[int, str]


class Damaged(Exception):
    """A ledger that cannot be relied on."""


class Unaffordable(Exception):
    """A round that the budget does not hold."""


class Unfit(Exception):
    """A round that has no place in the ledger, whatever is left."""


def need(condition: bool) -> None:
    if not condition:
        raise Damaged


# --- what a round costs -----------------------------------------------------------------------------------------------


@dataclass
class Charge:
    pipeline: str
    view: str
    honest: int
    colluding: int
    survivors: int
    curve: Curve
    distance: float


@dataclass
class Plan:
    """What a configuration says. `sizes`: of the arrays. `groups`: 1 without any. `shown`: to participants."""

    pipeline: str
    sizes: list[int]
    n: int
    t: int
    colluding: int
    groups: int = 1
    shown: bool = True

    def charge(self, survivors: int = 0) -> Charge:
        pipe, h = pipelines.parse(self.pipeline), self.t - self.colluding
        assert pipe.law is not None
        task = pipelines.Task(pipe, [(size, "") for size in self.sizes], bytes(32), self.n, h)
        known = max(self.colluding, 1) if self.shown else self.colluding
        honest = max(0, min(survivors or self.t, self.t) - known)
        honest = 1 if pipe.central else honest
        view = "recipient" if pipe.central else "participant" if known > self.colluding else "coordinator"
        curve = curve_of(pipe.law, task.noise.variance, honest, task.noise.norm_bound, task.length)
        samplers = task.length * (1 if pipe.central else self.n)
        distance = samplers * distance_of(pipe.law, task.noise.variance)
        return Charge(self.pipeline, view, honest, 0 if pipe.central else self.colluding, survivors, curve, distance)


def curve_of(law: str, variance: float, honest: int, norm_bound: int, d: int) -> Curve:
    if honest == 0:
        return [math.inf] * len(ORDERS)
    mu, length = honest * variance, math.sqrt(norm_bound)
    sum_bound = min(math.sqrt(d) * length, norm_bound)
    if law == "skellam":
        return [
            a * norm_bound / (2 * mu)
            + min(((2 * a - 1) * norm_bound + 6 * sum_bound) / (4 * mu**2), 3 * sum_bound / (2 * mu))
            for a in ORDERS
        ]
    tau = 10 * sum(math.exp(-2 * math.pi**2 * variance * k / (k + 1)) for k in range(1, honest))
    return [
        min(
            a * norm_bound / (2 * mu) + tau * d,
            a / 2 * (norm_bound / mu + 2 * tau * sum_bound / math.sqrt(mu) + tau**2 * d),
            a / 2 * (length / math.sqrt(mu) + tau * math.sqrt(d)) ** 2,
        )
        for a in ORDERS
    ]


def distance_of(law: str, variance: float) -> float:
    """Of one sample of the reference sampler."""
    with localcontext() as arithmetic:
        arithmetic.prec = 120
        some = pipelines.relative(law, Decimal(variance))
        most = pipelines.table(law, variance).largest
        p = [v for _, v in takewhile(lambda at: at[0] <= most + 1, enumerate(some))]
        beyond = p[most + 1] / (1 - p[most + 1] / p[most])
        inside = sum(p[1 : most + 1], Decimal(0))
        given = Decimal(sum(pipelines.table(law, variance).probabilities[1:])) / 2**128
        return float(2 * ((inside + beyond) / (1 + 2 * inside) - given))


def epsilon_of(charges: Iterable[Charge], delta: float) -> float:
    charges = list(charges)
    if not charges:
        return 0.0
    total, rest = [sum(costs) for costs in zip(*(c.curve for c in charges), strict=True)], delta * (1 - 2.0**-10)
    known = [cost + math.log(1 - 1 / a) - math.log(rest * a) / (a - 1) for a, cost in zip(ORDERS, total, strict=True)]
    epsilon: float = max(0.0, min(known))
    assert epsilon >= 700 or (1 + math.exp(epsilon)) * sum(c.distance for c in charges) <= delta * 2.0**-10
    return epsilon


# --- entries ----------------------------------------------------------------------------------------------------------


def digest(line: bytes) -> str:
    return ref.digest(b"secagg/v1/privacy-ledger", line).hex()


@dataclass
class Ledger:
    """Entries that were read. `charges`: of rounds that count."""

    task: str
    epsilon: float
    delta: float
    lines: list[bytes]
    charges: dict[str, Charge] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)

    @property
    def head(self) -> Head:
        return len(self.lines), digest(self.lines[-1])

    @property
    def spent(self) -> float:
        return epsilon_of(self.charges.values(), self.delta)

    def take(self, line: bytes) -> None:
        body = _entry(line, self.head)
        kind, name = body.get("kind"), body.get("round")
        need(isinstance(name, str) and re.fullmatch("[0-9a-f]{32}", name) is not None)
        assert isinstance(name, str)
        if kind == "planned":
            need(name not in self.charges and name not in self.over)
            self.charges[name] = _charge(body)
        else:
            need(kind in {"released", "withdrawn"} and name in self.charges and name not in self.over)
            if kind == "released":
                self.charges[name] = _charge(body)
                self.over.add(name)
            else:
                del self.charges[name]
        self.lines.append(line)

    def planned(self, plan: Plan) -> float:
        """ε with the round."""
        if self.delta >= 1 / (plan.n * plan.groups):
            raise Unfit
        after = epsilon_of([*self.charges.values(), plan.charge()], self.delta)
        if after > self.epsilon:
            raise Unaffordable
        return after

    def continues(self, seen: Head) -> None:
        """Held against a head that somebody kept."""
        number, stated = seen
        need(1 <= number <= len(self.lines) and digest(self.lines[number - 1]) == stated)


def load(task: str, lines: Sequence[bytes], head: Head | None) -> Ledger:
    need(bool(lines) and head is not None)
    body = _entry(lines[0], (0, "00" * 32))
    need(body.get("kind") == "opened" and body.get("task") == task)
    epsilon, delta = _number(body.get("epsilon")), _number(body.get("delta"))
    need(0 < epsilon < math.inf and 0 < delta < 1)
    ledger = Ledger(task, epsilon, delta, [lines[0]])
    for line in lines[1:]:
        ledger.take(line)
    need(ledger.head == head)
    return ledger


def _entry(line: bytes, previous: Head) -> dict[str, Any]:
    need(len(line) <= 16_384)
    try:
        body = json.loads(line)
    except ValueError:
        raise Damaged from None
    need(isinstance(body, dict) and body.get("version") == 1)
    need((body.get("number"), body.get("previous")) == (previous[0] + 1, previous[1]))
    return dict(body)


def _number(text: Any) -> float:
    try:
        return float.fromhex(text)
    except (TypeError, ValueError, OverflowError):
        raise Damaged from None


def _charge(body: dict[str, Any]) -> Charge:
    try:
        pipelines.parse(body["pipeline"])
        curve, (honest, colluding, survivors) = body["curve"], (body[k] for k in ("honest", "colluding", "survivors"))
        need(isinstance(curve, list) and all(isinstance(value, int) for value in (honest, colluding, survivors)))
        costs, distance = [_number(cost) for cost in curve], _number(body["distance"])
        need(body["view"] in ("coordinator", "participant", "recipient"))
        made = Charge(body["pipeline"], body["view"], honest, colluding, survivors, costs, distance)
    except (KeyError, AttributeError, pipelines.Refused):
        raise Damaged from None
    need(len(made.curve) == len(ORDERS) and all(cost >= 0 for cost in made.curve) and 0 <= made.distance < 1)
    return made
