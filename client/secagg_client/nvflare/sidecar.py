"""Rounds through a coordinator of its own, beside FLARE's server: what the server does, and what it tells the sites.

The server opens the rounds, and an aux message tells every site their ids. A site trains, and then takes part as any
other client of the coordinator does, from joining to the end; its result for FLARE's server says no more than that. A
site that FLARE loses is excluded from the rounds, so nobody waits for it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from nvflare.apis.shareable import Shareable

from secagg.aggregates import Aggregate
from secagg.config import RoundConfig
from secagg.context import RoundId, bind
from secagg.errors import DecodeError, RoundAborted, SecAggError, TransportError
from secagg.wire.configuration import encode_config
from secagg_client import ControlClient
from secagg_client.nvflare import channel
from secagg_client.nvflare.exchanges import Exchanges
from secagg_client.nvflare.own_channel import check_somebody, steps_in
from secagg_client.nvflare.rounds import Ended, Train
from secagg_client.sidecar.rounds import SidecarRound

PATIENCE_S: Final = 604_800.0
"""How long sites may train; who is gone is excluded as soon as FLARE's server knows."""

_MAX_ROUNDS: Final = 16


class Sidecar:
    """The transport of rounds that a coordinator runs."""

    def __init__(self, exchanges: Exchanges, control: str, *, phase_s: float, log: Callable[[str], None]) -> None:
        """Args:
        exchanges: asks sites.
        control: address of the coordinator's control plane, "unix:/path" or "127.0.0.1:port".
        phase_s: longest wait for a sum after the training, in seconds.
        log: takes a line for the server's log.
        """
        self._exchanges, self._phase_s, self._log = exchanges, phase_s, log
        self._control = ControlClient(control)

    def run(self, configs: Sequence[RoundConfig], sites: Sequence[str], train: Train) -> list[Ended]:
        """As `Transport.run`."""
        answers = self._exchanges.ask({site: channel.packed() for site in sites})
        check_somebody(answers)
        there = [site for site, answer in answers.items() if self._is_there(site, answer)]
        if len(there) < configs[0].threshold:
            self._log(f"{len(there)} sites are there, fewer than the threshold {configs[0].threshold}")
            return [Ended(config, None, b"") for config in configs]
        names = {site: site for site in there}
        opened = [SidecarRound(self._control, config, names, patience_s=PATIENCE_S) for config in configs]
        ids = [bytes(round_.round_id) for round_ in opened]
        answers = self._exchanges.ask({site: channel.packed(wait=True, rounds=ids) for site in there})

        def gone(site: str, reason: str) -> None:
            self._log(f"{site} is out: {reason}")
            for round_ in opened:
                round_.lost(site, reason)

        def take(site: str, answer: Any) -> None:
            try:
                steps_in(answer)
            except SecAggError as error:
                gone(site, str(error))

        lost = {site: answer for site, answer in answers.items() if isinstance(answer, TransportError)}
        for site, error in lost.items():
            gone(site, str(error))
        if ready := [site for site in there if site not in lost]:
            train(ready, take, gone)
        return [self._ended(round_) for round_ in opened]

    def _is_there(self, site: str, answer: Any) -> bool:
        try:
            steps_in(answer)
        except SecAggError as error:
            self._log(f"{site} is out: {error}")
            return False
        return True

    def _ended(self, round_: SidecarRound) -> Ended:
        config = round_.config
        context = bind(round_.round_id, encode_config(config), config.model_digest)
        try:
            outcome = round_.result(self._phase_s)
        except RoundAborted as error:
            self._log(f"the round of {config.purpose} has no sum: {error}")
            outcome = None
        return Ended(config, outcome if isinstance(outcome, Aggregate) else None, context)


def rounds_told(message: Shareable) -> list[RoundId]:
    """The ids of the rounds that the server's message names; none where it names none.

    Raises:
        DecodeError: they are no ids.
    """
    told = channel.told(message, "rounds")
    if told is None:
        return []
    if not isinstance(told, list) or len(told) > _MAX_ROUNDS or not all(isinstance(one, bytes) for one in told):
        raise DecodeError(f"the rounds of a coordinator are named by a list of at most {_MAX_ROUNDS} ids")
    return [RoundId(one) for one in told]
