"""The first process of a container crashes: what it wrote last is logged, though its end kills every other process."""

import json
import subprocess
import sys

from tests.deployment.conftest import program

CRASH = """
import os
from secagg_server.observability.standard_error import standard_error_to

with standard_error_to(lambda message: os.write(1, b'"taken: ' + message.encode() + b'"\\n')):
    assert os.getpid() == 1
    os.write(2, b"F1128 03:36:13.769835   12678 call.cc:12] Check failed\\n")
    os.abort()
"""


def test_the_crash_of_a_first_process_stays_readable() -> None:
    command = [program("unshare"), "--pid", "--fork", "--kill-child", sys.executable, "-c", CRASH]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    texts = [line if isinstance(line, str) else line["detail"] for line in lines]
    assert [text for text in texts if text.endswith("call.cc:12] Check failed")]
    assert "Fatal Python error: Aborted" in texts
    assert any("standard_error_to" in text or '"<string>"' in text for text in texts)
