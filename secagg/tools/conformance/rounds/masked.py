"""Whole masked rounds, with a dropout in every phase: one for each threat model, with the model named at once and named
later, one with noise, and one whose masks are made by AEGIS-128X4.
"""

from collections.abc import Iterator

from secagg.config import RoundConfig, Suite, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.tools.conformance.document import Document, document, plain
from secagg.tools.conformance.rounds.inputs import NOTE, Attendance, round_config, round_inputs
from secagg.tools.conformance.rounds.masked_intermediates import intermediates
from secagg.tools.conformance.rounds.recorder import finished

PIPELINE = "feedback | clip(linf=1.0) | clip(l2=1.0) | sample(rate=0.75) | rotate | quantise(bits=12)"
"""Every step but weights and noise."""


def vectors() -> Iterator[tuple[str, Document]]:
    """File name and content."""
    for name, config, attendance in _rounds():
        yield f"round-{name}", _round(f"round-{name}", config, attendance)


def _rounds() -> Iterator[tuple[str, RoundConfig, Attendance]]:
    semi_honest = round_config(
        "semi-honest",
        encoding=FixedPoint(1.0, 8, 1000),
        max_participants=9,
        threshold=4,
        max_colluding=2,
        threat_model=ThreatModel.SEMI_HONEST,
    )
    drops = {"SHARE_KEYS": "cedar", "MASKED_INPUT": "elm", "UNMASK": "fir"}
    yield "semi-honest", semi_honest, Attendance.without("hazel", "iris", "juniper", **drops)
    active = round_config(
        "active",
        encoding=FixedPoint(0.5, 16, 1),
        max_participants=12,
        threshold=7,
        max_colluding=1,
        threat_model=ThreatModel.ACTIVE,
    )
    yield "active", active, Attendance.without(**drops, CONSISTENCY_CHECK="hazel")
    semi_honest_later = round_config(
        "semi-honest-model-later",
        encoding=Pipeline.parse(f"{PIPELINE[:-1]}, range=1.0)"),
        max_participants=7,
        threshold=3,
        max_colluding=1,
        threat_model=ThreatModel.SEMI_HONEST,
        model_later=True,
    )
    seven = Attendance.without("hazel", "iris", "juniper", "amber-9", "amber-10", **drops)
    yield "semi-honest-model-later", semi_honest_later, seven
    active_later = round_config(
        "active-model-later",
        encoding=FixedPoint(0.5, 16, 1),
        max_participants=11,
        threshold=6,
        max_colluding=0,
        model_later=True,
    )
    yield "active-model-later", active_later, Attendance.without("juniper", **drops, CONSISTENCY_CHECK="hazel")
    noise = round_config(
        "noise",
        encoding=Pipeline.parse(f"{PIPELINE} | noise(law=skellam, z=0.25)"),
        max_participants=8,
        threshold=4,
        max_colluding=1,
        threat_model=ThreatModel.SEMI_HONEST,
    )
    aegis = round_config(
        "aegis",
        encoding=FixedPoint(1.0, 8, 1),
        max_participants=8,
        threshold=4,
        max_colluding=1,
        threat_model=ThreatModel.SEMI_HONEST,
        suite=Suite.X25519_SHA256_AEGIS128X4,
    )
    yield "aegis", aegis, Attendance.without("hazel", "iris", "juniper", "amber-9", **drops)
    yield "noise", noise, Attendance.without("hazel", "iris", "juniper", "amber-9", **drops)


def _round(name: str, config: RoundConfig, attendance: Attendance) -> Document:
    model = config.threat_model.name.lower().replace("_", "-")
    named = ", whose model is named with the shares" if config.model_later else ""
    title = f"A round, {model}{named}, with a dropout in each phase"
    vector = document("round", title, "The round", note=NOTE, **round_inputs(name, config, attendance))
    vector["intermediates"] = plain(intermediates(vector, finished(vector, attendance)))
    return vector
