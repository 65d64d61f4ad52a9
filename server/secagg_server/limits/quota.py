"""How many participants of one organisation a cohort may have, so that no organisation makes most of a sum alone."""

from collections.abc import Callable, Mapping

from secagg.errors import NotInRoundError
from secagg.messages import ParticipantId

Members = Callable[[], Mapping[ParticipantId, str | None]]


class Quota:
    """The same for every cohort; a group of a round in groups is one.

    Attributes:
        organisation_of: what the latest certificate of a participant says.
    """

    def __init__(self, most: int | None, organisation_of: Callable[[ParticipantId], str | None]) -> None:
        """Args:
        most: participants of one organisation; None for no limit.
        organisation_of: by its certificate; None if it made no call since this process started.
        """
        self._most = most
        self.organisation_of = organisation_of

    @property
    def limits(self) -> bool:
        """Whether anybody may be refused."""
        return self._most is not None

    def has_place(self, newcomer: ParticipantId, members: Members) -> bool:
        """Whether the cohort may have one more of the newcomer's organisation.

        Args:
            newcomer: who would like to join.
            members: gives who is in the cohort, each with the organisation that it joined for. One whose organisation
                is not known any more, because the coordinator was started again, counts as one of the newcomer's. It is
                not asked where there is no limit.
        """
        if self._most is None:
            return True
        own = self.organisation_of(newcomer)
        same = sum(organisation in {own, None} for name, organisation in members().items() if name != newcomer)
        return same < self._most

    def check(self, newcomer: ParticipantId, members: Members) -> None:
        """Refuse who is one too many.

        Raises:
            NotInRoundError: says of which organisation.
        """
        if not self.has_place(newcomer, members):  # check: organisation-quota
            raise NotInRoundError(
                f"{newcomer} has no place in this round: {self._most} of {self.organisation_of(newcomer)} are in it, "
                "and its coordinator takes no more of one organisation (max_per_organisation)"
            )


def no_quota() -> Quota:
    """A quota that refuses nobody."""
    return Quota(None, lambda _: None)
