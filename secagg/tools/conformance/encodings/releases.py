"""Vectors of sums of one model: whom several of them show together, without a round around them."""

from collections.abc import Iterator

from secagg.config import TRAIN
from secagg.messages import ParticipantId
from secagg.rounds.releases import Release, remembering
from secagg.tools.conformance.document import Contents, Document


def _cells() -> Iterator[Document]:
    """What sums of one model show together, without a round around them."""
    crowd = [f"p{i:02d}" for i in range(12)]

    def told(survivors: list[str], threshold: int = 3, model: str = "one", purpose: str = TRAIN) -> Document:
        return {"survivors": survivors, "threshold": threshold, "model": model, "purpose": purpose}

    def release(stated: Document) -> Release:
        survivors = frozenset(map(ParticipantId, stated["survivors"]))
        return Release(stated["model"].encode(), survivors, stated["threshold"], stated["purpose"])

    everyone = told(crowd[:9])
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
        yield {"title": title, "before": before, "sum": now, "exposed": sorted(memory(release(now)))}


VECTORS: Contents = {"differencing": ("What sums of one model show together", "Sums of the same model", _cells)}
