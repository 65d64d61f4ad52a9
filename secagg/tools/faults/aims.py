"""What a history may be aimed at, so that a planted flaw can show itself. Nothing of the product is imported here."""

from dataclasses import dataclass

from secagg.tools.faults.history import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a history has besides what its seed draws, so that one flaw can show itself in it.

    Attributes:
        kind: of its first rounds, as `scenario` names them; empty for any.
        values: of its first task's updates; 0 for any number.
        rounds: of its first task, all about one model; 0 for any number, of any models.
        excludes: the FL server says once in its first task that a participant is gone.
        faults: the coordinator's disk has one or two accidents of these kinds, and does not lie.
        since: operations of that disk that no accident takes the place of; a coordinator's first start has some 150.
        within: how many operations behind those an accident may take the place of.
        rots_in: bytes of a file whose name ends so change when the coordinator ends first; empty for no rot.
    """

    kind: str = ""
    values: int = 0
    rounds: int = 0
    excludes: bool = False
    faults: tuple[Fault, ...]
    since: int = 0
    within: int = 300
    rots_in: str = ""
