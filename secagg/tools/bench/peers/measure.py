"""Which peers are here, and every work beside ours."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from secagg.errors import ConfigError
from secagg.tools.bench.busy import Account, processors
from secagg.tools.bench.lines import Line, Run, See
from secagg.tools.bench.peers import flower, nvflare
from secagg.tools.bench.peers.works import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersSetting:
    """What is compared.

    Attributes:
        peers: `flower`, `nvflare`; all that are installed if empty.
        neighbours: k of the participant that is timed.
        values: m.
        unmasked: n of the round that is unmasked, of whom a tenth drops out.
        repeats: turns that count.
    """

    peers: tuple[str, ...] = ()
    neighbours: int = 100
    values: int = 1_000_000
    unmasked: int = 33
    repeats: int = 5

    @property
    def dropped(self) -> int:
        """Of those that are unmasked."""
        return max(1, self.unmasked // 10)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to sum what nobody may see.

    Attributes:
        title: its name.
        modules: what must be installed.
        install: words that say how.
        works: what of it is compared.
    """

    title: str
    modules: tuple[str, ...]
    install: str
    works: Callable[[PeersSetting], Iterator[Work]]

    @property
    def absent(self) -> list[str]:
        """Modules that are not installed."""
        return [name for name in self.modules if find_spec(name) is None]


PEERS: Final = {
    "flower": Peer(
        "Flower",
        ("flwr",),
        "install flwr",
        lambda s: flower.works(s.neighbours, s.values, s.unmasked, s.dropped),
    ),
    "nvflare": Peer(
        "NVIDIA FLARE",
        ("nvflare", "tenseal"),
        "install nvflare and tenseal",
        lambda s: nvflare.works(s.values),
    ),
}


def measure(
    setting: PeersSetting, command: str, see: See = lambda *_: None, refuse: Callable[[str], None] = lambda _: None
) -> Iterator[Line]:
    """Compare everything.

    Args:
        setting: what is compared.
        command: what makes the lines again.
        see: progress.
        refuse: told of a peer that is not installed, where others are.

    Raises:
        ConfigError: a peer that was asked for is not installed, or none is.
        LocalError: somebody's result is wrong.
    """
    chosen = [PEERS[name] for name in setting.peers or PEERS]
    missing = {peer.title: f"{peer.title} is not installed here: {peer.install}" for peer in chosen if peer.absent}
    here = [peer for peer in chosen if peer.title not in missing]
    if missing and (setting.peers or not here):
        raise ConfigError(f"{'; '.join(missing.values())}, or run this in the environment that `make frameworks` makes")
    for words in missing.values():
        refuse(words)
    begin = Account.now()
    yield Run.now("peers", command)
    for number, peer in enumerate(here):
        for work in peer.works(setting):
            see(number, len(here), f"{peer.title}: {work.name}")
            yield from work.measured(setting.repeats)
    yield begin.until(Account.now(), processors())
