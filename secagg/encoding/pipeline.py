"""What happens to an update before it is summed, as one line of text that is part of the round's configuration.

    feedback | clip(l2=1.0) | sample(rate=0.1) | rotate | weigh(max=100) | quantise(bits=8, range=0.05)
    clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634)
    clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634, by=coordinator)

Steps stand in this order; `quantise` alone must be there. One pipeline has one text: anything else is refused.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final

from secagg.encoding.clipping import Clip
from secagg.encoding.fixedpoint import FixedPoint
from secagg.errors import ConfigError
from secagg.noise.laws import Law
from secagg.scalars import settle

MAX_TEXT: Final = 1024
MAX_CLIPS: Final = 4
MIN_Z: Final = 2.0**-10
MAX_Z: Final = 2.0**10
MIN_RING_BITS: Final = 4
MAX_RING_BITS: Final = 32

_STEP: Final = re.compile(r"([a-z]+)(?:\(([^()|]*)\))?")
_ARGUMENT: Final = re.compile(r"([a-z0-9]+)=([a-z0-9.+-]+)")


class NoiseBy(Enum):
    """Who adds the noise that a pipeline asks for."""

    PARTICIPANTS = "participants"
    """Each a share of it, to its own update: nobody sees a sum without."""
    COORDINATOR = "coordinator"
    """All of it, to the sum, which it sees without: whoever takes part trusts it to."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise that the sum will carry.

    Attributes:
        law: its distribution.
        z: standard deviation of the noise of the guaranteed honest survivors together, or of the coordinator's, in
            units of the L2 clip; 2^-10 to 2^10.
        by: who adds it.
    """

    law: Law
    z: float
    by: NoiseBy = NoiseBy.PARTICIPANTS

    def __post_init__(self) -> None:
        settle(self, numbers=("z",))
        if not MIN_Z <= self.z <= MAX_Z:
            raise ConfigError(f"z must be 2^-10 to 2^10, not {self.z}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The steps, each with its parameters or left out.

    Attributes:
        bits: without noise the bits of a value (1 to 32), with noise those of the ring that sums are taken in (4 to
            32).
        range: without noise: values are clipped to [−range, range] before they are quantised. None with noise.
        feedback: whether participants add what earlier rounds lost to rounding and sampling.
        clips: bounds, applied one after the other.
        rate: share of the coordinates that is sent, in (0, 1]; 1 sends all.
        per_group: whether each group of a round in groups sends coordinates of its own.
        rotate: whether updates are rotated.
        max_weight: w_max; see `FixedPoint`.
        noise: None where updates carry none.
    """

    bits: int
    range: float | None = None
    feedback: bool = False
    clips: tuple[Clip, ...] = ()
    rate: float = 1.0
    per_group: bool = False
    rotate: bool = False
    max_weight: int = 1
    noise: Noise | None = None

    def __post_init__(self) -> None:
        settle(self, integers=("bits", "max_weight"), numbers=("rate",) if self.range is None else ("rate", "range"))
        if not 0 < self.rate <= 1:
            raise ConfigError(f"sample keeps a rate in (0, 1], not {self.rate}")
        if self.per_group and self.rate == 1:
            raise ConfigError("sample(per=group) with rate 1 leaves nothing to choose; lower the rate or leave it out")
        if len(self.clips) > MAX_CLIPS:
            raise ConfigError(f"at most {MAX_CLIPS} clips, not {len(self.clips)}")
        if self.noise is None:
            self._check_plain()
        else:
            self._check_noisy()

    def _check_plain(self) -> None:
        self.code()

    def _check_noisy(self) -> None:
        """Client-level differential privacy counts every participant once, within one L2 bound."""
        if self.max_weight != 1:
            raise ConfigError("with noise every participant has weight 1; leave weigh out")
        if self.range is not None:
            raise ConfigError("with noise the scale follows from bits and z; leave quantise's range out")
        if not MIN_RING_BITS <= self.bits <= MAX_RING_BITS:
            raise ConfigError(f"with noise quantise has {MIN_RING_BITS} to {MAX_RING_BITS} bits, not {self.bits}")
        if not self.clips or self.clips[-1].l2 == inf or self.clips[-1].per_array:
            raise ConfigError("noise is measured against the L2 norm of an update; let the last clip be clip(l2=…)")
        if not self.rotate:
            raise ConfigError("noise needs rotate: without it one large coordinate wraps around the ring")

    def code(self) -> FixedPoint:
        """The fixed-point code of a pipeline without noise.

        Raises:
            ConfigError: no range, or parameters that `FixedPoint` refuses.
        """
        if self.range is None:
            raise ConfigError("quantise needs a range where there is no noise: quantise(bits=8, range=0.05)")
        return FixedPoint(self.range, self.bits, self.max_weight)

    @property
    def text(self) -> str:
        """The one text of this pipeline."""
        return " | ".join(self._steps())

    def _steps(self) -> Iterator[str]:
        if self.feedback:
            yield "feedback"
        for clip in self.clips:
            bound = f"l2={clip.l2!r}" if clip.l2 != inf else f"linf={clip.linf!r}"
            yield f"clip({bound}{', per=array' if clip.per_array else ''})"
        if self.rate != 1:
            yield f"sample(rate={self.rate!r}{', per=group' if self.per_group else ''})"
        if self.rotate:
            yield "rotate"
        if self.max_weight != 1:
            yield f"weigh(max={self.max_weight})"
        yield f"quantise(bits={self.bits}{'' if self.range is None else f', range={self.range!r}'})"
        if self.noise is not None:
            by = "" if self.noise.by is NoiseBy.PARTICIPANTS else f", by={self.noise.by.value}"
            yield f"noise(law={self.noise.law.value}, z={self.noise.z!r}{by})"

    @classmethod
    def parse(cls, text: str) -> "Pipeline":
        """The pipeline of a text.

        Raises:
            ConfigError: an unknown step or parameter, a step twice or out of order, values that do not fit, or a text
                that is not the one of its pipeline.
        """
        if len(text) > MAX_TEXT:
            raise ConfigError(f"a pipeline's text has at most {MAX_TEXT} characters, not {len(text)}")
        draft = _Draft({}, [])
        for step in text.split(" | "):
            draft.add(step)
        pipeline = draft.pipeline()
        if pipeline.text != text:
            raise ConfigError(f"write the pipeline as: {pipeline.text}")
        return pipeline


