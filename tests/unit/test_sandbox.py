"""A worker process: what it computes, and every way in which it can end."""

import fcntl
import importlib.util
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from secagg.errors import DecodeError, LocalError, MissingExtraError, ProtocolViolation, WorkerError
from secagg.lattice.jobs import Decrypt, Encrypt, OpenDecryption, OpenPublicKey, OpenSymmetric, values_of
from secagg.lattice.keyshares import joint_key, key_share
from secagg.lattice.parameters import Custody, Scheme
from secagg.lattice.summation import Aggregate, SeededSum, upload_layout
from secagg.lattice.uploads import upload_chunks
from secagg.sandbox.pipe import MAX_MESSAGE_BYTES, PipeClosed, PipeStalled, receive, send
from secagg.sandbox.worker import Limits, Worker
from tests.encrypted import CONTEXT, dealt_sum, key_seed, numbers, profile_of, stream_of

PROFILE = profile_of(Scheme.BFV, Custody.PARTICIPANTS)
OPEN = OpenSymmetric(PROFILE, key_seed().expose(), CONTEXT, b"p0".ljust(16), "p0")
OPEN_DECRYPTION = OpenDecryption(PROFILE, key_seed().expose(), CONTEXT)


@pytest.fixture(scope="module")
def shared() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


def decrypt(aggregate: Aggregate, chunk: int, count: int, summands: int) -> Decrypt:
    c0, c1 = aggregate.c0.chunk(chunk), aggregate.c1.chunk(chunk)
    return Decrypt(aggregate.c0.layout, chunk, c0, c1, count, summands)


def test_a_vector_of_several_chunks_goes_through_a_worker(shared: Worker) -> None:
    values = numbers(0, 400_000)
    shared.do(OPEN)
    total = SeededSum(PROFILE, len(values))
    chunks = upload_chunks(
        PROFILE, len(values), lambda a, b: values[a:b], lambda v, block: shared.do(Encrypt(v, block))
    )
    for i, data in enumerate(chunks):
        total.add(i, data)
    aggregate = total.finish([stream_of(PROFILE, "p0")])
    shared.do(OPEN_DECRYPTION)
    layout, per_block = aggregate.c0.layout, PROFILE.values_per_block
    assert layout.chunks > 1
    for chunk in range(layout.chunks):
        blocks = layout.block_range(chunk)
        expected = values[blocks.start * per_block : blocks.stop * per_block]
        assert (values_of(shared.do(decrypt(aggregate, chunk, len(expected), 1))) == expected).all()


def test_public_key_encryption_in_a_worker(shared: Worker) -> None:
    profile = profile_of(Scheme.CKKS, Custody.THRESHOLD)
    shared.do(OpenPublicKey(profile, joint_key(profile, [key_share(profile, key_seed(), CONTEXT)]), CONTEXT))
    assert len(shared.do(Encrypt(numbers(0, 10), 0))) == upload_layout(profile, 10).total_bytes


def test_refusals_come_back_as_what_they_are(shared: Worker) -> None:
    aggregate = dealt_sum(PROFILE, [numbers(0, 10)] * 2)
    shared.do(OPEN_DECRYPTION)
    good = decrypt(aggregate, 0, 10, 2)
    with pytest.raises(DecodeError, match="bytes"):
        shared.do(Decrypt(good.layout, 0, good.c0[:-1], good.c1, 10, 2))
    with pytest.raises(DecodeError, match="not below"):
        shared.do(Decrypt(good.layout, 0, b"\xff" * len(good.c0), good.c1, 10, 2))
    with pytest.raises(ProtocolViolation):
        shared.do(Decrypt(good.layout, 0, good.c1, good.c0, 10, 2))
    assert len(values_of(shared.do(good))) == 10


def test_a_job_before_its_opening_is_the_callers_fault() -> None:
    with Worker() as worker, pytest.raises(LocalError, match="no encryption"):
        worker.do(Encrypt(numbers(0, 1), 0))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_is_killed_or_crashes_is_a_named_error(number: signal.Signals) -> None:
    with Worker() as worker:
        worker.do(OPEN)
        assert worker.pid is not None
        os.kill(worker.pid, number)
        with pytest.raises(WorkerError, match=number.name):
            worker.do(Encrypt(numbers(0, 10), 0))
        with pytest.raises(WorkerError, match="closed"):
            worker.do(Encrypt(numbers(0, 10), 0))


