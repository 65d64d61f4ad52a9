"""What practitioners fear, one by one: what encryption answers, what only noise does, and what nothing here does.

Every figure is taken from the findings of the same run; where a profile leaves an attack out, the page says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.redteam.measured import Exposure
from secagg.redteam.results import Attempt, Findings


class Answer(Enum):
    """What helps. The value is for people."""

    ENCRYPTION = "secure aggregation"
    CHECKS = "the protocol's checks"
    NOISE = "noise"
    NOTHING = "nothing here"


@dataclass(frozen=True, slots=True)
class Fear:
    """One worry.

    Attributes:
        title: for people.
        attacks: on single updates and sums of real rounds, by name.
        kinds: attack and target of the released means that belong to it.
        games: by name.
        answers: what helps.
        said: how, in a sentence.
    """

    title: str
    attacks: tuple[str, ...]
    kinds: tuple[tuple[str, str], ...]
    games: tuple[str, ...]
    answers: tuple[Answer, ...]
    said: str


_HIDDEN_THEN_NOISE: Final = (Answer.ENCRYPTION, Answer.NOISE)

FEARS: Final = (
    Fear("Gradient inversion of images", ("first-layer", "low-rank", "idlg", "inverting-gradients", "unmix"),
         (("first-layer", "mlp-faces"),), (), _HIDDEN_THEN_NOISE,
         "Single updates are hidden; a released sum of few still shows people: noise, or cohorts as large as advised."),
    Fear("Gradient inversion of tables and genotypes", (),
         (("first-layer", "mlp-genotypes"), ("first-layer", "mlp-breast-cancer")), (), _HIDDEN_THEN_NOISE,
         "As for images. Genotypes tell people apart best of all: sums of eight name nearly everyone."),
    Fear("Text: which words someone wrote", ("text",), (("text", "text-sentences"),), (), _HIDDEN_THEN_NOISE,
         "Rows of an embedding's gradient name the words; in a sum they mix, and in noise they drown."),
    Fear("Attribute inference", ("attribute",), (("attribute", "smooth-breast-cancer"),), (), _HIDDEN_THEN_NOISE,
         "What the released model itself says about everyone, no aggregation hides."),
    Fear("Membership inference", ("membership",), (("membership", "mlp-genotypes"),), (), _HIDDEN_THEN_NOISE,
         "Against released sums only noise helps; its ε bounds what anyone can infer."),
    Fear("Generative priors fill in what is missing", ("prior",), (("prior", "mlp-digits"),), (), _HIDDEN_THEN_NOISE,
         "A prior needs something to start from. A masked or encrypted update has nothing of the record in it."),
    Fear("Several modalities of one record", ("multimodal",), (("multimodal", "multimodal-patients"),), (),
         _HIDDEN_THEN_NOISE, "Each modality makes the next one easier, on plain updates."),
    Fear("A malicious model: imprint, trap weights", ("imprint", "trap-weights"), (), ("malicious-model",),
         (Answer.NOISE,), "It passes through any correct sum. Clip and add noise, and inspect models before training."),
    Fear("Another model for the victim alone", ("inconsistent-models",), (), ("different-models",),
         (Answer.CHECKS,), "Rounds are bound to the model: who got another one gets no sum together with the others."),
    Fear("Sums of many rounds, put together", (), (),
         ("differencing", "differencing-after-restart", "hidden-receipt", "two-at-once", "fresh-processes",
          "differencing-nudged-model", "averaging", "varying-cohorts"),
         (Answer.CHECKS, Answer.NOISE),
         "Sums of the same model are refused where they show too few; of a model that moves only noise helps."),
    Fear("A server that lies about keys or survivors", (), (),
         ("key-substitution", "two-survivor-sets", "both-shares", "late-message", "ring-fence"),
         (Answer.CHECKS,), "In the active threat model. Semi-honest rounds and encrypted ones trust it to follow."),
    Fear("Sybils: everyone else is the attacker", (), (), ("sybils", "sybils-one-organisation"), (Answer.NOTHING,),
         "Cryptography cannot count people. The CA decides whom it certifies; policies can ask for organisations."),
    Fear("Poisoned updates; who takes part, when, how large the model is", (), (), (), (Answer.NOTHING,),
         "Not claimed and not measured: a hidden update cannot be looked at, and traffic shows who sends."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of a fear; empty where nothing was.

    Attributes:
        plain: on plain updates or sums.
        held: by the strongest hidden view of a real round.
        released: on released means.
        noised: the same with noise for ε = 2.5.
        games: what was stopped of what was played.
    """

    plain: tuple[str, ...]
    held: tuple[str, ...]
    released: tuple[str, ...]
    noised: tuple[str, ...]
    games: str


def figures(fear: Fear, findings: Findings) -> Figures:
    """Everything that this run has on it."""
    tried = [a for a in findings.attempts if a.name in fear.attacks]
    shown = [e for e in findings.measured.exposures if (e.attack, e.target) in fear.kinds]
    hidden = [a for a in tried if not (a.control or a.exposed_by_design)]
    plain = [_attempt(a) for a in tried if a.control] + [_exposure(e) for e in shown if e.participants == 1]
    through = [a for a in tried if a.exposed_by_design and not a.control and "released" in a.sight]
    released = [_attempt(a) for a in through] + [_exposure(e) for e in shown if e.participants > 1 and not e.noise]
    noised = [_exposure(e) for e in shown if e.noise]
    if "imprint" in fear.attacks:
        noised += [f"{p.line}: {p.identified:.0%}" for p in findings.measured.noise if _strong_imprint(p.line, p.z)]
    if "varying-cohorts" in fear.games:
        last = [p for p in findings.measured.rounds if p.rounds == max(q.rounds for q in findings.measured.rounds)]
        released += [f"{p.rounds} sums, {p.line}: id@1 {p.identified:.0%}" for p in last if "noise" not in p.line]
        noised += [f"{p.rounds} sums, {p.line}: id@1 {p.identified:.0%}" for p in last if "noise" in p.line]
    return Figures(tuple(plain), _worst(hidden), tuple(released), tuple(noised), _games(fear, findings))


def _strong_imprint(line: str, z: float) -> bool:
    return line.startswith("imprint") and z > 1


def _attempt(a: Attempt) -> str:
    return f"{a.name} on {a.target}: {a.achieved}"


def _exposure(e: Exposure) -> str:
    of = "" if e.participants == 1 else f", mean of {e.participants}"
    return f"{e.attack} on {e.target}{of}: id@1 {e.identified:.0%}"


def _worst(hidden: Sequence[Attempt]) -> tuple[str, ...]:
    if not hidden:
        return ()
    worst = max(hidden, key=lambda a: a.identified)
    views = f"{len(hidden)} view{'s' if len(hidden) > 1 else ''}"
    return (f"{worst.identified:.0%} in the worst of {views}; a guess {worst.chance:.1%}",)


def _games(fear: Fear, findings: Findings) -> str:
    played = [p for p in findings.games if p.game.name in fear.games]
    stopped = sum(p.outcome.stopped for p in played)
    return f"{stopped} of {len(played)} attacks of this kind stopped" if played else ""
