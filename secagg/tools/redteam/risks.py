"""What practitioners fear, one by one: what encryption answers, what only noise does, and what nothing here does.

Every figure is taken from the findings of the same run; where a profile leaves an attack out, the page says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.tools.redteam.attacks.protocol.game import Kind, Played
from secagg.tools.redteam.measured import Exposure
from secagg.tools.redteam.results import Attempt, RedTeamFindings, worst_of


class Answer(Enum):
    """What helps. The value is for people."""

    ENCRYPTION = "secure aggregation"
    CHECKS = "the protocol's checks"
    NOISE = "noise"
    NOTHING = "nothing here"


class State(Enum):
    """What this run says of an answer. The value is for people."""

    SHOWN = "shown"
    FAILED = "FAILED in this run"
    NOT_ATTACKED = "not attacked"


@dataclass(frozen=True, slots=True)
class Risk:
    """One risk of training together.

    Attributes:
        title: for people.
        attacks: on single updates and sums of real rounds, by name.
        kinds: attack and target of the released means that belong to it.
        games: what protocol games belong to it.
        answers: what helps.
        said: what it is about, in a sentence; figures come from the run.
    """

    title: str
    attacks: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]
    games: tuple[Kind, ...]
    answers: tuple[Answer, ...]
    said: str


_HIDDEN_THEN_NOISE: Final = (Answer.ENCRYPTION, Answer.NOISE)

RISKS: Final = (
    Risk("Gradient inversion of images", ("first-layer", "low-rank", "idlg", "inverting-gradients"),
         (("first-layer", "mlp-faces"),), (), _HIDDEN_THEN_NOISE,
         "Secure aggregation hides single updates. A released sum of few is another matter: see its column."),
    Risk("Gradient inversion of tables and genotypes", (),
         (("first-layer", "mlp-genotypes"), ("first-layer", "mlp-breast-cancer")), (), _HIDDEN_THEN_NOISE,
         "As for images. Many independent values, as genotypes have, tell people apart."),
    Risk("Text: which words someone wrote", ("text",), (("text", "text-sentences"),), (), _HIDDEN_THEN_NOISE,
         "Rows of an embedding's gradient name the words; in a sum they mix."),
    Risk("Attribute inference", ("attribute",), (("attribute", "smooth-breast-cancer"),), (), _HIDDEN_THEN_NOISE,
         "What the released model itself says about everyone, no aggregation hides."),
    Risk("Membership inference", ("membership",), (("membership", "mlp-genotypes"),), (), _HIDDEN_THEN_NOISE,
         "The attacker has a list of candidates and needs no reconstruction. ε bounds what anyone can infer."),
    Risk("Generative priors fill in what is missing", ("prior",), (("prior", "mlp-digits"),), (), _HIDDEN_THEN_NOISE,
         "A prior needs something to start from. A masked or encrypted update has nothing of the record in it."),
    Risk("Several modalities of one record", ("multimodal",), (("multimodal", "multimodal-patients"),), (),
         _HIDDEN_THEN_NOISE, "Each modality makes the next one easier, on plain updates."),
    Risk("A malicious model: imprint, trap weights", ("imprint", "trap-weights"), (), (Kind.MALICIOUS_MODEL,),
         (Answer.NOISE,), "It passes through any correct sum. Clip and add noise, and inspect models before training."),
    Risk("Another model for the victim alone", ("inconsistent-models",), (), (Kind.MODELS,),
         (Answer.CHECKS,), "Rounds are bound to the model: who got another one gets no sum together with the others."),
    Risk("Sums of many rounds, put together", ("unmix",), (), (Kind.SUMS,), (Answer.CHECKS, Answer.NOISE),
         "Sums of the same model are refused where they show too few. Of a model that moves, only noise helps."),
    Risk("A server that lies about keys or survivors; colluding participants", (), (), (Kind.LYING, Kind.COLLUDING),
         (Answer.CHECKS,), "In the active threat model. Semi-honest rounds and encrypted ones trust it to follow."),
    Risk("A server that reads along", (), (), (Kind.READING,), (Answer.ENCRYPTION,),
         "The coordinator has no key of any update."),
    Risk("Sybils: everyone else is the attacker", (), (), (Kind.SYBILS,), (Answer.NOTHING,),
         "Cryptography cannot count people. The CA decides whom it certifies; policies can ask for organisations."),
    Risk("Poisoned updates; who takes part, when, how large the model is", (), (), (), (Answer.NOTHING,),
         "Not claimed and not measured: a hidden update cannot be looked at, and traffic shows who sends."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a risk; empty where nothing was.

    Attributes:
        plain: on plain updates or sums.
        held: by the strongest hidden view of a real round.
        released: on released means.
        noised: the same with noise for ε = 2.5.
        games: what was stopped of what was played, mode by mode.
        answered: what this run says of each answer.
    """

    plain: tuple[str, ...]
    held: tuple[str, ...]
    released: tuple[str, ...]
    noised: tuple[str, ...]
    games: tuple[str, ...]
    answered: tuple[tuple[str, str], ...]


