"""The attacks by name. A new one is a module with an `Attack` and a line here."""

from typing import Final

from secagg.errors import LocalError
from secagg.tools.redteam.attacks.attribute import ATTRIBUTE
from secagg.tools.redteam.attacks.base import Attack, Need, Reconstruction
from secagg.tools.redteam.attacks.first_layer import FIRST_LAYER, LOW_RANK, UNMIX
from secagg.tools.redteam.attacks.idlg import IDLG
from secagg.tools.redteam.attacks.imprint import IMPRINT
from secagg.tools.redteam.attacks.inverting_gradients import INVERTING_GRADIENTS
from secagg.tools.redteam.attacks.malicious import INCONSISTENT, TRAP_WEIGHTS
from secagg.tools.redteam.attacks.membership import MEMBERSHIP
from secagg.tools.redteam.attacks.multimodal import MULTIMODAL
from secagg.tools.redteam.attacks.prior import PRIOR
from secagg.tools.redteam.attacks.text import TEXT

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
