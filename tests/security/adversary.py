"""The adversary of `secagg.tools.redteam`, and how a test asks what became of its attack."""

from collections.abc import Callable

import pytest

from secagg.errors import SecAggError
from secagg.messages import ParticipantId
from secagg.rounds.session import Ended
from secagg.tools.redteam.adversary import Adversary, Impostor, Pool, session_of
from secagg.tools.redteam.self_test.patches import without_check
from secagg.tools.simulation.network import Run

__all__ = ["Adversary", "Impostor", "Pool", "holds_nothing", "refusal", "without_check"]


def refusal(act: Callable[[], object]) -> SecAggError:
    """The named error with which `act` ends; it must not succeed, nor end in anything else."""
    with pytest.raises(SecAggError) as caught:
        act()
    return caught.value


def holds_nothing(run: Run, name: ParticipantId) -> bool:
    """Whether `name` gave up its round secrets."""
    return session_of(run, name)._state is Ended.ABORTED
