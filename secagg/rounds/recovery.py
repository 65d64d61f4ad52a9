"""Secrets back from revealed shares, with wrong shares corrected and whoever sent or dealt them named."""

import hashlib
import struct
from collections import Counter
from collections.abc import Callable, Mapping

from secagg.crypto import shamir
from secagg.crypto.secret import Secret
from secagg.errors import AbortReason, RoundAborted
from secagg.events import WrongShares
from secagg.messages import Index, Member, ParticipantId


class Recovery:
    """Recovers secrets of many owners from much the same holders, and remembers who is in conflict with whom."""

    def __init__(self, members: Mapping[Index, Member], threshold: int, salt: bytes, *, accept_steps: int = 0) -> None:
        """Args: salt: see `salt_from`. accept_steps: see `shamir.Decoder`."""
        self._members = members
        self._threshold = threshold
        self._salt = salt
        self._accept_steps = accept_steps
        self._conflicts: list[tuple[ParticipantId, ParticipantId]] = []
        self._decoders: dict[tuple[int, ...], shamir.Decoder] = {}

    def secret(self, owner: Index, shares: Mapping[int, Secret], accepts: Callable[[Secret], bool]) -> Secret:
        """The owner's secret.

        Args:
            owner: who dealt the shares.
            shares: by holder; each passed `shamir.decode_share` when it came in.
            accepts: whether a candidate is what the owner committed to.

        Raises:
            RoundAborted: BELOW_THRESHOLD if there are too few shares, WRONG_SHARES if no correction fits.
        """
        name = self._members[owner].participant_id
        if len(shares) < self._threshold:
            raise RoundAborted(
                AbortReason.BELOW_THRESHOLD,
                f"{len(shares)} shares of {name}'s secret are below threshold {self._threshold}",
            )
        holders = tuple(sorted(shares))
        decoder = self._decoders.get(holders)
        if decoder is None:
            decoder = shamir.Decoder(holders, self._threshold, self._salt, accept_steps=self._accept_steps)
            self._decoders[holders] = decoder
        found = decoder.recover({i: shamir.decode_share(s.expose()) for i, s in shares.items()}, accepts)
        if found is None:
            raise RoundAborted(
                AbortReason.WRONG_SHARES,
                f"the shares of {name}'s secret are wrong and cannot be corrected: "
                f"{name} dealt, or holders sent, wrong shares",
            )
        self._conflicts += [(name, self._members[Index(holder)].participant_id) for holder in found.wrong]
        return found.secret

    def wrong_shares(self) -> list[WrongShares]:
        """Conflicts by whoever is in most of them, one culprit after the other; in a tie the holder is named."""
        events, left = [], list(self._conflicts)
        while left:
            counts = Counter(holder for _, holder in left)
            counts.update({owner: n for owner, n in Counter(owner for owner, _ in left).items() if n > 1})
            culprit = max(counts, key=lambda name: (counts[name], any(name == holder for _, holder in left), name))
            mine = tuple(pair for pair in left if culprit in pair)
            events.append(WrongShares(culprit, mine))
            left = [pair for pair in left if culprit not in pair]
        return events


def salt_from(revealed: Mapping[Index, Mapping[Index, Secret]]) -> bytes:
    """A digest of all revealed shares, by holder and owner: no liar knew the honest holders' when it chose its own."""
    state = hashlib.sha256()
    for holder, shares in sorted(revealed.items()):
        for owner in sorted(shares):
            state.update(struct.pack(">II", holder, owner) + shares[owner].expose())
    return state.digest()