def test_a_worker_that_makes_no_progress_is_ended() -> None:
    worker = Worker(Limits(seconds=60))
    worker.do(OPEN)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGSTOP)
    worker._limits = Limits(seconds=0.2)  # type: ignore[misc]
    with pytest.raises(WorkerError, match=r"limit of 0\.2 s"):
        worker.do(Encrypt(numbers(0, 100_000), 0))
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_worker_that_exceeds_its_memory_is_ended() -> None:
    with Worker(Limits(memory_bytes=32 << 20)) as worker:
        worker.do(OPEN)
        worker.do(Encrypt(numbers(0, 1000), 0))
        with pytest.raises(WorkerError, match="bytes of memory"):
            worker.do(Encrypt(numbers(0, 4_000_000), 0))


def test_an_error_that_nobody_foresaw_ends_the_worker_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with Worker() as worker:
        worker.do(OPEN)
        with pytest.raises(WorkerError, match="exit code 1"):
            worker.do(Encrypt(np.zeros((2, 2, 2), np.uint64), 0))
    assert "Traceback" in capfd.readouterr().err


def test_keys_do_not_show_in_a_jobs_text() -> None:
    assert repr(key_seed().expose()) not in repr(OPEN) + repr(OPEN_DECRYPTION)


def test_without_tenseal_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[ckks\]'"):
        Worker()


def test_a_parent_that_opens_a_worker_does_not_load_tenseal() -> None:
    program = "import sys, secagg.sandbox.worker\nassert not {'tenseal', '_sealapi_cpp'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for fd in (reader, writer):
        try:
            os.close(fd)
        except OSError:
            continue


def test_messages_are_framed(pipe: tuple[int, int]) -> None:
    for data in (b"", b"x", bytes(1000)):
        send(pipe[1], data)
        assert receive(pipe[0], 1.0) == data


def test_an_end_that_is_silent_is_named(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with pytest.raises(PipeStalled):
        receive(reader, 0.01)
    with pytest.raises(PipeStalled):
        send(writer, bytes(1 << 20), 0.01)


def test_an_end_that_is_gone_in_the_middle_of_a_message_is_named(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], (10).to_bytes(8, "little") + b"half")
    os.close(pipe[1])
    with pytest.raises(PipeClosed, match="gone"):
        receive(pipe[0], 1.0)


def test_a_message_that_is_too_long_is_refused_before_it_is_read(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], (MAX_MESSAGE_BYTES + 1).to_bytes(8, "little"))
    with pytest.raises(PipeClosed, match="announced"):
        receive(pipe[0], 1.0)


def test_writing_to_nobody_is_named(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    with pytest.raises(PipeClosed):
        send(pipe[1], b"x", 1.0)


def test_a_job_that_is_interrupted_leaves_no_answer_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between question and answer: a worker that went on would answer the next job with this one's."""

    def interrupted(fd: int, limit_s: float | None = None) -> bytes:
        raise KeyboardInterrupt

    with Worker() as worker:
        worker.do(OPEN)
        with monkeypatch.context() as patch:
            patch.setattr("secagg.sandbox.worker.receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                worker.do(Encrypt(numbers(0, 10), 0))
        with pytest.raises(WorkerError, match="closed"):
            worker.do(Encrypt(numbers(0, 10), 0))


def test_threads_that_ask_side_by_side_each_get_their_own_answer(shared: Worker) -> None:
    shared.do(OPEN)
    sizes = [PROFILE.values_per_block * blocks for blocks in (1, 2, 3)]
    with ThreadPoolExecutor(len(sizes)) as pool:
        answers = list(pool.map(lambda size: len(shared.do(Encrypt(numbers(0, size), 0))), sizes * 8))
    assert answers == [size // PROFILE.values_per_block * answers[0] for size in sizes * 8]


def test_a_worker_is_closed_in_the_middle_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process goes first: a socket closed under the thread that uses it would give its number to the next file."""
    asked = threading.Event()

    def asking(fd: int, limit_s: float | None = None) -> bytes:
        asked.set()
        return receive(fd, limit_s)

    monkeypatch.setattr("secagg.sandbox.worker.receive", asking)
    worker = Worker(Limits(seconds=60))
    os.kill(worker.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(worker.do, OPEN)
        assert asked.wait(60)
        worker.close()
        with pytest.raises(WorkerError, match="SIGKILL"):
            job.result(60)
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_worker_runs_nothing_that_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("import pathlib\npathlib.Path('run').touch()\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    with Worker() as worker:
        worker.do(OPEN)
    assert not (tmp_path / "run").exists()


def test_descriptors_beyond_those_that_select_takes(pipe: tuple[int, int]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    reader, writer = fcntl.fcntl(pipe[0], fcntl.F_DUPFD, 1024), fcntl.fcntl(pipe[1], fcntl.F_DUPFD, 1024)
    try:
        send(writer, b"far away", 1.0)
        assert receive(reader, 1.0) == b"far away"
    finally:
        os.close(reader)
        os.close(writer)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
