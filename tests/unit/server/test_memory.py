"""What a coordinator's process keeps."""

import subprocess
import sys

import pytest

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
