"""The cases in which a program remembers earlier sums of the model, and may be in no further one, or in one alike."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import ACTIVE, ME
from secagg.tools.runner import requests
from secagg.tools.runner.cases import Case, Programs, refused_as
from secagg.tools.runner.live import LiveRound, round_of
from secagg.tools.runner.needs import needs_of_round

STRANGERS: Final = tuple(f"stranger-{number}" for number in range(1, 10))
"""As many people as are enough for a sum, of whom nobody is in the round."""

ONCE: Final = {"once_per_model": True}


@dataclass(frozen=True, slots=True)
class Row:
    """One case.

    Attributes:
        number: of the case.
        check: it is about this one.
        title: what happens.
        released: the sum that the program remembers; its survivors are those of the round, and `more`.
        policy: of the program.
        at: the message of the round that is refused, or `join`; nothing is where it is empty.
        more: people who were in that sum besides.
    """

    number: str
    check: str
    title: str
    released: Document
    policy: Document
    at: str = ""
    more: Sequence[str] = ()


def rows() -> Iterator[Row]:
    """All of them."""
    own = round_of(ACTIVE)["round_id"]
    # fmt: off
    yield Row("lie-second-sum", "C86", "A sum for another purpose is on record under this round id",
              {"round_id": own, "purpose": "evaluate"}, {}, "survivors")
    yield Row("lie-model-again", "C3", "A model of which a sum came out, where one is enough",
              {"received": True}, ONCE, "join")
    yield Row("lie-model-to-others", "C86", "A model whose update may be in a sum of other people, where one is enough",
              {}, ONCE, "survivors", STRANGERS)
    yield Row("live-model-to-more", "", "A model again, to other people of whom enough were in no sum",
              {}, {}, more=STRANGERS)
    yield Row("live-model-to-the-same", "", "A model again to the same people, after a sum that did not come out",
              {}, ONCE)
    yield Row("live-model-for-another-purpose", "", "A model of which a sum for another purpose came out",
              {"received": True, "purpose": "evaluate"}, ONCE)
    # fmt: on


def cases() -> Iterator[Case]:
    """All of them."""
    needs = needs_of_round(round_of(ACTIVE))
    for row in rows():
        yield Case(row.number, row.title, row.check, needs, partial(_play, row))


def _play(row: Row, programs: Programs) -> None:
    [program], round_ = programs.take(1), round_of(ACTIVE)
    survivors = sorted({*round_["outcome"]["survivors"], *row.more})
    released = {"survivors": survivors, "threshold": 7} | row.released
    terms = {"policy": row.policy, "released": [released]}
    if row.at == "join":
        refused_as(
            program.ask(requests.join(round_, ME, replayed=False, terms=terms)), "PolicyViolation", "coordinator"
        )
        return
    live = LiveRound(ACTIVE, round_, {ME: program}, terms)
    if not row.at:
        live.go()
        live.check_sum()
        return
    at = live.find(at=ME, do="receive", message=row.at)
    live.go(at)
    refused_as(live.ask(live.vector["steps"][at]), "PolicyViolation", "coordinator")
