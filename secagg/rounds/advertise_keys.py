"""Round 0, AdvertiseKeys, at the coordinator: the same for every scheme (Bonawitz et al. 2017, figure 4, round 0).

Participant: makes fresh keys and sends the public ones, signed where messages are signed. Which keys depends on the
scheme: see `advertise_keys` of the scheme's folder.

Coordinator: keeps the keys of each participant, up to `max_participants` of them, after it has checked sizes,
signatures and certificates, and that no key is anybody else's. When all are there who may come, or the time is over
and at least t came, it sorts them by name, numbers them from 1, and answers everyone with that roster (U1).
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from secagg import roster as rosters
from secagg.context import Round
from secagg.crypto import agreement, xwing
from secagg.crypto.identity import TrustAnchors, VerifiedIdentity
from secagg.errors import DecodeError, NotInRoundError, ProtocolViolation, RemoteError
from secagg.messages import AdvertiseKeys, Index, Member, ParticipantId
from secagg.rounds.members import Members

EXPIRY_MARGIN: Final = timedelta(seconds=60)
"""A certificate must outlast the closing of the roster by so much: participants check it after that, by clocks that may
be a little fast.
"""

MAX_COMINGS: Final = 8
"""How often one participant may come into a round, with new keys each time."""


@dataclass(slots=True)
class AdvertiseKeysPhase:
    """Accepted keys by sender, and who is still waited for. A refused message leaves no trace.

    It is no `CoordinatorPhase`: until it is closed nobody has an index, participants may come and go, and the FL server
    may say who will come.

    Attributes:
        members: filled in at the close.
        trust: the deployment's CA; None where keys are not signed.
        expected: who will come, as the FL server says; empty if it does not say. Say it with `expect`.
        to_come: who of these has neither come nor is gone, so that a message does not ask for each of them.
        gone: who is known not to come, or not again.
        withdrawn: the last keys of those who left, or came again with others.
        comings: how often each came.
        in_use: the public keys of all who advertised, so that a new one is not compared with each of them.
    """

    round: Round
    members: Members
    trust: TrustAnchors | None
    advertised: dict[ParticipantId, AdvertiseKeys] = field(default_factory=dict)
    identities: dict[ParticipantId, VerifiedIdentity] = field(default_factory=dict)
    expected: frozenset[ParticipantId] = frozenset()
    to_come: set[ParticipantId] = field(default_factory=set)
    gone: set[ParticipantId] = field(default_factory=set)
    withdrawn: dict[ParticipantId, AdvertiseKeys] = field(default_factory=dict)
    comings: Counter[ParticipantId] = field(default_factory=Counter)
    in_use: set[bytes] = field(default_factory=set)

    def expect(self, names: frozenset[ParticipantId]) -> None:
        """Wait for these, and for nobody else."""
        self.expected = names
        self.to_come = set(names - self.gone - self.advertised.keys())

    def take(self, sender: ParticipantId, message: AdvertiseKeys, at: datetime) -> None:
        """Keep the sender's keys.

        Raises:
            RemoteError: other keys before, wrong sizes, a key twice, or a signature that does not verify.
        """
        if sender in self.advertised:  # check: C35
            raise ProtocolViolation(
                f"{sender} advertised other keys before: another process with its certificate takes part in this "
                "round. End one of the two; if the other is gone, try again in a minute",
                culprit=sender,
            )
        if self.withdrawn.get(sender) == message:
            raise NotInRoundError(f"{sender} left this round with these keys; to come again, make new ones")
        if self.comings[sender] >= MAX_COMINGS:
            raise NotInRoundError(f"{sender} came into this round {MAX_COMINGS} times; wait for the next one")
        self._check_room(sender)
        self._check_sizes(sender, message)
        try:
            halves = rosters.distinct_halves(message, self.in_use)
        except ProtocolViolation as error:
            raise ProtocolViolation(f"{sender}: {error}", culprit=sender) from None
        if self.trust is not None:
            member = Member(Index(0), sender, message)
            try:
                self.identities[sender] = rosters.verify_member(self.round, self.trust, member, at)
            except RemoteError as error:
                raise type(error)(f"{sender}: {error}", culprit=sender) from None
        self.advertised[sender] = message
        self.in_use.update(halves)
        self.comings[sender] += 1
        self.gone.discard(sender)
        self.to_come.discard(sender)

    def replace(self, sender: ParticipantId, message: AdvertiseKeys, at: datetime) -> None:
        """Keep other keys of a sender whose earlier process is gone. Errors as of `take`, and the old keys stay."""
        identity = self.identities.pop(sender, None)
        keys = self._take_back(sender)
        try:
            self.take(sender, message, at)
            self.withdrawn[sender] = keys
        except (RemoteError, NotInRoundError):
            self.advertised[sender] = keys
            self.in_use.update(rosters.halves_of(keys))
            if identity is not None:
                self.identities[sender] = identity
            raise

    def _check_room(self, sender: ParticipantId) -> None:
        room = self.round.config.max_participants - len(self.advertised)
        if room <= 0:
            raise NotInRoundError(f"the round is full; {sender} came too late")
        if sender not in self.expected and room <= len(self.to_come):  # check: C96
            raise NotInRoundError(f"no place for {sender}: those that are left are for whom the FL server expects")

    @property
    def awaited(self) -> int:
        """The most that may still be in the roster: who came, and who may yet come."""
        most = self.round.config.max_participants
        return min(most, len(self.advertised) + len(self.to_come)) if self.expected else most

    @property
    def complete(self) -> bool:
        """Whether nobody is waited for: all came who are expected and not gone, or as many as there is room for.

        Whoever left would have taken a place. If nobody says who will come, its place is not waited for once the others
        are enough for a sum.
        """
        came, config = len(self.advertised), self.round.config
        if came >= config.max_participants:
            return True
        if self.expected:
            return not self.to_come
        return came >= config.fewest_members and came + len(self.gone) >= config.max_participants

    def _check_sizes(self, sender: ParticipantId, message: AdvertiseKeys) -> None:
        suite = self.round.config.suite
        if len(message.channel_public_key) != suite.key_pairs.public_size:
            raise DecodeError(f"{sender}: a public key is {suite.key_pairs.public_size} bytes", culprit=sender)
        wanted = rosters.advertised_sizes(self.round.config)
        found = len(message.mask_public_key), len(message.key_share_commitment)
        if found != wanted:  # check: C68
            raise DecodeError(
                f"{sender}: mask key and commitment have {found} bytes where the scheme wants {wanted}", culprit=sender
            )
        if self.trust is None and (message.signature or message.certificates):
            # Nobody would look at them, and all members would have to take them.
            raise DecodeError(f"{sender}: keys are signed, in a round that signs nothing", culprit=sender)
        # A key of low order would make every honest participant leave: it stops here.
        for key in filter(None, (message.channel_public_key, message.mask_public_key)):
            (xwing if suite.hybrid else agreement).check_public_key(key, owner=sender)  # check: C37

    def forget(self, sender: ParticipantId) -> None:
        """The sender is not waited for before the roster is fixed, whether it had come or not."""
        if sender in self.advertised:
            self.withdrawn[sender] = self._take_back(sender)
        self.identities.pop(sender, None)
        self.gone.add(sender)
        self.to_come.discard(sender)

    def _take_back(self, sender: ParticipantId) -> AdvertiseKeys:
        """What the sender advertised, which counts no more: others may bring these keys."""
        keys = self.advertised.pop(sender)
        self.in_use.difference_update(rosters.halves_of(keys))
        return keys

    def expire(self, at: datetime) -> list[ParticipantId]:
        """Forget whose certificates are not valid long enough for the others to check them; who that is."""
        late = [name for name, known in self.identities.items() if known.not_valid_after < at + EXPIRY_MARGIN]
        for name in late:
            self.forget(name)
        return sorted(late)

    def fix(self) -> None:
        """The phase is over and U1 complete: assign indices."""
        sparse = self.round.config.ring is not None
        self.members.fix(rosters.assign(self.advertised), self.identities, sparse=sparse)
