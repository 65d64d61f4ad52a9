"""Attacks on what is shown: they compute training records from updates, sums or released means.

To add one, write a module with an `Attack` (see `base`), and name it in the table below. The `Attack` says the target
of its control, what it needs to know, the cohort that it is sized for, and the bar that it must reach. The red team
then tries it through the eyes of every adversary, beside its control on a bare update.
"""

from typing import Final

from secagg.errors import LocalError
from secagg.tools.redteam.attacks.inversion.attribute import ATTRIBUTE
from secagg.tools.redteam.attacks.inversion.base import Attack, Need, Reconstruction
from secagg.tools.redteam.attacks.inversion.first_layer import FIRST_LAYER, LOW_RANK, UNMIX
from secagg.tools.redteam.attacks.inversion.idlg import IDLG
from secagg.tools.redteam.attacks.inversion.imprint import IMPRINT
from secagg.tools.redteam.attacks.inversion.inverting_gradients import INVERTING_GRADIENTS
from secagg.tools.redteam.attacks.inversion.malicious import INCONSISTENT, TRAP_WEIGHTS
from secagg.tools.redteam.attacks.inversion.membership import MEMBERSHIP
from secagg.tools.redteam.attacks.inversion.multimodal import MULTIMODAL
from secagg.tools.redteam.attacks.inversion.prior import PRIOR
from secagg.tools.redteam.attacks.inversion.text import TEXT

__all__ = ["ATTACKS", "Attack", "Need", "Reconstruction", "attack_named"]

ATTACKS: Final = {
    attack.name: attack
    for attack in (
        FIRST_LAYER,
        LOW_RANK,
        UNMIX,
        IDLG,
        INVERTING_GRADIENTS,
        PRIOR,
        MULTIMODAL,
        ATTRIBUTE,
        MEMBERSHIP,
        TEXT,
        IMPRINT,
        TRAP_WEIGHTS,
        INCONSISTENT,
    )
}


def attack_named(name: str) -> Attack:
    """An attack.

    Raises:
        LocalError: there is none of that name.
    """
    if name not in ATTACKS:
        raise LocalError(f"no attack {name!r}; one of: {', '.join(ATTACKS)}")
    return ATTACKS[name]
