"""Receipts are signed with the key of the certificate that is in force."""

from secagg.crypto.identity import CoordinatorIdentity
from secagg.receipts import Receipt, Statement


class ReceiptSigner:
    """Signs the statement at the end of each round. Safe to use from several threads.

    Attributes:
        identity: certificate and key; replaced when they are renewed. What was signed stays signed.
    """

    def __init__(self, identity: CoordinatorIdentity) -> None:
        self.identity = identity

    def sign(self, statement: Statement, now: float) -> Receipt:
        """The receipt of `statement`. `now` is in seconds since 1970."""
        return Receipt.sign(statement, self.identity, now)
