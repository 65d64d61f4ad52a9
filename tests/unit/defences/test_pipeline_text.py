"""The text of a pipeline: one for each, strict, and nothing but ConfigError for anything else."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.encoding.pipeline import Noise, Pipeline
from secagg.encoding.steps.clip import Clip
from secagg.errors import ConfigError
from secagg.noise.laws import Law

TEXTS = [
    "quantise(bits=8, range=0.5)",
    "quantise(bits=1, range=1e-05)",
    "clip(linf=0.25) | quantise(bits=16, range=0.25)",
    "clip(l2=0.5, per=array) | clip(l2=1.0) | quantise(bits=12, range=1.0)",
    "feedback | sample(rate=0.1) | quantise(bits=2, range=3.0)",
    "rotate | weigh(max=100) | quantise(bits=4, range=0.125)",
    "clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.634)",
    "feedback | clip(l2=1.0) | sample(rate=0.5) | rotate | quantise(bits=20) | noise(law=gaussian, z=0.5)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_texts_and_pipelines_are_one_to_one(text: str) -> None:
    assert Pipeline.parse(text).text == text


bounds = st.floats(2.0**-64, 2.0**64)
clips = st.one_of(
    st.builds(lambda b, per: Clip(l2=b, per_array=per), bounds, st.booleans()),
    st.builds(lambda b: Clip(linf=b), bounds),
)
rates = st.floats(0, 1, exclude_min=True)
plain = st.builds(
    Pipeline,
    bits=st.integers(1, 32),
    range=bounds,
    feedback=st.booleans(),
    clips=st.lists(clips, max_size=4).map(tuple),
    rate=rates,
    rotate=st.booleans(),
    max_weight=st.integers(1, 2**32 - 1),
)
noisy = st.builds(
    lambda clip, feedback, rate, bits, law, z: Pipeline(
        clips=(Clip(l2=clip),), feedback=feedback, rate=rate, bits=bits, rotate=True, noise=Noise(law, z)
    ),
    bounds,
    st.booleans(),
    rates,
    st.integers(4, 32),
    st.sampled_from(Law),
    st.floats(2.0**-10, 2.0**10),
)


@given(st.one_of(plain, noisy))
def test_every_pipeline_comes_back_from_its_text(pipeline: Pipeline) -> None:
    assert Pipeline.parse(pipeline.text) == pipeline


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "unknown step ''"),
        ("quantise(bits=8, range=0.5) | encrypt", "unknown step 'encrypt'; steps are feedback, clip"),
        ("Quantise(bits=8, range=0.5)", "unknown step"),
        ("quantise(bits=8, range=0.5) ", "unknown step"),
        ("quantise(bits=8,range=0.5)", "quantise takes bits, range"),
        ("quantise(bits=8, depth=3)", "quantise takes bits, range, not 'depth=3'"),
        ("quantise(bits=8, bits=8)", "quantise takes"),
        ("rotate(by=3) | quantise(bits=8, range=0.5)", "rotate takes nothing"),
        ("rotate() | quantise(bits=8, range=0.5)", "rotate takes nothing"),
        ("quantise()", "quantise takes"),
        ("rotate", "needs quantise"),
        ("quantise(bits=8)", "needs a range"),
        ("quantise(range=0.5)", "bits is a whole number"),
        ("quantise(bits=8.0, range=0.5)", "bits is a whole number"),
        ("quantise(bits=99999999999, range=0.5)", "bits is a whole number"),
        ("quantise(bits=0, range=0.5)", "value_bits must be"),
        ("quantise(bits=33, range=0.5)", "value_bits must be"),
        ("quantise(bits=8, range=nan)", "must be a number from"),
        ("quantise(bits=8, range=inf)", "must be a number from"),
        ("quantise(bits=8, range=e)", "range is a number"),
        ("quantise(bits=8, range=0.50)", "write the pipeline as: quantise(bits=8, range=0.5)"),
        ("quantise(bits=8, range=5e-1)", "write the pipeline as"),
        ("quantise(bits=08, range=0.5)", "write the pipeline as"),
        ("quantise(range=0.5, bits=8)", "write the pipeline as"),
        ("quantise(bits=8, range=0.5) | rotate", "write the pipeline as: rotate | quantise"),
        ("rotate | rotate | quantise(bits=8, range=0.5)", "write the pipeline as"),
        ("weigh(max=1) | quantise(bits=8, range=0.5)", "write the pipeline as"),
        ("sample(rate=1.0) | quantise(bits=8, range=0.5)", "write the pipeline as"),
        ("sample | quantise(bits=8, range=0.5)", "rate=… is missing"),
        ("sample(rate=0.0) | quantise(bits=8, range=0.5)", "rate in"),
        ("sample(rate=nan) | quantise(bits=8, range=0.5)", "rate in"),
        ("sample(rate=-0.5) | quantise(bits=8, range=0.5)", "rate in"),
        ("clip | quantise(bits=8, range=0.5)", "one bound"),
        ("clip(l2=inf) | quantise(bits=8, range=0.5)", "one bound"),
        ("clip(l2=nan) | quantise(bits=8, range=0.5)", "one bound"),
        ("clip(l2=1.0, per=layer) | quantise(bits=8, range=0.5)", "per=array only"),
        (" | ".join(["clip(l2=1.0)"] * 5 + ["quantise(bits=8, range=0.5)"]), "at most 4 clips"),
        ("weigh(max=0) | quantise(bits=8, range=0.5)", "max_weight must be"),
        ("rotate | " * 200 + "quantise(bits=8, range=0.5)", "at most 1024 characters"),
    ],
)
def test_texts_that_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Pipeline.parse(text)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clip(l2=1.0) | rotate | weigh(max=9) | quantise(bits=16) | noise(law=skellam, z=1.0)", "weight 1"),
        ("clip(l2=1.0) | rotate | quantise(bits=16, range=1.0) | noise(law=skellam, z=1.0)", "leave quantise's range"),
        ("rotate | quantise(bits=16) | noise(law=skellam, z=1.0)", "let the last clip be clip(l2=…)"),
        ("clip(linf=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)", "let the last clip be"),
        ("clip(l2=1.0, per=array) | rotate | quantise(bits=16) | noise(law=skellam, z=1.0)", "let the last clip be"),
        ("clip(l2=1.0) | quantise(bits=16) | noise(law=skellam, z=1.0)", "noise needs rotate"),
        ("clip(l2=1.0) | rotate | quantise(bits=3) | noise(law=skellam, z=1.0)", "4 to 32 bits"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=laplace, z=1.0)", "law=gaussian or law=skellam"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(z=1.0)", "law=gaussian or law=skellam"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam)", "z=… is missing"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=0.0)", "z must be"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=-1.0)", "z must be"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=nan)", "z must be"),
        ("clip(l2=1.0) | rotate | quantise(bits=16) | noise(law=skellam, z=inf)", "z must be"),
    ],
)
def test_noise_that_would_not_protect_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        Pipeline.parse(text)
    assert words in str(refusal.value)


pieces = st.sampled_from(
    [*"|() ,=.", " | ", "clip", "rotate", "quantise", "noise", "sample", "weigh", "feedback", "l2=", "bits=", "range=",
     "law=", "skellam", "z=", "per=array", "1.0", "16", "-1", "nan", "inf", "1e999", "٣", "\0"]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(pieces, max_size=30).map("".join)))
def test_any_text_is_a_pipeline_or_refused(text: str) -> None:
    try:
        pipeline = Pipeline.parse(text)
    except ConfigError:
        return
    assert pipeline.text == text


@given(st.sampled_from(TEXTS), st.integers(0, 100), st.characters())
def test_a_changed_character_is_refused_or_another_pipeline(text: str, at: int, character: str) -> None:
    at %= len(text)
    changed = text[:at] + character + text[at + 1 :]
    try:
        pipeline = Pipeline.parse(changed)
    except ConfigError:
        return
    assert (pipeline == Pipeline.parse(text)) == (changed == text)


def test_a_pipeline_made_by_hand_is_checked_alike() -> None:
    with pytest.raises(ConfigError, match="one bound"):
        Pipeline(bits=16, clips=(Clip(l2=inf),), rotate=True, noise=Noise(Law.SKELLAM, 1.0))
