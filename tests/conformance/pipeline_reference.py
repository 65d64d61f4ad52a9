"""Pipelines and noise of proto/PROTOCOL.md, section 10, a second time: from its text alone, with nothing of secagg."""

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.conformance import reference as ref

ORDER = ["feedback", "clip", "sample", "rotate", "weigh", "quantise", "noise"]
Floats = list[float]


class Refused(Exception):
    """A text that no pipeline has."""


def need(condition: bool) -> None:
    if not condition:
        raise Refused


@dataclass
class Pipe:
    """What a text says. `clips`: kind, bound, per array."""

    feedback: bool = False
    clips: list[tuple[str, float, bool]] = field(default_factory=list)
    rate: float = 1.0
    per_group: bool = False
    rotate: bool = False
    max_weight: int = 1
    bits: int = 0
    range: float | None = None
    law: str | None = None
    z: float = 0.0
    central: bool = False


FORMS = {
    "feedback": "",
    "clip": r"\((l2|linf)=(N)(, per=array)?\)",
    "sample": r"\(rate=(N)(, per=group)?\)",
    "rotate": "",
    "weigh": r"\(max=(I)\)",
    "quantise": r"\(bits=(I)(?:, range=(N))?\)",
    "noise": r"\(law=(skellam|gaussian), z=(N)(, by=coordinator)?\)",
}


def parse(text: str) -> Pipe:
    need(len(text) <= 1024)
    pipe, seen = Pipe(), []
    for step in text.split(" | "):
        name = step.split("(")[0]
        need(name in ORDER)
        form = FORMS[name].replace("N", r"[0-9][0-9.e+-]*").replace("I", "[1-9][0-9]*")
        match = re.fullmatch(name + form, step)
        need(match is not None)
        assert match is not None
        seen.append(name)
        fill(pipe, name, match.groups())
    need(seen == sorted(seen, key=ORDER.index) and "quantise" in seen)
    need(all(seen.count(name) <= (4 if name == "clip" else 1) for name in seen))
    need(1 <= pipe.bits <= 32 and (pipe.law is None) == (pipe.range is not None))
    if pipe.law is not None:
        need(pipe.bits >= 4 and pipe.rotate and pipe.max_weight == 1 and bool(pipe.clips))
        need(pipe.clips[-1][0] == "l2" and not pipe.clips[-1][2])
    return pipe


def fill(pipe: Pipe, name: str, found: Sequence[str]) -> None:
    match name:
        case "feedback" | "rotate":
            setattr(pipe, name, True)
        case "clip":
            need(not (found[0] == "linf" and found[2]))
            pipe.clips.append((found[0], bound(found[1]), bool(found[2])))
        case "sample":
            pipe.rate = number(found[0], 0, 1)
            pipe.per_group = bool(found[1])
            need(0 < pipe.rate < 1)
        case "weigh":
            pipe.max_weight = int(found[0])
            need(1 < pipe.max_weight < 2**32)
        case "quantise":
            pipe.bits, pipe.range = int(found[0]), None if found[1] is None else bound(found[1])
        case _:
            pipe.law, pipe.z = found[0], number(found[1], 2.0**-10, 2.0**10)
            pipe.central = bool(found[2])


def bound(text: str) -> float:
    return number(text, 2.0**-64, 2.0**64)


