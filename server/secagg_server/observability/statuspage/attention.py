"""What of a picture somebody should look at, in sentences: the top of the status page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secagg_server.observability.statuspage.values import Status

SOON_S: Final = 14 * 86_400.0
"""Before a certificate expires, the page says so for two weeks; the log does so, too."""

RECENT_S: Final = 3600.0
FULL: Final = 0.8
ALMOST_SPENT: Final = 0.1


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence.

    Attributes:
        urgent: whether something does not work, now.
        told: what it is, and what to do where that is known.
    """

    urgent: bool
    told: str


def attention(status: Status) -> tuple[Notice, ...]:
    """What is not as it should be, the urgent first."""
    found = [*_state(status), *_expiries(status), *_budgets(status), *_uses(status), *_errors(status)]
    return tuple(sorted(found, key=lambda notice: not notice.urgent))


def _state(status: Status) -> Iterator[Notice]:
    if status.state != "serving":
        yield Notice(True, f"The coordinator takes no calls: {status.state}.")
    for fault in status.faults:
        yield Notice(True, f"{fault[:1].upper()}{fault[1:]}.")


def _expiries(status: Status) -> Iterator[Notice]:
    for expiry in status.expiries:
        days = (expiry.at - status.at) / 86_400
        if days <= 0:
            yield Notice(True, f"The {expiry.what} has expired: replace its file.")
        elif days <= SOON_S / 86_400:
            yield Notice(False, f"The {expiry.what} expires in {days:.0f} days: replace its file before that.")


def _budgets(status: Status) -> Iterator[Notice]:
    for budget in status.budgets:
        if budget.left <= ALMOST_SPENT * budget.epsilon:
            yield Notice(False, f"Task {budget.task} has ε = {budget.left:.3g} left of {budget.epsilon:.3g}.")


def _uses(status: Status) -> Iterator[Notice]:
    for use in status.uses:
        if use.limit is not None and use.used >= FULL * use.limit:
            change = f" Raise {use.setting}." if use.setting else ""
            yield Notice(False, f"{use.what}: {use.used / use.limit:.0%} of the limit are in use.{change}")


def _errors(status: Status) -> Iterator[Notice]:
    if any(one.severity == "error" and status.at - one.last <= RECENT_S for one in status.troubles):
        yield Notice(True, "The coordinator had errors of its own within the last hour: see below, and the log.")
    ended = [one for one in status.finished if status.at - one.ended <= RECENT_S and one.about.group_of is None]
    failed = sum(one.survivors is None for one in ended)
    if failed:
        yield Notice(False, f"{failed} of {len(ended)} rounds that ended within the last hour ended without a sum.")
