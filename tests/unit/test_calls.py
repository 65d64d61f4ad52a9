"""The one table of calls, held against the .proto files and against the phases and messages of the protocol."""

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from secagg import messages
from secagg.errors import DecodeError
from secagg.messages import SENT_IN, Phase
from secagg.wire import limits
from secagg.wire.agreement import CONSISTENCY_PROOF
from secagg.wire.calls import CALL_OF, CODECS, CONTROL_CALLS, DATA_CALLS, PHASE_CALLS, Call, PhaseCall, Transfer
from secagg.wire.codecs import Codec
from secagg.wire.fields import MAX_SIGNATURE_BYTES
from secagg.wire.v1 import control_plane_pb2, data_plane_pb2

ROOT = Path(__file__).parents[2]
SERVICES = {
    service.full_name: service
    for file in (data_plane_pb2, control_plane_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}


def method(call: Call[Any]) -> MethodDescriptor:
    found: MethodDescriptor = SERVICES[call.service].methods_by_name[call.name]
    return found


@pytest.mark.parametrize("calls", [DATA_CALLS, CONTROL_CALLS])
def test_the_table_has_every_call_of_a_service_once(calls: tuple[Call[Any], ...]) -> None:
    (service,) = {call.service for call in calls}
    assert sorted(call.name for call in calls) == sorted(m.name for m in SERVICES[service].methods)


@pytest.mark.parametrize("call", [*DATA_CALLS, *CONTROL_CALLS], ids=lambda call: call.path)
def test_a_row_says_what_the_proto_says(call: Call[Any]) -> None:
    stated = method(call)
    assert (stated.input_type, stated.output_type) == (call.request.DESCRIPTOR, call.reply.DESCRIPTOR)
    assert stated.client_streaming == (call.transfer is not Transfer.ONE)
    if call.answers is not None:
        assert call.answers.kind is call.reply
        assert stated.server_streaming == call.answers.in_parts
    if call.brings is None:
        return
    inside = call.request.DESCRIPTOR.fields_by_name[call.field].message_type if call.field else stated.input_type
    assert inside == call.brings.kind.DESCRIPTOR
    assert bool(call.field) == ("round_id" in call.request.DESCRIPTOR.fields_by_name)
    assert call.brings.in_parts == (call.transfer is Transfer.PARTS)


def test_every_phase_has_one_call_which_brings_the_message_of_that_phase() -> None:
    assert len(CALL_OF) == len(PHASE_CALLS)
    assert set(CALL_OF) == set(Phase)
    assert {CODECS[kind].kind: phase for kind, phase in SENT_IN.items()} == {
        call.brings.kind: call.phase for call in PHASE_CALLS
    }


def test_every_message_of_the_protocol_has_a_codec() -> None:
    both = (messages.ParticipantMessage, messages.CoordinatorMessage)
    in_answer_to_leave = {messages.Dealt}
    assert set(CODECS) == {kind for union in both for kind in union.__args__} | in_answer_to_leave
    answers = {call.answers.kind for call in PHASE_CALLS if not call.ends_round}
    assert answers == {CODECS[kind].kind for kind in messages.CoordinatorMessage.__args__}


@pytest.mark.parametrize("call", PHASE_CALLS, ids=lambda call: call.name)
def test_what_is_the_same_for_everyone_is_encoded_once(call: PhaseCall[Any]) -> None:
    assert call.shared == (call.answers is CONSISTENCY_PROOF)


def test_every_request_has_a_bound_and_only_a_vector_is_endless() -> None:
    for call in (*DATA_CALLS, *CONTROL_CALLS):
        endless = call.request_bytes == limits.MAX_CHUNK_STREAM_BYTES
        assert endless == (call.transfer is Transfer.CHUNKS)
        assert call.request_bytes <= limits.MAX_OPEN_BYTES or endless


REQUEST_BYTES = {
    "FindRound": 32_768,
    "Advertise": 4096 + 4 * (8192 + 16),
    "OpenRound": (64 << 20) + 65_536,
    "Expect": 4 << 20,
    "Exclude": 4 << 20,
    "AbortRound": 4000,
}
"""The longest requests that are not those of their kind of transfer."""


@pytest.mark.parametrize("call", [*DATA_CALLS, *CONTROL_CALLS], ids=lambda call: call.path)
def test_a_request_may_be_so_long_and_no_longer(call: Call[Any]) -> None:
    usual = {Transfer.ONE: 1024, Transfer.PARTS: 8 << 20, Transfer.CHUNKS: 1 << 62}
    assert call.request_bytes == REQUEST_BYTES.get(call.name, usual[call.transfer])


ANSWER_BYTES = {
    ("DataPlane", "FindRound"): 128 << 20,
    ("DataPlane", "Advertise"): limits.roster_bytes,
    ("DataPlane", "Share"): limits.delivery_bytes,
    ("DataPlane", "SendEncrypted"): limits.encrypted_sum_bytes,
    ("DataPlane", "FetchAggregate"): limits.aggregate_bytes,
    ("DataPlane", "Describe"): 1024,
    ("ControlPlane", "Describe"): 1024,
    ("ControlPlane", "FetchAggregate"): limits.aggregate_bytes,
    ("ControlPlane", "WatchRound"): limits.UNLIMITED,
    ("ControlPlane", "ListRounds"): limits.UNLIMITED,
    ("ControlPlane", "GetLedger"): limits.UNLIMITED,
    ("ControlPlane", "ListStrikes"): limits.UNLIMITED,
}
"""The longest answers that are more than one short entry for each participant."""


@pytest.mark.parametrize("call", [*DATA_CALLS, *CONTROL_CALLS], ids=lambda call: call.path)
def test_an_answer_may_be_so_long_and_no_longer(call: Call[Any]) -> None:
    plane = call.service.rpartition(".")[2]
    assert call.max_answer == ANSWER_BYTES.get((plane, call.name), limits.entries_bytes)
    if callable(call.max_answer):
        assert call.longest_answer() == limits.SLACK_BYTES


LONGEST_FIELDS = {
    "MaskedInputChunk.payload": 1 << 20,
    "EncryptedInputChunk.payload": 2 << 20,
    "EncryptedInputChunk.seed": 16,
    "SumChunk.payload": 1 << 20,
    "PartialChunk.payload": 2 << 20,
    "AdvertiseKeys.mask_public_key": 1216,
    "AdvertiseKeys.key_share_commitment": 32,
}
"""The longest byte fields of messages that are never split, unless they are signatures or digests."""

EXACT_FIELDS = {"digest": 32, "binding": 32, "channel_public_key": 32}


@pytest.mark.parametrize("codec", [c for c in CODECS.values() if not c.in_parts and c.kind is not data_plane_pb2.Leave])
def test_every_byte_field_of_a_message_has_a_bound(codec: Codec[Any]) -> None:
    kind = codec.kind
    fields = [f.name for f in kind.DESCRIPTOR.fields if f.type == f.TYPE_BYTES and not f.is_repeated]
    exact = {name: EXACT_FIELDS[name] for name in fields if name in EXACT_FIELDS}
    well_formed = {name: bytes(size) for name, size in exact.items()}
    codec.decode(kind(**well_formed))
    for name in fields:
        most = exact.get(name) or LONGEST_FIELDS.get(f"{kind.DESCRIPTOR.name}.{name}", MAX_SIGNATURE_BYTES)
        codec.decode(kind(**well_formed | {name: bytes(most)}))
        with pytest.raises(DecodeError, match=f"^{name} has {most + 1} bytes"):
            codec.decode(kind(**well_formed | {name: bytes(most + 1)}))
        if name in exact:
            with pytest.raises(DecodeError, match=f"^{name} has {most - 1} bytes"):
                codec.decode(kind(**well_formed | {name: bytes(most - 1)}))


def test_the_specification_says_which_call_brings_which_message() -> None:
    text = (ROOT / "proto/PROTOCOL.md").read_text()
    found = re.findall(r"^\| `(\w+)`[^|]*\| (\w+)[^|]*\| (\w+)", text.partition("\n## 15. ")[2], re.M)
    stated = {name: (brings, answer) for name, brings, answer in found}
    names = {made: kind.__name__ for kind, made in CODECS.items()}
    for call in PHASE_CALLS:
        brings, answer = stated[call.name]
        assert answer == ("Receipt" if call.ends_round else names[call.answers]), call.name
        if call.transfer is Transfer.CHUNKS:
            assert brings == "chunks", call.name
        elif call.name != "RecoverSeeds":
            assert brings == names[call.brings], call.name
