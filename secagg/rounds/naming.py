"""The model of a round that is named later: its digest comes with the shares, and everyone compares it with their own.

Keys and shares are bound to the round alone (`Round.context`), so they can be exchanged before the model exists. What
is made of them from here on is bound to the model too (`Round.input_context`): two participants that were told
different models derive masks that do not cancel, and sign different things.
"""

from secagg.config import RoundConfig
from secagg.errors import ModelMismatch, ProtocolViolation
from secagg.messages import ShareDelivery
from secagg.roster import COORDINATOR
from secagg.rounds.checked_roster import CheckedRoster


def check_naming(config: RoundConfig, delivery: ShareDelivery) -> None:
    """Refuse a delivery that names a model where the configuration does, or names none where it has to.

    Raises:
        ProtocolViolation: so it is.
    """
    if bool(delivery.model_digest) is not config.model_later:  # check: C99
        said = "names no model, in a round whose model is named later" if config.model_later else "names a model, again"
        raise ProtocolViolation(f"the delivery of shares {said}", culprit=COORDINATOR)


def named(checked: CheckedRoster, delivery: ShareDelivery, own_model: bytes) -> CheckedRoster:
    """Our round, about the model that the coordinator names with the shares, if that is ours.

    Args:
        checked: our round before.
        delivery: the shares.
        own_model: digest of the model that we hold ourselves, 32 bytes.

    Raises:
        ProtocolViolation: see `check_naming`.
        ModelMismatch: it is another model.
    """
    config = checked.membership.round.config
    check_naming(config, delivery)
    if not config.model_later:
        return checked
    if delivery.model_digest != own_model:  # check: C100
        raise ModelMismatch(
            f"the coordinator names model {delivery.model_digest.hex()[:16]}…, ours is {own_model.hex()[:16]}…",
            culprit=COORDINATOR,
        )
    return checked.about(delivery.model_digest)
