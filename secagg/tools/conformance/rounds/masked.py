"""Whole masked rounds, with a dropout in every phase: one for each threat model, with the model named at once and named
later, and on a ring; one with noise, one whose masks are made by AEGIS-128X4, and one of the hybrid suite.
"""

from collections.abc import Iterator
from dataclasses import replace

from secagg.config import RoundConfig, Suite, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.encoding.pipeline import Pipeline
from secagg.sparse.ring import Ring
from secagg.tools.conformance.document import Document, document, plain
from secagg.tools.conformance.replay import encapsulations
from secagg.tools.conformance.rounds.inputs import NOTE, Attendance, round_config, round_inputs
from secagg.tools.conformance.rounds.masked_intermediates import intermediates
from secagg.tools.conformance.rounds.recorder import finished

HYBRID = "round-hybrid"

PIPELINE = "feedback | clip(linf=1.0) | clip(l2=1.0) | sample(rate=0.75) | rotate | quantise(bits=12)"
"""Every step but weights and noise."""


def said(model: ThreatModel) -> str:
    """A threat model in names and titles."""
    return model.name.lower().replace("_", "-")


def vectors() -> Iterator[tuple[str, Document]]:
    """File name and content."""
    for name, config, attendance in _rounds():
        yield f"round-{name}", _round(f"round-{name}", config, attendance)


def hybrid_privates() -> dict[str, dict[str, bytes]]:
    """The seeds of everybody's key pairs in the round of the hybrid suite."""
    config, attendance = next((config, attendance) for name, config, attendance in _rounds() if name == "hybrid")
    return encapsulations.privates_of(plain(round_inputs(HYBRID, config, attendance))["participants"])


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
    hybrid = round_config(
        "hybrid",
        encoding=FixedPoint(1.0, 8, 1),
        max_participants=7,
        threshold=3,
        max_colluding=1,
        threat_model=ThreatModel.SEMI_HONEST,
        suite=Suite.XWING_SHA256_AES256,
    )
    yield "hybrid", hybrid, Attendance.without("hazel", "iris", "juniper", "amber-9", "amber-10", **drops)
    yield "noise", noise, Attendance.without("hazel", "iris", "juniper", "amber-9", **drops)

    sparse = ("linden", "maple", "oak", "pine")
    ring = Ring(degree=10, neighbour_threshold=7, committee=7, committee_threshold=4, min_participants=13)
    for model, graph, signing in (
        (ThreatModel.ACTIVE, ring, {"CONSISTENCY_CHECK": "hazel"}),
        (ThreatModel.SEMI_HONEST, replace(ring, neighbour_threshold=6, committee=0, committee_threshold=0), {}),
    ):
        config = round_config(
            "sparse",
            encoding=FixedPoint(0.5, 16, 1),
            max_participants=16,
            threshold=9,
            max_colluding=0,
            threat_model=model,
            graph=graph,
        )
        attendance = Attendance.without(**drops, **signing)
        yield f"{said(model)}-sparse", config, replace(attendance, everyone=attendance.everyone + sparse)


def _round(name: str, config: RoundConfig, attendance: Attendance) -> Document:
    model = said(config.threat_model)
    named = ", whose model is named with the shares" if config.model_later else ""
    sparse = "" if config.ring is None else ", on a ring"
    title = f"A round, {model}{named}{sparse}, with a dropout in each phase"
    inputs = round_inputs(name, config, attendance)
    if config.suite.hybrid:
        for mine in inputs["participants"].values():
            mine["encapsulations"] = name  # under this name in the file of recorded ones
    vector = document("round", title, "The round", note=NOTE, **inputs)
    vector["intermediates"] = plain(intermediates(vector, finished(vector, attendance)))
    return vector
