"""Rounds on FLARE's own channel, at the server.

Keys and shares go first, as aux messages, so nobody trains for a cohort that fails. The message that asks for the
masked input goes ahead as an aux message, too, and waits at the site until the training task is done: a task of FLARE
is the same for all sites. Who is gone in one exchange is not asked in the next one.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Final

from nvflare.apis.fl_constant import ReturnCode

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.crypto.identity import TrustAnchors
from secagg.errors import DecodeError, RoundAborted, SecAggError, TransportError
from secagg.messages import INPUT_PHASES
from secagg.rounds.releases import ReleaseMemory
from secagg_client.carried.coordinator import CarriedRound, Clock
from secagg_client.carried.steps import Step
from secagg_client.nvflare import channel
from secagg_client.nvflare.exchanges import Exchanges
from secagg_client.nvflare.rounds import Ended, NobodyThere, Train

_REMEMBERED: Final = 1000


class OwnChannel:
    """The transport of rounds that travel in FLARE's messages."""

    def __init__(
        self,
        exchanges: Exchanges,
        *,
        clock: Clock,
        log: Callable[[str], None],
        trust: TrustAnchors | None = None,
    ) -> None:
        """Args:
        exchanges: asks sites.
        clock: seconds since 1970.
        log: takes a line for the server's log.
        trust: the CA of the sites' identities; needed in the active threat model.
        """
        self._exchanges, self._clock, self._log, self._trust = exchanges, clock, log, trust
        self._releases = ReleaseMemory(_REMEMBERED)
        self._endings: dict[str, list[Step]] = {}

    def run(self, configs: Sequence[RoundConfig], sites: Sequence[str], train: Train) -> list[Ended]:
        """As `Transport.run`."""
        rounds = [
            CarriedRound(config, sites, clock=self._clock, trust=self._trust, releases=self._releases)
            for config in configs
        ]
        running = _Running(rounds, self._log)
        opening = True
        while steps := running.steps():
            waits = running.asks_for_input
            answers = self._exchanges.ask(
                {site: channel.packed([*self._endings.get(site, []), *own], wait=waits) for site, own in steps.items()}
            )
            self._endings = {}
            if opening:
                check_somebody(answers)
            opening = False
            if waits:
                ready = [site for site, answer in answers.items() if running.is_ready(site, answer)]
                if ready:
                    train(ready, running.take, running.lost)
            else:
                for site, answer in answers.items():
                    running.take(site, answer)
            running.close()
        return [self._ended(round_) for round_ in rounds]

    def _ended(self, round_: CarriedRound) -> Ended:
        for site, step in round_.endings().items():
            self._endings.setdefault(site, []).append(step)
        if isinstance(round_.outcome, RoundAborted):
            self._log(f"the round of {round_.config.purpose} has no sum: {round_.outcome}")
        aggregate = round_.outcome if isinstance(round_.outcome, Aggregate) else None
        return Ended(round_.config, aggregate, round_.context)


class _Running:
    """Rounds that go side by side, in the same exchanges. FLARE hands over results from threads of its own."""

    def __init__(self, rounds: Sequence[CarriedRound], log: Callable[[str], None]) -> None:
        self._rounds, self._log = {round_.round_id: round_ for round_ in rounds}, log
        self._lock = Lock()
        self._told: set[str] = set()

    @property
    def asks_for_input(self) -> bool:
        return any(round_.phase in INPUT_PHASES for round_ in self._rounds.values())

    def steps(self) -> dict[str, list[Step]]:
        """What to send to which site now."""
        steps: dict[str, list[Step]] = {}
        for round_ in self._rounds.values():
            for site, step in round_.steps().items():
                steps.setdefault(site, []).append(step)
        return steps

    def take(self, site: str, answer: Any) -> None:
        """Take a site's answer, whatever it is: steps, an error of FLARE's, or something that is not ours."""
        with self._lock:
            try:
                for step in steps_in(answer):
                    if step.round_id in self._rounds:
                        self._rounds[step.round_id].take(site, step)
            except SecAggError as error:
                self._lose(site, str(error))
            self._tell()

    def is_ready(self, site: str, answer: Any) -> bool:
        """Whether a site has what asks for its input, so that it may train; if not, it is lost."""
        try:
            if not isinstance(answer, TransportError) and channel.told(answer, "waits") is True:
                return True
            self.lost(site, str(answer) if isinstance(answer, TransportError) else "it does not wait for its training")
        except DecodeError as error:
            self.lost(site, str(error))
        return False

    def lost(self, site: str, reason: str) -> None:
        """A site is gone."""
        with self._lock:
            self._lose(site, reason)
            self._tell()

    def close(self) -> None:
        """The exchange is over for all rounds."""
        with self._lock:
            for round_ in self._rounds.values():
                round_.close()
            self._tell()

    def _lose(self, site: str, reason: str) -> None:
        for round_ in self._rounds.values():
            round_.lost(site, reason)

    def _tell(self) -> None:
        for round_ in self._rounds.values():
            for site, reason in round_.dropped.items():
                line = f"{site} is out of the round of {round_.config.purpose}: {reason}"
                if line not in self._told:
                    self._told.add(line)
                    self._log(line)


def steps_in(answer: Any) -> list[Step]:
    """The steps of an answer.

    Raises:
        SecAggError: it has none; says why.
    """
    if isinstance(answer, TransportError):
        raise answer
    if channel.is_ours(answer):
        if (left := channel.told(answer, "left")) is not None:
            raise TransportError(f"it left: {left!s:.1000}")
        return channel.unpacked(answer)
    code = channel.return_code(answer)
    if code != ReturnCode.OK:
        raise TransportError(f"its task failed: {code}")
    raise DecodeError("it answered in plain, which was dropped unread: its app lacks the secagg plug-in")


def check_somebody(answers: Mapping[str, Any]) -> None:
    """Whether a site has answered.

    Raises:
        NobodyThere: none has.
    """
    if all(isinstance(answer, TransportError) for answer in answers.values()):
        raise NobodyThere("no site answered; " + "; ".join(f"{name}: {why}" for name, why in list(answers.items())[:5]))
