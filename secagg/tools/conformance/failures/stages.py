"""The words for where an honest round is left, and who is told what there. Each makes a `Play` of a table's row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.failures.changes import Edit
from secagg.tools.conformance.failures.script import COORDINATOR, ME, Departure, Failure, Play, Script

Depart = Callable[[Script], Departure]


@dataclass(frozen=True, slots=True)
class Departing:
    """The `Play` of a row that leaves an honest round: `depart` says where and how, in any round of that kind."""

    depart: Depart

    def __call__(self, script: Script, failure: Failure) -> Document:
        """The vector, played."""
        return self.depart(script).played(script, failure)


def _slug(script: Script, kind: str) -> str:
    """What a message that ME receives is called: one for everybody, or ME's own, as shares and neighbours' entries."""
    return mine if (mine := f"{ME}/{kind}") in script.vector["messages"] else kind


def _changed(script: Script, slug: str, edit: Edit) -> Document:
    """The message of the honest round, changed. An edit may give protobuf bytes that no encoder makes."""
    message = edit(script.read(slug), script)
    return message if isinstance(message, dict) else wire.encode(message)


def shown(kind: str, edit: Edit, *, policy: Document | None = None) -> Play:
    """ME receives a changed message."""

    def depart(script: Script) -> Departure:
        at = script.find(at=ME, do="receive", message=_slug(script, kind))
        step = script.vector["steps"][at] | {"message": "altered"}
        return Departure(at, [step], {"altered": _changed(script, _slug(script, kind), edit)}, policy)

    return Departing(depart)


def shown_in_turn(edits: Mapping[str, Edit | None]) -> Play:
    """ME receives several messages, some of them changed; only the last must be refused."""

    def depart(script: Script) -> Departure:
        places = {kind: script.find(at=ME, do="receive", message=_slug(script, kind)) for kind in edits}
        names = {kind: f"altered/{kind}" for kind, edit in edits.items() if edit is not None}
        if len(names) == 1:
            names = dict.fromkeys(names, "altered")
        steps = [
            script.vector["steps"][at] | ({"message": names[kind]} if kind in names else {})
            for kind, at in places.items()
        ]
        altered = {
            names[kind]: _changed(script, _slug(script, kind), edit) for kind, edit in edits.items() if edit is not None
        }
        return Departure(min(places.values()), steps, altered)

    return Departing(depart)


def shown_again(kind: str) -> Play:
    """ME receives the same message a second time."""

    def depart(script: Script) -> Departure:
        at = script.find(at=ME, do="receive", message=kind)
        return Departure(at + 1, [script.vector["steps"][at]])

    return Departing(depart)


def sent(kind: str, edit: Edit, *, by: str = ME, again: bool = False) -> Play:
    """The coordinator receives a changed message, in place of the honest one or after it."""

    def depart(script: Script) -> Departure:
        slug = f"{by}/{kind}"
        at = script.received(slug) + again
        step = _receives(by, "altered") | {"now_ms": script.now_ms(at)}
        return Departure(at, [step], {"altered": _changed(script, slug, edit)})

    return Departing(depart)


def out_of_turn(sender: str, message: str, *, before: str) -> Play:
    """The coordinator receives an honest message at another time, or of another sender."""

    def depart(script: Script) -> Departure:
        at = script.received(before)
        return Departure(at, [_receives(sender, message) | {"now_ms": script.now_ms(at)}])

    return Departing(depart)


def unnamed(sender: str, message: str) -> Play:
    """The coordinator receives an honest message just before the model is named."""

    def depart(script: Script) -> Departure:
        at = script.find(at=COORDINATOR, do="name")
        return Departure(at, [_receives(sender, message) | {"now_ms": script.now_ms(at)}])

    return Departing(depart)


def told(*steps: Document, before: str = "", after: str = "", altered: tuple[str, Edit] | None = None) -> Play:
    """The coordinator is told several things at one time, before or after it receives a message.

    Args:
        steps: what happens.
        before: message before which it happens.
        after: message after which it happens.
        altered: name of an honest message, and its change; `steps` call the changed one `altered`.
    """

    def depart(script: Script) -> Departure:
        at = script.received(before or after) + bool(after)
        timed = [{"at": COORDINATOR, "now_ms": script.now_ms(at)} | step for step in steps]
        return Departure(at, timed, {"altered": _changed(script, *altered)} if altered else {})

    return Departing(depart)


def onwards(
    altered: Mapping[str, Edit] | Callable[[Script], Mapping[str, Edit]],
    *,
    missing: str = "",
    joined: tuple[str, str] = ("", ""),
    until: str = "",
    names: Mapping[str, str] | None = None,
) -> Play:
    """The coordinator's whole round, from the first of some changed messages on.

    Args:
        altered: by name of the honest message.
        missing: a message that never comes.
        joined: sender and a message of the honest round that got lost there, and here arrives before the deadline.
        until: message that comes last; the end of the round if empty.
        names: of changed messages; `altered/` and the honest name if None.
    """

    def depart(script: Script) -> Departure:
        edits = altered(script) if callable(altered) else altered
        at = min(script.received(slug) for slug in [*edits, *filter(None, [missing])])
        end = script.received(until) + 1 if until else None
        steps = [s for s in script.vector["steps"][at:end] if s["at"] == COORDINATOR and s["do"] != "answer"]
        steps = [s for s in steps if s.get("message") != missing]
        if joined[0]:
            steps[-1:] = [_receives(*joined) | {"now_ms": steps[-1]["now_ms"] - 1}]
        called = names or {slug: f"altered/{slug}" for slug in edits}
        steps = [s | {"message": called.get(s["message"], s["message"])} if "message" in s else s for s in steps]
        return Departure(at, steps, {called[slug]: _changed(script, slug, edit) for slug, edit in edits.items()})

    return Departing(depart)


def after_sums(released: Callable[[Script], list[Document]], *, shown: str = "", opens: str = "") -> Play:
    """The honest round after other sums of the same model: ME is shown a message, or the coordinator opens a phase."""

    def depart(script: Script) -> Departure:
        at = script.find(at=ME, do="receive", message=shown) if shown else script.opening(opens)
        return Departure(at, [script.vector["steps"][at]], released=released(script))

    return Departing(depart)


def nobody_else_comes(count: int) -> Play:
    """The first deadline passes after so many have advertised keys."""

    def depart(script: Script) -> Departure:
        steps = script.vector["steps"]
        last = [i for i, step in enumerate(steps) if step.get("sender") is not None][count - 1]
        return Departure(last + 1, [steps[script.find(do="tick")]])

    return Departing(depart)


def _receives(sender: str, message: str) -> Document:
    return {"at": COORDINATOR, "do": "receive", "sender": sender, "message": message}
