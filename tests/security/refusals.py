"""How a test asks what became of an attack by the adversary of `secagg.tools.redteam`."""

from collections.abc import Callable

import pytest

from secagg.errors import SecAggError
from secagg.messages import ParticipantId
from secagg.rounds.session import Ended
from secagg.tools.redteam.adversary import session_of
from secagg.tools.simulation.network import Run


def refusal(act: Callable[[], object]) -> SecAggError:
    """The named error with which `act` ends; it must not succeed, nor end in anything else."""
    with pytest.raises(SecAggError) as caught:
        act()
    return caught.value


def holds_nothing(run: Run, name: ParticipantId) -> bool:
    """Whether `name` gave up its round secrets."""
    return session_of(run, name)._state is Ended.ABORTED
