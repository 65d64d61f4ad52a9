"""An upload whose retry begins while gRPC's thread still reads for the call that broke."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from secagg_client.calls.data_plane import UploadCall

from secagg.homomorphic.vectors import OnceVector
from secagg.messages import PartialChunk, Phase
from secagg.wire.calls import SEND_PARTIAL
from tests.conversing import ROUND_ID
from tests.rounds import SEMI_HONEST, make_config


def floods(*, one_at_a_time: bool) -> list[bytes]:
    """What the call that broke and its retry send as chunk 0, both asking before it is made."""
    asking = threading.Barrier(2)
    together = threading.Event()

    def smudge(number: int) -> PartialChunk:
        together.wait(0.5)  # time for the other to ask
        return PartialChunk(number, os.urandom(16))

    vector = OnceVector(Phase.PARTIAL_DECRYPTION, 2, smudge)
    call = UploadCall(ROUND_ID, make_config(5, SEMI_HONEST), SEND_PARTIAL, vector)
    if not one_at_a_time:
        call = replace(call, turn=nullcontext())  # type: ignore[arg-type]

    def first_chunk(attempt: UploadCall[Any]) -> bytes:
        requests = attempt.requests()
        asking.wait(60)
        return next(requests)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(first_chunk, (call, call.resumed(0))))


def test_a_chunk_is_made_once_whoever_asks_at_the_same_time() -> None:
    """Two floods of one c1 would average away; two ciphertexts under one seed would show a difference."""
    broken, retried = floods(one_at_a_time=True)
    assert broken == retried


def test_without_taking_turns_a_chunk_would_be_made_twice() -> None:
    broken, retried = floods(one_at_a_time=False)
    assert broken != retried
