"""Rounds in which a program goes on in another process, from a state that it saved; and states that are handed back."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.script import ACTIVE, LATER, ME, PEER, SEMI_HONEST, SPARSE
from secagg.tools.runner import requests
from secagg.tools.runner.cases import Case, Programs, Unlike, said
from secagg.tools.runner.lines import Answer, Feature, Refuses, Saves, Sends
from secagg.tools.runner.live import LiveRound, round_of
from secagg.tools.runner.needs import needs_of_round

ROUNDS: Final = (SEMI_HONEST, ACTIVE, LATER, SPARSE, "integers-active")


class MovedRound(LiveRound):
    """A live round in which ME is saved after each answer, and goes on in another process."""

    def __init__(self, name: str, programs: Programs, folder: Path) -> None:
        """Args:
        name: of the round.
        programs: gives two processes, which take turns.
        folder: of ME, for the keys of its states.
        """
        first, second = programs.take(2)
        super().__init__(name, round_of(name), {ME: first}, {"folder": str(folder)})
        self._turns = cycle((second, first))
        self.states: list[str] = []

    def _take(self, step: Document, answer: Answer) -> None:
        super()._take(step, answer)
        if isinstance(answer, Sends) and answer.messages[-1]["type"] != "Unmask":
            self._move()

    def _move(self) -> None:
        saved = self.programs[ME].ask({"do": "save"})
        if not isinstance(saved, Saves):
            raise Unlike(f"{self.name}: asked for its state, the program {said(saved)}")
        self.states.append(saved.state)
        self.programs[ME] = next(self._turns)
        answer = self.restored(saved.state)
        if answer != Sends(()):
            raise Unlike(f"{self.name}: given the state that was saved last, the program {said(answer)}")

    def restored(self, state: str, **other: str) -> Answer:
        """What the process whose turn it is says to a state."""
        return self.programs[ME].ask(requests.restore(self.joining(ME), state) | other)


def cases() -> Iterator[Case]:
    """All of them."""
    for name in ROUNDS:
        needs = needs_of_round(round_of(name)) | {Feature.STATES}
        kind = name.removeprefix("round-")
        yield Case(f"live-moved-{kind}", f"After each answer another process goes on, {kind}", "", needs, _moved(name))
    needs = needs_of_round(round_of(ACTIVE)) | {Feature.STATES}
    for number, title, lie in (
        ("restored-twice", "The state that another process goes on with, a second time", _twice),
        ("older", "A state from before the last answer", _older),
        ("altered", "A state with one bit changed", _altered),
        ("of-another", "The state of another participant", _of_another),
        ("joined-twice", "A round that was joined before", _joined_twice),
    ):
        yield Case(f"lie-state-{number}", title, "", needs, partial(_handed_back, lie))


def _moved(name: str) -> Callable[[Programs], None]:
    def play(programs: Programs) -> None:
        with TemporaryDirectory() as folder:
            live = MovedRound(name, programs, Path(folder))
            live.go()
            live.check_sum()

    return play


def _handed_back(lie: Callable[[MovedRound], Answer], programs: Programs) -> None:
    """Up to the survivors the round is honest; then the states lie."""
    with TemporaryDirectory() as folder:
        live = MovedRound(ACTIVE, programs, Path(folder))
        live.go(live.find(at=ME, do="receive", message="survivors"))
        answer = lie(live)
    if not isinstance(answer, Refuses):
        raise Unlike(f"it {said(answer)}; such a state opens nothing")


def _twice(live: MovedRound) -> Answer:
    return live.restored(live.states[-1])


def _older(live: MovedRound) -> Answer:
    return live.restored(live.states[-2])


def _altered(live: MovedRound) -> Answer:
    saved = live.programs[ME].ask({"do": "save"})
    if not isinstance(saved, Saves):
        raise Unlike(f"restored and asked for its state, the program {said(saved)}")
    last = int(saved.state[-2:], 16) ^ 1
    return live.restored(saved.state[:-2] + f"{last:02x}")


def _of_another(live: MovedRound) -> Answer:
    saved = live.programs[ME].ask({"do": "save"})
    if not isinstance(saved, Saves):
        raise Unlike(f"restored and asked for its state, the program {said(saved)}")
    other = requests.join(live.vector, PEER, replayed=False)
    return live.restored(saved.state, **{key: other[key] for key in ("participant_id", "identity")})


def _joined_twice(live: MovedRound) -> Answer:
    return live.programs[ME].ask(live.joining(ME))
