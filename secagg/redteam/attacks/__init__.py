"""The attacks by name. A new one is a module with an `Attack` and a line here."""

from typing import Final

from secagg.errors import LocalError
from secagg.redteam.attacks.attribute import ATTRIBUTE
from secagg.redteam.attacks.base import Attack, Need, Reconstruction
from secagg.redteam.attacks.first_layer import FIRST_LAYER, LOW_RANK, UNMIX
from secagg.redteam.attacks.idlg import IDLG
from secagg.redteam.attacks.imprint import IMPRINT
from secagg.redteam.attacks.inverting_gradients import INVERTING_GRADIENTS
from secagg.redteam.attacks.malicious import INCONSISTENT, TRAP_WEIGHTS
from secagg.redteam.attacks.membership import MEMBERSHIP
from secagg.redteam.attacks.multimodal import MULTIMODAL
from secagg.redteam.attacks.prior import PRIOR
from secagg.redteam.attacks.text import TEXT

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
