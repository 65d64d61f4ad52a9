"""The client side of secagg: taking part in rounds, and the FL server's control of its sidecar.

Imported before anything else imports grpc, this package makes TLS 1.3 the only version that the process speaks with an
ECDSA server: grpcio has no setting for that, but the one TLS 1.2 cipher suite that remains needs an RSA certificate,
and TLS 1.3 has suites of its own. It holds for every gRPC connection of the process; set GRPC_SSL_CIPHER_SUITES
beforehand to decide otherwise. Where grpc was imported earlier, the coordinator still refuses TLS 1.2.
"""

import os
import sys

if "grpc" not in sys.modules:  # else it would be too late, and look as if it were not
    os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES128-GCM-SHA256")

from secagg.receipts import Receipt
from secagg_client.aio.client import AsyncClient
from secagg_client.aio.control import AsyncControlClient
from secagg_client.calls.control_plane import RoundState, RoundSummary
from secagg_client.minimising import Minimised, minimised
from secagg_client.participation.feedback import Feedback
from secagg_client.participation.results import Offer, RoundResult
from secagg_client.released_sums.memory import Memory
from secagg_client.retry import RetryPolicy
from secagg_client.sync.client import Client
from secagg_client.sync.control import ControlClient

__all__ = [
    "AsyncClient",
    "AsyncControlClient",
    "Client",
    "ControlClient",
    "Feedback",
    "Memory",
    "Minimised",
    "Offer",
    "Receipt",
    "RetryPolicy",
    "RoundResult",
    "RoundState",
    "RoundSummary",
    "minimised",
]
