"""The certificate chains that this process has verified, so that each is verified once and not in every round.

What is kept is a success alone, with the time within which every certificate of the path is valid. Outside that time
the chain is verified anew, which gives the reason why it is refused. Revocation lists are not part of it: they change,
so they are looked at each time. A chain with certificates that its path does not need is not kept: with them one
participant could have as many chains as it likes.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from cryptography import x509

MAX_VERIFIED: Final = 16_384
"""Chains that are kept at most, about 4 kB each; who was not seen for longest is forgotten first."""

OwnerT = TypeVar("OwnerT")


@dataclass(frozen=True, slots=True)
class VerifiedChain(Generic[OwnerT]):
    """A chain that verified.

    Attributes:
        owner: what it says about who has it.
        certificates: of the chain, leaf first.
        begin: from when on every certificate of the path, up to the CA's, is valid.
        end: until when.
    """

    owner: OwnerT
    certificates: tuple[x509.Certificate, ...]
    begin: datetime
    end: datetime

    @classmethod
    def of(
        cls, owner: OwnerT, certificates: Sequence[x509.Certificate], path: Sequence[x509.Certificate]
    ) -> "VerifiedChain[OwnerT]":
        """Args:
        owner: what the chain says.
        certificates: of the chain.
        path: from the leaf to the CA, as it was verified.
        """
        begin = max(each.not_valid_before_utc for each in path)
        return cls(owner, tuple(certificates), begin, min(each.not_valid_after_utc for each in path))


class VerifiedChains(Generic[OwnerT]):
    """At most so many chains, by whatever bytes the caller has for each. Any thread may use it: its steps are single
    operations of an `OrderedDict`, which do not interrupt each other.
    """

    def __init__(self, most: int = MAX_VERIFIED) -> None:
        self._most = most
        self._chains: OrderedDict[bytes, VerifiedChain[OwnerT]] = OrderedDict()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._chains)

    def find(self, key: bytes, now: datetime) -> VerifiedChain[OwnerT] | None:
        """The chain that was kept under `key`, if all of it is valid at `now` (timezone-aware)."""
        found = self._chains.get(key)
        if found is None:
            return None
        if not found.begin <= now <= found.end:  # check: chain-valid-now
            return None
        with suppress(KeyError):  # another thread let it go
            self._chains.move_to_end(key)
        return found

    def keep(self, key: bytes, chain: VerifiedChain[OwnerT]) -> None:
        """Keep the chain, and no more than may be kept."""
        self._chains.pop(key, None)  # so that it stands at the end, whatever another thread lets go
        self._chains[key] = chain
        while len(self._chains) > self._most:
            self._chains.popitem(last=False)
