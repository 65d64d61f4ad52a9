"""Data minimisation: of what training gives, only what the task is about goes on."""

from dataclasses import dataclass

from secagg.encoding.arrays import NumberArray
from secagg.encoding.schema import Schema, Update
from secagg.encoding.sources import by_name


@dataclass(frozen=True, slots=True)
class Minimised:
    """An update that was cut down to what the task's schema names.

    Attributes:
        update: the arrays of the schema, in its order; the same objects, not copies.
        dropped: names of the others, in their own order, to be logged.
    """

    update: dict[str, NumberArray]
    dropped: tuple[str, ...]


def minimised(update: Update | NumberArray, schema: Schema) -> Minimised:
    """Drop the arrays that the schema does not name.

    `Client.participate` refuses such arrays, because they may be there by mistake. Its caller decides to drop them.

    Args:
        update: arrays by name.
        schema: of the round, `offer.config.schema`.

    Raises:
        InputError: an array of the schema is missing, has another shape or dtype, or holds NaN or infinity. The error
            says which.
    """
    arrays = by_name(update)
    wanted = {spec.name for spec in schema.arrays}
    kept = {spec.name: arrays[spec.name] for spec in schema.arrays if spec.name in arrays}
    schema.check(kept)
    return Minimised(kept, tuple(name for name in arrays if name not in wanted))
