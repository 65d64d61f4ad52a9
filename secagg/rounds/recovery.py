"""How the coordinator recovers secrets from revealed shares, corrects wrong ones and names whoever dealt them."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from secagg.crypto import shamir
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, RoundAborted
from secagg.events import WrongShares
from secagg.messages import Index, Member, ParticipantId

MAX_CORRECTIONS: Final = 16
"""Decodings in a round. Each takes as long as some hundred secrets whose shares are right, so that all of them together
take no longer than an honest unmasking.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One secret that is to be recovered.

    Attributes:
        owner: who dealt the shares.
        shares: by holder; each is the one that the owner dealt: it fits the owner's digest.
        accepts: whether a candidate is what the owner committed to.
    """

    owner: Index
    shares: Mapping[int, Secret]
    accepts: Callable[[Secret], bool]


class Recovery:
    """Recovers secrets of many owners from much the same holders.

    Holders cannot have changed a share: each was compared with its owner's digest when it came in. So shares that do
    not lie on one polynomial, or give another secret than the one committed to, were dealt so: that is proof against
    the owner.
    """

    def __init__(self, members: Mapping[Index, Member], threshold: int, salt: bytes) -> None:
        """Args:
        members: by index.
        threshold: shares that a secret needs (t).
        salt: of `salt_from`; makes the checks random in a way that no dealer could foresee.
        """
        self._members = members
        self._threshold = threshold
        self._checks = shamir.Checks(salt)
        self._conflicts: dict[ParticipantId, tuple[tuple[ParticipantId, ParticipantId], ...]] = {}
        self._latest: shamir.Decoder | None = None
        self._corrections = MAX_CORRECTIONS

    def secrets(self, wanted: Iterable[Wanted]) -> dict[Index, Secret]:
        """Recover every secret that is wanted, by owner. It takes least time if owners follow one another whose
        shares much the same members hold.

        Raises:
            RoundAborted: BELOW_THRESHOLD if there are too few shares of one; WRONG_SHARES if one cannot be corrected.
                Culprits are all owners who dealt wrong shares.
        """
        found: dict[Index, Secret] = {}
        lost: RoundAborted | None = None
        for want in wanted:
            try:
                found[want.owner] = self.secret(want.owner, want.shares, want.accepts)
            except RoundAborted as error:
                if error.reason is not AbortReason.WRONG_SHARES:
                    raise
                lost = lost or error
        if lost is not None:
            raise RoundAborted(lost.reason, str(lost), culprits=tuple(sorted(self._conflicts)))
        return found

    def secret(self, owner: Index, shares: Mapping[int, Secret], accepts: Callable[[Secret], bool]) -> Secret:
        """Recover the secret of one owner; the arguments are the fields of `Wanted`.

        Raises:
            RoundAborted: as `secrets`.
        """
        name = self._members[owner].participant_id
        if len(shares) < self._threshold:
            raise RoundAborted(
                AbortReason.BELOW_THRESHOLD,
                f"{len(shares)} shares of {name}'s secret are below threshold {self._threshold}",
            )
        values = {i: shamir.decode_share(s.expose()) for i, s in shares.items()}
        decoder = self._decoder(tuple(sorted(values)))
        found = decoder.joined(values, accepts)
        if found is None and self._corrections > 0:
            self._corrections -= 1
            found = decoder.corrected(values, accepts)
        if found is None or not found.consistent:
            wrong = () if found is None else found.wrong
            self._conflicts[name] = tuple((name, self._members[Index(i)].participant_id) for i in wrong)
        if found is None:
            raise RoundAborted(
                AbortReason.WRONG_SHARES,
                f"{name} dealt wrong shares of its secret: they cannot be corrected",
                culprits=(name,),
            )
        return found.secret

    def _decoder(self, holders: tuple[int, ...]) -> shamir.Decoder:
        if self._latest is None or self._latest.holders != holders:
            self._latest = shamir.Decoder(holders, self._threshold, self._checks, near=self._latest)
        return self._latest

    def wrong_shares(self) -> list[WrongShares]:
        """The events that tell who dealt wrong shares, which were corrected or not needed."""
        return [WrongShares(owner, conflicts) for owner, conflicts in sorted(self._conflicts.items())]


def salt_from(revealed: Mapping[Index, Mapping[Index, Secret]]) -> bytes:
    """A digest of all revealed shares, by holder and owner: no dealer knew the others' when it chose its own."""
    state = hashlib.sha256()
    for holder, shares in sorted(revealed.items()):
        owners = sorted(shares)
        state.update(struct.pack(f">II{len(owners)}I", holder, len(owners), *owners))
        state.update(b"".join([shares[owner].expose() for owner in owners]))
    return state.digest()
