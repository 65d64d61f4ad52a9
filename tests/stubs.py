"""Clients of both planes as gRPC's generator would make them of the .proto files, without the table of calls."""

from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from secagg.wire.v1 import control_plane_pb2, data_plane_pb2


def data_plane(channel: grpc.aio.Channel) -> Any:
    """The participants' calls, each under the name of its RPC."""
    return _stub(data_plane_pb2.DESCRIPTOR.services_by_name["DataPlane"], channel)


def control_plane(channel: grpc.aio.Channel) -> Any:
    """The FL server's calls."""
    return _stub(control_plane_pb2.DESCRIPTOR.services_by_name["ControlPlane"], channel)


def _stub(service: ServiceDescriptor, channel: grpc.aio.Channel) -> SimpleNamespace:
    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }
    return SimpleNamespace(
        **{
            method.name: kinds[method.client_streaming, method.server_streaming](
                f"/{service.full_name}/{method.name}",
                request_serializer=GetMessageClass(method.input_type).SerializeToString,
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            for method in service.methods
        }
    )
