"""How head and workers know each other on the link: by the coordinator's private key, which both have.

The head shows the coordinator's certificate, and the worker believes no other: TLS checks the chain against the
deployment's CA, for a name that stands in the worker's own certificate. Then the worker shows, in the metadata of each
call, a secret that only who has the private key can derive. So no password is configured, and no key ever travels.
"""

from typing import Final

import grpc

from secagg.crypto import labels
from secagg.crypto.secret import Secret
from secagg.errors import AuthenticationError
from secagg.transport.tls import server_only_credentials
from secagg.wire.limits import MAX_STREAM_MESSAGE_BYTES
from secagg_server.calls.statuses import Context
from secagg_server.certificates.files import Loaded
from secagg_server.certificates.renewal import Renewal

LINK: Final = "secagg-link-bin"
"""Metadata: the secret."""

CALLER: Final = "secagg-caller-bin"
"""Metadata: what certificates the participant showed to the worker, PEM."""

_MAX_METADATA_BYTES: Final = 1 << 17

_MESSAGE: Final = ("grpc.max_receive_message_length", MAX_STREAM_MESSAGE_BYTES)

LINK_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 5_000),  # a machine that is gone is noticed within ten seconds
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", _MAX_METADATA_BYTES),
)
"""Of both ends. At the head they take the place of options of the same name that the data plane has."""


def token_of(loaded: Loaded) -> Secret:
    """The secret of whoever has this private key: 32 bytes."""
    return loaded.identity.derived(labels.LINK_TOKEN)


class LinkGuard:
    """Lets the workers of this coordinator in, and nobody else. After a renewal of the key, workers with the old one,
    too, since they read the files at other times.
    """

    def __init__(self, renewal: Renewal) -> None:
        """Args: renewal: has the certificate and key that are in force."""
        self._renewal = renewal
        self._loaded = self._shown = renewal.loaded
        self._tokens = [token_of(renewal.loaded)]

    def check(self, context: Context) -> None:
        """Raise `AuthenticationError` unless the call shows the secret."""
        if self._renewal.loaded is not self._loaded:
            self._loaded = self._renewal.loaded
            fresh = token_of(self._loaded)
            self._tokens = [fresh, *(known for known in self._tokens if known != fresh)][:2]
        given = _metadata(context, LINK)
        if not any(Secret(given) == known for known in self._tokens):  # check: link-token
            raise AuthenticationError("this port is for the coordinator's ingress workers")

    @staticmethod
    def shown(context: Context) -> bytes:
        """The certificates of the participant for whom a worker makes the call, as the worker says."""
        return _metadata(context, CALLER)

    def credentials(self) -> grpc.ServerCredentials:
        """The coordinator's certificate, as it is in force at each handshake."""
        return server_only_credentials(self._renewal.loaded.for_grpc(), self._changed)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        loaded = self._renewal.loaded
        if loaded is self._shown:
            return None
        self._shown = loaded
        return loaded.for_grpc()


def _metadata(context: Context, name: str) -> bytes:
    found = [value for key, value in context.invocation_metadata() or () if key == name]
    return found[0] if len(found) == 1 and isinstance(found[0], bytes) else b""


def head_channel(address: str, loaded: Loaded) -> grpc.aio.Channel:
    """To the head, which must show the certificate that we have ourselves, or its successor."""
    credentials = grpc.ssl_channel_credentials(root_certificates=loaded.trust.pem)
    name = ("grpc.ssl_target_name_override", loaded.identity.host)
    return grpc.aio.secure_channel(address, credentials, options=(*LINK_OPTIONS, _MESSAGE, name))
