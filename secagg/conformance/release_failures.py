"""Sums that must not be opened because of those that were released before: checks C85 and C86 of proto/PROTOCOL.md."""

from collections.abc import Iterator

from secagg.conformance import wire
from secagg.conformance.document import Document
from secagg.conformance.failures import COORDINATOR, Failure, Script, refused
from secagg.messages import SurvivorSet
from secagg.phases import Phase

PARTICIPANT = "dahlia"
VICTIM = "fir"
Vector = tuple[str, Document]


def vectors(script: Script) -> Iterator[Vector]:
    """File name and content; `script` is an active masked round."""
    sets: SurvivorSet = wire.decode(script.message("survivors"))
    cohort = [name for name, member in sorted(script.members.items()) if member.index in sets.survivors]
    before = [name for name in cohort if name != VICTIM]
    released: list[Document] = [{"survivors": before, "threshold": script.stage.config.threshold - 1}]
    yield _at_coordinator(script, released)
    yield _at_participant(script, released)


def _at_coordinator(script: Script, released: list[Document]) -> Vector:
    at = next(i for i, step in enumerate(script.vector["steps"]) if _opens(step, Phase.CONSISTENCY_CHECK))
    step = script.vector["steps"][at]
    honest = [event for event in step["expect"]["events"] if event["event"] != "PhaseStarted"]
    failure = Failure(
        "differencing-at-coordinator",
        "C85",
        "A sum that differs from an earlier one by one participant",
        f"a sum of the same model without {VICTIM} was released before",
        {"events": [*honest, {"event": "RoundFailed", "reason": "DIFFERENCING"}]},
    )
    return script.write(failure, at, [step], {}, released=released)


def _opens(step: Document, phase: Phase) -> bool:
    events = step["expect"].get("events", []) if step["at"] == COORDINATOR else []
    return any(event["event"] == "PhaseStarted" and event["phase"] == phase.name for event in events)


def _at_participant(script: Script, released: list[Document]) -> Vector:
    at = script.find(at=PARTICIPANT, do="receive", message="survivors")
    failure = Failure(
        "differencing-at-participant",
        "C86",
        "A sum that differs by one participant from an earlier one that we are in",
        f"a sum of the same model without {VICTIM} was released before",
        refused("PolicyViolation"),
    )
    return script.write(failure, at, [script.vector["steps"][at]], {}, released=released)
