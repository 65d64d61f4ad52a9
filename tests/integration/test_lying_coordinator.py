"""A coordinator that lies over gRPC: our own client passes every case, and a client without a check does not."""

import sys
from collections.abc import Iterator

import pytest

from secagg.tools.runner.cases import Programs, Verdict, judge
from secagg.tools.runner.lines import Feature
from secagg.tools.runner.over_grpc import cases

CASES = {case.number: case for case in cases()}
OURS = [sys.executable, "-m", "secagg.tools.runner.adapter"]
NOW = frozenset(Feature)


@pytest.fixture(scope="module")
def ours() -> Iterator[Programs]:
    with Programs(OURS) as programs:
        yield programs


def test_every_case_has_a_number_of_its_own() -> None:
    assert len(CASES) == len(list(cases())) > 150
    assert list(CASES) == sorted(CASES)


@pytest.mark.parametrize("number", list(CASES)[::6])  # `secagg conformance self` plays all of them in every build
def test_our_client_passes(ours: Programs, number: str) -> None:
    [judged] = judge([CASES[number]], ours, NOW, {})
    assert (judged.verdict, judged.text) == (Verdict.PASSED, "")


# What is spoilt in our client, as Python that runs before it; a case that notices; and how the case says so.
SPOILT = {
    "shares-after-two-stories": (
        "from secagg.crypto import signing; signing.verify = lambda *_, **__: None",
        "call-506",
        "after the lie it called Reveal",
    ),
    "keys-after-another-policy": (
        "from secagg.policy import Policy; Policy.check = lambda *_: None",
        "call-111",
        "after the lie it called Advertise",
    ),
    "fresh-keys-again": (
        (
            "from secagg_client.calls.data_plane import SendMessage; import os\n"
            "honest = SendMessage.requests\n"
            "SendMessage.requests = lambda self: (one + b'\\xfa\\x3f\\x02' + os.urandom(2) for one in honest(self))"
        ),
        "call-011",
        "brought other bytes when the call was made again",
    ),
    "another-sum": (
        (
            "from secagg.aggregates import Aggregate; from secagg.tools.runner import adapter\n"
            "honest = adapter.participate\n"
            "adapter.participate = lambda r: (a := honest(r)) | {'sums': a['sums'][:-1] + ['4']}"
        ),
        "call-001",
        "another sum than that of the round",
    ),
    "wrong-input": (
        "from secagg.masked import vector; vector.add_masks = lambda *_: None",
        "call-001",
        "the masked input is wrong",
    ),
    "blames-the-peer": (
        (
            "from secagg import roster; from secagg.messages import Leave, LeaveReason\n"
            "import secagg_client.participation.session as s\n"
            "s.refusal = lambda error: Leave(LeaveReason.REFUSED, 'fir')"
        ),
        "call-506",
        "it left the round and accused fir",
    ),
    "goes-away": (
        (
            "from secagg.messages import Leave, LeaveReason\n"
            "import secagg_client.participation.session as s\n"
            "s.refusal = lambda error: Leave(LeaveReason.CANCELLED)"
        ),
        "call-506",
        "it left the round with CANCELLED",
    ),
    "believes-any-sum": (
        "import secagg_client.participation.session as s; s._check_aggregate = lambda *_: None",
        "call-700",
        "believed it",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_client_fails(name: str) -> None:
    code, number, told = SPOILT[name]
    command = [sys.executable, "-c", f"{code}\nfrom secagg.tools.runner.adapter import main\nmain()"]
    with Programs(command) as programs:
        [judged] = judge([CASES[number]], programs, NOW, {})
    assert judged.verdict is Verdict.FAILED
    assert told in judged.text
