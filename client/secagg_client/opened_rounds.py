"""What a control client knows of rounds beside what it asks the sidecar: their configurations, and how they end."""

from collections import OrderedDict
from typing import Final

from secagg.config import RoundConfig
from secagg.context import RoundId
from secagg.errors import ConfigError, ProtocolViolation
from secagg.events import RoundFailed
from secagg.roster import COORDINATOR
from secagg.wire.progress import ResultReady, WatchedEvent

MAX_CONFIGS: Final = 1000


class OpenedRounds:
    """The configurations of the rounds that were opened here, so that nobody has to pass them again."""

    def __init__(self) -> None:
        self._configs: OrderedDict[RoundId, RoundConfig] = OrderedDict()

    def remember(self, round_id: RoundId, config: RoundConfig) -> None:
        """Keep the latest `MAX_CONFIGS`."""
        self._configs[round_id] = config
        while len(self._configs) > MAX_CONFIGS:
            self._configs.popitem(last=False)

    def config(self, round_id: RoundId, given: RoundConfig | None) -> RoundConfig:
        """The one that is given, or the one of the round that was opened here.

        Raises:
            ConfigError: there is neither.
        """
        config = given or self._configs.get(round_id)
        if config is None:
            raise ConfigError(f"round {round_id.hex()} was not opened by this client: pass its configuration")
        return config


def ends(event: WatchedEvent) -> bool:
    """Whether nothing can follow."""
    return isinstance(event, ResultReady | RoundFailed)


def end_of(event: WatchedEvent | None, round_id: RoundId) -> None:
    """Raise what the last event of a round tells: `RoundAborted`; or that there was no last event."""
    if isinstance(event, RoundFailed):
        raise event.error
    if not isinstance(event, ResultReady):
        raise ProtocolViolation(f"the events of round {round_id.hex()} ended before the round", culprit=COORDINATOR)
