"""Sums that must not be opened because of those that were released before: checks C85 and C86 of proto/PROTOCOL.md."""

from collections.abc import Iterator

from secagg.config import TRAIN
from secagg.messages import ParticipantId, SurvivorSet
from secagg.phases import Phase
from secagg.rounds.releases import Release, remembering
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document, document
from secagg.tools.conformance.failures.script import COORDINATOR, Failure, Script, refused

PARTICIPANT = "dahlia"
VICTIM = "fir"
Vector = tuple[str, Document]


def vectors(script: Script) -> Iterator[Vector]:
    """File name and content; `script` is an active masked round."""
    sets: SurvivorSet = wire.decode(script.message("survivors"))
    cohort = [name for name, member in sorted(script.members.items()) if member.index in sets.survivors]
    before = [name for name in cohort if name != VICTIM]
    released: list[Document] = [{"survivors": before, "threshold": script.stage.config.threshold - 1}]
    yield "differencing", _cells()
    yield _at_coordinator(script, released)
    yield _at_participant(script, released)
    threshold = script.stage.config.threshold
    yield _beside_others(script, [{"survivors": cohort, "threshold": threshold}, *released])


def _cells() -> Document:
    """What sums of one model show together, without a round around them."""
    crowd = [f"p{i:02d}" for i in range(12)]

    def told(survivors: list[str], threshold: int = 3, model: str = "one", purpose: str = TRAIN) -> Document:
        return {"survivors": survivors, "threshold": threshold, "model": model, "purpose": purpose}

    def release(stated: Document) -> Release:
        survivors = frozenset(map(ParticipantId, stated["survivors"]))
        return Release(stated["model"].encode(), survivors, stated["threshold"], stated["purpose"])

    everyone = told(crowd[:9])
    cases = []
    for title, before, now in (
        ("one fewer", [everyone], told(crowd[:8])),
        ("the first sum", [], everyone),
        ("the same cohort again, after several", [everyone, everyone, told(crowd[9:])], everyone),
        ("a cohort that shares nobody", [everyone], told(crowd[9:])),
        ("one more", [told(crowd[:8])], everyone),
        ("as many fewer as the threshold", [everyone], told(crowd[:6])),
        ("fewer by less than the other sum's threshold", [told(crowd[:9], 5)], told(crowd[:5])),
        ("no two differ by few, and together they show one", [everyone, told(crowd[:5])], told(crowd[5:8])),
        ("another model", [everyone], told(crowd[:8], model="another")),
        ("another purpose", [everyone], told(crowd[:8], purpose="evaluate")),
        (
            "another purpose, asked twice",
            [everyone, told(crowd[:8], purpose="evaluate")],
            told(crowd[:7], 3, "one", "evaluate"),
        ),
    ):
        memory = remembering(*map(release, before))
        cases.append({"title": title, "before": before, "sum": now, "exposed": sorted(memory(release(now)))})
    return document("differencing", "What sums of one model show together", "Sums of the same model", cases=cases)


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


def _beside_others(script: Script, released: list[Document]) -> Vector:
    at = script.find(at=PARTICIPANT, do="receive", message="survivors")
    failure = Failure(
        "differencing-beside-an-equal-cohort",
        "C86",
        "The same cohort was asked before, and beside it one that differs by one participant",
        f"sums of the same model were released before, one of the same cohort and one without {VICTIM}",
        refused("PolicyViolation"),
    )
    return script.write(failure, at, [script.vector["steps"][at]], {}, released=released)
