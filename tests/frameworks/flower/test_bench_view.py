"""What the benchmark writes down of one client: records, numbers in clear, and the longest as residues."""

from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from secagg.tools.bench.frameworks.view import described, upload
from secagg.tools.bench.frameworks.watched_grid import Watched, WatchedGrid, size_of
from tests.frameworks.flower.memory_grid import MemoryGrid, app_of, model

BYTES = bytes(range(256)) * 8


def of(**records: Any) -> RecordDict:
    return RecordDict(records)


def test_each_kind_of_record_is_shown_by_its_bytes() -> None:
    replies = [
        of(metrics=MetricRecord({"loss": 0.5, "num-examples": 3})),
        of(secagg=ConfigRecord({"format": 1, "data": BYTES[:20], "names": ["a"]})),
        of(vectors=ArrayRecord({"0": Array("uint8", (len(BYTES),), "secagg.bytes", BYTES)})),
        of(arrays=ArrayRecord({"w": Array(np.ones(3, np.float32))})),
    ]
    seen = described(replies)
    assert seen["in_clear"] == {"metrics/loss": 0.5, "metrics/num-examples": 3, "secagg/format": 1}
    sizes = {one["record"]: one["bytes"] for one in seen["records"]}
    assert sizes == {"secagg/data": 20, "vectors": len(BYTES), "arrays": 12}
    assert upload(replies).tobytes() == BYTES
    assert upload(replies[:2]).size == 0
    assert size_of(replies[0]) == 16
    assert size_of(replies[1]) == 8 + 20 + 1


def test_residues_of_secaggplus_are_words() -> None:
    import io

    buffer = io.BytesIO()
    np.save(buffer, np.arange(500, dtype=np.int64))
    replies = [of(configs=ConfigRecord({"masked_params": [buffer.getvalue()]}))]
    assert upload(replies).dtype == np.uint32
    assert upload(replies).tolist() == list(range(500))


def test_a_watched_grid_counts_what_passes() -> None:
    grid, watched = MemoryGrid({node: app_of([]) for node in (4, 5)}), Watched()
    through = WatchedGrid(grid, watched)
    assert list(through.get_node_ids()) == [4, 5]
    message = Message(RecordDict({"arrays": model()}), 4, "train")
    replies = list(through.send_and_receive([message]))
    assert watched.node == 4
    assert [list(kept) for kept in watched.kept] == [list(replies[0].content)]
    assert watched.next_round() == (1, size_of(message.content), size_of(replies[0].content))
    assert watched.next_round() == (0, 0, 0)