Arguments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Draft:
    fields: dict[str, object]
    clips: list[Clip]

    def add(self, step: str) -> None:
        match = _STEP.fullmatch(step)
        if match is None or match[1] not in _STEPS:
            raise ConfigError(f"unknown step {step[:40]!r}; steps are {', '.join(_STEPS)}")
        known, fill = _STEPS[match[1]]
        fill(self, _arguments(match[1], match[2], known))

    def pipeline(self) -> Pipeline:
        if "bits" not in self.fields:
            raise ConfigError("a pipeline needs quantise(bits=…)")
        return Pipeline(clips=tuple(self.clips), **self.fields)  # type: ignore[arg-type]

    def feedback(self, _: Arguments) -> None:
        self.fields["feedback"] = True

    def clip(self, arguments: Arguments) -> None:
        if arguments.get("per", "array") != "array":
            raise ConfigError("clip knows per=array only; leave per out for a bound on the whole update")
        bounds = {name: _number(arguments, name) for name in ("l2", "linf") if name in arguments}
        self.clips.append(Clip(**bounds, per_array="per" in arguments))

    def sample(self, arguments: Arguments) -> None:
        if arguments.get("per", "group") != "group":
            raise ConfigError("sample knows per=group only; leave per out for the same coordinates in the whole round")
        self.fields["rate"] = _number(arguments, "rate")
        self.fields["per_group"] = "per" in arguments

    def rotate(self, _: Arguments) -> None:
        self.fields["rotate"] = True

    def weigh(self, arguments: Arguments) -> None:
        self.fields["max_weight"] = _integer(arguments, "max")

    def quantise(self, arguments: Arguments) -> None:
        self.fields["bits"] = _integer(arguments, "bits")
        self.fields["range"] = _number(arguments, "range") if "range" in arguments else None

    def noise(self, arguments: Arguments) -> None:
        names = [law.value for law in Law]
        if arguments.get("law") not in names:
            raise ConfigError(f"noise has law={' or law='.join(names)}, not {arguments.get('law')}")
        sources = [by.value for by in NoiseBy]
        by = arguments.get("by", NoiseBy.PARTICIPANTS.value)
        if by not in sources:
            raise ConfigError(f"noise has by={' or by='.join(sources)}, not {by}")
        self.fields["noise"] = Noise(Law(arguments["law"]), _number(arguments, "z"), NoiseBy(by))


_STEPS: Final[dict[str, tuple[frozenset[str], Callable[[_Draft, Arguments], None]]]] = {
    "feedback": (frozenset(), _Draft.feedback),
    "clip": (frozenset({"l2", "linf", "per"}), _Draft.clip),
    "sample": (frozenset({"rate", "per"}), _Draft.sample),
    "rotate": (frozenset(), _Draft.rotate),
    "weigh": (frozenset({"max"}), _Draft.weigh),
    "quantise": (frozenset({"bits", "range"}), _Draft.quantise),
    "noise": (frozenset({"law", "z", "by"}), _Draft.noise),
}


def _arguments(step: str, text: str | None, known: frozenset[str]) -> Arguments:
    arguments: dict[str, str] = {}
    for part in text.split(", ") if text is not None else ():
        match = _ARGUMENT.fullmatch(part)
        if match is None or match[1] not in known or match[1] in arguments:
            allowed = ", ".join(sorted(known)) or "nothing"
            raise ConfigError(f"{step} takes {allowed}, not {part[:40]!r}")
        arguments[match[1]] = match[2]
    return arguments


def _number(arguments: Arguments, name: str) -> float:
    try:
        return float(arguments[name])
    except KeyError:
        raise ConfigError(f"{name}=… is missing") from None
    except ValueError:
        raise ConfigError(f"{name} is a number, not {arguments[name]!r}") from None


def _integer(arguments: Arguments, name: str) -> int:
    text = arguments.get(name, "")
    if not text.isdecimal() or len(text) > 10:
        raise ConfigError(f"{name} is a whole number, not {text[:40]!r}")
    return int(text)