def figures(risk: Risk, findings: RedTeamFindings) -> Figures:
    """Everything that this run has on it."""
    tried = [a for a in findings.attempts if a.name in risk.attacks]
    shown = [e for e in findings.measured.exposures if (e.attack, e.target) in risk.kinds]
    hidden = [a for a in tried if not (a.control or a.exposed_by_design)]
    plain = [_attempt(a) for a in tried if a.control] + [_exposure(e) for e in shown if e.participants == 1]
    through = [a for a in tried if a.exposed_by_design and not a.control and "released" in a.sight]
    released = [_attempt(a) for a in through] + [_exposure(e) for e in shown if e.participants > 1 and not e.noise]
    noised = [_exposure(e) for e in shown if e.noise]
    noise = [e.beyond_chance for e in shown if e.noise]
    for name in {"imprint", "membership"} & set(risk.attacks):
        strong = [p for p in findings.measured.noise if p.line.startswith(name) and p.z > 1]
        noised += [f"{p.line}: {p.found.told}" for p in strong]
        noise += [p.found.beyond_chance for p in strong]
    if Kind.SUMS in risk.games:
        last = [p for p in findings.measured.rounds if p.rounds == max(q.rounds for q in findings.measured.rounds)]
        released += [f"{p.rounds} sums, {p.line}: {p.strongest.told}" for p in last if "noise" not in p.line]
        noised += [f"{p.rounds} sums, {p.line}: {p.strongest.told}" for p in last if "noise" in p.line]
        noise += [p.beyond_chance for p in last if "noise" in p.line]
    played = [p for p in findings.games if p.game.kind in risk.games]
    by_answer = {
        Answer.ENCRYPTION: [a.as_claimed for a in hidden]
        + [p.as_claimed for p in played if p.game.kind is Kind.READING],
        Answer.CHECKS: [p.as_claimed for p in played if p.game.stops],
        Answer.NOISE: [not beyond for beyond in noise],
        Answer.NOTHING: [p.as_claimed for p in played],
    }
    answered = tuple((answer.value, _state(by_answer[answer]).value) for answer in risk.answers)
    return Figures(tuple(plain), _worst(hidden), tuple(released), tuple(noised), _games(played), answered)


def _state(held: Sequence[bool]) -> State:
    if not held:
        return State.NOT_ATTACKED
    return State.SHOWN if all(held) else State.FAILED


def _attempt(a: Attempt) -> str:
    low, high = a.interval
    guess = f", a guess {a.chance:.1%}" if not a.bar.exact else ""
    return f"{a.name} on {a.target}: {a.achieved} (id@1, 95 %: {low:.0%} to {high:.0%}{guess})"


def _exposure(e: Exposure) -> str:
    of = "" if e.participants == 1 else f", mean of {e.participants}"
    return f"{e.strongest.attack}{of}: {e.strongest.told}"


def _worst(hidden: Sequence[Attempt]) -> tuple[str, ...]:
    if not hidden:
        return ()
    worst = worst_of(hidden)
    views = f"{len(hidden)} view{'s' if len(hidden) > 1 else ''}"
    low, high = worst.interval
    told = f"{worst.hits} of {worst.trials} named in the worst of {views}"
    return (f"{told} (95 %: {low:.0%} to {high:.0%}; a guess {worst.chance:.1%})",)


def _games(played: Sequence[Played]) -> tuple[str, ...]:
    """Mode by mode: how many were stopped, and which were not."""
    lines = []
    for mode in dict.fromkeys(p.game.mode for p in played):
        own = [p for p in played if p.game.mode == mode]
        open_ = ", ".join(p.game.name for p in own if not p.outcome.stopped)
        lines.append(
            f"{mode}: {sum(p.outcome.stopped for p in own)} of {len(own)} stopped" + (f"; not: {open_}" * bool(open_))
        )
    return tuple(lines)