def number(text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise Refused from None
    need(repr(value) == text and low <= value <= high)
    return value


# --- before quantisation ----------------------------------------------------------------------------------------------


def clipped(values: Floats, sizes: Sequence[int], clips: Iterable[tuple[str, float, bool]]) -> Floats:
    for kind, c, per_array in clips:
        if kind == "linf":
            values = [min(max(v, -c), c) for v in values]
            continue
        parts, at = [], 0
        for size in sizes if per_array else [len(values)]:
            part, at = values[at : at + size], at + size
            length = math.sqrt(sum(v * v for v in part))
            parts += [v * (c / length) for v in part] if length > c else part
        values = parts
    return values


def context_key(context: bytes, name: str) -> bytes:
    return ref.hkdf(context, b"", ref.frame(f"secagg/v1/{name}".encode()))


def kept(size: int, rate: float, context: bytes) -> list[tuple[list[int], float]]:
    """By block: the coordinates that are kept, and the factor of their mean."""
    words = ref.words(context_key(context, "coordinate-sampling"), 32, -(-size // 4) * 4)
    blocks = []
    for start in range(0, size, 65_536):
        n = min(65_536, size - start)
        count = max(1, math.ceil(n * rate))
        smallest = sorted(range(n), key=lambda i, start=start: (words[start + i], i))[:count]  # type: ignore[misc]
        blocks.append((sorted(start + i for i in smallest), n / count))
    return blocks


def block_size(m: int) -> int:
    if m <= 4096:
        return next(d for d in (64, 128, 256, 512, 1024, 2048, 4096) if d >= m)
    return next((d for d in (65_536, 32_768, 16_384, 8192) if -(-m // d) * d - m <= m // 16), 4096)


def hadamard(x: Floats) -> Floats:
    h = len(x) // 2
    while h:
        for i in range(len(x)):
            if not i & h:
                x[i], x[i + h] = x[i] + x[i + h], x[i] - x[i + h]
        h //= 2
    return x


def factors(count: int, block: int, context: bytes) -> Floats:
    signs = ref.words(context_key(context, "rotation"), 8, count // 8)
    one = 1 / math.sqrt(block)
    return [-one if signs[i // 8] >> i % 8 & 1 else one for i in range(count)]


def rotated(values: Floats, context: bytes) -> Floats:
    block = block_size(len(values))
    padded = values + [0.0] * (-len(values) % block)
    x = [v * f for v, f in zip(padded, factors(len(padded), block, context), strict=True)]
    return [y for i in range(0, len(x), block) for y in hadamard(x[i : i + block])]


def unrotated(values: Floats, m: int, context: bytes) -> Floats:
    block = block_size(m)
    x = [y for i in range(0, len(values), block) for y in hadamard(values[i : i + block])]
    return [v * f for v, f in zip(x, factors(len(x), block, context), strict=True)][:m]


# --- noise ------------------------------------------------------------------------------------------------------------


@dataclass
class Sized:
    scale: float
    variance: float
    norm_bound: int


def sized(*, n: int, h: int, bits: int, z: float, c: float, block: int, d: int, central: bool = False) -> Sized:
    k = 3.9
    room = 4.0**bits - n * (k * k)
    need(room > 0 and 2**bits >= n)
    s = math.sqrt(room / (n * n / block + (z * z if central else n * (z * z) / h))) / (2 * k)
    s = min(s, 8192 * math.sqrt(h) / z) / c
    length = c * s
    variance = (z * c * s) * (z * c * s) / h
    need(variance >= 0.25)
    first = math.floor((length * length + d / 4) + (length + math.sqrt(d) / 2))
    return Sized(s, variance, min(first, math.ceil((length + math.sqrt(d)) ** 2)))


def relative(law: str, variance: Decimal) -> Iterable[Decimal]:
    """p(k)/p(0) for k = 0, 1, …"""
    if law == "gaussian":
        k = 0
        while True:
            yield (-(Decimal(k) ** 2) / (2 * variance)).exp()
            k += 1
    # I_{k−1} = I_{k+1} + (2k/μ)·I_k, downwards from where the ratio I_{k+1}/I_k is as good as 0.
    ratio, ratios = Decimal(0), []
    for k in range(40 * math.isqrt(int(variance) + 1) + 400, 0, -1):
        ratio = 1 / (2 * k / variance + ratio)
        ratios.append(ratio)
    value = Decimal(1)
    yield value
    for ratio in reversed(ratios):
        value *= ratio
        yield value


@dataclass
class Table:
    largest: int
    column_bits: int
    probabilities: list[int]
    stay: list[int]
    alias: list[int]


@cache
def table(law: str, variance: float) -> Table:
    with localcontext() as arithmetic:
        arithmetic.prec = 120
        values: list[Decimal] = []
        beyond = Decimal(1)
        for p in relative(law, Decimal(variance)):
            if values:
                beyond = p / (1 - p / values[-1])
            if beyond <= Decimal(2) ** -75:
                break
            values.append(p)
        most, total = len(values) - 1, 2 * sum(values) - 1 + 2 * beyond
        sides = [int(p / total * 2**128) for p in values[1:]]
    return alias_table(most, [2**128 - 2 * sum(sides), *sides])


def alias_table(most: int, probabilities: list[int]) -> Table:
    outcomes = [*reversed(probabilities[1:]), *probabilities]
    a = math.ceil(math.log2(2 * most + 1))
    capacity = 2 ** (128 - a)
    stay = outcomes + [0] * (2**a - len(outcomes))
    alias = [j - most for j in range(2**a)]
    small = [j for j in range(2**a) if stay[j] < capacity]
    large = [j for j in range(2**a) if stay[j] > capacity]
    while small:
        j, g = small.pop(), large[-1]
        alias[j] = g - most
        stay[g] += stay[j] - capacity
        if stay[g] <= capacity:
            large.pop()
        if stay[g] < capacity:
            small.append(g)
    return Table(most, a, probabilities, stay, alias)


def long_word(key: bytes, i: int) -> int:
    counter = (i // 2).to_bytes(16, "big")
    stream = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor().update(bytes(16))
    return int.from_bytes(stream[i % 2 * 8 : i % 2 * 8 + 8], "little")


def samples(found: Table, seed: bytes, start: int, count: int) -> list[int]:
    key = ref.hkdf(seed, b"", ref.frame(b"secagg/v1/noise"), 32)
    ties = ref.hkdf(seed, b"", ref.frame(b"secagg/v1/noise-ties"), 32)
    drawn = []
    for i in range(start, start + count):
        w = long_word(key, i)
        j, f = w % 2**found.column_bits, w >> found.column_bits
        drawn.append(j - found.largest if (f << 64) + long_word(ties, i) < found.stay[j] else found.alias[j])
    return drawn


# --- whole vectors ----------------------------------------------------------------------------------------------------


@dataclass
class Task:
    """What participants share. `arrays`: size and dtype of each, in order. `parent`: id of the round in groups."""

    pipe: Pipe
    arrays: list[tuple[int, str]]
    context: bytes
    n: int
    h: int
    homomorphic: bool = False
    parent: bytes = b""

    @property
    def size(self) -> int:
        return sum(size for size, _ in self.arrays)

    @property
    def chosen(self) -> list[tuple[list[int], float]]:
        if self.pipe.rate == 1:
            return [(list(range(self.size)), 1.0)]
        chosen_by = self.context if self.pipe.per_group else self.parent or self.context
        return kept(self.size, self.pipe.rate, chosen_by)

    @property
    def sent(self) -> int:
        """Values that are sampled."""
        return sum(len(block) for block, _ in self.chosen)

    @property
    def length(self) -> int:
        """d."""
        return -(-self.sent // block_size(self.sent)) * block_size(self.sent) if self.pipe.rotate else self.sent

    @property
    def noise(self) -> Sized:
        pipe, block, h = self.pipe, block_size(self.sent), 1 if self.pipe.central else self.h
        stated: dict[str, Any] = {"bits": pipe.bits, "z": pipe.z, "c": pipe.clips[-1][1], "central": pipe.central}
        return sized(n=self.n, h=h, block=block, d=self.length, **stated)

    @property
    def longest(self) -> float:
        """B: the norm that no clipped update exceeds."""
        bounds = [
            c * math.sqrt(self.size if kind == "linf" else len(self.arrays) if per_array else 1)
            for kind, c, per_array in self.pipe.clips
        ]
        return min(bounds, default=math.inf)

    @property
    def table(self) -> Table:
        return table(str(self.pipe.law), self.noise.variance)

    @property
    def raised_by(self) -> int:
        return self.table.largest + math.isqrt(self.noise.norm_bound) if self.homomorphic else 0

    @property
    def value_bits(self) -> int:
        if self.homomorphic and self.pipe.law:
            return (2 * self.raised_by).bit_length()
        return ref.coordinate_bits(self.pipe.bits, self.pipe.max_weight)

    @property
    def ring_bits(self) -> int:
        wraps = self.pipe.law is not None and not self.homomorphic
        return self.value_bits + (0 if wraps else (self.n - 1).bit_length())

    def clipped(self, values: Floats, carried: Floats | None) -> Floats:
        if carried is not None:
            values = [v + c for v, c in zip(values, carried, strict=True)]
        return clipped(values, [size for size, _ in self.arrays], self.pipe.clips)

    def transformed(self, values: Floats) -> Floats:
        chosen = [values[i] for block, _ in self.chosen for i in block]
        return rotated(chosen, self.context) if self.pipe.rotate else chosen

    def undone(self, values: Floats) -> Floats:
        if self.pipe.rotate:
            values = unrotated(values, self.sent, self.context)
        out, at = [0.0] * self.size, iter(values)
        for block, factor in self.chosen:
            for i in block:
                out[i] = next(at) * (1.0 if self.pipe.feedback else factor)
        return out

    def encoded(self, values: Floats, seed: bytes, weight: int = 1, carried: Floats | None = None) -> list[int]:
        x = self.transformed(self.clipped(values, carried))
        if self.pipe.law is not None:
            grid = self.rounded(x, seed)
            drawn = [0] * len(x) if self.pipe.central else samples(self.table, seed, 0, len(x))
            whole = [v + w + self.raised_by for v, w in zip(grid, drawn, strict=True)]
            return whole if self.homomorphic else [v % 2**self.pipe.bits for v in whole]
        assert self.pipe.range is not None
        uniforms = ref.words(ref.rounding_key(seed), 32, -(-len(x) // 4) * 4)[: len(x)]
        code: dict[str, Any] = {"clip": self.pipe.range, "value_bits": self.pipe.bits, "weight": weight}
        return ref.encode(x, **code, max_weight=self.pipe.max_weight, uniforms=uniforms)

    def rounded(self, x: Floats, seed: bytes) -> list[int]:
        return self._accepted(x, seed)[1]

    def attempts(self, x: Floats, seed: bytes) -> int:
        return self._accepted(x, seed)[0]

    def _accepted(self, x: Floats, seed: bytes) -> tuple[int, list[int]]:
        for attempt in range(1000):
            info = ref.frame(b"secagg/v1/stochastic-rounding", attempt.to_bytes(4, "big"))
            uniforms = ref.words(ref.hkdf(seed, b"", info), 32, len(x))
            grid = [math.floor(v * self.noise.scale + u * 2.0**-32) for v, u in zip(x, uniforms, strict=True)]
            if sum(v * v for v in grid) <= self.noise.norm_bound:
                return attempt + 1, grid
        raise AssertionError("no rounding is within the bound")

    def lost(self, values: Floats, seed: bytes, weight: int = 1, carried: Floats | None = None) -> Floats:
        x = self.clipped(values, carried)
        if self.pipe.law is not None:
            alone = [v / self.noise.scale for v in self.rounded(self.transformed(x), seed)]
        else:
            alone, _ = self.quantised(self.encoded(values, seed, weight, carried), 1)
        return [float32(a - b) for a, b in zip(x, self.undone(alone), strict=True)]

    def quantised(self, sums: Sequence[int], summands: int) -> tuple[Floats, int]:
        assert self.pipe.range is not None
        code: dict[str, Any] = {"clip": self.pipe.range, "value_bits": self.pipe.bits}
        return ref.decode(sums, **code, max_weight=self.pipe.max_weight, summands=summands, size=self.length)

    def error_bound(self, summands: int, weight: int) -> float:
        if self.pipe.range is None or self.pipe.rate < 1:
            return math.inf
        bound: float = summands * (2 * self.pipe.range / (2**self.pipe.bits - 1)) * self.pipe.max_weight / weight
        if not self.pipe.rotate:
            return bound
        return bound * math.sqrt(block_size(self.sent)) if self.longest <= self.pipe.range else math.inf

    def mean(self, sums: Sequence[int], summands: int) -> tuple[Floats, int]:
        """Means, each in its array's dtype, and the weight."""
        if self.pipe.law is None:
            flat, weight = self.quantised(sums, summands)
        else:
            half, whole, weight = 2 ** (self.pipe.bits - 1), 2**self.pipe.bits, summands
            signed = [v - summands * self.raised_by if self.homomorphic else (v + half) % whole - half for v in sums]
            flat = [v / (self.noise.scale * summands) for v in signed]
        dtypes = [dtype for size, dtype in self.arrays for _ in range(size)]
        return [float32(v) if dtypes[i] == "float32" else v for i, v in enumerate(self.undone(flat))], weight


def float32(value: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", value))[0])
