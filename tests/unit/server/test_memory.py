"""What a coordinator's process keeps."""

import subprocess
import sys

import pytest
from secagg_server import cli
from secagg_server.settings import Settings

PROGRAM = """
import ctypes, threading
from secagg.tools.bench.memory import memory_of
from secagg_server.limits.memory import give_back

def churn():
    held = [bytes([n % 251]) * 100_000 for n in range(600)]
    kept.append(held[-1])  # the last block pins the end of the thread's heap
    del held

kept = []
for _ in range(4):
    thread = threading.Thread(target=churn)
    thread.start()
    thread.join()
before = memory_of().now_bytes
if {given}:
    give_back()
print(before - memory_of().now_bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
@pytest.mark.parametrize("given", [True, False])
def test_freed_memory_is_given_back(given: bool) -> None:
    program = PROGRAM.replace("{given}", str(given))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    less = int(done.stdout)
    assert less > 20 << 20 if given else less < 1 << 20


def faults(before: str) -> int:
    """Pages that a process has to ask the kernel for while it takes and frees four chunks, again and again."""
    code = f"""
import resource
from secagg_server.limits.memory import settle_allocator
{before}
def work():
    for _ in range(20):
        chunks = [bytearray(b"x" * (1 << 20)) for _ in range(4)]
work()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
"""
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
def test_memory_of_chunks_is_used_again_without_the_kernel() -> None:
    assert faults("settle_allocator()") < 1000 < faults("")


def test_a_coordinator_settles_allocator_and_collector_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def stop(_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(cli, "settle_allocator", lambda: done.append("allocator"))
    monkeypatch.setattr(cli, "settle_collector", lambda: done.append("collector"))
    monkeypatch.setattr(cli, "configure_logs", stop)
    with pytest.raises(InterruptedError):
        cli.serve(Settings.model_construct())
    assert done == ["allocator", "collector"]


def test_the_collector_passes_over_what_was_loaded_and_frees_what_comes_later() -> None:
    code = """
import gc, weakref
import secagg_server.app
from secagg_server.limits.memory import settle_collector
settle_collector()
class Knot:
    pass
knot = Knot()
knot.itself = knot
seen = weakref.ref(knot)
looked_at = len(gc.get_objects())
del knot
gc.collect()
print(gc.get_freeze_count() > 20 * looked_at, seen() is None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["True", "True"]
