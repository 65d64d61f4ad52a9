"""The settings of gRPC itself, for both planes."""

from typing import Final

from secagg.wire.limits import MAX_STREAM_MESSAGE_BYTES

OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second coordinator on the port fails instead of taking half of the connections
    ("grpc.max_receive_message_length", MAX_STREAM_MESSAGE_BYTES),
    ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a few bytes would become megabytes before anyone counts
    ("grpc.server_handshake_timeout_ms", 5_000),  # who connects and does not finish TLS
    ("grpc.http2.settings_timeout", 5_000),  # who does not go on from there
    ("grpc.keepalive_time_ms", 30_000),  # a participant whose network is gone is noticed within a minute
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),  # participants may ask as often
    ("grpc.http2.bdp_probe", 0),  # else each participant sends megabytes ahead of what is read
)
