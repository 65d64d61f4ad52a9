"""The phase CONFIRM_KEY, only in custody `participants`: everyone must hold the same key before anyone encrypts.

A dealer that gave two participants different keys would make the sum one that nobody can decrypt; whoever passed on
another key would learn what is encrypted under it.

Participant: opens the dealer's key, and signs its digest together with who the dealer is.

Coordinator: takes one confirmation of each member, of the key that the dealer committed to. It answers everyone with
all signatures.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from secagg.crypto.agreement import KeyPair
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError, ProtocolViolation
from secagg.homomorphic import transcripts
from secagg.homomorphic.dealt_key.state import DealtKeyState
from secagg.lattice.keyshares import dealt_key_digest
from secagg.messages import Index, KeyConfirmation, ParticipantId, Phase, ShareDelivery
from secagg.roster import COORDINATOR
from secagg.rounds import dealing
from secagg.rounds.checked_roster import CheckedRoster
from secagg.rounds.coordinator_phase import SignaturePhase
from secagg.rounds.naming import check_naming
from secagg.rounds.session import Turn, Waiting


@dataclass(frozen=True, slots=True)
class AwaitingKey:
    """Our key is out; next comes the dealer's, or nothing if we are the dealer. Holds secrets."""

    awaits: ClassVar = Phase.SHARE_KEYS
    takes: ClassVar = ShareDelivery
    checked: CheckedRoster
    channel: KeyPair
    own_seed: Secret

    def receive(self, delivery: ShareDelivery, turn: Turn) -> tuple[Waiting, KeyConfirmation]:
        """Open the dealt key and say, signed, which key it is."""
        checked, membership = self.checked, self.checked.membership
        check_naming(membership.round.config, delivery)  # check: C99
        others = set(checked.members) - {checked.own_index}
        if len(delivery.sealed) > 1 or set(delivery.sealed) - others:  # check: C49
            raise ProtocolViolation("there is one dealer, on the roster", culprit=COORDINATOR)
        dealer = next(iter(delivery.sealed), checked.own_index)
        seed = self.own_seed if dealer == checked.own_index else self._open(dealer, delivery.sealed[dealer])
        digest = dealt_key_digest(membership.round.context, seed)
        message = transcripts.key_confirmation(membership.round.context, checked.roster, dealer, digest)
        return turn.after(self, checked, dealer, seed, message), KeyConfirmation(digest, membership.sign(message))

    def _open(self, dealer: Index, sealed: bytes) -> Secret:
        checked = self.checked

        def read(content: bytes) -> tuple[Secret, bytes]:
            seed = Secret(content)
            return seed, dealt_key_digest(checked.membership.round.context, seed)

        opened = partial(
            dealing.unseal,
            checked.membership.round,
            dealing.DEALT_KEY,
            self.channel,
            sender=checked.members[dealer],
            receiver=checked.membership.participant_id,
            entry=sealed,
            read=read,
        )
        return dealing.received(checked, dealer, sealed, opened)


class ConfirmKeyPhase(SignaturePhase[KeyConfirmation]):
    """CONFIRM_KEY at the coordinator."""

    state: DealtKeyState
    phase = Phase.CONFIRM_KEY
    another = "confirmed another key"

    def __init__(self, state: DealtKeyState) -> None:
        super().__init__(state)
        self.accepted = state.confirmed

    def check_signed(self, message: KeyConfirmation, name: ParticipantId) -> None:
        """The digest must be that of the dealer's key."""
        if message.digest != self.state.key_digest:  # check: C72
            dealer = self.state.members.name(self.state.dealer)
            raise AuthenticationError(f"{name} confirms another key than {dealer} committed to", culprit=name)

    def to_sign(self, message: KeyConfirmation) -> bytes:
        """Who the dealer is, and which key it dealt."""
        state = self.state
        return transcripts.key_confirmation(state.round.context, state.members.roster, state.dealer, message.digest)
