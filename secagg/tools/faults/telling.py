"""A history in words, for people who look for what went wrong in it."""

from collections.abc import Iterator
from typing import assert_never

from secagg.tools.faults.history import (
    Answered,
    Asked,
    Began,
    Closed,
    Contributed,
    Crashed,
    Died,
    Fact,
    History,
    Injected,
    Refused,
    Sent,
    Told,
)
from secagg.tools.faults.scenario import Scenario


def title(scenario: Scenario) -> str:
    """What the history is about."""
    tasks = "; ".join(
        f"{plan.name}: {len(plan.models)} rounds about {len(set(plan.models))} models, {plan.config.scheme}, "
        f"{plan.config.threat_model.name.lower()}, threshold {plan.config.threshold}"
        for plan in scenario.tasks
    )
    return f"seed {scenario.seed}, {len(scenario.people)} participants; {tasks}"


def lines(history: History, *, messages: bool) -> Iterator[str]:
    """One line for each fact.

    Args:
        history: which.
        messages: whether those of the network are told, too.
    """
    for fact in history.facts:
        if messages or not isinstance(fact, Asked | Sent | Answered | Closed):
            yield f"{fact.at:12.4f}  {_words(fact)}"


def _words(fact: Fact) -> str:
    match fact:
        case Asked():
            named = f" about {fact.named.hex()[:8]}" if fact.named else ""
            text = (
                f"{fact.caller or 'the FL server'} calls {fact.name}{named} (call {fact.call}, process {fact.process})"
            )
        case Sent():
            text = f"call {fact.call} sends {len(fact.message)} bytes"
        case Answered():
            text = f"call {fact.call} is answered {len(fact.message)} bytes{_again(fact.arrival)}"
        case Closed():
            text = f"call {fact.call} ends: {fact.status}{_again(fact.arrival)}"
        case Contributed():
            text = f"{fact.participant} contributes to {fact.round_id.hex()[:8]}"
        case Told():
            ended = "has its result" if fact.error is None else f"is told {fact.error}: {fact.detail}"
            text = f"{fact.participant or 'the FL server'} {ended}"
        case Began():
            text = "the coordinator begins"
        case Died():
            text = "the coordinator is gone"
        case Refused():
            text = f"the coordinator does not begin: {fact.error}: {fact.detail}"
        case Injected():
            text = f"FAULT: {fact.fault.value} {fact.detail}".rstrip()
        case Crashed():
            text = f"AN ERROR WITHOUT A NAME at {fact.who}: {fact.detail}"
        case _:
            assert_never(fact)
    return text


def _again(arrival: int) -> str:
    return " (the call that arrived a second time)" if arrival else ""
