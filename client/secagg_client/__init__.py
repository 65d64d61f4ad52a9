"""The client side of secagg: taking part in rounds, and the FL server's control of its sidecar.

Imported before anything else imports grpc, this package makes TLS 1.3 the only version that the process speaks with an
ECDSA server: grpcio has no setting for that, but the one TLS 1.2 cipher suite that remains needs an RSA certificate,
and TLS 1.3 has suites of its own. It holds for every gRPC connection of the process; set GRPC_SSL_CIPHER_SUITES
beforehand to decide otherwise. Where grpc was imported earlier, the coordinator still refuses TLS 1.2.
"""

from secagg.lazy import exports
from secagg.transport.tls import prefer_tls13

prefer_tls13()

__all__, __getattr__, __dir__ = exports(
    __name__,
    {
        "secagg.programs.state_keys": "FolderStateKeys",
        "secagg.sandbox.worker": "Limits Worker",
        "secagg_client.aio.client": "AsyncClient",
        "secagg_client.sync.control": "ControlClient",
        "secagg_client.aio.control": "AsyncControlClient",
        "secagg.wire.describing": "Description",
        "secagg.wire.rounds": "RoundState RoundSummary",
        "secagg_client.fetched": "Fetched",
        "secagg_client.participation.feedback": "Feedback",
        "secagg_client.released_sums.memory": "Memory",
        "secagg_client.minimising": "Minimised minimised",
        "secagg_client.participation.results": "Offer RoundResult",
        "secagg_client.participation.state_folder": "StateFolder",
        "secagg_client.retry": "RetryPolicy",
        "secagg_client.snapshots": "Snapshot suggest_clip",
        "secagg_client.statistics": "Column Summary",
        "secagg_client.sync.client": "Client",
    },
)
