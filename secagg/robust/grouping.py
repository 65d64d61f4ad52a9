"""How a round is split into groups: `Groups`, part of a round's configuration."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from secagg.errors import ConfigError
from secagg.scalars import settle

MIN_GROUPS: Final = 3
"""Of two groups neither can be told to be the spoilt one."""

MAX_GROUPS: Final = 1000
PARENT_SIZE: Final = 16


class Combine(Enum):
    """How the sums of groups become one result. The value is the number on the wire."""

    MEDIAN = 1
    """Coordinate-wise median of the groups' means."""
    TRIMMED = 2
    """In every coordinate the mean of the groups' means without the largest and smallest `trim`."""
    MEAN = 3
    """The weighted mean of all updates, as of one cohort. It does not stand any poisoned update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """How a round is split into groups. Each group is a round of its own, and one result is made of their sums.

    Attributes:
        count: number of groups, g; 3 to 1000.
        combine: how the groups' sums become one result.
        trim: groups that are left out at either end, k, if `combine` is TRIMMED: at least 1, and 2k < g. Otherwise 0.
        parent: id of the round in groups, 16 bytes; empty in the configuration that opens it.
        number: which group this round is, 1 to `count`; 0 in the configuration that opens the round in groups.
    """

    count: int
    combine: Combine = Combine.MEDIAN
    trim: int = 0
    parent: bytes = b""
    number: int = 0

    def __post_init__(self) -> None:
        settle(self, integers=("count", "trim", "number"))
        if not MIN_GROUPS <= self.count <= MAX_GROUPS:
            raise ConfigError(f"groups must be {MIN_GROUPS} to {MAX_GROUPS}, not {self.count}")
        if self.combine is not Combine.TRIMMED and self.trim:
            raise ConfigError(f"{self.combine.name} trims nothing; leave trim out")
        if self.combine is Combine.TRIMMED and not 1 <= self.trim <= (self.count - 1) // 2:
            raise ConfigError(
                f"trim must be 1 to {(self.count - 1) // 2} for {self.count} groups, not {self.trim}: "
                f"trimming that many on either side must leave a group"
            )
        if not 0 <= self.number <= self.count:
            raise ConfigError(f"a group's number is 1 to {self.count}, not {self.number}")
        if len(self.parent) != (PARENT_SIZE if self.number else 0):
            raise ConfigError(f"a group names its number and the {PARENT_SIZE} bytes of its grouped round, or neither")

    @property
    def fewest(self) -> int:
        """Groups that must have a sum, or there is no result."""
        match self.combine:
            case Combine.MEDIAN:
                return MIN_GROUPS
            case Combine.TRIMMED:
                return max(MIN_GROUPS, 2 * self.trim + 1)
            case Combine.MEAN:
                return 1

    @property
    def text(self) -> str:
        """How the groups are combined, as text: `median`, `trimmed:k` or `mean`."""
        name = self.combine.name.lower()
        return f"{name}:{self.trim}" if self.trim else name

    @classmethod
    def parse(cls, count: int, text: str) -> "Groups":
        """So many groups, combined as a text such as `trimmed:2` says.

        Raises:
            ConfigError: the text says something else, or the numbers do not fit.
        """
        name, _, trim = text.partition(":")
        if name not in {"median", "trimmed", "mean"} or (name == "trimmed") != trim.isdecimal() or len(trim) > 4:
            raise ConfigError(f"groups are combined by median, trimmed:K or mean, not {text[:40]!r}")
        return cls(count=count, combine=Combine[name.upper()], trim=int(trim or 0))
