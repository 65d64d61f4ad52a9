"""Lies in the offer of a round: nothing may leave the program after them, not even its keys."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from secagg.config import ThreatModel
from secagg.tools.runner.over_grpc.cohort import Cohort
from secagg.tools.runner.over_grpc.host import Change, Told
from secagg.tools.runner.over_grpc.lie import ANYBODY, Lie
from secagg.wire.configuration import encode_config
from secagg.wire.v1 import data_plane_pb2 as pb

_MALFORMED: Final = ("DecodeError",)
_VIOLATION: Final = ("ProtocolViolation",)
_POLICY: Final = ("PolicyViolation",)
_FLOOD: Final = 130
"""Pieces of 1 MiB: together longer than any configuration, however it is cut."""


def offered(edit: Callable[[bytes], bytes], **others: Any) -> Change:
    """The configuration's bytes are changed.

    Args:
        edit: makes the bytes that are told.
        others: fields of the part that are otherwise.
    """

    def change(cohort: Cohort, parts: list[Any]) -> Told:
        del parts
        given = {"round_id": cohort.round.round_id, "config": edit(cohort.config_bytes)} | others
        return [pb.RoundOfferPart(**given)]

    return change


def configured(**changes: Any) -> Change:
    """A configuration that could be true is offered."""

    def change(cohort: Cohort, parts: list[Any]) -> Told:
        del parts
        data = encode_config(replace(cohort.config, **changes))
        return [pb.RoundOfferPart(round_id=cohort.round.round_id, config=data)]

    return change


def _same(data: bytes) -> bytes:
    return data


def _flood(_: Cohort, parts: list[Any]) -> Told:
    return [*parts, *([pb.RoundOfferPart(config=bytes(1 << 20))] * _FLOOD)]


def _fields(_: Cohort, parts: list[Any]) -> Told:
    """Empty fields in the offer itself: two bytes on the wire each."""
    return [parts[0].SerializeToString() + b"\x12\x00" * 300_000]


def _round_named_late(_: Cohort, parts: list[Any]) -> Told:
    return [pb.RoundOfferPart(config=parts[0].config), pb.RoundOfferPart(round_id=parts[0].round_id)]


# fmt: off
LIES: Final = (
    Lie(number="call-100", check="C1", title="A configuration that is no message", at="FindRound",
        change=offered(lambda _: b"\xff" * 40), error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-101", check="C1", title="A configuration that is cut", at="FindRound",
        change=offered(lambda data: data[:-3]), error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-102", check="C1", title="No offer at all", at="FindRound", change=lambda _, __: (),
        error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-103", check="C1", title="Bytes that are no message in place of the offer", at="FindRound",
        change=lambda _, __: [b"\xff\xff"], error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-104", check="", title="The offer of another round than was asked for", at="FindRound",
        change=offered(_same, round_id=bytes(15) + b"\x01"), error=_VIOLATION),
    Lie(number="call-105", check="C5", title="A round id of 15 bytes", at="FindRound",
        change=offered(_same, round_id=bytes(15)), error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-106", check="C5", title="The round is named in the second part", at="FindRound",
        change=_round_named_late, error=(*_MALFORMED, *_VIOLATION), culprit=ANYBODY),
    Lie(number="call-107", check="C1", title="An offer longer than any configuration", at="FindRound", change=_flood,
        error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-108", check="C98", title="An offer of 300,000 fields", at="FindRound", change=_fields,
        error=_MALFORMED, culprit=ANYBODY),
    Lie(number="call-110", check="C3", title="A semi-honest round, for a program that demands the active threat model",
        config={"threat_model": ThreatModel.SEMI_HONEST}, policy={"threat_models": ["ACTIVE"]}, at="FindRound",
        error=_POLICY),
    Lie(number="call-111", check="C3", title="A threshold of 3, for a program that demands 4", at="FindRound",
        policy={"min_cohort": 4}, error=_POLICY),
    Lie(number="call-112", check="C3", title="Nobody may collude, for a program that demands three tenths",
        at="FindRound", policy={"min_colluding_share": 0.3}, error=_POLICY),
    Lie(number="call-113", check="C3", title="Another task than those that the program takes part in", at="FindRound",
        policy={"tasks": ["another"]}, error=_POLICY),
    Lie(number="call-114", check="C3", title="No noise, for a program that demands it", at="FindRound",
        policy={"require_distributed_noise": True}, error=_POLICY),
    Lie(number="call-115", check="C3", title="Another scheme than those that the program takes part in",
        at="FindRound", policy={"schemes": ["bfv"]}, error=_POLICY),
    Lie(number="call-116", check="C4", title="A round about another model", at="FindRound",
        change=configured(model_digest=b"\x07" * 32), error=("ModelMismatch",)),
    Lie(number="call-117", check="C87", title="A round for another purpose", at="FindRound",
        change=configured(purpose="metrics"), error=_POLICY),
    Lie(number="call-118", check="", title="A round of values that our update does not have", config={"size": 51},
        at="FindRound", error=("InputError",), culprit=None, leaves=True,
        request={"update": {"values": bytes(200).hex()}}),
)
# fmt: on
