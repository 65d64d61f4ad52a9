"""One case: what a program is asked, and whether it did what the specification says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from secagg.errors import RemoteError
from secagg.tools.runner.lines import Answer, Believes, Description, Feature, Refuses, Sends, Signs
from secagg.tools.runner.program import LIMIT_S, Program


class Unlike(Exception):
    """The program did something else than the specification says; the text says what."""


class Verdict(Enum):
    """How a case ended."""

    PASSED = "passed"
    FAILED = "failed"
    LEFT_OUT = "left out"
    """The program does not have what the case needs."""
    EXPECTED = "failed as expected"
    UNEXPECTED = "passed, but is on the list of expected failures"

    @property
    def good(self) -> bool:
        """Whether a run with such a verdict may be called good."""
        return self not in (Verdict.FAILED, Verdict.UNEXPECTED)


class Programs:
    """Processes of one command: one that goes from case to case, and more for a case that needs several."""

    def __init__(self, command: Sequence[str], limit_s: float = LIMIT_S) -> None:
        """As of `Program`; nothing is started yet."""
        self._command, self._limit_s = command, limit_s
        self._running: list[Program] = []
        self._open = ExitStack()

    def __enter__(self) -> "Programs":
        return self

    def __exit__(self, *_: object) -> None:
        self.restart()

    def take(self, count: int) -> list[Program]:
        """So many processes, each free to begin a round.

        Raises:
            ConfigError: the command cannot be started.
            RemoteError: it does not describe itself.
        """
        while len(self._running) < count:
            program = self._open.enter_context(Program(self._command, self._limit_s))
            program.describe()
            self._running.append(program)
        return self._running[:count]

    def describe(self) -> Description:
        """What the program says of itself; errors as of `take`."""
        [program] = self.take(1)
        return program.described

    def restart(self) -> None:
        """End all processes; the next case has new ones."""
        self._running.clear()
        self._open.close()


@dataclass(frozen=True, slots=True)
class Case:
    """Something to ask a program.

    Attributes:
        number: names it for good; no other case ever has it.
        title: what happens, in words.
        check: numbers of checks in PROTOCOL.md that it is about; empty for an honest round.
        needs: features without which it cannot be played.
        play: plays it; raises `Unlike`, or the `RemoteError` of a process that is of no use any more.
    """

    number: str
    title: str
    check: str
    needs: frozenset[Feature]
    play: Callable[[Programs], None]


@dataclass(frozen=True, slots=True)
class Judged:
    """A case with its verdict, and in words what was wrong."""

    case: Case
    verdict: Verdict
    text: str = ""


def judge(
    cases: Iterable[Case], programs: Programs, features: frozenset[Feature], expected: Mapping[str, str]
) -> Iterator[Judged]:
    """Play the cases one after the other.

    Args:
        cases: in their order.
        programs: the processes of the program.
        features: what the program says that it has.
        expected: numbers of the cases that are known to fail, each with the reason.
    """
    for case in cases:
        if missing := sorted(feature.value for feature in case.needs - features):
            yield Judged(case, Verdict.LEFT_OUT, "needs " + ", ".join(missing))
            continue
        wrong = _wrong(case, programs)
        if case.number in expected:
            text = expected[case.number]
            yield Judged(case, Verdict.UNEXPECTED if wrong is None else Verdict.EXPECTED, text)
        else:
            yield Judged(case, Verdict.PASSED if wrong is None else Verdict.FAILED, wrong or "")


def _wrong(case: Case, programs: Programs) -> str | None:
    try:
        case.play(programs)
    except Unlike as unlike:
        return str(unlike)
    except RemoteError as error:
        programs.restart()
        return str(error)
    return None


def refused_as(answer: Answer, error: str, culprit: str | None) -> None:
    """Hold that the answer is this refusal.

    Raises:
        Unlike: it is not.
    """
    if answer != (wanted := Refuses(error, culprit)):
        raise Unlike(f"{said(answer)}; the specification says: {said(wanted)}")


def said(answer: Answer) -> str:
    """An answer in words."""
    if isinstance(answer, Refuses):
        return f"refused with {answer.error}, culprit {answer.culprit or 'nobody'}"
    if isinstance(answer, Sends):
        return "sent " + (", ".join(message["type"] for message in answer.messages) or "nothing")
    if isinstance(answer, Signs):
        return "signed the result" if answer.signature else "left the signing to others"
    if not isinstance(answer, Believes):
        return "gave its state away"
    return "believed it" + {None: "", True: " to be certified", False: ", not to be certified"}[answer.certified]
