"""What happens to an update before it is summed, as one line of text that is part of the round's configuration.

    feedback | clip(l2=1.0) | sample(rate=0.1) | rotate | weigh(max=100) | quantise(bits=8, range=0.05)
    clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634)
    clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634, by=coordinator)

Steps stand in this order; `quantise` alone must be there. One pipeline has one text: anything else is refused.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any, Final

from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.steps import clip, sample
from secagg.encoding.steps.clip import Clip
from secagg.encoding.steps.text import Arguments, arguments, real, whole
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


class NoiseBy(Enum):
    """Who adds the noise that a pipeline asks for."""

    PARTICIPANTS = "participants"
    """Each participant adds a share of it to its own update, so nobody sees a sum without noise."""
    COORDINATOR = "coordinator"
    """The coordinator adds all of it to the sum. It sees the sum without noise, so participants must trust it."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise that a sum carries, so that it says little about any one participant.

    Attributes:
        law: how the noise is distributed.
        z: its standard deviation in units of the L2 clip, 2^-10 to 2^10. If participants add it, this is the noise of
            the guaranteed honest survivors together.
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
    """What happens to an update before it is summed: clipping, sampling, rotation, few bits, noise.

    `Pipeline.parse` reads a pipeline from a line of text. Steps stand in this order, and only `quantise` must be there:

    ```text
    feedback | clip(l2=1.0) | sample(rate=0.1) | rotate | weigh(max=100) | quantise(bits=8, range=0.05)
    clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634)
    ```

    Attributes:
        bits: `quantise(bits=…)`. Without noise the bits of a value, 1 to 32; with noise those of the ring in which sums
            are taken, 4 to 32.
        range: `quantise(range=…)`. Without noise, values are clipped to [−range, range] before they are quantised. None
            with noise.
        feedback: whether participants add what earlier rounds lost to rounding and sampling.
        clips: bounds, applied one after the other.
        rate: `sample(rate=…)`, the share of the coordinates that is sent, in (0, 1]; 1 sends all.
        per_group: `sample(per=group)`, whether each group of a round in groups sends coordinates of its own.
        rotate: whether updates are rotated.
        max_weight: `weigh(max=…)`; as in `FixedPoint`.
        noise: the noise that the sum carries; None for no noise.
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
        """The text of this pipeline. Each pipeline has exactly one."""
        return " | ".join(
            f"{name}({words})" if words else name for name, form in _FORMS.items() for words in form.written(self)
        )

    @classmethod
    def parse(cls, text: str) -> "Pipeline":
        """The pipeline that a text describes.

        Raises:
            ConfigError: a step or a parameter is unknown, a step stands twice or out of order, values do not fit, or
                the text is not the one that the pipeline has as `text`.
        """
        if len(text) > MAX_TEXT:
            raise ConfigError(f"a pipeline's text has at most {MAX_TEXT} characters, not {len(text)}")
        fields: dict[str, Any] = {}
        for step in text.split(" | "):
            match = _STEP.fullmatch(step)
            if match is None or match[1] not in _FORMS:
                raise ConfigError(f"unknown step {step[:40]!r}; steps are {', '.join(_FORMS)}")
            form = _FORMS[match[1]]
            read = form.read(arguments(match[1], match[2], form.keys))
            fields |= read | {"clips": fields.get("clips", ()) + read.get("clips", ())}
        if "bits" not in fields:
            raise ConfigError("a pipeline needs quantise(bits=…)")
        pipeline = cls(**fields)
        if pipeline.text != text:
            raise ConfigError(f"write the pipeline as: {pipeline.text}")
        return pipeline


@dataclass(frozen=True, slots=True)
class _Form:
    """How a step is written: its name, and `(key=value, …)` where it has parameters.

    Attributes:
        keys: the names of its parameters.
        read: the fields of `Pipeline` that its parameters say.
        written: its parameters in a pipeline, once for each time that it stands there.
    """

    keys: frozenset[str]
    read: Callable[[Arguments], dict[str, Any]]
    written: Callable[[Pipeline], Iterable[str]]


def _read_quantise(given: Arguments) -> dict[str, Any]:
    return {"bits": whole(given, "bits"), "range": real(given, "range") if "range" in given else None}


def _written_quantise(pipeline: Pipeline) -> Iterable[str]:
    yield f"bits={pipeline.bits}" + ("" if pipeline.range is None else f", range={pipeline.range!r}")


def _read_noise(given: Arguments) -> dict[str, Any]:
    names = [law.value for law in Law]
    if given.get("law") not in names:
        raise ConfigError(f"noise has law={' or law='.join(names)}, not {given.get('law')}")
    sources = [by.value for by in NoiseBy]
    by = given.get("by", NoiseBy.PARTICIPANTS.value)
    if by not in sources:
        raise ConfigError(f"noise has by={' or by='.join(sources)}, not {by}")
    return {"noise": Noise(Law(given["law"]), real(given, "z"), NoiseBy(by))}


def _written_noise(pipeline: Pipeline) -> Iterable[str]:
    if (noise := pipeline.noise) is not None:
        by = "" if noise.by is NoiseBy.PARTICIPANTS else f", by={noise.by.value}"
        yield f"law={noise.law.value}, z={noise.z!r}{by}"


# In the order in which the steps stand in a text.
_FORMS: Final = {
    "feedback": _Form(frozenset(), lambda _: {"feedback": True}, lambda p: [""] * p.feedback),
    "clip": _Form(
        frozenset({"l2", "linf", "per"}),
        lambda given: {"clips": (clip.read(given),)},
        lambda p: map(clip.written, p.clips),
    ),
    "sample": _Form(frozenset({"rate", "per"}), sample.read, lambda p: sample.written(p.rate, per_group=p.per_group)),
    "rotate": _Form(frozenset(), lambda _: {"rotate": True}, lambda p: [""] * p.rotate),
    "weigh": _Form(
        frozenset({"max"}),
        lambda given: {"max_weight": whole(given, "max")},
        lambda p: [f"max={p.max_weight}"] if p.max_weight != 1 else [],
    ),
    "quantise": _Form(frozenset({"bits", "range"}), _read_quantise, _written_quantise),
    "noise": _Form(frozenset({"law", "z", "by"}), _read_noise, _written_noise),
}
